"""The tracks of recordings, normalised for each speaker: what an inverter learns to estimate, and is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from phonemi.constants import SAMPLE_RATE
from phonemi.data.manifest import Recording, speaker_of
from phonemi.errors import DataError
from phonemi.inversion.tracks import RATE_HZ, Normalisation, frames_in, read_tracks


class SpeakerTracks:
    """Normalised tracks by the id of the recording; recordings without tracks are left out.

    Args:
        recordings: all that is known of each speaker, since the ranges of his variables come from them.
        names: what the variables must be; None: those of the first recording.

    Raises:
        DataError: if no recording has tracks, they cannot be read, or their variables differ.
    """

    def __init__(self, recordings: Iterable[Recording], names: Sequence[str] | None = None) -> None:
        by_speaker: dict[str, list[Recording]] = {}
        for recording in recordings:
            if recording.tracks is not None:
                by_speaker.setdefault(speaker_of(recording), []).append(recording)
        if not by_speaker:
            raise DataError(
                "no recording has tracks of the articulators: prepare a corpus that has them (spire-ema, hprc, xrmb, "
                "articulatory, articulatory-synthesis)"
            )
        self.normalisations: dict[str, Normalisation] = {}
        self.values: dict[str, np.ndarray] = {}  # [frame, variable]
        self.speakers: dict[str, str] = {}  # of recordings
        for speaker, of_speaker in sorted(by_speaker.items()):
            tracks = [read_tracks(recording.tracks or "") for recording in of_speaker]
            for recording, of_recording in zip(of_speaker, tracks, strict=True):
                names = tuple(names or of_recording.names)
                if of_recording.names != names:
                    raise DataError(
                        f"{recording.tracks} has the variables {', '.join(of_recording.names)}, not {', '.join(names)}"
                    )
            normalisation = self.normalisations[speaker] = Normalisation.of(tracks)
            for recording, of_recording in zip(of_speaker, tracks, strict=True):
                self.values[recording.id] = normalisation.normalise(of_recording).values
                self.speakers[recording.id] = speaker

    @property
    def names(self) -> tuple[str, ...]:
        """Of the variables."""
        return next(iter(self.normalisations.values())).names

    def typical(self) -> Normalisation:
        """The mean of the speakers' means and reaches."""
        parts = list(self.normalisations.values())
        mean, reach = (np.stack([getattr(part, name) for part in parts]) for name in ("mean", "reach"))
        known = np.isfinite(mean)
        count = known.sum(0)
        means, reaches = (np.where(known, part, 0).sum(0) / np.where(count, count, 1) for part in (mean, reach))
        return Normalisation(parts[0].names, parts[0].units, means, np.where(count, reaches, 1.0))

    def normalisation_of(self, recording_id: str) -> Normalisation:
        """That of the speaker of a recording."""
        return self.normalisations[self.speakers[recording_id]]

    def part(self, recording_id: str, start: int, samples: int) -> np.ndarray:
        """The tracks of a part of a recording, between frames by linear interpolation.

        Args:
            recording_id: of any recording; without tracks, all is unknown.
            start, samples: the part, in samples at 16 kHz.

        Returns:
            float32 [frame of 10 ms from the start of the part, variable]; NaN where one of its neighbours is unknown.
        """
        frames = frames_in(samples / SAMPLE_RATE)
        values = self.values.get(recording_id)
        if values is None:
            return np.full((frames, len(self.names)), np.nan, dtype=np.float32)
        position = start * RATE_HZ / SAMPLE_RATE + np.arange(frames)
        low = np.clip(np.floor(position).astype(int), 0, len(values) - 1)
        high = np.minimum(low + 1, len(values) - 1)
        share = (position - np.floor(position))[:, None]
        # At a frame itself its neighbour does not count, known or not.
        between = np.where(share == 0, values[low], (1 - share) * values[low] + share * values[high])
        between[position > len(values) - 1 + 1e-9] = np.nan
        part: np.ndarray = between.astype(np.float32)
        return part
