"""The registry of recognisers: every recogniser that a configuration can name, each complete."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from phonemi.config.sections import Evaluate
from phonemi.files import write_json
from phonemi.metrics.words import RECOGNISERS, RecogniserOptions, choose_recogniser
from phonemi.metrics.words.whisper import WhisperRecogniser

GRAMMAR = "#JSGF V1.0;\ngrammar test;\npublic <sentence> = go (north | south);\n"


def test_a_configuration_can_name_each_of_them() -> None:
    assert {*RECOGNISERS, "auto", "none"} == set(get_args(Evaluate.model_fields["recogniser"].annotation))


@pytest.mark.parametrize("name", RECOGNISERS)
def test_each_is_complete(name: str, whisper_folder: Path) -> None:
    if name.startswith("pocketsphinx"):
        pytest.importorskip("pocketsphinx")
    recogniser = RECOGNISERS[name](RecogniserOptions(model=str(whisper_folder), grammar_jsgf=GRAMMAR))
    recogniser.load()
    assert recogniser.transcribe(np.zeros(16_000, np.float32)) == ""
    assert recogniser.settings["recogniser"] == name.partition("-")[0]
    assert recogniser.decoding.items() <= recogniser.settings.items()
    assert recogniser.name
    assert pickle.loads(pickle.dumps(RECOGNISERS[name](RecogniserOptions()))).name


@pytest.mark.slow
def test_a_process_that_transcribes_starts_without_torch() -> None:
    code = "import sys, phonemi.metrics.words; print(*sys.modules.keys() & {'torch', 'transformers', 'scipy'})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "\n"


def test_only_the_recogniser_of_any_sentence_is_called_weak() -> None:
    names = {name: RECOGNISERS[name](RecogniserOptions()).name for name in RECOGNISERS}
    assert [name for name in names if "weak" in names[name]] == ["pocketsphinx"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that puts empty files of a model where those of the hub are kept."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def download(model: str, *files: str) -> None:
        folder = tmp_path / f"models--{model.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs/main").write_text("0123")
        (folder / "snapshots/0123").mkdir(parents=True, exist_ok=True)
        for name in files:
            content = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
            write_json(folder / "snapshots/0123" / name, content)

    return download


def chosen(model: str, device: str = "cpu") -> tuple[bool, str]:
    """Whether "auto" takes this Whisper, and if not, why."""
    recogniser, reason = choose_recogniser("auto", RecogniserOptions(model, device=device))
    assert recogniser.decoding["recogniser"] == ("pocketsphinx" if reason else "whisper")
    return isinstance(recogniser, WhisperRecogniser), reason


@pytest.mark.parametrize(
    ("model", "published", "weights"),
    [
        ("base.en", "Systran/faster-whisper-base.en", ["model.bin"]),
        ("openai/whisper-base.en", "openai/whisper-base.en", ["model.safetensors"]),
        ("someone/whisper", "someone/whisper", ["pytorch_model.bin"]),
        (
            "someone/whisper",
            "someone/whisper",
            ["model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors"],
        ),
    ],
)
def test_auto_takes_a_whisper_when_all_its_weights_are_there(
    hub: Callable[..., None], model: str, published: str, weights: list[str]
) -> None:
    if model == "base.en":
        pytest.importorskip("faster_whisper")
    missing = (False, f"{published} is not, or not completely, on this machine: run `hf download {published}`")
    assert chosen(model) == missing
    for file in ["config.json", "tokenizer.json", *weights[:-1]]:
        hub(published, file)
        assert chosen(model) == missing, "half a download"
    hub(published, weights[-1])
    assert chosen(model) == (True, "")


def test_auto_takes_the_default_whisper_on_a_gpu_only(hub: Callable[..., None]) -> None:
    model = RecogniserOptions().model
    hub(model, "config.json", "model.safetensors")
    assert chosen(model, "cuda") == (True, "")
    whisper_is_taken, reason = chosen(model, "cpu")
    assert not whisper_is_taken
    assert "on a CPU openai/whisper-large-v3 takes hours" in reason
    assert choose_recogniser("whisper", RecogniserOptions(model))[1] == "", "who asks for it gets it"


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_auto_does_without_a_package_that_is_broken(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faster_whisper")

    def fail(name: str) -> None:
        raise error("libctranslate2.so:\ncannot open")

    monkeypatch.setattr(importlib, "import_module", fail)
    assert chosen("base.en") == (False, "libctranslate2.so: cannot open")


def test_auto_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert chosen("someone/whisper") == (False, "transformers is not installed: pip install 'phonemi[research]'")


def test_auto_looks_into_folders(whisper_folder: Path, tmp_path: Path) -> None:
    assert chosen(str(whisper_folder)) == (True, "")
    assert chosen(str(tmp_path)) == (False, f"{tmp_path} has no weights for transformers")


def test_auto_names_the_size_that_was_meant() -> None:
    taken, reason = chosen("bas.en")
    assert not taken
    assert reason.endswith("did you mean 'base.en'?")
