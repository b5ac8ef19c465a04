"""Noisy recordings, with a clean counterpart (VoiceBank-DEMAND and the like) or without -> Mixtures, as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phonemi import audio
from phonemi.data.manifest import Recording
from phonemi.data.mixing import Mixture
from phonemi.errors import DataError
from phonemi.signal import SAMPLE_RATE


class PairedRecordings:
    """A sequence of `Mixture`, one for each recording; nothing is mixed here and nothing is kept in memory.

    Args:
        recordings: noisy recordings whose `clean` names the clean one.

    Raises:
        DataError: if there are none, or one has no clean counterpart.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.recordings = list(recordings)
        alone = [recording.id for recording in self.recordings if recording.clean is None]
        if alone or not self.recordings:
            found = (
                f"{len(alone)} of {len(self.recordings)} have none ({alone[0]})" if alone else "there are no recordings"
            )
            raise DataError(f"paired recordings need a clean counterpart each: {found}")

    def __len__(self) -> int:
        return len(self.recordings)

    def ids(self) -> list[str]:
        """Of all recordings."""
        return [recording.id for recording in self.recordings]

    def __getitem__(self, index: int) -> Mixture:
        """Noisy and clean at 16 kHz.

        The SNR is the one in the manifest, or else measured: NaN where the noise or the speech is silent.

        Raises:
            DataError: if the two differ in length by more than 10 ms; a smaller difference is cut.
        """
        recording = self.recordings[index]
        noisy, clean = audio.load(recording.path), audio.load(recording.clean or "")
        if abs(len(noisy) - len(clean)) > SAMPLE_RATE // 100:
            raise DataError(
                f"{recording.id}: {len(noisy)} noisy and {len(clean)} clean samples at 16 kHz: not the same recording"
            )
        samples = min(len(noisy), len(clean))
        noisy, clean = noisy[:samples], clean[:samples]
        snr_db = _measured_snr_db(noisy, clean) if recording.snr_db is None else recording.snr_db
        return Mixture(
            id=recording.id,
            noisy=noisy,
            clean=clean,
            snr_db=snr_db,
            speaker=recording.speaker,
            text=recording.text,
            phones=recording.phones,
            noise_id=recording.noise or "",
        )


def _measured_snr_db(noisy: np.ndarray, clean: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.mean(clean.astype(np.float64) ** 2) / np.mean((noisy - clean).astype(np.float64) ** 2)
        snr_db = float(10 * np.log10(ratio))
    return snr_db if np.isfinite(snr_db) else float("nan")


class NoisyRecordings:
    """A sequence of `Mixture`, one for each recording, where nobody has the clean speech; nothing is kept in memory.

    Clean speech and SNR are NaN, so that a score that compares with them fails instead of being a number.

    Args:
        recordings: noisy recordings.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.recordings = list(recordings)

    def __len__(self) -> int:
        return len(self.recordings)

    def ids(self) -> list[str]:
        """Of all recordings."""
        return [recording.id for recording in self.recordings]

    def __getitem__(self, index: int) -> Mixture:
        """The recording at 16 kHz."""
        recording = self.recordings[index]
        noisy = audio.load(recording.path)
        return Mixture(
            id=recording.id,
            noisy=noisy,
            clean=np.full_like(noisy, np.nan),
            snr_db=float("nan"),
            speaker=recording.speaker,
            text=recording.text,
            phones=recording.phones,
            noise_id=recording.noise or "",
        )
