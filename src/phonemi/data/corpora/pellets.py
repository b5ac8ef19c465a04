"""What the corpora of articulatory recordings share: from pellets and sound to a file of tracks for each recording."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.data.corpora.corpus import Omissions
from phonemi.data.manifest import Recording, speaker_of
from phonemi.errors import DataError, PhonemiError
from phonemi.inversion.source_features import source_features
from phonemi.inversion.tracks import fit_to_audio, resample, smooth, tracks_of, write_tracks
from phonemi.inversion.tract_variables import VARIABLES, estimate_palate, tract_variables

TRACKS = "phonemi-tracks"
"""Folder, in that of the corpus, of the files of tracks that `prepare` writes."""

_TONGUE = ("T1", "T2", "T3", "T4")


@dataclass(frozen=True)
class Movement:
    """What was recorded of the articulators beside a sound.

    Attributes:
        rate_hz: of everything here; the first frame is at 0 s.
        pellets: float `[frame, 2]` in mm by the names of `tract_variables.PELLETS`, NaN where mistracked.
        variables: columns `[frame]` that are taken as they are, by their names.
    """

    rate_hz: float
    pellets: Mapping[str, np.ndarray] = field(default_factory=dict)
    variables: Mapping[str, np.ndarray] = field(default_factory=dict)

    def pellets_at_100_hz(self) -> dict[str, np.ndarray]:
        """Pellets without what is faster than 10 Hz, `[frame, 2]`; gaps stay gaps."""
        smoothed = {name: smooth(positions, self.rate_hz) for name, positions in self.pellets.items()}
        return {
            name: np.stack([resample(coordinate, self.rate_hz) for coordinate in positions.T], axis=1)
            for name, positions in smoothed.items()
        }


def add_tracks(
    recordings: Sequence[tuple[Recording, Callable[[], Movement]]],
    folder: Path,
    palates: Mapping[str, np.ndarray],
    skipped: Omissions,
) -> tuple[list[Recording], list[str]]:
    """Write the tracks of recordings to `folder`/`TRACKS`/ID.npz: tract variables, and PER, APER and F0 of the sound.

    A recording is left out, and counted by `skipped`, only if its movement or its sound cannot be read or they differ
    by more than 0.1 s in length. What is not known of the others is NaN, with the reason in the file.

    Args:
        recordings: with how to read the movement of each: a function that raises DataError.
        folder: that of the corpus.
        palates: traces `[vertex, 2]` in mm by speaker; for other speakers one is estimated from their tongues.

    Returns:
        The recordings with their tracks, in order, and notes for the user.
    """
    estimated, unknown = Omissions(), Omissions()
    with_tracks: dict[str, Recording] = {}
    of_speaker: dict[str, list[tuple[Recording, Callable[[], Movement]]]] = defaultdict(list)
    for recording, read in recordings:
        of_speaker[speaker_of(recording)].append((recording, read))
    for speaker, pairs in of_speaker.items():
        palate = palates.get(speaker)
        if palate is None:
            palate = estimate_palate(_tongue_positions(pairs))
            estimated.add("estimated" if palate is not None else "unknown, so that its distances are NaN", speaker)
        for recording, read in pairs:
            try:
                path = _write(recording, read(), palate, folder, unknown)
            except PhonemiError as error:
                skipped.add("without usable tracks", str(error))
            else:
                with_tracks[recording.id] = replace(recording, tracks=str(path))
    notes = estimated.notes("palate", "without a trace") + unknown.notes("variable", "NaN in all of a recording")
    return [with_tracks[recording.id] for recording, _ in recordings if recording.id in with_tracks], notes


def _tongue_positions(pairs: Sequence[tuple[Recording, Callable[[], Movement]]]) -> np.ndarray:
    """All positions of the tongue of one speaker, `[position, 2]`, without what cannot be read."""
    positions = [np.zeros((0, 2))]
    for _, read in pairs:
        try:
            pellets = read().pellets_at_100_hz()
        except PhonemiError:
            continue  # counted when its tracks are to be written
        positions += [pellets[name] for name in _TONGUE if name in pellets]
    return np.concatenate(positions)


def _write(
    recording: Recording, movement: Movement, palate: np.ndarray | None, folder: Path, unknown: Omissions
) -> Path:
    columns: dict[str, np.ndarray] = {}
    reasons: dict[str, str] = {}
    if movement.pellets:
        values, reasons = tract_variables(movement.pellets_at_100_hz(), palate)
        columns |= dict(zip(VARIABLES, values.T, strict=True))
    columns |= {name: resample(column, movement.rate_hz) for name, column in movement.variables.items()}
    if not columns or not len(next(iter(columns.values()))):
        raise DataError(f"{recording.id}: no movement in it")
    tracks = fit_to_audio(tracks_of(columns, reasons), recording.duration_s, recording.id)
    sound = source_features(audio.load(recording.path)).columns()
    known = dict(zip(tracks.names, tracks.values.T, strict=True))
    tracks = fit_to_audio(tracks_of(sound | known, reasons), recording.duration_s, recording.id)
    for name, column in known.items():
        if np.isnan(column).all():
            unknown.add(f"{name}: {reasons.get(name, 'mistracked')}", recording.id)
    path = folder / TRACKS / f"{recording.id}.npz"
    write_tracks(path, tracks)
    return path
