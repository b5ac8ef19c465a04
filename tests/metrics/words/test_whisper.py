"""Whisper: what it says is what its weights say, to the whole waveform, whatever is heard beside or before it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_whisper import coloured_noise as noise

from phonemi.errors import AudioError, DataError, ModelError
from phonemi.files import read_json, write_json
from phonemi.metrics.words.recogniser import Failure, transcribe_all
from phonemi.metrics.words.whisper import WhisperRecogniser, cut

SECOND = 16_000


@pytest.fixture(scope="module")
def whisper(whisper_folder: Path) -> WhisperRecogniser:
    return WhisperRecogniser(whisper_folder, batch=3)


@pytest.fixture
def changed(whisper_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Whisper to be spoilt."""
    return Path(shutil.copytree(whisper_folder, tmp_path / "changed"))


def set_generation(folder: Path, **options: Any) -> None:
    path = folder / "generation_config.json"
    write_json(path, {**read_json(path), **options})


def greedy(whisper: WhisperRecogniser, waveform: np.ndarray, prompt: list[str]) -> list[int]:
    """Tokens after `prompt`: each the most probable that is not suppressed, without any cache."""
    import torch

    loaded = whisper._backend
    special = loaded.model.generation_config
    tokens = loaded.tokenizer.convert_tokens_to_ids(prompt)
    features = loaded.features(waveform, sampling_rate=SECOND, return_tensors="pt").input_features
    with torch.no_grad():
        encoded = loaded.model.model.encoder(features)
    for step in range(22):
        with torch.no_grad():
            logits = loaded.model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([tokens])).logits[0, -1]
        logits[(special.suppress_tokens or []) + (special.begin_suppress_tokens if step == 0 else [])] = -torch.inf
        tokens.append(int(logits.argmax()))
        if tokens[-1] == loaded.tokenizer.eos_token_id:
            break
    return tokens[len(prompt) :]


@pytest.mark.slow
@pytest.mark.parametrize("suppress", [True, False])
def test_words_are_the_most_probable_after_the_english_prompt(changed: Path, suppress: bool) -> None:
    """Also where the model writes timestamps that it was told to leave out: they are no reason to drop words."""
    prompt = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    fallback = {"temperature": 0.5, "do_sample": True, "logprob_threshold": 0.0, "no_speech_threshold": 0.0}
    others = {"num_beams": 2, "repetition_penalty": 5.0, "max_length": 7, "forced_decoder_ids": [[1, 9]]}
    set_generation(changed, **fallback, **others, **({} if suppress else {"suppress_tokens": None}))
    whisper = WhisperRecogniser(changed)
    stamps = 0
    for seed in range(3):
        waveform = noise(1 + seed, seed)
        tokens = greedy(whisper, waveform, prompt)
        first_stamp = whisper._backend.tokenizer.convert_tokens_to_ids("<|0.00|>")
        stamps += sum(token >= first_stamp for token in tokens)
        words = [token for token in tokens if token < whisper._backend.tokenizer.eos_token_id]
        assert whisper.transcribe(waveform) == whisper._backend.tokenizer.decode(words).strip()
    assert bool(stamps) is not suppress


@pytest.mark.slow
def test_an_english_whisper_is_not_told_the_language(changed: Path) -> None:
    set_generation(changed, is_multilingual=False)
    whisper = WhisperRecogniser(changed)
    tokens = greedy(whisper, noise(2), ["<|startoftranscript|>", "<|notimestamps|>"])
    assert whisper.transcribe(noise(2)) == whisper._backend.tokenizer.decode(tokens, skip_special_tokens=True).strip()


@pytest.mark.slow
def test_company_and_order_do_not_matter(whisper: WhisperRecogniser, whisper_folder: Path) -> None:
    waveforms = [noise(1 + index % 3, index) for index in range(5)]
    alone = [WhisperRecogniser(whisper_folder).transcribe(waveform) for waveform in waveforms[:2]]
    together = whisper.transcribe_batch(waveforms)
    assert together[:2] == alone
    assert whisper.transcribe_batch(waveforms[::-1]) == together[::-1]
    assert len(set(together)) == 5


@pytest.mark.slow
def test_all_are_heard_here_in_order_and_failures_counted(whisper: WhisperRecogniser) -> None:
    taken: list[int] = []
    done: list[tuple[int, int]] = []

    def waveforms() -> Iterator[np.ndarray]:
        silence = [np.zeros(SECOND)] * 4
        for index, waveform in enumerate([noise(1), np.full(100, np.nan), np.zeros(SECOND), noise(2, 1), *silence]):
            taken.append(index)
            yield waveform.astype(np.float32)

    heard = transcribe_all(whisper, waveforms(), processes=8, progress=lambda count: done.append((count, len(taken))))
    texts = [whisper.transcribe(noise(1)), Failure("waveform not finite"), "", whisper.transcribe(noise(2, 1))]
    assert heard == texts + [""] * 4
    # Three are heard together, and the next three are made meanwhile, but no more.
    assert [count for count, _ in done] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(made <= 6 for _, made in done[:3])
    assert len(taken) == 8


def test_wrong_waveforms(whisper: WhisperRecogniser) -> None:
    with pytest.raises(AudioError, match="waveform not finite"):
        whisper.transcribe(np.full(10, np.inf, np.float32))
    with pytest.raises(DataError, match=r"\[2, 100\] to transcribe"):
        transcribe_all(whisper, [np.ones((2, 100), np.float32)])


@pytest.mark.parametrize("seconds", [0, 1, 70])
def test_silence_does_not_even_need_a_model(seconds: int) -> None:
    assert WhisperRecogniser("no/model").transcribe(np.zeros(seconds * SECOND, np.float32)) == ""


@pytest.mark.slow
def test_long_audio_is_heard_to_its_end(whisper: WhisperRecogniser) -> None:
    pause = np.zeros(SECOND // 5, np.float32)
    parts = [noise(24, 1), noise(27.3, 2), noise(4, 3)]
    silence = np.zeros(45 * SECOND, np.float32)
    waveform = np.concatenate([parts[0], pause, parts[1], pause, parts[2]])
    pieces = list(cut(waveform, 30 * SECOND))
    heard = [whisper.transcribe(piece) for piece in pieces]
    assert len(heard) == 3
    assert all(heard)
    assert whisper.transcribe(waveform) == " ".join(heard)
    assert whisper.transcribe(np.concatenate([noise(3, 4), silence])) == whisper.transcribe(noise(3, 4))


@pytest.mark.parametrize("seconds", [0.5, 30, 30.01, 31, 59.9, 60, 61, 143.21])
def test_pieces_are_the_whole(seconds: float) -> None:
    waveform = noise(seconds)
    pieces = list(cut(waveform, 30 * SECOND))
    assert np.array_equal(np.concatenate(pieces), waveform)
    assert max(map(len, pieces)) <= 30 * SECOND
    assert min(map(len, pieces)) >= min(SECOND, len(waveform))
    assert len(pieces) <= 1 + seconds / 20


def test_cuts_are_in_pauses() -> None:
    waveform = noise(65)
    for second, gain in ((15, 0), (22, 0.01), (25, 0.1), (46, 0.001), (55, 0.01)):
        waveform[second * SECOND :][: SECOND // 5] *= np.float32(gain)
    ends_s = np.cumsum([len(piece) for piece in cut(waveform, 30 * SECOND)]) / SECOND
    assert ends_s == pytest.approx([22.1, 46.1, 65], abs=0.06)


@pytest.mark.slow
def test_settings_say_what_the_words_depend_on(whisper: WhisperRecogniser, changed: Path) -> None:
    settings = whisper.settings
    assert json.loads(json.dumps(settings)) == settings
    assert (settings["model"], settings["language"], settings["beams"]) == ("wee-whisper", "en", 1)
    assert (settings["max_new_tokens"], settings["number_format"], settings["batch"]) == (22, "float32", 3)
    assert whisper.name == "Whisper (wee-whisper)"
    same = WhisperRecogniser(changed, batch=3).settings
    assert {**same, "model": "wee-whisper"} == settings
    coarse = WhisperRecogniser(changed, dtype="bfloat16")
    assert coarse.transcribe(noise(1))
    assert coarse.settings["number_format"] == str(coarse._backend.model.dtype).removeprefix("torch.") == "bfloat16"
    with open(changed / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    assert WhisperRecogniser(changed).settings["revision"] != same["revision"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./absent/whisper", "the folder ./absent/whisper does not exist"),
    ],
)
def test_models_that_do_not_exist(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        WhisperRecogniser(name).load()


def test_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoConfig

    def offline(name: str) -> None:
        raise OSError("We couldn't connect to the hub\nand so on")

    monkeypatch.setattr(AutoConfig, "from_pretrained", offline)
    with pytest.raises(ModelError, match="hf download openai/whisper-large-v3") as caught:
        transcribe_all(WhisperRecogniser(), [noise(1)])
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_was_downloaded_before_is_used_without_a_network(
    whisper: WhisperRecogniser, whisper_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--wee-whisper"
    shutil.copytree(whisper_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cached = WhisperRecogniser("someone/wee-whisper")
    assert cached.transcribe(noise(1)) == whisper.transcribe(noise(1))
    assert cached.settings["model"] == "someone/wee-whisper"
    assert cached.settings["revision"] == f"commit {commit}"


def spoil(folder: Path, what: str) -> None:
    if what == "type":
        (folder / "config.json").write_text('{"model_type": "hubert"}')
    elif what == "language":
        set_generation(folder, lang_to_id={"<|de|>": 3})
    elif what == "weight":
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        del weights["model.encoder.conv1.bias"]
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    elif what == "piece":
        path = folder / "preprocessor_config.json"
        write_json(path, {**read_json(path), "chunk_length": 10})
    else:
        for path in folder.glob(what):
            path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("type", "is of type 'hubert', expected a Whisper"),
        ("language", "generation_config.json has no language 'en'"),
        ("weight", "1 weight missing in the file, first model.encoder.conv1.bias"),
        ("piece", "hears 160000 samples at once, expected 30 s at 16 kHz"),
        ("*", "holds no model that can be loaded"),
        ("preprocessor_config.json", "holds no model that can be loaded"),
        ("*.safetensors", "holds no model that can be loaded"),
        ("tokenizer*", "the tokenizer is missing, or that of another model|holds no model that can be loaded"),
    ],
)
def test_files_that_are_missing_or_wrong(changed: Path, what: str, message: str) -> None:
    spoil(changed, what)
    with pytest.raises(ModelError, match=message) as caught:
        transcribe_all(WhisperRecogniser(changed), [noise(1)])
    assert "\n" not in str(caught.value)


def test_broken_torchaudio_is_told_from_a_missing_model(whisper_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers.models.whisper.modeling_whisper", None)
    with pytest.raises(ModelError, match="pip uninstall torchaudio"):
        WhisperRecogniser(whisper_folder).load()
