"""ESC-50 and ESC-10: environmental sounds, `audio/<fold>-<clip>-<take>-<target>.wav`, in folds 1 to 5.

CC BY-NC 3.0 (the ESC-10 part CC BY 3.0), https://github.com/karolpiczak/ESC-50. Clips of one source are in one fold.
"""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

from phonemi import audio
from phonemi.data.corpora.corpus import Corpus, Listing, Omissions, recordings_of
from phonemi.data.corpora.download import Progress, extract, fetch, is_extracted, md5_of
from phonemi.errors import DataError

URL = "https://github.com/karoldvl/ESC-50/archive/master.zip"
MD5 = "7771e4b9d86d0945acce719c7a59305a"

_NAME = re.compile(r"([1-5])-[^-]+-[A-Z]-\d+")


def download_esc50(folder: str | Path, *, progress: Progress | None = None) -> list[str]:
    """Download ESC-50 (600 MB) into `folder`/ESC-50-master.

    GitHub builds the archive anew at times, so another checksum is no error, only worth a note.
    """
    archive = Path(folder) / "master.zip"
    if is_extracted(archive.name, folder):
        return []
    fetch(URL, archive, progress=progress)
    md5 = md5_of(archive)
    extract(archive, folder)
    archive.unlink()
    return [] if md5 == MD5 else [f"the ESC-50 archive is not the one known here: md5 {md5}, known {MD5}"]


def prepare_esc50(folder: str | Path) -> Listing:
    """List the clips; the id is the stem of the file, the fold comes from meta/esc50.csv or from the file name.

    Args:
        folder: the corpus, or a folder that contains it (`audio` at any depth), or the clips, in any sound format.

    Raises:
        DataError: if there are no clips, or meta/esc50.csv is not as published.
    """
    folder = Path(folder)
    candidates = [folder / "audio", *sorted(folder.rglob("audio"))]
    clips = next((path for path in candidates if path.is_dir()), folder)
    folds = _folds(clips.parent / "meta" / "esc50.csv")
    paths = audio.find_recordings(clips)
    skipped = Omissions()
    recordings = []
    for path, recording in recordings_of(paths, skipped, skip_silent=True).items():
        name = _NAME.fullmatch(path.stem)
        fold = folds.get(path.stem, int(name[1]) if name else None)
        if fold is None:
            skipped.add("neither in meta/esc50.csv nor named <fold>-<clip>-<take>-<target>", path.name)
        else:
            recordings.append(replace(recording, fold=fold))
    notes = skipped.notes("recording", "skipped")
    if not recordings:
        raise DataError(f"no ESC-50 clips in {clips}: {'; '.join(notes) or 'found no sound files'}")
    absent = sorted(folds.keys() - {path.stem for path in paths})
    if absent:
        notes.append(f"{len(absent)} of {len(folds)} clips of meta/esc50.csv are not there ({absent[0]})")
    return Listing(recordings, notes)


def _folds(table: Path) -> dict[str, int]:
    """Fold of each clip by the stem of its file; the extension in the table may be another one."""
    if not table.exists():
        return {}
    try:
        with open(table, encoding="utf-8-sig", newline="") as lines:
            return {Path(row["filename"]).stem: int(row["fold"]) for row in csv.DictReader(lines)}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{table} needs columns filename and fold, numbers in the second ({error!r})") from None


CORPUS = Corpus(
    "esc50", prepare_esc50, download_esc50, "2000 environmental sounds of 5 s, in five folds (CC BY-NC 3.0)"
)
