"""ESC-50 and ESC-10: environmental sounds, `audio/<fold>-<clip>-<take>-<target>.wav`, in folds 1 to 5.

CC BY-NC 3.0 (the ESC-10 part CC BY 3.0), https://github.com/karolpiczak/ESC-50. Clips of one source are in one fold.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from phonemi import audio
from phonemi.data.corpora.corpus import Listing, Omissions, folder_called, recordings_of
from phonemi.data.corpora.download import Progress, fetch_and_extract
from phonemi.errors import DataError
from phonemi.tables import plural

URL = "https://github.com/karoldvl/ESC-50/archive/master.zip"
MD5 = "7771e4b9d86d0945acce719c7a59305a"

PUBLISHED = {2000, 400}  # clips in ESC-50 and in ESC-10

_NAME = re.compile(r"([1-5])-[^-]+-[A-Z]-\d+")


def download_esc50(folder: str | Path, *, progress: Progress | None = None) -> list[str]:
    """Download ESC-50 (600 MB) into `folder`/ESC-50-master; GitHub builds the archive anew at times."""
    return fetch_and_extract(URL, folder, md5=MD5, md5_may_differ=True, progress=progress)


def prepare_esc50(folder: str | Path) -> Listing:
    """List the clips; the id is the stem of the file, and the fold its first number.

    Args:
        folder: the corpus, or a folder that contains it (`audio` at any depth), or the clips, in any sound format.

    Raises:
        DataError: if there are no clips.
    """
    clips = folder_called("audio", Path(folder)) or Path(folder)
    paths, skipped = audio.find_recordings(clips), Omissions()
    recordings = []
    for path, recording in recordings_of(paths, skipped, skip_silent=True).items():
        if name := _NAME.fullmatch(path.stem):
            recordings.append(replace(recording, fold=int(name[1])))
        else:
            skipped.add("not named <fold>-<clip>-<take>-<target>", path.name)
    notes = skipped.notes("recording", "skipped")
    if not recordings:
        raise DataError(f"no ESC-50 clips in {clips}: {'; '.join(notes) or 'found no sound files'}")
    if len(paths) not in PUBLISHED:
        notes.append(f"{plural(len(paths), 'clip')} in {clips}, 2000 are published (400 in ESC-10)")
    return Listing(recordings, notes)
