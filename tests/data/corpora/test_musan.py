"""A made-up corpus in the layout of MUSAN."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.corpora import musan
from phonemi.data.corpora.musan import download_musan, fold_of, prepare_musan
from phonemi.data.manifest import split_by_fold, validate
from phonemi.errors import DataError


def clip(path: Path, level: float = 0.1) -> None:
    audio.save(path, level * np.sin(np.arange(1600) / 10), 16_000)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Ten clips of noise of two sources, one piece of music, one of speech; the licences are those of the noise."""
    for number in range(5):
        clip(tmp_path / "musan" / "noise" / "free-sound" / f"noise-free-sound-{number:04d}.wav")
        clip(tmp_path / "musan" / "noise" / "sound-bible" / f"noise-sound-bible-{number:04d}.wav")
    clip(tmp_path / "musan" / "music" / "fma" / "music-fma-0000.wav")
    clip(tmp_path / "musan" / "speech" / "librivox" / "speech-librivox-0000.wav")
    for source in ("free-sound", "sound-bible"):
        (tmp_path / "musan" / "noise" / source / "LICENSE").write_text(
            "noise-0000\nTitle: Bus\nLicense: Public Domain\n"
        )
    return tmp_path


def test_noise_only_unless_asked(corpus: Path) -> None:
    recordings, notes = prepare_musan(corpus)
    assert [recording.id for recording in recordings] == [
        *(f"noise-free-sound-{number:04d}" for number in range(5)),
        *(f"noise-sound-bible-{number:04d}" for number in range(5)),
    ]
    assert (recordings[0].sample_rate, recordings[0].samples, recordings[0].speaker) == (16_000, 1600, None)
    assert notes == [
        "MUSAN is CC BY 4.0; the author and licence of each recording are in "
        f"noise/free-sound/LICENSE, noise/sound-bible/LICENSE of {corpus / 'musan'}"
    ]
    validate(recordings)


@pytest.mark.parametrize(("part", "id"), [("music", "music-fma-0000"), ("speech", "speech-librivox-0000")])
def test_other_parts(corpus: Path, part: str, id: str) -> None:
    recordings, notes = prepare_musan(corpus, part=part)
    assert [recording.id for recording in recordings] == [id]
    assert notes == ["MUSAN is CC BY 4.0; the author and licence of each recording are in the files LICENSE, which are "
                     "missing here"]  # fmt: skip


@pytest.mark.parametrize("place", [".", "musan", "musan/noise"])
def test_any_folder_above_it_will_do(corpus: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(prepare_musan(corpus / place).recordings) == 10
    monkeypatch.chdir(corpus / place)
    assert len(prepare_musan(".").recordings) == 10


def test_a_fold_is_a_function_of_the_name(corpus: Path) -> None:
    before = {recording.id: recording.fold for recording in prepare_musan(corpus).recordings}
    (corpus / "musan" / "noise" / "free-sound" / "noise-free-sound-0000.wav").unlink()
    after = {recording.id: recording.fold for recording in prepare_musan(corpus).recordings}
    assert after == {id: fold for id, fold in before.items() if id != "noise-free-sound-0000"}
    parts = split_by_fold(prepare_musan(corpus).recordings, train=(1, 3), validation=(4,), test=(5,))
    assert sum(map(len, parts.values())) == 9


def test_the_folds_of_the_real_names_are_even() -> None:
    names = [f"noise-free-sound-{number:04d}" for number in range(843)]
    names += [f"noise-sound-bible-{number:04d}" for number in range(87)]
    counts = np.bincount([fold_of(name) for name in names], minlength=6)
    assert counts[0] == 0
    assert counts[1:].sum() == 930
    assert 150 < counts[1:].min() <= counts[1:].max() < 225


def test_silent_and_unreadable_clips_are_counted(corpus: Path) -> None:
    clip(corpus / "musan" / "noise" / "free-sound" / "noise-free-sound-0000.wav", level=0)
    (corpus / "musan" / "noise" / "free-sound" / "noise-free-sound-0001.wav").write_bytes(b"")
    recordings, notes = prepare_musan(corpus)
    assert len(recordings) == 8
    assert notes[0].startswith("2 recordings skipped: 1 silent (noise-free-sound-0000.wav), 1 unreadable (")


def test_nothing_usable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MUSAN has no part 'nois'; did you mean 'noise'"):
        prepare_musan(tmp_path, part="nois")
    with pytest.raises(DataError, match=r"no MUSAN noise in .*: found no folder noise with sound files in it"):
        prepare_musan(tmp_path)
    with pytest.raises(DataError, match=r"no MUSAN noise in absent"):
        prepare_musan("absent")
    (tmp_path / "noise").mkdir()
    with pytest.raises(DataError, match=r"no recordings in .*noise: found no sound files"):
        prepare_musan(tmp_path)
    clip(tmp_path / "noise" / "a.wav", level=0)
    with pytest.raises(DataError, match=r"no recordings in .*noise: 1 recording skipped: 1 silent \(a.wav\)"):
        prepare_musan(tmp_path)


def test_download(corpus: Path, served: Any, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(served.folder / "musan.tar.gz", "w:gz") as archive:
        archive.add(corpus / "musan", "musan")
    monkeypatch.setattr(musan, "URL", f"{served.url}/musan.tar.gz")
    folder = tmp_path_factory.mktemp("downloaded")
    with pytest.raises(DataError, match="expected 0c472d4fc0c5141eca47ad1ffeb2a7df; it was removed"):
        download_musan(folder)
    monkeypatch.setattr(musan, "MD5", hashlib.md5((served.folder / "musan.tar.gz").read_bytes()).hexdigest())
    assert download_musan(folder) == download_musan(folder) == []
    assert len(served.requests) == 2
    assert len(prepare_musan(folder).recordings) == 10
