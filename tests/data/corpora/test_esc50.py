"""A made-up corpus in the layout of ESC-50."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.corpora import download, esc50
from phonemi.data.corpora.esc50 import download_esc50, prepare_esc50
from phonemi.data.manifest import validate
from phonemi.errors import DataError


def clip(path: Path, level: float = 0.1) -> None:
    audio.save(path, level * np.sin(np.arange(4000) / 10), 44_100)


def test_folds_are_those_of_the_names_whatever_the_extension(tmp_path: Path) -> None:
    clip(tmp_path / "audio" / "1-100032-A-0.ogg")
    clip(tmp_path / "audio" / "4-100032-B-0.flac")
    recordings, notes = prepare_esc50(tmp_path)
    assert [(recording.id, recording.fold) for recording in recordings] == [("1-100032-A-0", 1), ("4-100032-B-0", 4)]
    assert (recordings[0].sample_rate, recordings[0].samples, recordings[0].speaker) == (44_100, 4000, None)
    assert notes == [f"2 clips in {tmp_path / 'audio'}, 2000 are published (400 in ESC-10)"]
    validate(recordings)


@pytest.mark.parametrize("place", ["audio", "ESC-50-master/audio", "."])
def test_the_clips_are_found_in_any_folder(tmp_path: Path, place: str) -> None:
    clip(tmp_path / place / "3-7-B-41.wav")
    assert [recording.fold for recording in prepare_esc50(tmp_path).recordings] == [3]


def test_silent_unreadable_and_strange_clips_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esc50, "PUBLISHED", {4})
    clip(tmp_path / "1-1-A-1.wav")
    clip(tmp_path / "1-2-A-1.wav", level=0)
    clip(tmp_path / "6-3-A-1.wav")
    (tmp_path / "1-4-A-1.wav").write_bytes(b"")
    recordings, notes = prepare_esc50(tmp_path)
    assert [recording.id for recording in recordings] == ["1-1-A-1"]
    assert len(notes) == 1
    assert notes[0].startswith("3 recordings skipped: 1 silent (1-2-A-1.wav), 1 unreadable (")
    assert notes[0].endswith("1 not named <fold>-<clip>-<take>-<target> (6-3-A-1.wav)")


def test_nothing_usable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no ESC-50 clips in .*found no sound files"):
        prepare_esc50(tmp_path)
    clip(tmp_path / "song.wav")
    with pytest.raises(DataError, match=r"1 not named .*\(song.wav\)"):
        prepare_esc50(tmp_path)


def test_download_of_a_regenerated_archive_is_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, path: Path, **_: object) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("ESC-50-master/audio/1-1-A-1.wav", "")

    monkeypatch.setattr(download, "fetch", fetch)
    notes = download_esc50(tmp_path)
    assert len(notes) == 1
    assert "expected 7771e4b9d86d0945acce719c7a59305a" in notes[0]
    assert (tmp_path / "ESC-50-master" / "audio" / "1-1-A-1.wav").exists()
    assert not (tmp_path / "master.zip").exists()
    assert download_esc50(tmp_path) == []
