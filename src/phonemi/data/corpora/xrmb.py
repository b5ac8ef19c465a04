"""X-ray microbeam speech production database of Wisconsin (XRMB), as text: `JW11/TP001.txy` beside `JW11/TP001.wav`.

Westbury, "X-ray microbeam speech production database user's handbook", 1994. It is given to those who ask, under terms
of its own. The original files are packed; this reads the text form that circulates in speech research:

- `<task>.txy`: a line for every 6.9 ms (about 145.6 Hz): the time in microseconds, then x and y of eight pellets (UL,
  LL, T1, T2, T3, T4, and two on the jaw) in micrometres; 1000000 where the pellet was lost. Its first time may be any.
- `PAL.DAT` and `PHA.DAT`: x and y of points of the palate and of the rear wall of the pharynx, one pair a line, in the
  same unit; text around the numbers does not matter.

Not certain, since no file could be looked at: whether some copies have times in seconds or positions in mm. Both are
recognised: a step of 1 or more is in microseconds, and positions beyond 1000 are in micrometres.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.data.alignment import read_text
from phonemi.data.corpora.corpus import Listing, Omissions, read_transcript, recordings_of
from phonemi.data.corpora.pellets import Movement, add_tracks
from phonemi.data.manifest import Recording
from phonemi.errors import DataError
from phonemi.inversion.tract_variables import PELLETS, join_traces

MISTRACKED = 1_000_000
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?(?![\w.])")
_MICROMETRES = 1000.0  # no position is as many mm from the incisors


def prepare_xrmb(folder: str | Path) -> Listing:
    """List the recordings of sound with a file of pellets beside them: id "JW11_tp001", speaker "xrmb-JW11".

    The speaker is the name of the folder. The text is that of "<task>.txt" beside the sound, if there is one. Tracks
    are written to `folder`/phonemi-tracks.

    Raises:
        DataError: if there is no such pair that can be read.
    """
    folder, skipped, unread = Path(folder), Omissions(), Omissions()
    sounds = {(path.parent, path.stem.lower()): path for path in audio.find_recordings(folder)}
    pairs: dict[Path, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".txy"):
        sound = sounds.get((path.parent, path.stem.lower()))
        if sound is None:
            skipped.add("without a sound file", path.name)
        else:
            pairs[sound] = path
    listed = []
    for sound, recording in recordings_of(list(pairs), skipped).items():
        name, text = sound.parent.name, sound.with_suffix(".txt")
        listed.append(
            (
                Recording(
                    id=f"{name}_{sound.stem.lower()}",
                    path=recording.path,
                    sample_rate=recording.sample_rate,
                    samples=recording.samples,
                    speaker=f"xrmb-{name}",
                    text=read_transcript(text, unread) if text.exists() else None,
                ),
                partial(read_txy, pairs[sound]),
            )
        )
    palates, notes = {}, []
    for parent in sorted({sound.parent for sound in pairs}):
        try:
            if (palate := _palate(parent)) is not None:
                palates[f"xrmb-{parent.name}"] = palate
        except DataError as error:
            notes.append(str(error))
    recordings, more = add_tracks(listed, folder, palates, skipped)
    notes += more + skipped.skipped_recordings() + unread.notes("transcript", "ignored")
    if not recordings:
        found = "; ".join(notes) or "found no file such as JW11/TP001.txy with JW11/TP001.wav beside it"
        raise DataError(f"no XRMB recordings in {folder}: {found}")
    return Listing(recordings, notes)


def read_txy(path: Path) -> Movement:
    """Pellets in mm from a text file of the database.

    Raises:
        DataError: if the file cannot be read, or is not such a table.
    """
    try:
        table = np.array([line.split() for line in read_text(path).splitlines() if line.strip()], dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path} is not a table of numbers ({error})") from None
    needed = 1 + 2 * len(PELLETS)
    if table.ndim != 2 or table.shape[1] < needed or len(table) < 2:
        raise DataError(f"{path}: expected lines of a time and 8 pellets, 17 numbers, found {list(table.shape)}")
    step = np.median(np.diff(table[:, 0]))
    if not step > 0:
        raise DataError(f"{path}: the times in its first column do not grow")
    rate_hz = 1e6 / step if step >= 1 else 1 / step
    positions = table[:, 1:needed].reshape(len(table), len(PELLETS), 2)
    positions = np.where((positions == MISTRACKED).any(axis=2, keepdims=True), np.nan, positions)
    positions = _in_mm(positions)
    return Movement(float(rate_hz), {name: positions[:, index] for index, name in enumerate(PELLETS)})


def _palate(folder: Path) -> np.ndarray | None:
    """Palate and pharynx of a speaker, one after the other; None without a palate."""
    files = {path.name.lower(): path for path in folder.iterdir()}
    traces = {name: _read_trace(files[name]) for name in ("pal.dat", "pha.dat") if name in files}
    return join_traces(traces["pal.dat"], traces.get("pha.dat")) if "pal.dat" in traces else None


def _read_trace(path: Path) -> np.ndarray:
    rows = [[float(number) for number in _NUMBER.findall(line)[:2]] for line in read_text(path).splitlines()]
    points = np.array([row for row in rows if len(row) == 2]).reshape(-1, 2)
    points = points[(points != MISTRACKED).all(axis=1)]
    if len(points) < 2:
        raise DataError(f"{path}: expected x and y of 2 points or more, one pair a line, found {len(points)}")
    return _in_mm(points)


def _in_mm(positions: np.ndarray) -> np.ndarray:
    known = positions[np.isfinite(positions)]
    in_micrometres = len(known) and np.abs(known).max() > _MICROMETRES
    return positions / 1000 if in_micrometres else positions
