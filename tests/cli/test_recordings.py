"""phonemi enhance: options reach the work, a summary says what became of each recording, and errors are one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonemi import audio
from phonemi.models.enhancer import Enhancer
from phonemi.models.mask_enhancer import MaskEnhancer

RATE = 16_000

Phonemi = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest enhancer, saved."""
    folder = tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Enhancer(None, None, MaskEnhancer(0, True, hidden=1, layers=1, level_db=-20.0), "tiny").save_pretrained(folder)
    return folder


def tone(samples: int = RATE) -> np.ndarray:
    return 0.1 * np.sin(np.arange(samples) / 10)


def bad_recording(kind: str, path: Path) -> None:
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "no samples":
        audio.save(path, tone(), RATE)
        path.write_bytes(path.read_bytes()[:40] + bytes(4))
    elif kind == "truncated":
        audio.save(path, tone(), RATE)
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "text":
        path.write_text("This is not a recording.\n")
    elif kind == "nan":
        audio.save(path, tone(), RATE, subtype="FLOAT")
        content = bytearray(path.read_bytes())
        content[-4000:-3996] = np.float32(np.nan).tobytes()
        path.write_bytes(content)
    elif kind == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file or folder: {path}"),
        ("empty", "{path} is empty (0 bytes)"),
        ("no samples", "{path}"),
        ("truncated", "{path} is cut short: its header promises 16000 samples, 4478 can be read"),
        ("text", "{path} is not sound that libsndfile can read"),
        ("nan", "{path}: 1 of 16000 samples are NaN or infinite"),
        ("folder", "no recordings in {path}"),
    ],
)
def test_a_bad_recording_is_one_line(phonemi: Phonemi, model: Path, tmp_path: Path, kind: str, message: str) -> None:
    path, output = tmp_path / "noisy.wav", tmp_path / "out"
    bad_recording(kind, path)
    for target in (output, tmp_path / "clean.wav"):
        if kind == "folder" and target.suffix:
            continue
        outcome = phonemi("enhance", path, "-o", target, "--model", model)
        assert message.format(path=path) in outcome.error
    assert {entry.name for entry in tmp_path.rglob("*")} <= {"noisy.wav", "out"}
    assert not output.exists() or not list(output.iterdir())


def test_silence_stays_silent_and_short_audio_keeps_its_length(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    signals = {"silent": np.zeros(RATE), "short": 0.1 * rng.normal(size=160), "one": np.array([0.5])}
    for name, waveform in signals.items():
        audio.save(tmp_path / "in" / f"{name}.wav", waveform, RATE)
    outcome = phonemi("enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr.splitlines()[-1].startswith("phonemi: 3 enhanced (1.01 s in ")
    enhanced = {name: audio.load(tmp_path / "out" / f"{name}.wav") for name in signals}
    assert {name: len(waveform) for name, waveform in enhanced.items()} == {"silent": RATE, "short": 160, "one": 1}
    assert not enhanced["silent"].any()
    assert np.isfinite(enhanced["short"]).all()
    again = phonemi("enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model)
    assert again.stderr.splitlines()[-1] == "phonemi: 0 enhanced, 3 skipped (already there)"


def test_one_bad_recording_does_not_stop_the_others(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    for name in ("a", "c"):
        audio.save(tmp_path / "in" / f"{name}.flac", tone(), RATE)
    (tmp_path / "in" / "b.wav").write_text("not a recording")
    outcome = phonemi("enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model)
    assert outcome.error.startswith("2 enhanced (2 s in ")
    assert outcome.error.endswith(", 1 failed")
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("failed: ")]
    assert line.startswith(f"failed: {tmp_path / 'in' / 'b.wav'} is not sound that libsndfile can read: ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.flac", "c.flac"]


def test_a_model_that_is_not_there(phonemi: Phonemi, tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", np.ones(RATE) / 2, RATE)
    outcome = phonemi("enhance", tmp_path / "a.wav", "-o", tmp_path / "out", "--model", tmp_path / "none")
    assert f"no enhancer '{tmp_path / 'none'}'" in outcome.error
    assert not (tmp_path / "out").exists()


def enhanced(phonemi: Phonemi, model: Path, source: Path, *options: object) -> np.ndarray:
    target = source.with_name("enhanced.wav")
    outcome = phonemi("enhance", source, "-o", target, "--model", model, "--overwrite", *options)
    assert outcome.code == 0, outcome.stderr
    return audio.load(target, None)


def test_the_attenuation_can_be_limited(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    noisy = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    audio.save(tmp_path / "a.wav", noisy, RATE, subtype="FLOAT")
    limits = ([], ["--attenuation-limit-db", 1], ["--attenuation-limit-db", 0])
    found = [enhanced(phonemi, model, tmp_path / "a.wav", *limit) for limit in limits]
    powers = [float(np.mean(waveform**2)) for waveform in found]
    assert powers[0] < 10**-0.1 * np.mean(noisy**2) < powers[1] < powers[2]
    np.testing.assert_allclose(found[2], noisy, atol=1e-6)


def test_mix_chunks_batches_and_device_reach_the_enhancer(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    noisy = 0.1 * np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    audio.save(tmp_path / "a.wav", noisy, RATE, subtype="FLOAT")
    whole = enhanced(phonemi, model, tmp_path / "a.wav", "--device", "cpu")
    half = enhanced(phonemi, model, tmp_path / "a.wav", "--mix", 0.5)
    np.testing.assert_allclose(half, (whole + noisy) / 2, atol=1e-6)
    in_chunks = enhanced(phonemi, model, tmp_path / "a.wav", "--chunk-s", 2, "--batch-size", 4)
    assert 0 < np.abs(in_chunks - whole).max() < 0.01
    if not torch.cuda.is_available():
        outcome = phonemi("enhance", tmp_path / "a.wav", "-o", tmp_path / "b.wav", "-m", model, "--device", "cuda")
        assert outcome.error == "device is 'cuda', but torch finds no GPU here: choose auto or cpu"


def test_the_band_above_8_khz(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    hiss = 0.1 * np.sin(np.arange(48_000) * 2 * np.pi * 12_000 / 48_000) * np.hanning(48_000)
    audio.save(tmp_path / "a.wav", hiss, 48_000, subtype="FLOAT")
    levels = {
        what: audio.level_db(enhanced(phonemi, model, tmp_path / "a.wav", "--upper-band", what))
        for what in ("keep", "attenuate", "remove")
    }
    assert levels["keep"] > levels["attenuate"] > levels["remove"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--device", "gpu"], "Invalid value for '--device'"),
        (["--batch-size", "0"], "Invalid value for '--batch-size'"),
        (["--mix", "1.5"], "Invalid value for '--mix'"),
        (["--chunk-s", "1"], "Invalid value for '--chunk-s'"),
        (["--attenuation-limit-db", "-1"], "Invalid value for '--attenuation-limit-db'"),
        (["--upper-band", "some"], "Invalid value for '--upper-band'"),
    ],
)
def test_values_that_cannot_be_are_wrong_usage(phonemi: Phonemi, option: list[str], message: str) -> None:
    outcome = phonemi("enhance", "a.wav", "-o", "b.wav", *option)
    assert outcome.code == 2
    assert message in outcome.stderr


def test_names_formats_patterns_and_the_summary(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    for name in ("in/a.wav", "in/x/b.wav", "in/x/c.ogg"):
        audio.save(tmp_path / name, tone(), RATE)
    (tmp_path / "in" / "x" / "d.wav").write_text("not a recording")
    arguments = [tmp_path / "in" / "**" / "*.wav", "-o", tmp_path / "out", "--model", model, "--json"]
    arguments += [tmp_path / "summary.json", "--suffix", "-clean", "--format", "flac", "--batch-size", 2]
    for state, numbers in (("done", (2, 0, 1)), ("skipped", (0, 2, 1))):
        assert phonemi("enhance", *arguments).code == 1
        out = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
        assert out == ["a-clean.flac", "x/b-clean.flac"]
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert [(Path(file["source"]).name, file["state"]) for file in summary["files"]] == [
            ("a.wav", state),
            ("b.wav", state),
            ("d.wav", "failed"),
        ]
        assert tuple(summary["totals"][key] for key in ("done", "skipped", "failed")) == numbers
    assert summary["model"]["name"] == "tiny"
    assert summary["settings"]["model"] == str(model)
    assert summary["settings"]["batch_size"] == 2


def test_from_standard_input_to_standard_output(model: Path, tmp_path: Path) -> None:
    """In a process of its own: sound and nothing else on standard output, all else on standard error."""
    audio.save(tmp_path / "a.flac", tone(), RATE, subtype="PCM_24")
    command = [sys.executable, "-m", "phonemi.cli", "enhance", "-", "-o", "-", "--model", str(model)]
    command += ["--json", str(tmp_path / "summary.json")]
    ended = subprocess.run(command, input=(tmp_path / "a.flac").read_bytes(), capture_output=True)
    assert ended.returncode == 0, ended.stderr
    (tmp_path / "b.flac").write_bytes(ended.stdout)
    info = audio.probe(tmp_path / "b.flac")
    assert (info.format, info.subtype, info.samples) == ("FLAC", "PCM_24", RATE)
    assert ended.stderr.decode().splitlines()[-1].startswith("phonemi: 1 enhanced (1 s in ")
    (file,) = json.loads((tmp_path / "summary.json").read_text())["files"]
    assert (file["source"], file["target"], file["state"]) == ("-", "-", "done")


def test_a_full_disk(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    """In a process of its own, which may write no file longer than 2000 bytes."""
    audio.save(tmp_path / "in" / "a.wav", tone(), RATE)
    code = (
        "import resource, sys; from phonemi import cli; import phonemi.inference, phonemi.models.enhancer;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); cli.main()"
    )
    command = [sys.executable, "-c", code, "enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("phonemi: ")]
    assert "cannot write" in line, ended.stderr
    assert str(tmp_path / "out" / "a.wav") in line
    assert "Traceback" not in ended.stderr
    assert list((tmp_path / "out").iterdir()) == []
