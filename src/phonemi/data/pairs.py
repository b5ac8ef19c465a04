"""Noisy recordings as mixtures: with their clean counterparts (VoiceBank-DEMAND and the like) or without.

Nothing is mixed here, and no waveform is kept in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phonemi import audio
from phonemi.constants import SAMPLE_RATE
from phonemi.data.manifest import Recording
from phonemi.data.mixing import Mixture
from phonemi.errors import DataError


class NoisyRecordings:
    """One mixture for each noisy recording whose clean speech is unknown.

    Clean speech and SNR are NaN, so that a score that compares with them fails instead of being a number.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.recordings = list(recordings)

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> Mixture:
        """The recording at 16 kHz."""
        recording = self.recordings[index]
        noisy = audio.load(recording.path)
        return _mixture(recording, noisy, np.full_like(noisy, np.nan), float("nan"))

    def ids(self) -> list[str]:
        """Ids of all recordings, in their order."""
        return [recording.id for recording in self.recordings]


class PairedRecordings(NoisyRecordings):
    """One mixture for each noisy recording whose `clean` names the clean counterpart.

    Raises:
        DataError: if there are none, or one has no clean counterpart.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        super().__init__(recordings)
        without = [recording.id for recording in self.recordings if recording.clean is None]
        if without:
            missing = f"{len(without)} of {len(self.recordings)} have none ({without[0]})"
        else:
            missing = "there are no recordings"
        if without or not self.recordings:
            raise DataError(f"paired recordings need a clean counterpart each: {missing}")

    def __getitem__(self, index: int) -> Mixture:
        """Noisy and clean at 16 kHz, with the SNR of the manifest, or else the measured one.

        The measured SNR is NaN where the noise or the speech is silent.

        Raises:
            DataError: if the two differ in length by more than 10 ms; a smaller difference is cut.
        """
        recording = self.recordings[index]
        noisy, clean = audio.load(recording.path), audio.load(recording.clean or "")
        if abs(len(noisy) - len(clean)) > SAMPLE_RATE // 100:
            lengths = f"{len(noisy)} noisy and {len(clean)} clean samples at 16 kHz"
            raise DataError(f"{recording.id}: {lengths}: not the same recording")
        samples = min(len(noisy), len(clean))
        noisy, clean = noisy[:samples], clean[:samples]
        snr_db = _measured_snr_db(noisy, clean) if recording.snr_db is None else recording.snr_db
        return _mixture(recording, noisy, clean, snr_db)


def _measured_snr_db(noisy: np.ndarray, clean: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.mean(clean.astype(np.float64) ** 2) / np.mean((noisy - clean).astype(np.float64) ** 2)
        snr_db = float(10 * np.log10(ratio))
    return snr_db if np.isfinite(snr_db) else float("nan")


def _mixture(recording: Recording, noisy: np.ndarray, clean: np.ndarray, snr_db: float) -> Mixture:
    return Mixture(recording.id, noisy, clean, snr_db, recording.speaker, recording.text, recording.noise or "")
