"""HPRC: MATLAB structures of channels with sound, sensors, sentence and phones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pellet_files import lip_aperture, movement, voice
from scipy.io import savemat

from phonemi import audio
from phonemi.data.corpora.hprc import SENSORS, prepare_hprc
from phonemi.data.manifest import Interval, validate
from phonemi.errors import DataError
from phonemi.inversion.tracks import read_tracks

FIELDS = ("NAME", "SRATE", "SIGNAL", "SOURCE", "SENTENCE", "WORDS", "PHONES", "LABELS")
PHONES = [("sp", 0.0, 0.3), ("HH", 0.3, 0.4), ("AY1", 0.4, 1.5)]


def structure(rows: list[dict[str, Any]]) -> np.ndarray:
    value = np.empty((1, len(rows)), dtype=[(name, object) for name in FIELDS])
    for index, row in enumerate(rows):
        for name in FIELDS:
            value[name][0, index] = row.get(name, np.zeros((0, 0)))
    return value


def write_recording(
    path: Path, seconds: float = 1.5, leave_out: str = "", scale: float = 1.0, phones: Any = PHONES
) -> None:
    labels = np.empty((1, len(phones)), dtype=[("LABEL", object), ("OFFS", object)])
    for index, (label, start_s, end_s) in enumerate(phones):
        labels["LABEL"][0, index], labels["OFFS"][0, index] = label, np.array([[start_s, end_s]])
    rows = [
        {
            **{"NAME": "AUDIO", "SRATE": 44_100.0, "SIGNAL": scale * voice(44_100).astype(float)[:, None]},
            **{"SENTENCE": "Hi", "PHONES": labels if len(phones) else np.zeros((0, 0))},
        }
    ]
    pellets = movement(100, seconds)
    for sensor, name in SENSORS.items():
        position = pellets[name]
        signal = np.stack([position[:, 0], np.full(len(position), 1.5), position[:, 1]], axis=1)
        rows += [{"NAME": sensor, "SRATE": 100.0, "SIGNAL": signal}] if sensor != leave_out else []
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {path.stem: structure(rows)})


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_recording(tmp_path / "F01" / "data" / "F01_B01_S01_R01_N.mat")
    trace = np.array([[0.0, 0, 10], [-20, 0, 18], [-50, 0, 16]])
    savemat(tmp_path / "F01" / "data" / "F01_palate.mat", {"palate": trace})
    return tmp_path


def test_a_recording_with_sound_phones_and_tracks(corpus: Path) -> None:
    listing = prepare_hprc(corpus)
    (recording,) = listing.recordings
    validate(listing.recordings)
    assert (recording.id, recording.speaker, recording.text) == ("F01_B01_S01_R01_N", "hprc-F01", "Hi")
    assert recording.phones == tuple(Interval(start_s, end_s, label) for label, start_s, end_s in PHONES)
    np.testing.assert_allclose(audio.load(recording.path, None), voice(44_100), atol=1e-4)
    tracks = read_tracks(recording.tracks or "")
    np.testing.assert_allclose(tracks.column("LA")[5:-5], lip_aperture()[5:-5], atol=0.1)
    np.testing.assert_allclose(tracks.column("F0")[10:-10], 125, rtol=0.01)
    assert np.isfinite(tracks.column("TBCD")).all()
    assert not listing.notes


def test_sound_in_steps_of_16_bits_is_scaled(corpus: Path) -> None:
    write_recording(corpus / "F01" / "data" / "F01_B01_S01_R01_N.mat", scale=32768)
    np.testing.assert_allclose(audio.load(prepare_hprc(corpus).recordings[0].path, None), voice(44_100), atol=1e-4)


def test_a_missing_sensor_and_missing_phones_are_noted(corpus: Path) -> None:
    write_recording(corpus / "F01" / "data" / "F01_B01_S01_R01_N.mat", leave_out="TR", phones=[])
    listing = prepare_hprc(corpus)
    assert read_tracks(listing.recordings[0].tracks or "").reasons == {"TBCL": "no T4", "TBCD": "no T4"}
    assert listing.recordings[0].phones is None
    assert any("1 recording without phones" in note for note in listing.notes)


def test_labels_that_are_no_phones_are_left_out(corpus: Path) -> None:
    write_recording(corpus / "F01" / "data" / "F01_B01_S01_R01_N.mat", phones=[("hello", 0.0, 1.0), ("you", 1.0, 1.4)])
    listing = prepare_hprc(corpus)
    assert listing.recordings[0].phones is None
    assert "not in ARPAbet" in listing.notes[0]


def test_bad_files_cost_themselves_only(corpus: Path) -> None:
    data = corpus / "F01" / "data"
    (data / "F01_B01_S02_R01_N.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(300))
    savemat(data / "F01_B01_S03_R01_N.mat", {"other": np.zeros(3)})
    write_recording(data / "F01_B01_S04_R01_N.mat", seconds=3)
    savemat(data / "F02_palate.mat", {"palate": np.zeros((0, 3))})
    listing = prepare_hprc(corpus)
    assert [recording.id for recording in listing.recordings] == ["F01_B01_S01_R01_N"]
    assert "4 files skipped: 3 unreadable" in listing.notes[0]
    assert "1 without usable tracks (F01_B01_S04_R01_N: 1.50 s of sound, but 3.00 s of tracks" in listing.notes[0]


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no HPRC recordings .* found no file such as"):
        prepare_hprc(tmp_path)
