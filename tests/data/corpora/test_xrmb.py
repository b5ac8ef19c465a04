"""The X-ray microbeam database as text: pellets in micrometres at 145.6 Hz, lost ones, traces, and bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pellet_files import REST, lip_aperture, movement, write_voice

from phonemi.data.corpora.xrmb import MISTRACKED, prepare_xrmb, read_txy
from phonemi.data.manifest import read_manifest, validate, write_manifest
from phonemi.errors import DataError
from phonemi.inversion.tracks import read_tracks

STEP_US = 6866
RATE_HZ = 1e6 / STEP_US


def write_txy(path: Path, seconds: float = 1.5, lost: dict[str, slice] | None = None, scale: float = 1000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pellets = movement(RATE_HZ, seconds)
    for name, frames in (lost or {}).items():
        pellets[name][frames] = MISTRACKED / scale
    columns = [np.concatenate([pellets[name] for name in REST], axis=1), np.zeros((len(pellets["UL"]), 4))]
    table = np.concatenate(columns, axis=1) * scale
    time_us = (np.arange(len(table)) + 3) * STEP_US
    lines = ["\t".join([str(time_us[row]), *(f"{value:.0f}" for value in table[row])]) for row in range(len(table))]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for task in ("TP001", "TP002"):
        write_txy(tmp_path / "JW11" / f"{task}.txy", lost={"T3": slice(50, 80)} if task == "TP002" else None)
        write_voice(tmp_path / "JW11" / f"{task}.wav", 21_739)
    (tmp_path / "JW11" / "TP001.txt").write_text("problem  children\n")
    (tmp_path / "JW11" / "PAL.DAT").write_text("".join(f"{-1000 * x} {18_000}\n" for x in range(0, 60, 5)))
    (tmp_path / "JW11" / "PHA.DAT").write_text("-75000 10000\n-78000 -30000\n")
    return tmp_path


def test_recordings_and_their_tracks(corpus: Path) -> None:
    listing = prepare_xrmb(corpus)
    one, two = listing.recordings
    assert (one.id, one.speaker, one.text) == ("JW11_tp001", "xrmb-JW11", "problem children")
    assert (two.id, two.text, two.sample_rate) == ("JW11_tp002", None, 21_739)
    validate(listing.recordings)
    write_manifest(corpus / "m.jsonl", listing.recordings)
    assert read_manifest(corpus / "m.jsonl") == listing.recordings
    tracks = read_tracks(one.tracks or "")
    assert tracks.values.shape == (150, 9)
    assert set(tracks.names) == {"LA", "LP", "TTCL", "TTCD", "TBCL", "TBCD", "PER", "APER", "F0"}
    np.testing.assert_allclose(tracks.column("LA")[5:-5], lip_aperture()[5:-5], atol=0.1)
    assert np.nanmin(tracks.column("TTCD")) == pytest.approx(18 - 3, abs=0.3)
    np.testing.assert_allclose(tracks.column("F0")[10:-10], 125, rtol=0.01)
    assert not tracks.reasons
    assert not listing.notes


def test_a_lost_pellet_is_a_gap_in_what_needs_it(corpus: Path) -> None:
    tracks = read_tracks(prepare_xrmb(corpus).recordings[1].tracks or "")
    gap = np.isnan(tracks.column("TBCD"))
    assert np.flatnonzero(gap).tolist() == list(range(34, 55))  # 50 to 79 at 145.6 Hz
    assert np.isfinite(tracks.column("LA")).all()
    assert np.nanmax(np.abs(tracks.column("TBCD"))) < 40  # nothing of the 1000 mm is smeared


def test_a_pellet_that_was_never_there_is_nan_and_noted(corpus: Path) -> None:
    write_txy(corpus / "JW11" / "TP002.txy", lost={"UL": slice(None)})
    listing = prepare_xrmb(corpus)
    tracks = read_tracks(listing.recordings[1].tracks or "")
    assert tracks.reasons == {"LA": "no UL"}
    assert np.isnan(tracks.column("LA")).all()
    assert listing.notes == ["1 variable NaN in all of a recording: 1 LA: no UL (JW11_tp002)"]


def test_without_a_trace_a_palate_is_estimated(corpus: Path) -> None:
    (corpus / "JW11" / "PAL.DAT").unlink()
    listing = prepare_xrmb(corpus)
    tracks = read_tracks(listing.recordings[0].tracks or "")
    assert 0 <= np.nanmin(tracks.column("TTCD")) < 3
    assert listing.notes == ["1 palate without a trace: 1 estimated (xrmb-JW11)"]


def test_metres_and_seconds_are_recognised_by_their_size(tmp_path: Path) -> None:
    write_txy(tmp_path / "a.txy")
    micro = read_txy(tmp_path / "a.txy")
    rows = [line.split() for line in (tmp_path / "a.txy").read_text().splitlines()]
    rows = [[str(float(row[0]) / 1e6), *(str(float(value) / 1000) for value in row[1:])] for row in rows]
    (tmp_path / "b.txy").write_text("\n".join(map(" ".join, rows)))
    milli = read_txy(tmp_path / "b.txy")
    assert milli.rate_hz == pytest.approx(micro.rate_hz) == pytest.approx(RATE_HZ)
    np.testing.assert_allclose(milli.pellets["T4"], micro.pellets["T4"])


def test_bad_files_cost_themselves_only(corpus: Path) -> None:
    write_txy(corpus / "JW11" / "TP003.txy", seconds=3)
    write_voice(corpus / "JW11" / "TP003.wav")
    write_txy(corpus / "JW11" / "TP004.txy")
    write_voice(corpus / "JW11" / "TP005.wav")
    (corpus / "JW11" / "TP005.txy").write_text("hello\n")
    listing = prepare_xrmb(corpus)
    assert [recording.id for recording in listing.recordings] == ["JW11_tp001", "JW11_tp002"]
    (note,) = listing.notes
    assert "3 recordings skipped" in note
    assert "1 without a sound file (TP004.txy)" in note
    assert "JW11_tp003: 1.50 s of sound, but" in note


def test_a_silent_recording_is_listed(corpus: Path) -> None:
    write_voice(corpus / "JW11" / "TP001.wav", silent=True)
    tracks = read_tracks(prepare_xrmb(corpus).recordings[0].tracks or "")
    assert np.isfinite(tracks.column("LA")).all()
    assert np.isnan(tracks.column("F0")).all()
    assert not tracks.column("PER").any()


@pytest.mark.parametrize("text", ["", "1 2 3\n4 5 6\n", "0 " * 17, ("5 " + "0 " * 16 + "\n") * 3])
def test_a_file_that_is_no_table_of_pellets(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txy").write_text(text)
    with pytest.raises(DataError, match=r"a\.txy"):
        read_txy(tmp_path / "a.txy")


def test_a_bad_trace_is_noted_and_a_folder_without_pellets_refused(corpus: Path) -> None:
    (corpus / "JW11" / "PAL.DAT").write_text("nothing\n")
    assert "PAL.DAT: expected x and y" in prepare_xrmb(corpus).notes[0]
    (corpus / "empty").mkdir()
    with pytest.raises(DataError, match="no XRMB recordings"):
        prepare_xrmb(corpus / "empty")
