"""Manifests: round trip, one clear line for each fault, splits that keep speakers and folds apart."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi import audio
from phonemi.data.manifest import (
    Interval,
    Recording,
    read_manifest,
    speaker_of,
    split_by_fold,
    split_by_speaker,
    validate,
    write_manifest,
)
from phonemi.errors import DataError

GOOD = {"id": "a", "path": "a.wav", "sample_rate": 16_000, "samples": 100}


def _recording(id: str, speaker: str | None = None, fold: int | None = None, **more) -> Recording:
    return Recording(id=id, path=f"/x/{id}.wav", sample_rate=16_000, samples=16_000, speaker=speaker, fold=fold, **more)


def _on_disk(folder: Path, id: str, samples: int = 1_600) -> Recording:
    audio.save(folder / f"{id}.wav", np.full(samples, 0.1), 16_000)
    return Recording(id=id, path=str(folder / f"{id}.wav"), sample_rate=16_000, samples=samples)


def _write(folder: Path, *rows: dict) -> Path:
    (folder / "m.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows))
    return folder / "m.jsonl"


# --- reading and writing


def test_round_trip(tmp_path: Path) -> None:
    recordings = [
        Recording(id="ä", path=str(tmp_path / "sub" / "ä.wav"), sample_rate=8_000, samples=7),
        Recording(
            id="b",
            path="/elsewhere/b.wav",
            sample_rate=16_000,
            samples=24_000,
            speaker="s",
            text="two words",
            phones=(Interval(0.0, 0.5, "SIL"), Interval(0.5, 1.25, "AA")),
            clean=str(tmp_path / "clean" / "b.wav"),
            fold=0,
            noise="bus",
            snr_db=-2.5,
        ),
    ]
    write_manifest(tmp_path / "m.jsonl", recordings)
    assert read_manifest(tmp_path / "m.jsonl") == recordings
    assert recordings[1].duration_s == 1.5


def test_paths_move_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write_manifest(tmp_path / "old" / "m.jsonl", [_on_disk(tmp_path / "old", "a")])
    assert json.loads((tmp_path / "old" / "m.jsonl").read_text())["path"] == "a.wav"
    shutil.move(tmp_path / "old", tmp_path / "new")
    [recording] = read_manifest(tmp_path / "new" / "m.jsonl")
    assert recording.path == str(tmp_path / "new" / "a.wav")
    validate([recording])


def test_relative_manifest_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_manifest("m.jsonl", [Recording(id="a", path="sub/a.wav", sample_rate=16_000, samples=5)])
    assert json.loads(Path("m.jsonl").read_text())["path"] == "sub/a.wav"
    assert read_manifest("m.jsonl")[0].path == str(tmp_path / "sub" / "a.wav")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GOOD | {"speeker": "s"}, "unknown key 'speeker'; did you mean 'speaker'"),
        ({"id": "a", "path": "a.wav", "samples": 3}, "missing key 'sample_rate'"),
        (GOOD | {"samples": "3"}, "samples must be int, found '3'"),
        (GOOD | {"samples": True}, "samples must be int, found True"),
        (GOOD | {"samples": 1.5}, "samples must be int"),
        (GOOD | {"samples": 0}, "0 samples at 16000 Hz"),
        (GOOD | {"sample_rate": -1}, "must be positive"),
        (GOOD | {"path": None}, "path must be str, found None"),
        (GOOD | {"fold": "1"}, "fold must be int or null"),
        (GOOD | {"snr_db": "5"}, "snr_db must be int or float or null"),
        (GOOD | {"snr_db": float("inf")}, "snr_db must be a finite number, found inf"),
        (GOOD | {"phones": [[0, 1]]}, r"must be \[start_s, end_s, phone\], found \[0, 1\]"),
        (GOOD | {"phones": [["0", 1, "AA"]]}, "an interval of phones"),
        (GOOD | {"phones": [[0, float("nan"), "AA"]]}, "an interval of phones"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, row: dict, message: str) -> None:
    path = _write(tmp_path, GOOD, row)  # a blank line lies between: the fault is on line 3
    with pytest.raises(DataError, match=rf"m\.jsonl:3: .*{message}") as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(tmp_path / "m.jsonl")


# --- validate


def test_a_good_manifest_is_valid(tmp_path: Path) -> None:
    noisy = replace(_on_disk(tmp_path, "noisy"), clean=_on_disk(tmp_path, "clean").path)
    validate([noisy, replace(_on_disk(tmp_path, "a"), phones=(Interval(0, 0.05, "AA"), Interval(0.05, 0.14, "SIL")))])


def test_an_empty_manifest_is_not() -> None:
    with pytest.raises(DataError, match="no recordings"):
        validate([])


def test_duplicate_ids() -> None:
    with pytest.raises(DataError, match="1 problem in 3 recordings: a: used 2 times as an id: list each once"):
        validate([_recording("a"), _recording("b"), _recording("a")], check_files=False)


@pytest.mark.parametrize(
    ("phones", "message"),
    [
        ([Interval(0, 0.5, "AA"), Interval(0.4, 0.6, "B")], r"phone 'B' at 0.400-0.600 s overlaps.* 0.500 s"),
        ([Interval(0.5, 0.4, "AA")], "runs backwards"),
        ([Interval(-0.1, 0.4, "AA")], "starts before 0"),
        ([Interval(0.5, 1.06, "AA")], r"ends after the audio \(1.000 s\)"),
    ],
)
def test_intervals_that_contradict(phones: list[Interval], message: str) -> None:
    with pytest.raises(DataError, match=rf"1 problem in 1 recording: a: {'.*' + message}"):
        validate([_recording("a", phones=tuple(phones))], check_files=False)


def test_rounding_in_intervals_is_accepted() -> None:
    validate([_recording("a", phones=(Interval(0, 0.3000001, "AA"), Interval(0.3, 1.049, "B")))], check_files=False)


def test_headers_unlike_the_manifest(tmp_path: Path) -> None:
    good = _on_disk(tmp_path, "a")
    with pytest.raises(DataError, match="has 1600 samples at 16000 Hz, the manifest says 1700 at 16000 Hz"):
        validate([replace(good, samples=1_700)])
    with pytest.raises(DataError, match="the manifest says 1600 at 8000 Hz"):
        validate([replace(good, sample_rate=8_000)])
    with pytest.raises(DataError, match=r"a: cannot read .*gone\.wav: No such file"):
        validate([replace(good, path=str(tmp_path / "gone.wav"))])
    with pytest.raises(DataError, match=r"a: cannot read .*gone\.wav"):
        validate([replace(good, clean=str(tmp_path / "gone.wav"))])
    with pytest.raises(DataError, match=r"clean counterpart .*b\.wav lasts 0.0500 s, not 0.1000 s"):
        validate([replace(good, clean=_on_disk(tmp_path, "b", 800).path)])
    for samples, fits in ((1_440, True), (1_760, True), (1_439, False), (1_761, False)):
        pair = replace(good, clean=_on_disk(tmp_path, "c", samples).path)
        with nullcontext() if fits else pytest.raises(DataError, match="clean counterpart"):
            validate([pair])
    validate([replace(good, samples=1_700, path="nowhere")], check_files=False)


def test_headers_are_read_again_only_of_files_that_changed(tmp_path: Path) -> None:
    pair = replace(_on_disk(tmp_path, "a"), clean=_on_disk(tmp_path, "b").path)
    cache = tmp_path / "cache"
    validate([pair], cache=cache)
    with pytest.raises(DataError, match="the manifest says 1601 at 16000 Hz"):
        validate([replace(pair, samples=1_601)], cache=cache)
    index = cache / "headers.json"
    remembered = index.read_text()
    index.write_text(remembered.replace("1600", "1700"))
    with pytest.raises(DataError, match="has 1700 samples"):  # as it is remembered: no file was opened
        validate([pair], cache=cache)
    index.write_text(remembered)
    # Not sound any more, but of the same size and time: the time of the change itself cannot be set.
    for path in (pair.path, pair.clean):
        status = os.stat(path)
        Path(path).write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"a\.wav"):
        validate([pair], cache=cache)
    _on_disk(tmp_path, "a", 800)
    with pytest.raises(DataError, match="has 800 samples"):
        validate([pair], cache=cache)
    Path(pair.path).unlink()
    with pytest.raises(DataError, match=r"cannot read .*a\.wav"):
        validate([pair], cache=cache)


def test_all_problems_are_counted_and_a_few_named(tmp_path: Path) -> None:
    recordings = [_recording(f"r{number}") for number in range(10)]
    with pytest.raises(DataError, match=r"^10 problems in 10 recordings: r0: .*; r1: .*; r2: .*; and 7 more$"):
        validate(recordings)


# --- splits


def _corpus(speakers: int, each: int = 3) -> list[Recording]:
    return [_recording(f"{speaker}-{take}", f"s{speaker}") for take in range(each) for speaker in range(speakers)]


@given(
    speakers=st.integers(4, 30),
    seed=st.integers(0, 5),
    test_share=st.floats(0, 0.4),
    validation_share=st.floats(0, 0.3),
)
def test_no_speaker_is_in_two_parts(speakers: int, seed: int, test_share: float, validation_share: float) -> None:
    corpus = _corpus(speakers)
    shares = {"test_share": test_share, "validation_share": validation_share}
    parts = split_by_speaker(corpus, **shares, seed=seed)
    assert sorted(recording.id for part in parts.values() for recording in part) == sorted(r.id for r in corpus)
    sets = {name: {recording.speaker for recording in part} for name, part in parts.items()}
    assert sum(len(part) for part in sets.values()) == speakers
    assert sets["train"]
    for name, share in (("test", test_share), ("validation", validation_share)):
        assert len(sets[name]) == (max(1, round(share * speakers)) if share else 0)
    # The order of the recordings does not matter.
    backwards = split_by_speaker(corpus[::-1], **shares, seed=seed)
    assert {name: {recording.speaker for recording in part} for name, part in backwards.items()} == sets


def test_split_by_speaker_is_the_same_on_every_machine() -> None:
    parts = split_by_speaker(_corpus(10, 1), test_share=0.2, validation_share=0.2, seed=1)
    assert [recording.speaker for recording in parts["test"]] == ["s5", "s9"]
    assert [recording.speaker for recording in parts["validation"]] == ["s4", "s7"]
    other = split_by_speaker(_corpus(10, 1), test_share=0.2, validation_share=0.2, seed=2)
    assert other != parts


def test_kept_and_unknown_speakers_are_for_training() -> None:
    corpus = [*_corpus(4, 1), _recording("x"), _recording("y")]
    for seed in range(10):
        parts = split_by_speaker(
            corpus, test_share=0.5, validation_share=0.25, seed=seed, keep_in_training=["s2", "not there"]
        )
        training = {recording.id for recording in parts["train"]}
        assert training == {"2-0", "x", "y"}
    assert speaker_of(corpus[-1]) == "unknown:y"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_share": 0.5, "validation_share": 0.5}, "sum to less than 1"),
        ({"test_share": -0.1, "validation_share": 0.5}, "at least 0"),
        ({"test_share": 0.3, "validation_share": 0.3, "keep_in_training": ["s0"]}, "2 speakers, 1 of whom may be"),
        ({"test_share": 0.3, "validation_share": 0.3}, "1 test and 1 validation speaker asked for.*2 speakers"),
    ],
)
def test_shares_that_cannot_be_had(options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_by_speaker(_corpus(2), seed=0, **options)


def test_split_by_fold() -> None:
    corpus = [_recording(f"{fold}-{take}", fold=fold) for fold in (1, 2, 3, 4, 5) for take in range(2)]
    parts = split_by_fold(corpus, train=[1, 2], validation=[4], test=[5])
    assert {name: [recording.id for recording in part] for name, part in parts.items()} == {
        "train": ["1-0", "1-1", "2-0", "2-1"],
        "validation": ["4-0", "4-1"],
        "test": ["5-0", "5-1"],
    }
    with pytest.raises(DataError, match="fold 2 is in two parts"):
        split_by_fold(corpus, [1, 2], [2], [5])
    with pytest.raises(DataError, match=r"no recording is in fold 7; the folds are \[1, 2, 3, 4, 5\]"):
        split_by_fold(corpus, [1, 7], [], [5])
    with pytest.raises(DataError, match="1 of 11 recordings without a fold, for instance x"):
        split_by_fold([*corpus, _recording("x")], [1], [], [5])


def test_tracks_are_optional_relative_and_must_be_there(tmp_path: Path) -> None:
    good = _on_disk(tmp_path, "a")
    write_manifest(tmp_path / "old.jsonl", [good])
    assert "tracks" not in (tmp_path / "old.jsonl").read_text()
    assert read_manifest(tmp_path / "old.jsonl")[0].tracks is None
    with_tracks = replace(good, tracks=str(tmp_path / "tracks" / "a.npz"))
    with pytest.raises(DataError, match=r"its tracks .*a\.npz do not exist"):
        validate([with_tracks])
    (tmp_path / "tracks").mkdir()
    (tmp_path / "tracks" / "a.npz").touch()
    validate([with_tracks])
    write_manifest(tmp_path / "new.jsonl", [with_tracks])
    assert '"tracks": "tracks/a.npz"' in (tmp_path / "new.jsonl").read_text()
    assert read_manifest(tmp_path / "new.jsonl") == [with_tracks]
