"""SPIRE EMA: files of arrays beside the sounds, without palate; nothing in them is run."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pellet_files import lip_aperture, movement, write_voice

from phonemi.data.corpora.spire_ema import COLUMNS, prepare_spire_ema
from phonemi.data.manifest import Interval, validate
from phonemi.errors import DataError
from phonemi.inversion.tracks import read_tracks

BEGIN = 20


def content(**other: Any) -> dict[str, Any]:
    pellets = movement(100)
    sensors = np.random.default_rng(0).normal(0, 50, (120, 18))
    for name, column in COLUMNS.items():
        sensors[:, column : column + 2] = pellets[name][BEGIN : BEGIN + 120]
    labels = {"phonemes": ["h#", "hv", "ay", "bcl", "b"], "durations": [10, 20, 60, np.int64(20), 10]}
    return {"ema_trimmed": sensors, "mfcc": np.zeros((120, 13)), "begin_end": [BEGIN, BEGIN + 120], **labels, **other}


def write(folder: Path, speaker: str, name: str, value: Any, **sound: Any) -> Path:
    write_voice(folder / "audios" / speaker / f"{name}.wav", **sound)
    path = folder / "processed" / speaker / f"{name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)
    return path


def test_recordings_phones_and_tracks(tmp_path: Path) -> None:
    write(tmp_path, "spk1", "m_0001", content())
    listing = prepare_spire_ema(tmp_path)
    (recording,) = listing.recordings
    validate(listing.recordings)
    assert (recording.id, recording.speaker) == ("spk1_m_0001", "spire-spk1")
    assert recording.phones is not None
    assert recording.phones[:2] == (Interval(0.2, 0.3, "SIL"), Interval(0.3, 0.5, "HH"))
    assert [phone for *_, phone in recording.phones[2:]] == ["AY", "B", "B"]
    tracks = read_tracks(recording.tracks or "")
    known = np.isfinite(tracks.column("LA"))
    assert np.flatnonzero(known).tolist() == list(range(BEGIN, BEGIN + 120))
    np.testing.assert_allclose(tracks.column("LA")[known][8:-8], lip_aperture()[BEGIN : BEGIN + 120][8:-8], atol=0.3)
    assert np.isfinite(tracks.column("F0")[5:-5]).all()  # of the whole sound
    assert np.isfinite(tracks.column("TBCD")[known]).all()
    assert listing.notes == ["1 palate without a trace: 1 estimated (spire-spk1)"]


def test_files_of_numpy_1_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "spk1", "m_0001", content())
    old = path.with_suffix(".old")
    path.rename(old)
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert len(prepare_spire_ema(tmp_path).recordings) == 1


class Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("trapped",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (content(ema_trimmed=np.zeros((120, 12))), r"expected an array ema_trimmed \[frame, 18\], found \(120, 12\)"),
        (content(begin_end=[0, 100]), "begin_end has 100 frames, ema_trimmed 120"),
        (content(begin_end=None), "expected begin_end"),
        ([1, 2], "expected names and arrays"),
        ({"ema_trimmed": Trap()}, "is not a file of arrays"),
        (content(ema_trimmed=np.zeros((400, 18)), begin_end=[0, 400]), r"1.50 s of sound, but 4.00 s of tracks"),
    ],
)
def test_bad_files_cost_themselves_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "spk1", "m_0001", content())
    write(tmp_path, "spk1", "m_0002", value)
    listing = prepare_spire_ema(tmp_path)
    assert [recording.id for recording in listing.recordings] == ["spk1_m_0001"]
    assert re.search(message, " ".join(listing.notes))
    assert not (tmp_path / "trapped").exists()


def test_labels_that_do_not_fit_cost_the_phones_only(tmp_path: Path) -> None:
    write(tmp_path, "spk1", "m_0001", content(durations=[1, 2]))
    listing = prepare_spire_ema(tmp_path)
    assert listing.recordings[0].phones is None
    assert "1 recording without phones" in listing.notes[-1]


def test_what_to_unpack(tmp_path: Path) -> None:
    (tmp_path / "audios.zip").touch()
    with pytest.raises(DataError, match=r"expected folders audios and processed; unpack audios\.zip"):
        prepare_spire_ema(tmp_path)
