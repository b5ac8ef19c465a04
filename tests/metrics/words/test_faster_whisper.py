"""faster-whisper: the same weights as with transformers, in the form of CTranslate2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_whisper import coloured_noise as noise
from tiny_whisper import make_whisper

from phonemi.errors import ModelError
from phonemi.metrics.words.recogniser import Failure, transcribe_all
from phonemi.metrics.words.whisper import WhisperRecogniser, find_backend, is_at_hand

pytest.importorskip("faster_whisper")
SECOND = 16_000


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of random weights with the context of a real one, converted."""
    from ctranslate2.converters import TransformersConverter

    source = make_whisper(
        tmp_path_factory.mktemp("whisper") / "wee-whisper", context=448, more_tokens=["<|startoflm|>"], seed=5
    )
    folder = source.with_name("wee-whisper-ct2")
    files = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(source), copy_files=files).convert(str(folder))
    return folder


@pytest.fixture(scope="module")
def whisper(converted: Path) -> WhisperRecogniser:
    return WhisperRecogniser(converted)


@pytest.mark.slow
def test_it_hears_words_the_same_each_time_in_any_company(whisper: WhisperRecogniser, converted: Path) -> None:
    waveforms = [noise(1 + index % 2, index) for index in range(3)]
    texts = whisper.transcribe_batch(waveforms)
    assert all(texts)
    assert len(set(texts)) == 3
    assert WhisperRecogniser(converted).transcribe_batch(waveforms[::-1]) == texts[::-1]


def test_silence_and_samples_that_are_not_finite(whisper: WhisperRecogniser) -> None:
    broken = np.full(100, np.nan, np.float32)
    assert transcribe_all(whisper, [np.zeros(SECOND, np.float32), broken]) == ["", Failure("waveform not finite")]


def test_settings_say_what_the_words_depend_on(whisper: WhisperRecogniser) -> None:
    settings = whisper.settings
    assert json.loads(json.dumps(settings)) == settings
    assert (settings["backend"], settings["number_format"], settings["beams"]) == ("faster-whisper", "int8", 5)
    assert settings["revision"].startswith("files ")


def test_a_folder_tells_its_backend(converted: Path, whisper_folder: Path) -> None:
    assert find_backend(str(converted), "cpu") == "faster-whisper"
    assert find_backend(str(whisper_folder), "cpu") == "transformers"
    assert find_backend("base.en", "cuda") == "transformers"
    assert find_backend("base.en", "cpu") == "faster-whisper"
    assert is_at_hand(str(converted), "cpu", "auto")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [("tokenizer.json", "has no tokenizer.json"), ("model.bin", "cannot be loaded by faster-whisper")],
)
def test_a_file_that_is_missing_is_named(converted: Path, tmp_path: Path, spoil: str, message: str) -> None:
    folder = shutil.copytree(converted, tmp_path / "spoilt")
    (folder / spoil).unlink()
    with pytest.raises(ModelError, match=message) as caught:
        WhisperRecogniser(folder, backend="faster-whisper").load()
    assert "\n" not in str(caught.value)


def test_a_size_that_there_is_not_is_one_line() -> None:
    with pytest.raises(ModelError, match=r"Whisper 'wee\.en' cannot be loaded"):
        WhisperRecogniser("wee.en", backend="faster-whisper").load()
    assert not is_at_hand("wee.en", "cpu", "faster-whisper")
