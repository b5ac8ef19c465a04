"""phonemi.inference.recordings: one broken file harms no other, and whatever ends a run leaves whole files only."""

from __future__ import annotations

import copy
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio, files
from phonemi.files import write_json
from phonemi.inference.plan import plan
from phonemi.inference.record import RECORD_FILE
from phonemi.inference.recordings import enhance_file, enhance_files
from phonemi.inference.summary import Summary
from phonemi.progress import Progress

QUIET = Progress(enabled=False)


def files_in(folder):
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD_FILE)
    return sorted(str(path.relative_to(folder)) for path in paths)


def states(summary):
    return [outcome.state for outcome in summary.outcomes]


@pytest.fixture
def pairs(tmp_path, written):
    return plan([written(tmp_path / "in" / name) for name in ("a.wav", "b.wav", "c.wav")], tmp_path / "out")


def test_folder_with_broken_files(tmp_path, identity, written):
    (tmp_path / "in" / "x").mkdir(parents=True)
    good = [written(tmp_path / "in" / name, 16_000) for name in ("a.wav", "x/b.flac", "z.wav")]
    empty, short, text = (tmp_path / "in" / name for name in ("empty.wav", "short.wav", "text.wav"))
    empty.touch()
    short.write_bytes(good[0].read_bytes()[:3000])
    text.write_text("not sound")
    out = io.StringIO()
    summary = enhance_files(identity, plan([tmp_path / "in"], tmp_path / "out"), Progress(file=out), batch_size=2)
    assert [outcome.source for outcome in summary.of("done")] == good
    assert all(outcome.duration_s == 1 and outcome.time_s > 0 for outcome in summary.of("done"))
    reasons = {outcome.source: outcome.reason for outcome in summary.of("failed")}
    assert list(reasons) == [empty, short, text]
    for path, reason in ((empty, "0 bytes"), (short, "promises 16000 samples"), (text, "not sound")):
        assert reason in reasons[path]
    assert files_in(tmp_path / "out") == ["a.wav", "x/b.flac", "z.wav"]
    assert summary.line().startswith("3 enhanced (3 s in ")
    assert summary.line().endswith(", 3 failed")
    assert out.getvalue().startswith("seconds of sound: 3/3 in ")
    assert ", real-time factor " in out.getvalue()


def test_what_the_system_refuses_is_a_failure_of_that_file(tmp_path, recorder, written):
    sources = [written(tmp_path / name) for name in ("a.wav", "b.wav", "c.wav")]
    (tmp_path / "file").write_text("in the way")
    targets = [Path("/proc/none/a.wav"), tmp_path / "file" / "b.wav", tmp_path / f"{'c' * 300}.wav"]
    summary = enhance_files(recorder, list(zip(sources, targets, strict=True)), QUIET)
    assert states(summary) == ["failed"] * 3
    assert all(outcome.reason and "\n" not in outcome.reason for outcome in summary.outcomes)


def test_names_that_clash_are_left_out_alone(tmp_path, recorder, written):
    a, b, other = (written(tmp_path / "in" / name, 20_000) for name in ("a.wav", "b.wav", "a.flac"))
    summary = enhance_files(recorder, plan([tmp_path / "in"], tmp_path / "out", extension="wav"), QUIET)
    assert {outcome.source: outcome.state for outcome in summary.outcomes} == {other: "failed", a: "failed", b: "done"}
    clash = f"{other} and {a} would both be written to {tmp_path / 'out' / 'a.wav'}: use two outputs"
    assert [outcome.reason for outcome in summary.of("failed")] == [clash] * 2
    assert files_in(tmp_path / "out") == ["b.wav"]


# What was removed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "sample_rate"), [(2, 44_100), (1, 16_000)])
def test_what_was_removed_and_what_is_left_are_the_recording(
    tmp_path, encoder_enhancer, written, channels, sample_rate
):
    source = written(tmp_path / "a.wav", 2 * sample_rate + 7, channels, sample_rate, "FLOAT")
    target, removed = tmp_path / "b.wav", tmp_path / "x" / "removed.wav"
    pieces = {"chunk_s": 0.6, "overlap_s": 0.1, "removed": removed}
    assert states(enhance_files(encoder_enhancer, [(source, target)], QUIET, **pieces)) == ["done"]
    (noisy, rate), (enhanced, _), (rest, _) = map(audio.load_channels, (source, target, removed))
    np.testing.assert_allclose(rest, noisy - enhanced, atol=1e-6)
    assert audio.level_db(rest) > -60
    assert (audio.probe(removed).subtype, rate) == ("FLOAT", sample_rate)
    assert states(enhance_files(encoder_enhancer, [(source, target)], QUIET, **pieces)) == ["skipped"]
    removed.unlink()
    assert states(enhance_files(encoder_enhancer, [(source, target)], QUIET, **pieces)) == ["done"]
    assert removed.exists()
    for wrong in (source, target):
        summary = enhance_files(encoder_enhancer, [(source, target)], QUIET, overwrite=True, removed=wrong)
        assert states(summary) == ["failed"]
        assert audio.probe(source).samples == 2 * sample_rate + 7


def test_a_failure_leaves_neither(tmp_path, recorder, written):
    source = written(tmp_path / "a.wav", 20_000)
    changing = Changing(recorder, 2, lambda: written(source, 10))
    pieces = {"chunk_s": 0.3, "overlap_s": 0.1, "removed": tmp_path / "c.wav"}
    assert states(enhance_files(changing, [(source, tmp_path / "b.wav")], QUIET, **pieces)) == ["failed"]
    assert files_in(tmp_path) == ["a.wav"]


def test_notes_on_a_recording(tmp_path, identity, sound):
    clipped = (20 * sound(40_000)).clip(-0.5, 0.5)
    audio.save(tmp_path / "a.wav", clipped, 16_000)
    summary = enhance_files(identity, [(tmp_path / "a.wav", tmp_path / "b.wav")], QUIET, chunk_s=1.0, overlap_s=0.2)
    assert any("clipped" in note for note in summary.outcomes[0].notes)


# Skipping and going on ----------------------------------------------------------------------------------------------


def test_what_is_there_is_skipped(recorder, pairs):
    assert states(enhance_files(recorder, pairs[:1], QUIET)) == ["done"]
    again = enhance_files(recorder, pairs, QUIET)
    assert states(again) == ["skipped", "done", "done"]
    assert len(recorder.samples) == 3
    assert again.line().endswith(", 1 skipped (already there; --overwrite enhances them again)")
    assert states(enhance_files(recorder, pairs, QUIET, overwrite=True)) == ["done"] * 3
    assert enhance_files(recorder, pairs, QUIET).line().startswith("0 enhanced, 3 skipped (already there; ")


def test_what_is_older_than_its_source_or_no_sound_is_made_again(recorder, pairs):
    enhance_files(recorder, pairs, QUIET)
    (newer, _), (_, empty), _ = pairs
    later_s = time.time() + 10
    os.utime(newer, (later_s, later_s))
    empty.write_bytes(b"")
    assert states(enhance_files(recorder, pairs, QUIET)) == ["done", "done", "skipped"]


@pytest.mark.parametrize("other", [{"mix": 0.5}, {"attenuation_limit_db": 6.0}, {"upper_band": "keep"}])
def test_what_other_options_made_is_made_again(encoder_enhancer, pairs, other):
    assert states(enhance_files(encoder_enhancer, pairs, QUIET, **other)) == ["done"] * 3
    before = pairs[0][1].read_bytes()
    again = enhance_files(encoder_enhancer, pairs, QUIET)
    assert states(again) == ["done"] * 3
    assert pairs[0][1].read_bytes() != before or other == {"upper_band": "keep"}  # at 16 kHz there is no upper band
    assert again.line().count("3 again, because another model or other options made what was there") == 1
    assert states(enhance_files(encoder_enhancer, pairs, QUIET, mix=1.0, chunk_s=9.0, batch_size=2)) == ["skipped"] * 3


@pytest.mark.parametrize("part", ["weights", "attenuation limit"])
def test_what_another_model_made_is_made_again(encoder_enhancer, pairs, part):
    other = copy.deepcopy(encoder_enhancer)
    if part == "weights":
        other.network.output.bias.data += 1
    else:
        other.network.attenuation_limit_db = 3.0
    assert states(enhance_files(encoder_enhancer, pairs[:2], QUIET)) == ["done"] * 2
    assert states(enhance_files(copy.deepcopy(encoder_enhancer), pairs[:2], QUIET)) == ["skipped"] * 2
    again = enhance_files(other, pairs, QUIET)
    assert states(again) == ["done"] * 3
    assert "2 again" in again.line()
    assert states(enhance_files(other, pairs, QUIET)) == ["skipped"] * 3


@pytest.mark.parametrize("kind", ["another recording", "an output of an old version", "changed", "no sound", "folder"])
def test_a_file_that_phonemi_did_not_make_is_named_and_left(recorder, pairs, written, kind):
    (_, first), (source, foreign), _ = pairs
    enhance_files(recorder, pairs[:1], QUIET)
    if kind == "folder":
        foreign.mkdir()
    elif kind == "changed":
        enhance_files(recorder, pairs[:2], QUIET)
        foreign.write_bytes(foreign.read_bytes()[:-2] + b"!!")
    elif kind == "an output of an old version":
        enhance_file(recorder, source, foreign)
    else:
        foreign.write_bytes(first.read_bytes() if kind == "another recording" else b"not sound")
    before = None if kind == "folder" else foreign.read_bytes()
    summary = enhance_files(recorder, pairs, QUIET)
    assert states(summary) == ["skipped", "failed", "done"]
    assert str(foreign) in summary.outcomes[1].reason
    if before is not None:
        assert "--overwrite" in summary.outcomes[1].reason
        assert foreign.read_bytes() == before
        assert states(enhance_files(recorder, pairs, QUIET, overwrite=True)) == ["done"] * 3
        assert states(enhance_files(recorder, pairs, QUIET)) == ["skipped"] * 3


def test_another_recording_of_the_same_form_is_not_skipped(tmp_path, recorder, sound):
    first, second, target = tmp_path / "1" / "a.wav", tmp_path / "2" / "a.wav", tmp_path / "out" / "a.wav"
    for path, gain in ((second, 0.5), (first, 1.0)):
        audio.save(path, gain * sound(300_000), 16_000)
    assert states(enhance_files(recorder, [(first, target)], QUIET)) == ["done"]
    again = enhance_files(recorder, [(second, target)], QUIET)
    assert states(again) == ["done"]
    assert "again" not in again.line()
    np.testing.assert_array_equal(audio.load(target), audio.load(second))


def test_what_is_there_is_skipped_after_its_folder_was_moved(tmp_path, recorder, pairs):
    enhance_files(recorder, pairs, QUIET)
    shutil.copytree(tmp_path / "out", tmp_path / "elsewhere" / "copy")  # with the times
    moved = plan([tmp_path / "in"], tmp_path / "elsewhere" / "copy")
    assert states(enhance_files(recorder, moved, QUIET)) == ["skipped"] * 3


def test_a_line_that_was_not_written_to_its_end_harms_no_other(tmp_path, recorder, pairs):
    enhance_files(recorder, pairs[:2], QUIET)
    record = tmp_path / "out" / RECORD_FILE
    record.write_bytes(record.read_bytes()[:-20])
    summary = enhance_files(recorder, pairs, QUIET)
    assert states(summary) == ["skipped", "failed", "done"]
    assert states(enhance_files(recorder, pairs, QUIET)) == ["skipped", "failed", "skipped"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_between_the_record_and_the_output_is_no_riddle(recorder, pairs, monkeypatch, moment):
    """The output of other options is there; the run that makes it again ends just before or after it is replaced."""
    enhance_files(recorder, pairs[:1], QUIET, mix=0.5)
    replace = os.replace

    def end(*paths):
        if moment == "after":
            replace(*paths)
        raise KeyboardInterrupt

    with monkeypatch.context() as then:
        then.setattr(os, "replace", end)
        with pytest.raises(KeyboardInterrupt):
            enhance_files(Louder(recorder), pairs[:1], QUIET)
    expected = "done" if moment == "before" else "skipped"
    assert states(enhance_files(Louder(recorder), pairs[:1], QUIET)) == [expected]


class Louder:
    """Doubles what it gets, so that the content is another."""

    def __init__(self, recorder):
        self.recorder = recorder

    def origin(self, **options):
        return self.recorder.origin(**options)

    def enhance_chunks(self, *arguments, **options):
        chunks = self.recorder.enhance_chunks(*arguments, **options)
        return [chunk._replace(waveform=2 * chunk.waveform) for chunk in chunks]


@pytest.mark.parametrize("other", [{"samples": 3001}, {"channels": 2}, {"sample_rate": 8000}])
def test_what_was_made_of_another_recording_is_made_again(tmp_path, recorder, written, other):
    first, second, target = written(tmp_path / "1.wav"), written(tmp_path / "2.wav", **other), tmp_path / "c.wav"
    enhance_files(recorder, [(first, target)], QUIET)
    for source, expected in ((first, "skipped"), (second, "done"), (second, "skipped"), (first, "done")):
        assert states(enhance_files(recorder, [(source, target)], QUIET)) == [expected]
        assert audio.probe(target).samples == audio.probe(source).samples


@pytest.mark.parametrize("samples", [1, 3001, 20_000])
@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff", "a.caf", "a.w64", "a.au"])
def test_what_is_there_is_skipped_in_any_format(tmp_path, recorder, written, name, samples):
    compressed = written(tmp_path / name, samples)
    pairs = [(compressed, tmp_path / "b.wav"), (written(tmp_path / "a.wav", samples), tmp_path / "out" / name)]
    assert states(enhance_files(recorder, pairs, QUIET)) == ["done"] * 2
    assert states(enhance_files(recorder, pairs, QUIET)) == ["skipped"] * 2


def test_leftovers_of_killed_runs_are_removed_and_those_of_running_ones_stay(recorder, pairs, monkeypatch):
    out = pairs[0][1].parent
    out.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = []
    for process, name in ((ended.pid, "a"), (os.getpid(), "b"), (os.getppid(), "c"), (ended.pid, "another")):
        with monkeypatch.context() as then:
            then.setattr(os, "getpid", lambda process=process: process)
            left.append(files._temporary_path(out / f"{name}.wav"))
        left[-1].write_bytes(b"half of it")
    enhance_files(recorder, pairs, QUIET)
    assert files_in(out) == sorted([*(path.name for path in left[1:]), "a.wav", "b.wav", "c.wav"])


class Changing:
    """Gives back what it gets, and does something at a batch."""

    def __init__(self, recorder, batch, change):
        self.recorder, self.batch, self.change = recorder, batch, change

    def origin(self, **options):
        return self.recorder.origin(**options)

    def enhance_chunks(self, *arguments, **options):
        if len(self.recorder.batches) == self.batch:
            self.change()
        return self.recorder.enhance_chunks(*arguments, **options)


@pytest.mark.parametrize("batch", [0, 3, 4, 5])
@pytest.mark.parametrize("change", [{}, {"sample_rate": 8000}, {"channels": 2}, {"samples": 6000}, {"samples": 10}])
def test_a_source_that_changes_during_the_run_fails_and_is_made_by_the_next(recorder, pairs, written, change, batch):
    """Before its turn, at the first of its three chunks, in the middle or at the last."""
    source, target = pairs[1]
    os.utime(source, (1e9, 1e9))  # clocks of file systems are coarse
    changing = Changing(recorder, batch, lambda: written(source, **change))
    first = enhance_files(changing, pairs, QUIET, chunk_s=0.1, overlap_s=0.02)
    assert states(first) == ["done", "failed", "done"]
    assert first.outcomes[1].reason == f"{source} changed while it was being read: run again"
    assert files_in(target.parent) == ["a.wav", "c.wav"]
    assert states(enhance_files(recorder, pairs, QUIET)) == ["skipped", "done", "skipped"]


@pytest.mark.parametrize("change", [{"sample_rate": 8000}, {"channels": 2, "samples": 1500}])
def test_a_change_that_size_and_time_do_not_tell(recorder, pairs, written, change):
    source, target = pairs[2]  # while the first one is enhanced, the second is read already
    before = source.stat()

    def keep_size_and_time():
        written(source, **change)
        os.utime(source, ns=(before.st_mtime_ns, before.st_mtime_ns))
        assert source.stat().st_size == before.st_size

    summary = enhance_files(Changing(recorder, 0, keep_size_and_time), pairs, QUIET)
    assert states(summary) == ["done", "done", "failed"]
    assert "changed while it was being read" in summary.outcomes[2].reason
    assert not target.exists()


class Interrupted:
    """Gives back what it gets, until Ctrl-C."""

    def __init__(self, enhancer, batches):
        self.enhancer, self.batches = enhancer, batches

    def origin(self, **options):
        return self.enhancer.origin(**options)

    def enhance_chunks(self, *arguments, **options):
        if len(self.enhancer.batches) == self.batches:
            raise KeyboardInterrupt
        return self.enhancer.enhance_chunks(*arguments, **options)


def test_an_interruption_leaves_whole_files_only(recorder, pairs):
    with pytest.raises(KeyboardInterrupt):
        enhance_files(Interrupted(recorder, 4), pairs, QUIET, chunk_s=0.1, overlap_s=0.02)
    out = pairs[0][1].parent
    assert files_in(out) == ["a.wav"], "of three chunks each"
    assert states(enhance_files(recorder, pairs, QUIET)) == ["skipped", "done", "done"]


class Killed:
    """Gives back what it gets, until its process is killed at a batch or a moment after it."""

    def __init__(self, recorder, batches, delay_s):
        self.recorder, self.batches, self.delay_s = recorder, batches, delay_s

    def origin(self, **options):
        return self.recorder.origin(**options)

    def enhance_chunks(self, *arguments, **options):
        if len(self.recorder.batches) == self.batches:
            threading.Timer(self.delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
            time.sleep(0 if self.delay_s else 60)
        return self.recorder.enhance_chunks(*arguments, **options)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that start at once")
@pytest.mark.parametrize(("files", "kills"), [(40, 4), pytest.param(500, 10, marks=pytest.mark.slow)])
def test_a_folder_whose_run_is_killed_again_and_again_is_complete_in_the_end(tmp_path, recorder, sound, files, kills):
    waveform = sound(2000 + files)
    for index in range(files):
        audio.save(tmp_path / "in" / str(index % 7) / f"{index}.wav", waveform[:, index : index + 2000], 16_000)
    pairs = plan([tmp_path / "in"], tmp_path / "out")
    pieces = {"chunk_s": 0.05, "overlap_s": 0.02}  # five chunks a file, so that most of the time one is half-written
    rng = random.Random(0)
    made, left_over = [], 0
    for kill in range(kills):
        killed = Killed(recorder, rng.randrange(20, 5 * files // (kills + 1)), rng.uniform(0, 0.005) if kill % 2 else 0)
        work = multiprocessing.get_context("fork").Process(
            target=enhance_files, args=(killed, pairs, QUIET), kwargs=pieces
        )
        work.start()
        work.join()
        assert work.exitcode == -signal.SIGKILL
        found = list((tmp_path / "out").rglob("*.wav"))
        whole = [path for path in found if ".part" not in path.name]
        assert all(audio.load(path).shape == (2000,) for path in whole)
        made.append(len(whole))
        left_over += len(found) - len(whole)
    assert left_over > 0, "no kill came in the middle of a file"
    assert made == sorted(made)
    assert 0 < made[0] < made[-1]
    summary = enhance_files(recorder, pairs, QUIET, **pieces)
    assert [len(summary.of(state)) for state in ("done", "skipped", "failed")] == [files - made[-1], made[-1], 0]
    assert files_in(tmp_path / "out") == files_in(tmp_path / "in")
    for source, target in pairs:
        np.testing.assert_allclose(audio.load(source), audio.load(target), atol=1.1 * 2**-15)  # 16 bits


# Summaries ----------------------------------------------------------------------------------------------------------


def test_summary_as_json(tmp_path, encoder_enhancer, pairs):
    pairs[1][0].write_text("not sound")
    enhance_files(encoder_enhancer, pairs[:1], QUIET)
    summary = enhance_files(encoder_enhancer, pairs, QUIET)
    write_json(tmp_path / "summary.json", summary.to_json("enhancer", encoder_enhancer.version, {"mix": 1.0}))
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["model"]["name"] == "enhancer"
    assert len(found["model"]["version"]) == 16
    assert found["settings"] == {"mix": 1.0}
    assert [(file["source"], file["target"], file["state"]) for file in found["files"]] == [
        (str(source), str(target), state)
        for (source, target), state in zip(pairs, ["skipped", "failed", "done"], strict=True)
    ]
    assert [file["reason"] is None for file in found["files"]] == [False, False, True]
    totals = found["totals"]
    assert (totals["done"], totals["skipped"], totals["failed"]) == (1, 1, 1)
    assert totals["duration_s"] == found["files"][2]["duration_s"] == 3000 / 16_000
    assert totals["real_time_factor"] == pytest.approx(totals["time_s"] / totals["duration_s"])
    assert Summary([], 0.0).totals()["real_time_factor"] is None


def test_names_that_are_not_utf_8_in_json(tmp_path, encoder_enhancer, written):
    try:
        source = written(tmp_path / os.fsdecode(b"caf\xe9.wav"))
    except (OSError, UnicodeError):
        pytest.skip("the file system wants UTF-8")
    bad = tmp_path / os.fsdecode(b"\xfc.wav")
    bad.write_text("not sound")
    pairs = [(path, tmp_path / "out" / path.name) for path in (source, bad)]
    summary = enhance_files(encoder_enhancer, pairs, QUIET)
    assert states(summary) == ["done", "failed"]
    write_json(tmp_path / "summary.json", summary.to_json("x", encoder_enhancer.version, {"model": str(source)}))
    found = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert [Path(file["target"]).name for file in found["files"]] == [r"caf\xe9.wav", r"\xfc.wav"]
    assert r"/\xfc.wav is not sound" in found["files"][1]["reason"]
    assert found["settings"]["model"].endswith(r"/caf\xe9.wav")


# Methods of the enhancer ---------------------------------------------------------------------------------------------


def test_methods_for_files_and_folders_do_what_the_command_does(tmp_path, encoder_enhancer, written, capfd):
    source = written(tmp_path / "in" / "x" / "a.wav", 20_000)
    pieces = {"chunk_s": 0.5, "overlap_s": 0.1, "batch_size": 2, "mix": 0.9}
    assert encoder_enhancer.enhance_file(str(source), tmp_path / "a.flac", **pieces) == []
    options = {"suffix": "-clean", "extension": "flac", **pieces}
    summary = encoder_enhancer.enhance_folder(tmp_path / "in", str(tmp_path / "out"), **options)
    assert states(summary) == ["done"]
    np.testing.assert_array_equal(audio.load(tmp_path / "out" / "x" / "a-clean.flac"), audio.load(tmp_path / "a.flac"))
    assert states(encoder_enhancer.enhance_folder(tmp_path / "in", tmp_path / "out", **options)) == ["skipped"]
    assert capfd.readouterr() == ("", "")
    encoder_enhancer.enhance_file(source, tmp_path / "a.flac", progress=Progress())
    encoder_enhancer.enhance_folder(tmp_path / "in", tmp_path / "out", progress=Progress(), overwrite=True)
    assert capfd.readouterr().err.count("seconds of sound: 2/2 in ") == 2
