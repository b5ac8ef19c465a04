"""Any folder of sound files with articulatory tracks beside them: `NAME.wav` and `NAME.csv` or `NAME.npz`.

A .csv has a column time_s, in even steps from 0, and a .npz an array for each column and `rate_hz`. Columns are

- variables that are there already, as "LA" or "LA (mm)", taken as they are; and
- pellets, as "UL_x" and "UL_y", in mm, of `inversion.tract_variables.PELLETS`, which give those of the six variables
  that are not there.

Empty cells and NaN are unknown. A file palate.csv beside the sounds, with columns x and y in mm, is the palate of the
speaker; pharynx.csv continues it. Files that `phonemi prepare` wrote can be read too.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from phonemi.data.corpora.corpus import Listing, Omissions
from phonemi.data.corpora.folder import prepare_folder
from phonemi.data.corpora.pellets import TRACKS, Movement, add_tracks
from phonemi.data.manifest import speaker_of
from phonemi.errors import DataError, one_line
from phonemi.inversion.tracks import RATE_HZ, read_columns, read_tracks
from phonemi.inversion.tract_variables import PELLETS, VARIABLES, join_traces


def prepare_articulatory(folder: str | Path, *, alignments: Sequence[str | Path] = ()) -> Listing:
    """List the recordings that have tracks; ids, speakers, texts and phones are those of `folder.prepare_folder`.

    Tracks at 100 Hz are written to `folder`/phonemi-tracks.

    Raises:
        DataError: if there is no such recording.
    """
    folder, skipped = Path(folder), Omissions()
    listing = prepare_folder(folder, alignments=alignments)
    listed, palates = [], {}
    for recording in listing.recordings:
        sound = Path(recording.path)
        if TRACKS in sound.parts:
            continue
        path = next((path for path in map(sound.with_suffix, (".npz", ".csv")) if path.is_file()), None)
        if path is None:
            skipped.add("without tracks", recording.id)
            continue
        listed.append((recording, partial(read_movement, path)))
        palate = sound.with_name("palate.csv")
        if speaker_of(recording) not in palates and palate.is_file():
            palates[speaker_of(recording)] = _read_palate(palate)
    recordings, notes = add_tracks(listed, folder, palates, skipped)
    notes = listing.notes + notes + skipped.skipped_recordings()
    if not recordings:
        raise DataError(f"no recordings with tracks in {folder}: {'; '.join(notes)}")
    return Listing(recordings, notes)


def read_movement(path: Path) -> Movement:
    """Pellets and variables of a file.

    Raises:
        DataError: if it cannot be read, or has neither.
    """
    if path.suffix == ".npz" and _is_written_here(path):
        tracks = read_tracks(path)
        return Movement(RATE_HZ, {}, dict(zip(tracks.names, tracks.values.T.astype(np.float64), strict=True)))
    columns, rate_hz, _ = read_columns(path)
    pellets = {
        name: np.stack([columns.pop(f"{name}_x"), columns.pop(f"{name}_y")], axis=1)
        for name in PELLETS
        if f"{name}_x" in columns and f"{name}_y" in columns
    }
    if not pellets and not columns:
        raise DataError(f"{path} has neither variables, such as {VARIABLES[0]}, nor pellets, such as UL_x and UL_y")
    return Movement(rate_hz, pellets, columns)


def _is_written_here(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {"values", "names", "units"} <= set(file.files)
    except Exception:  # `read_columns` says what is wrong with it
        return False


def _read_palate(path: Path) -> np.ndarray:
    pharynx = path.with_name("pharynx.csv")
    return join_traces(_read_trace(path), _read_trace(pharynx) if pharynx.is_file() else None)


def _read_trace(path: Path) -> np.ndarray:
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            points = np.array([[float(row["x"]), float(row["y"])] for row in csv.DictReader(lines)])
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise DataError(f"{path}: expected columns x and y of numbers ({one_line(error)})") from None
    if len(points) < 2 or not np.isfinite(points).all():
        raise DataError(f"{path}: expected 2 points or more, found {len(points)}")
    return points
