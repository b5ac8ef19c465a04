"""After its input was replaced a command gives what it gives in a new folder, whatever the dates of the files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_whisper import coloured_noise, make_whisper

from phonemi import audio
from phonemi.config import load_config
from phonemi.data.corpora.folder import prepare_folder
from phonemi.data.manifest import read_manifest, write_manifest
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.files import read_json
from phonemi.metrics.words.whisper import WhisperRecogniser
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.stages import evaluate, information
from phonemi.stages.run import Run

RATE = 16_000


def replace_quietly(change: Callable[[], object], path: Path) -> None:
    """Change files as `cp --preserve`, `rsync --times` and archives do: with the dates of the files before them."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    dates = {file: file.stat() for file in files}
    change()
    for file, state in dates.items():
        assert file.stat().st_size == state.st_size or file.suffix == ".jsonl"
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.fixture
def pairs(corpus: Any, tmp_path: Path) -> Path:
    """A manifest of two noisy recordings with clean ones and transcripts."""
    for number, recording in enumerate(read_manifest(corpus.speech)[:2]):
        clean = audio.load(recording.path)
        for folder, gain in (("clean", 0.0), ("noisy", 0.05)):
            noise = coloured_noise(len(clean) / RATE, seed=number)[: len(clean)]
            audio.save(tmp_path / folder / f"u{number}.wav", clean + gain * noise, RATE)
        (tmp_path / "noisy" / f"u{number}.txt").write_text("see me")
    path = tmp_path / "pairs.jsonl"
    write_manifest(path, prepare_folder(tmp_path / "noisy", clean=tmp_path / "clean").recordings)
    return path


@pytest.fixture
def judged(pairs: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Scores of every row by name, from `phonemi evaluate` in a folder."""

    def call(folder: str, *changes: str) -> dict[str, Any]:
        settings = [f"evaluate.pairs={pairs}", "enhance.rows=[]", "evaluate.recogniser=none", *changes]
        run = Run(tmp_path / folder, load_config(None, settings))
        evaluate.evaluate_systems(run)
        return {row["row"]: row for row in read_json(run.folder / evaluate.RESULT)["rows"]}

    return call


@pytest.fixture
def utterances(tmp_path: Path) -> Callable[[str, str], list[Any]]:
    """What the run in a folder has of every noisy recording, by its key."""
    return lambda run, key: [u[key] for u in read_json(tmp_path / run / "rows/noisy/scores.json")["utterances"]]


def test_noisy_recordings(judged: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    before, noisy = judged("run"), tmp_path / "noisy"

    def make_quieter() -> None:
        for path in noisy.glob("*.wav"):
            clean = audio.load(tmp_path / "clean" / path.name)
            audio.save(path, clean + 0.1 * (audio.load(path) - clean), RATE)

    replace_quietly(make_quieter, noisy)
    after = judged("run")
    assert after["noisy"]["si_sdr_db"] > before["noisy"]["si_sdr_db"] + 10
    assert after == judged("fresh")


def test_weights_of_a_local_model(judged: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    model = tmp_path / "model"

    def save(seed: int) -> None:
        torch.manual_seed(seed)
        Enhancer(None, None, MaskEnhancer(dim=0, log1p=True, hidden=4, layers=1)).save_pretrained(model)

    save(0)
    setting = f"evaluate.systems={{mine: '{model}'}}"
    before = judged("run", setting)
    replace_quietly(lambda: save(1), model)
    after = judged("run", setting)
    assert after["mine"]["si_sdr_db"] != before["mine"]["si_sdr_db"]
    assert after["noisy"] == before["noisy"]
    assert after == judged("fresh", setting)


def test_transcripts(
    judged: Callable[..., dict[str, Any]], utterances: Callable[[str, str], list[Any]], pairs: Path
) -> None:
    pytest.importorskip("pocketsphinx")
    words = "evaluate.recogniser=pocketsphinx-grammar"
    judged("run", words)
    before = utterances("run", "words")
    replace_quietly(lambda: pairs.write_text(pairs.read_text().replace("see me", "see me see")), pairs)
    after = judged("run", words)
    assert utterances("run", "words") != before
    assert after == judged("fresh", words)
    assert utterances("run", "words") == utterances("fresh", "words")


@pytest.mark.slow
def test_folder_of_a_recogniser(
    judged: Callable[..., dict[str, Any]], utterances: Callable[[str, str], list[Any]], tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    folder = make_whisper(tmp_path / "whisper", context=44)
    words = ("evaluate.recogniser=whisper", f"evaluate.whisper={folder}")
    judged("run", *words)
    before = utterances("run", "heard")
    replace_quietly(lambda: make_whisper(folder, context=44, seed=1), folder)
    judged("run", *words)
    assert utterances("run", "heard") != before
    judged("fresh", *words)
    assert utterances("run", "heard") == utterances("fresh", "heard")


def test_weights_of_a_recogniser_that_come_in_two_forms(tmp_path: Path) -> None:
    """faster-whisper reads model.bin, also where files of transformers lie beside it."""
    folder = tmp_path / "whisper"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"not read")
    revisions = []
    for content in (b"one", b"two"):
        (folder / "model.bin").write_bytes(content)
        recogniser = WhisperRecogniser(folder)
        recogniser.__dict__["_backend"] = None  # whose weights these cannot be
        revisions.append(recogniser._revision)
    assert revisions[0] != revisions[1]


@pytest.fixture
def measured(corpus: Any, tmp_path: Path) -> Callable[[str], Any]:
    """Bounds by `phonemi information` in a folder, on a copy of the tiny corpus, with an encoder of random weights."""
    copy = Path(shutil.copytree(corpus.data, tmp_path / "data"))
    manifest = copy / "speech.jsonl"
    manifest.write_text(corpus.speech.read_text().replace(str(corpus.data), str(copy)))
    save_encoder(tmp_path / "encoder", seed=0)

    def call(folder: str) -> Any:
        settings = [f"data.speech=[{manifest}]", f"representation={tmp_path / 'encoder'}"]
        run = Run(tmp_path / folder, load_config(None, [*corpus.settings, *settings]))
        information.measure_information(run)
        return read_json(run.folder / information.RESULT)["rows"]

    return call


def save_encoder(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    config = MelTransformerConfig(mels=20, dim=16, blocks=2, heads=2, feedforward=32, position_kernel=5)
    MelTransformer(config).save(folder)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["speech reversed", "alignment edited", "encoder replaced"])
def test_what_is_measured(measured: Callable[[str], Any], tmp_path: Path, what: str) -> None:
    before, manifest = measured("run"), tmp_path / "data" / "speech.jsonl"

    def shift() -> None:
        recordings = [
            replace(r, phones=tuple(one._replace(phone="AA") for one in r.phones or ()))
            for r in read_manifest(manifest)
        ]
        write_manifest(manifest, recordings)

    if what == "speech reversed":
        for recording in read_manifest(manifest):
            audio.save(recording.path, np.ascontiguousarray(audio.load(recording.path)[::-1]), RATE)
    elif what == "alignment edited":
        replace_quietly(shift, manifest)
    else:
        replace_quietly(lambda: save_encoder(tmp_path / "encoder", seed=1), tmp_path / "encoder")
    after = measured("run")
    assert after != before
    assert after == measured("fresh")
