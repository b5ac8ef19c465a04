"""faster-whisper: the same weights as with transformers, in the form of CTranslate2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_whisper import coloured_noise as noise
from tiny_whisper import make_whisper

from phonemi.errors import ModelError
from phonemi.metrics.words.faster_whisper import DECODING
from phonemi.metrics.words.recogniser import Failure, transcribe_all
from phonemi.metrics.words.whisper import SIZES, WhisperRecogniser, find_backend, published_name

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
    assert (settings["backend"], settings["number_format"], settings["beam_size"]) == ("faster-whisper", "int8", 5)
    assert settings["revision"].startswith("files ")


def test_a_folder_tells_its_backend(converted: Path, whisper_folder: Path) -> None:
    assert find_backend(str(converted), "cpu") == "faster-whisper"
    assert find_backend(str(whisper_folder), "cpu") == "transformers"
    assert find_backend("base.en", "cuda") == "transformers"
    assert find_backend("base.en", "cpu") == "faster-whisper"
    assert WhisperRecogniser(converted).obstacle() is None


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
    whisper = WhisperRecogniser("bas.en", backend="faster-whisper")
    with pytest.raises(ModelError, match=r"no size 'bas\.en', and there is no such folder; did you mean 'base\.en'\?"):
        whisper.load()
    assert "no size 'bas.en'" in str(whisper.obstacle())


def test_a_size_is_the_same_model_for_both_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    import faster_whisper
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: name)
    sizes = faster_whisper.available_models()
    assert set(sizes) <= SIZES.keys()
    assert {size: faster_whisper.download_model(size) for size in sizes} == {size: SIZES[size][0] for size in sizes}
    assert published_name("large", "transformers") == "openai/whisper-large-v3"
    assert published_name("large", "faster-whisper") == "Systran/faster-whisper-large-v3"
    assert published_name("turbo", "transformers") == "openai/whisper-large-v3-turbo"
    assert published_name("distil-large-v3", "transformers") == "distil-whisper/distil-large-v3"


def test_folders_and_ids_are_their_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert published_name("someone/whisper", "faster-whisper") == "someone/whisper"
    (tmp_path / "base.en").mkdir()
    monkeypatch.chdir(tmp_path)
    assert published_name("base.en", "faster-whisper") == "base.en"


def test_without_a_network_it_says_how_to_get_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> None:
        raise OSError("We couldn't connect to the hub\nand so on")

    monkeypatch.setattr("faster_whisper.download_model", offline)
    with pytest.raises(ModelError, match=r"hf download Systran/faster-whisper-tiny\.en") as caught:
        WhisperRecogniser("tiny.en", backend="faster-whisper").load()
    assert "\n" not in str(caught.value)


def test_an_option_of_the_decoder_is_a_setting(whisper: WhisperRecogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    before = whisper.decoding
    assert before.items() <= whisper.settings.items()
    assert before.items() >= DECODING.items()
    monkeypatch.setitem(DECODING, "vad_filter", True)
    assert whisper.decoding != before


@pytest.fixture
def failing(whisper: WhisperRecogniser, monkeypatch: pytest.MonkeyPatch) -> WhisperRecogniser:
    """A Whisper that fails on whatever is longer than a second."""
    transcribe = whisper._backend.model.transcribe

    def fail(piece: np.ndarray, **options: Any) -> Any:
        if len(piece) > SECOND:
            raise RuntimeError("the matrix\nis singular" if len(piece) < 3 * SECOND else "CUDA failed: out of memory")
        return transcribe(piece, **options)

    monkeypatch.setattr(whisper._backend.model, "transcribe", fail)
    return whisper


def test_a_piece_that_fails_is_counted(failing: WhisperRecogniser) -> None:
    good, bad = failing.transcribe_batch([noise(1), noise(2)])
    assert isinstance(good, str)
    assert bad == Failure("faster-whisper failed (the matrix is singular)")


def test_where_all_pieces_fail_it_may_be_for_the_pieces(failing: WhisperRecogniser) -> None:
    assert failing.transcribe_batch([noise(2)]) == [Failure("faster-whisper failed (the matrix is singular)")]


def test_where_everything_fails_it_is_not_for_the_pieces(
    whisper: WhisperRecogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(piece: np.ndarray, **options: Any) -> Any:
        raise RuntimeError("no libcublas")

    monkeypatch.setattr(whisper._backend.model, "transcribe", fail)
    with pytest.raises(ModelError, match=r"wee-whisper-ct2: faster-whisper failed \(no libcublas"):
        whisper.transcribe_batch([noise(1)])


def test_too_little_memory_is_one_line(failing: WhisperRecogniser) -> None:
    with pytest.raises(ModelError, match="need more memory than cpu has: take a smaller Whisper"):
        failing.transcribe_batch([noise(1), noise(3)])
