"""The plain layout: tracks or pellets in .csv or .npz beside the sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pellet_files import lip_aperture, movement, write_voice

from phonemi.data.corpora.articulatory import prepare_articulatory
from phonemi.data.manifest import validate
from phonemi.errors import DataError
from phonemi.inversion.tracks import read_tracks, tracks_of, write_tracks


def write_pellets(path: Path, rate_hz: float = 200, seconds: float = 1.5) -> None:
    pellets = movement(rate_hz, seconds)
    columns = {f"{name}_{axis}": value[:, index] for name, value in pellets.items() for index, axis in enumerate("xy")}
    if path.suffix == ".npz":
        np.savez(path, rate_hz=rate_hz, **columns)
        return
    rows = np.stack([np.arange(round(seconds * rate_hz)) / rate_hz, *columns.values()], axis=1)
    np.savetxt(path, rows, delimiter=",", header=",".join(["time_s", *columns]), comments="")


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_pellets_become_variables(tmp_path: Path, suffix: str) -> None:
    write_voice(tmp_path / "anna" / "a.wav")
    write_pellets(tmp_path / "anna" / f"a{suffix}")
    (tmp_path / "anna" / "a.txt").write_text("hello")
    (tmp_path / "anna" / "palate.csv").write_text("x,y\n0,18\n-60,18\n")
    listing = prepare_articulatory(tmp_path)
    (recording,) = listing.recordings
    validate(listing.recordings)
    assert (recording.id, recording.speaker, recording.text) == ("a", "anna", "hello")
    tracks = read_tracks(recording.tracks or "")
    np.testing.assert_allclose(tracks.column("LA")[5:-5], lip_aperture()[5:-5], atol=0.1)
    assert np.nanmin(tracks.column("TTCD")) == pytest.approx(15, abs=0.2)
    assert not listing.notes


def test_variables_are_taken_as_they_are(tmp_path: Path) -> None:
    write_voice(tmp_path / "a.wav")
    write_tracks(tmp_path / "a.csv", tracks_of({"LA": np.arange(150.0), "NAS": np.full(150, np.nan)}))
    listing = prepare_articulatory(tmp_path)
    tracks = read_tracks(listing.recordings[0].tracks or "")
    np.testing.assert_allclose(tracks.column("LA"), np.arange(150))
    assert dict(zip(tracks.names, tracks.units, strict=True)) == {
        **{"PER": "0..1", "APER": "0..1", "F0": "Hz", "LA": "mm", "NAS": "0..1"}
    }
    assert listing.notes[-1] == "1 variable NaN in all of a recording: 1 NAS: mistracked (a)"


def test_what_was_written_here_can_be_prepared_again(tmp_path: Path) -> None:
    write_voice(tmp_path / "a.wav")
    write_tracks(tmp_path / "a.npz", tracks_of({"LA": np.arange(150.0), "F0": np.full(150, 99.0)}))
    tracks = read_tracks(prepare_articulatory(tmp_path).recordings[0].tracks or "")
    assert (tracks.column("F0") == 99).all()  # its own, not that of the sound


def test_no_palate_in_short_recordings_is_nan_with_a_reason(tmp_path: Path) -> None:
    write_voice(tmp_path / "a.wav", seconds=0.2)
    write_pellets(tmp_path / "a.csv", seconds=0.2)
    listing = prepare_articulatory(tmp_path)
    tracks = read_tracks(listing.recordings[0].tracks or "")
    assert tracks.reasons == dict.fromkeys(("TTCD", "TBCL", "TBCD"), "no palate")
    assert any("unknown, so that its distances are NaN" in note for note in listing.notes)


def test_sounds_without_usable_tracks_are_counted(tmp_path: Path) -> None:
    for name in "abcd":
        write_voice(tmp_path / f"{name}.wav")
    write_pellets(tmp_path / "a.csv")
    write_pellets(tmp_path / "b.csv", seconds=2.5)
    (tmp_path / "c.csv").write_text("x\n")
    listing = prepare_articulatory(tmp_path)
    assert [recording.id for recording in listing.recordings] == ["a"]
    assert "3 recordings skipped" in listing.notes[-1]
    assert "1 without tracks (d)" in listing.notes[-1]


def test_a_bad_palate_is_refused(tmp_path: Path) -> None:
    write_voice(tmp_path / "a.wav")
    write_pellets(tmp_path / "a.csv")
    (tmp_path / "palate.csv").write_text("x,y\n0,up\n")
    with pytest.raises(DataError, match=r"palate\.csv: expected columns x and y"):
        prepare_articulatory(tmp_path)


def test_a_folder_without_tracks(tmp_path: Path) -> None:
    write_voice(tmp_path / "a.wav")
    with pytest.raises(DataError, match="no recordings with tracks"):
        prepare_articulatory(tmp_path)
