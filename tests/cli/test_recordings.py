"""phonemi enhance: options reach the work, a summary says what became of each recording, and errors are one line."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonemi import audio
from phonemi.aggregations import WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.enhancers.purpose import PhoneProbe
from phonemi.inference.record import RECORD_FILE
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig

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
    said = "phonemi: 0 enhanced, 3 skipped (already there; --overwrite enhances them again)"
    assert again.stderr.splitlines()[-1] == said


def test_one_bad_recording_does_not_stop_the_others(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    for name in ("a", "c"):
        audio.save(tmp_path / "in" / f"{name}.flac", tone(), RATE)
    (tmp_path / "in" / "b.wav").write_text("not a recording")
    outcome = phonemi("enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model)
    assert outcome.error.startswith("2 enhanced (2 s in ")
    assert outcome.error.endswith(", 1 failed")
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("failed: ")]
    assert line.startswith(f"failed: {tmp_path / 'in' / 'b.wav'} is not sound that libsndfile can read: ")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.*")) == [RECORD_FILE, "a.flac", "c.flac"]


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


def test_only_what_would_come_out_the_same_is_skipped(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    """As the guide leads from one set of options to the next."""
    audio.save(tmp_path / "in" / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    arguments = ["enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model]
    contents = []
    for options in ([], ["--mix", 0.5], ["--attenuation-limit-db", 1]):
        assert phonemi(*arguments, *options).stderr.splitlines()[-1].startswith("phonemi: 1 enhanced")
        assert phonemi(*arguments, *options).stderr.splitlines()[-1].startswith("phonemi: 0 enhanced, 1 skipped")
        contents.append((tmp_path / "out" / "a.wav").read_bytes())
    assert len(set(contents)) == 3
    outcome = phonemi(*arguments)
    assert outcome.code == 0
    assert outcome.stderr.count("1 again, because another model or other options made what was there") == 1
    assert (tmp_path / "out" / "a.wav").read_bytes() == contents[0]


def test_a_file_of_another_program_is_named_and_left(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    audio.save(tmp_path / "in" / "a.wav", tone(), RATE)
    audio.save(tmp_path / "in" / "b.wav", tone(), RATE)
    foreign = tmp_path / "out" / "a.wav"
    audio.save(foreign, -tone(), RATE)
    before = foreign.read_bytes()
    arguments = ["enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model]
    outcome = phonemi(*arguments)
    assert outcome.code == 1
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("failed: ")]
    assert f"{foreign} is there already, and no record says that phonemi made it" in line
    assert foreign.read_bytes() == before
    assert phonemi(*arguments, "--overwrite").code == 0
    assert phonemi(*arguments).code == 0


def test_what_was_removed_is_of_one_recording(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    for name in "ab":
        audio.save(tmp_path / "in" / f"{name}.wav", np.tile(tone(), (2, 1)), RATE)
    removed, target = tmp_path / "removed.wav", tmp_path / "out.wav"
    arguments = ["--model", model, "--removed", removed]
    outcome = phonemi("enhance", tmp_path / "in", "-o", tmp_path / "out", *arguments)
    assert outcome.code == 2
    assert "--removed takes one recording, found 2" in outcome.stderr
    assert phonemi("enhance", tmp_path / "in" / "a.wav", "-o", target, *arguments).code == 0
    noisy, enhanced, rest = (audio.load_channels(path)[0] for path in (tmp_path / "in" / "a.wav", target, removed))
    np.testing.assert_allclose(rest, noisy - enhanced, atol=1.1 * 2**-15)
    assert rest.any()
    audio.save(removed, tone(), RATE)
    outcome = phonemi("enhance", tmp_path / "in" / "a.wav", "-o", target, *arguments)
    assert f"{removed} is there already" in outcome.error


def test_what_has_no_place_in_the_output_is_said_once(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    for name in "ab":
        path = tmp_path / "in" / f"{name}.wav"
        audio.save(path, tone(), RATE)
        content = path.read_bytes() + b"iXML\x08\0\0\0<BWFXML>"
        path.write_bytes(content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:])
    arguments = ["enhance", tmp_path / "in", "--model", model]
    kept = phonemi(*arguments, "-o", tmp_path / "kept")
    assert "left out" not in kept.stderr
    assert (tmp_path / "kept" / "a.wav").read_bytes().endswith(b"iXML\x08\0\0\0<BWFXML>")
    lost = phonemi(*arguments, "-o", tmp_path / "lost", "--format", "flac")
    assert lost.code == kept.code == 0
    (line,) = [line for line in lost.stderr.splitlines() if "left out" in line]
    assert line == f"note: {tmp_path / 'in' / 'a.wav'} and 1 more: left out iXML: flac has no place for it"


def test_names_that_clash_are_named_once(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "b.wav"):
        audio.save(tmp_path / "in" / name, tone(), RATE)
    outcome = phonemi("enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model, "--format", "wav")
    assert outcome.code == 1
    assert outcome.stderr.count("would both be written") == 1
    assert outcome.error.startswith("1 enhanced")
    assert (tmp_path / "out" / "b.wav").is_file()


def test_the_attenuation_can_be_limited(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    noisy = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    audio.save(tmp_path / "a.wav", noisy, RATE, subtype="FLOAT")
    limits = ([], ["--attenuation-limit-db", 1], ["--attenuation-limit-db", 0])
    found = [enhanced(phonemi, model, tmp_path / "a.wav", *limit) for limit in limits]
    powers = [float(np.mean(waveform**2)) for waveform in found]
    one_db_below = 10**-0.1 * float(np.mean(noisy**2))
    assert powers[0] < 0.99 * one_db_below < powers[1] < 0.99 * powers[2]  # all bins are at the limit of 1 dB
    np.testing.assert_allclose(found[2], noisy, atol=1e-6)


def test_the_purpose_reaches_the_enhancer(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    noisy = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    audio.save(tmp_path / "a.wav", noisy, RATE, subtype="FLOAT")
    sizes = {"mels": 8, "dim": 16, "blocks": 1, "heads": 2, "feedforward": 8, "position_kernel": 3}
    encoder, probe = MelTransformer(MelTransformerConfig(**sizes)), PhoneProbe(16, 2)
    with torch.no_grad():
        probe.linear.bias.copy_(torch.tensor([99.0, 0.0]))  # it is sure of one phone, whatever it hears
    network = MaskEnhancer(16, True, hidden=1, layers=1)
    Enhancer(encoder, WeightedSum(2), network, phone_probe=probe).save_pretrained(tmp_path / "sure")
    assert np.abs(enhanced(phonemi, tmp_path / "sure", tmp_path / "a.wav") - noisy).max() > 0.01
    left = enhanced(phonemi, tmp_path / "sure", tmp_path / "a.wav", "--for", "recognition")
    np.testing.assert_allclose(left, noisy, atol=1e-6)
    outcome = phonemi("enhance", tmp_path / "a.wav", "-o", tmp_path / "b.wav", "-m", model, "--for", "recognition")
    assert outcome.code == 2
    assert outcome.error.startswith("tiny has neither a network for recognition")
    assert not (tmp_path / "b.wav").exists()


@pytest.mark.slow
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
        out = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("[!.]*.*"))
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_full_disk(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    """In a process of its own, which may write no file longer than 2000 bytes."""
    audio.save(tmp_path / "in" / "a.wav", tone(), RATE)
    code = (
        "import resource, sys; from phonemi import cli;"
        "import phonemi.inference.recordings, phonemi.enhancers.enhancer;"
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


def test_an_unwritable_summary_hides_nothing(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    audio.save(tmp_path / "in" / "a.wav", tone(), RATE)
    (tmp_path / "in" / "b.wav").write_text("not a recording")
    (tmp_path / "file").write_text("in the way")
    out, summary = tmp_path / "out", tmp_path / "file" / "summary.json"
    outcome = phonemi("enhance", tmp_path / "in", "-o", out, "--model", model, "--json", summary)
    assert outcome.code == 1
    *_, failed, line, error = outcome.stderr.splitlines()
    assert failed.startswith(f"failed: {tmp_path / 'in' / 'b.wav'} is not sound")
    assert line.startswith("phonemi: 1 enhanced (1 s in ")
    assert str(tmp_path / "file") in error
    alone = phonemi("enhance", tmp_path / "in" / "b.wav", "-o", out, "--model", model, "--json", summary)
    assert [line.startswith(f"phonemi: {tmp_path}") for line in alone.stderr.splitlines()[-2:]] == [True, False]


@pytest.mark.slow
def test_failures_of_streams_name_the_stream(model: Path, tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", tone(), RATE, subtype="FLOAT")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[-4000:-3996] = np.float32(np.nan).tobytes()
    command = [sys.executable, "-m", "phonemi.cli", "enhance", "-", "-o", "-", "--model", str(model)]
    command += ["--json", str(tmp_path / "summary.json")]
    ended = subprocess.run(command, input=bytes(content), capture_output=True)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode().splitlines()[-1].startswith("phonemi: standard input: 1 of 16000 samples are NaN")
    (file,) = json.loads((tmp_path / "summary.json").read_text())["files"]
    assert file["reason"].startswith("standard input: 1 of")


def test_what_an_output_cannot_be(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    audio.save(source, tone(), RATE)
    outcome = phonemi("enhance", source, "-o", tmp_path / "clean.sph", "--model", model)
    assert "cannot write .sph: known: " in outcome.error
    assert not (tmp_path / "clean.sph").exists()
    assert phonemi("enhance", source, "-o", f"{tmp_path / 'clean.sph'}/", "--model", model).code == 0
    assert (tmp_path / "clean.sph" / "a.wav").is_file()
    outcome = phonemi("enhance", source, "-o", "-", "--suffix=-x", "--model", model)
    assert outcome.error.startswith("- is standard output, which has no file name")


def test_a_folder_of_another_format_beside_its_recordings_is_resumed(
    phonemi: Phonemi, model: Path, tmp_path: Path
) -> None:
    audio.save(tmp_path / "a.wav", tone(), RATE)
    arguments = ["enhance", tmp_path, "-o", tmp_path, "--format", "flac", "--model", model, "--chunk-s", "inf"]
    assert phonemi(*arguments).code == 0
    assert phonemi(*arguments).stderr.splitlines()[-1].startswith("phonemi: 0 enhanced, 1 skipped")


# Signals ------------------------------------------------------------------------------------------------------------

AT_WORK = """
import sys, time
from phonemi import cli
from phonemi.enhancers.enhancer import Enhancer

enhance_chunks = Enhancer.enhance_chunks
waiting = []

def enhance_or_wait(*arguments, **options):
    if waiting:
        print("at work", flush=True)
        time.sleep(60 if sys.stdin.read(1) else 0)
    waiting.append(1)
    return enhance_chunks(*arguments, **options)

Enhancer.enhance_chunks = enhance_or_wait
cli.main()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs signals of POSIX")
@pytest.mark.parametrize(
    ("number", "ignored", "code"), [(signal.SIGTERM, False, 143), (signal.SIGHUP, False, 129), (signal.SIGHUP, True, 0)]
)
def test_a_signal_leaves_nothing_half_done(
    model: Path, tmp_path: Path, number: signal.Signals, ignored: bool, code: int
) -> None:
    """While the second of three chunks is enhanced, and the first is written."""
    audio.save(tmp_path / "a.wav", tone(5 * RATE), RATE)
    source = tmp_path / "a.wav"
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-c", AT_WORK, "enhance", source, "-o", tmp_path / "out", "-m", model, "--chunk-s", "2"]
    work = subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        # Ignored as nohup does it; and not ignored even if the tests themselves run under nohup.
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )
    assert work.stdout is not None
    assert work.stdout.readline() == "at work\n"
    assert list((tmp_path / "out").iterdir()), "the first chunk is written"
    work.send_signal(number)
    _, said = work.communicate("" if ignored else "x", timeout=60)
    assert work.returncode == code, said
    assert list((tmp_path / "tmp").iterdir()) == []
    found = [path.name for path in (tmp_path / "out").iterdir()]
    assert sorted(found) == ([RECORD_FILE, "a.wav"] if ignored else [])
    if not ignored:
        assert said.splitlines()[-1] == f"phonemi: ended by {number.name}; run the same command again to go on"
    assert "Traceback" not in said


def test_threads_other_than_the_main_one_leave_signals_alone(phonemi: Phonemi) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(phonemi("--version").code))
    thread.start()
    thread.join()
    assert codes == [0]


def test_quiet_says_only_what_failed(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    audio.save(tmp_path / "in" / "a.wav", tone(), RATE)
    arguments = ("enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model, "--overwrite")
    outcome = phonemi(*arguments, "-q")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")
    assert (tmp_path / "out" / "a.wav").exists()
    bad_recording("text", tmp_path / "in" / "b.wav")
    outcome = phonemi(*arguments, "--quiet")
    assert outcome.code == 1
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(f"failed: {tmp_path / 'in' / 'b.wav'}")


# Corpora ------------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_tar_file(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    audio.save(tmp_path / "in" / "a.wav", tone(), RATE)
    (tmp_path / "in" / "bad.wav").write_text("not a recording")
    with tarfile.open(tmp_path / "in" / "b.tar", "w") as shard:
        for name in ("a.wav", "bad.wav"):
            shard.add(tmp_path / "in" / name, name)
    (tmp_path / "in" / "bad.wav").unlink()
    arguments = ["enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model]
    outcome = phonemi(*arguments, "--summary", tmp_path / "x.csv", "--json", tmp_path / "x.json")
    assert outcome.error.startswith("2 enhanced (2 s in ")
    assert outcome.error.endswith(", 1 failed")
    rows = [row.split(",")[:3] for row in (tmp_path / "x.csv").read_text().splitlines()[1:]]
    states = {"a.wav": "done", "b.tar/a.wav": "done", "b.tar/bad.wav": "failed"}
    assert rows == [[str(tmp_path / where / name) for where in ("in", "out")] + [states[name]] for name in states]
    entries = json.loads((tmp_path / "x.json").read_text())["files"]
    assert [[entry["source"], entry["target"], entry["state"]] for entry in entries] == rows
    with tarfile.open(tmp_path / "out" / "b.tar") as shard:
        assert shard.extractfile("a.wav").read() == (tmp_path / "out" / "a.wav").read_bytes()  # type: ignore[union-attr]
    again = phonemi(*arguments)
    assert again.stderr.splitlines()[-1].startswith("phonemi: 0 enhanced, 2 skipped (already there; ")


def test_urls(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    audio.save(tmp_path / "in" / "a.wav", tone(), RATE)
    arguments = ["enhance", tmp_path / "in", "-o", f"file://{tmp_path}/out", "--model", model]
    assert phonemi(*arguments).stderr.splitlines()[-1].startswith("phonemi: 1 enhanced")
    assert phonemi(*arguments).stderr.splitlines()[-1].startswith("phonemi: 0 enhanced, 1 skipped")
    phonemi("enhance", tmp_path / "in", "-o", tmp_path / "files", "--model", model)
    assert (tmp_path / "out" / "a.wav").read_bytes() == (tmp_path / "files" / "a.wav").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "--on", "ray"], "- takes neither URLs beside it nor --on ray"),
        (["-", "memory://in"], "- takes neither URLs beside it nor --on ray"),
        (["a.tar", "--removed", "x.wav"], "--removed takes one file"),
        (
            ["a.wav", "--summary", "x.xlsx"],
            "x.xlsx: cannot write a table of this kind; use one of .csv, .jsonl, .parquet",
        ),
    ],
)
def test_what_does_not_go_together(
    phonemi: Phonemi, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    audio.save("a.wav", tone(), RATE)
    tarfile.open("a.tar", "w").close()
    outcome = phonemi("enhance", *arguments, "-o", "out/", "--model", model)
    assert outcome.code == 2
    assert message in " ".join(outcome.stderr.split())


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_without_ray(phonemi: Phonemi, model: Path, tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", tone(), RATE)
    outcome = phonemi("enhance", tmp_path / "a.wav", "-o", tmp_path / "b.wav", "--model", model, "--on", "ray")
    assert outcome.error.startswith("ray.data is not installed (")
    assert outcome.error.endswith("pip install 'phonemi[cluster]'")
