"""MUSAN: noise, music and speech, `<part>/<source>/<part>-<source>-<number>.wav`, here in folds 1 to 5.

Snyder, Chen and Povey, arXiv 1510.08484; CC BY 4.0 as a corpus, https://www.openslr.org/17. The file LICENSE of each
source folder names author and licence of its recordings. The sources of the part noise are free-sound and sound-bible.
The MD5 sum is the one that the recipes of PaddleSpeech, kiwano and others check.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from phonemi import audio
from phonemi.data.corpora.corpus import Listing, Omissions, folder_called, recordings_of
from phonemi.data.corpora.download import Progress, fetch_and_extract
from phonemi.errors import DataError, nearest

URL = "https://www.openslr.org/resources/17/musan.tar.gz"
MD5 = "0c472d4fc0c5141eca47ad1ffeb2a7df"
PARTS = ("noise", "music", "speech")


def download_musan(folder: str | Path, *, progress: Progress | None = None) -> list[str]:
    """Download MUSAN (11 GB, all parts in one archive) into `folder`/musan."""
    return fetch_and_extract(URL, folder, md5=MD5, progress=progress)


def prepare_musan(folder: str | Path, *, part: str = "noise") -> Listing:
    """List the recordings of one part of MUSAN; the id is the stem of the file.

    MUSAN has no folds, so `fold_of` gives each recording one by its name. The corpus does not say which clips were cut
    from the same original, so unlike those of ESC-50 two folds may hold pieces of one sound.

    Args:
        folder: the corpus, or a folder that contains it at any depth, or the part itself. Any sound format.
        part: "noise", "music" or "speech"; finding silent files takes minutes for the last two, which are hours long.

    Raises:
        DataError: if the part is unknown or not there, or has no usable recording.
    """
    folder = Path(folder)
    if part not in PARTS:
        raise DataError(f"MUSAN has no part {part!r}; {nearest(part, PARTS)}")
    part_folder = folder_called(part, folder)
    if part_folder is None:
        raise DataError(f"no MUSAN {part} in {folder}: found no folder {part} with sound files in it")
    skipped = Omissions()
    recordings = recordings_of(audio.find_recordings(part_folder), skipped, skip_silent=True).values()
    notes = skipped.notes("recording", "skipped")
    if not recordings:
        raise DataError(f"no recordings in {part_folder}: {'; '.join(notes) or 'found no sound files'}")
    in_folds = [replace(recording, fold=fold_of(recording.id)) for recording in recordings]
    return Listing(in_folds, [*notes, _licence_note(part_folder)])


def fold_of(id: str) -> int:
    """Fold of a recording, 1 to 5: a hash of its name, so the same whatever else is there.

    >>> [fold_of(f"noise-free-sound-000{number}") for number in range(4)]
    [2, 1, 5, 3]
    """
    return 1 + int.from_bytes(hashlib.sha256(id.encode()).digest()) % 5


def _licence_note(part_folder: Path) -> str:
    corpus = part_folder.parent
    files = [path.relative_to(corpus).as_posix() for path in sorted(part_folder.rglob("LICENSE"))]
    source = f"in {', '.join(files)} of {corpus}" if files else "in the files LICENSE, which are missing here"
    return f"MUSAN is CC BY 4.0; the author and licence of each recording are {source}"
