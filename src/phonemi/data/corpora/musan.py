"""MUSAN on disk, `<part>/<source>/<part>-<source>-<number>.wav` -> noise, music or speech recordings in folds 1 to 5.

Snyder, Chen and Povey, arXiv 1510.08484; CC BY 4.0 as a corpus, https://www.openslr.org/17. The file LICENSE of each
source folder names author and licence of its recordings. The sources of the part noise are free-sound and sound-bible.
The MD5 sum is the one that the recipes of PaddleSpeech, kiwano and others check.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from phonemi import audio
from phonemi.data.corpora.download import Progress, fetch_and_extract
from phonemi.data.corpora.prepared import LeftOut, Prepared, probe_audible
from phonemi.data.manifest import Recording
from phonemi.errors import DataError, nearest

URL = "https://www.openslr.org/resources/17/musan.tar.gz"
MD5 = "0c472d4fc0c5141eca47ad1ffeb2a7df"
PARTS = ("noise", "music", "speech")
FOLDS = 5


def download_musan(folder: str | Path, *, progress: Progress | None = None) -> list[str]:
    """Download MUSAN (11 GB, all parts in one archive) into `folder`/musan.

    Returns:
        notes for the user; none.

    Raises:
        DataError: as `download.fetch_and_extract`.
    """
    fetch_and_extract(URL, folder, md5=MD5, progress=progress)
    return []


def prepare_musan(folder: str | Path, *, part: str = "noise") -> Prepared:
    """List the recordings of one part of MUSAN; the id is the stem of the file.

    MUSAN has no folds, so `fold_of` gives each recording one by its name. The corpus does not say which clips were cut
    from the same original, so unlike those of ESC-50 two folds may hold pieces of one sound.

    Args:
        folder: the corpus, or a folder that holds it at any depth, or the part itself. Any sound format.
        part: "noise", or "music" or "speech", which are hours long and are read to their end to find silent files.

    Raises:
        DataError: if the part is unknown or not there, or holds nothing usable.
    """
    folder = Path(folder)
    if part not in PARTS:
        raise DataError(f"MUSAN has no part {part!r}; {nearest(part, PARTS)}")
    place = _part_folder(folder, part)
    skipped = LeftOut()
    infos = probe_audible(audio.find_recordings(place), skipped)
    notes = skipped.notes("recording", "skipped")
    if not infos:
        raise DataError(f"no recordings in {place}: {'; '.join(notes) or 'found no sound files'}")
    recordings = [
        Recording(
            id=path.stem,
            path=os.path.abspath(path),
            sample_rate=info.sample_rate,
            samples=info.samples,
            fold=fold_of(path.stem),
        )
        for path, info in infos.items()
    ]
    return Prepared(recordings, [*notes, _licence_note(place)])


def fold_of(id: str) -> int:
    """Fold of a recording, 1 to 5: a hash of its name, so the same whatever else is there.

    >>> [fold_of(f"noise-free-sound-000{number}") for number in range(4)]
    [2, 1, 5, 3]
    """
    return 1 + int.from_bytes(hashlib.sha256(id.encode()).digest()) % FOLDS


def _part_folder(folder: Path, part: str) -> Path:
    found = sorted((path for path in folder.rglob(part) if path.is_dir()), key=lambda path: (len(path.parts), path))
    if not found and folder.resolve().name == part and folder.is_dir():
        found = [folder]
    if not found:
        raise DataError(f"no MUSAN {part} in {folder}: found no folder {part} with sound files in it")
    return found[0]


def _licence_note(place: Path) -> str:
    files = [path.relative_to(place.parent).as_posix() for path in sorted(place.rglob("LICENSE"))]
    named = f"in {', '.join(files)} of {place.parent}" if files else "in the files LICENSE, which are missing here"
    return f"MUSAN is CC BY 4.0; the author and licence of each recording are {named}"
