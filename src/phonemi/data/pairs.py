"""Noisy recordings as mixtures: with their clean counterparts (VoiceBank-DEMAND and the like) or without.

Nothing is mixed here, and no waveform is kept in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phonemi import audio
from phonemi.constants import SAMPLE_RATE
from phonemi.data.manifest import Recording
from phonemi.data.mixing import Mixture, MixtureFacts, facts_of
from phonemi.data.store import exact_samples
from phonemi.errors import DataError


class NoisyRecordings:
    """One mixture for each noisy recording whose clean speech is unknown.

    Clean speech and SNR are NaN, so that a score that compares with them fails instead of being a number.

    Args:
        recordings: noisy recordings.
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

    def describe(self, index: int) -> MixtureFacts:
        """What is known about a recording; decoded only where the manifest does not tell the length exactly."""
        recording = self.recordings[index]
        samples = exact_samples(recording.path, recording.samples, recording.sample_rate)
        if samples is None:
            samples = len(self[index].noisy)
        return facts_of(recording, samples, float("nan"), noise_id=recording.noise or "")


class PairedRecordings(NoisyRecordings):
    """One mixture for each noisy recording that has a clean counterpart.

    Args:
        recordings: noisy recordings whose `clean` names the clean one.

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
        samples = _common_samples(recording, len(noisy), len(clean))
        noisy, clean = noisy[:samples], clean[:samples]
        snr_db = _measured_snr_db(noisy, clean) if recording.snr_db is None else recording.snr_db
        return _mixture(recording, noisy, clean, snr_db)

    def describe(self, index: int) -> MixtureFacts:
        """What is known about a pair.

        Reads the header of the clean recording, whose length the manifest does not have; decodes both if the manifest
        has no SNR, or the headers do not tell the lengths exactly.

        Raises:
            DataError: as the mixture itself.
        """
        recording = self.recordings[index]
        header = audio.probe(recording.clean or "")
        noisy_samples = exact_samples(recording.path, recording.samples, recording.sample_rate)
        clean_samples = exact_samples(header.path, header.samples, header.sample_rate)
        if recording.snr_db is None or noisy_samples is None or clean_samples is None:
            mixture = self[index]
            samples, snr_db = len(mixture.noisy), mixture.snr_db
        else:
            samples, snr_db = _common_samples(recording, noisy_samples, clean_samples), recording.snr_db
        return facts_of(recording, samples, snr_db, noise_id=recording.noise or "")


def _common_samples(recording: Recording, noisy_samples: int, clean_samples: int) -> int:
    if abs(noisy_samples - clean_samples) > SAMPLE_RATE // 100:
        raise DataError(
            f"{recording.id}: {noisy_samples} noisy and {clean_samples} clean samples at 16 kHz: not the same recording"
        )
    return min(noisy_samples, clean_samples)


def _measured_snr_db(noisy: np.ndarray, clean: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.mean(clean.astype(np.float64) ** 2) / np.mean((noisy - clean).astype(np.float64) ** 2)
        snr_db = float(10 * np.log10(ratio))
    return snr_db if np.isfinite(snr_db) else float("nan")


def _mixture(recording: Recording, noisy: np.ndarray, clean: np.ndarray, snr_db: float) -> Mixture:
    return Mixture(
        recording.id, noisy, clean, snr_db, recording.speaker, recording.text, recording.phones, recording.noise or ""
    )
