"""Speech `[sample]` + noise `[sample]` at an SNR in dB -> noisy `[sample]`: the SNR rule, and sets drawn by it.

Every draw is a function of (seed, epoch, index) alone, so a mixture is the same on any number of workers or ranks.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from phonemi.data.augmentation import Augmentation, augment
from phonemi.data.manifest import Interval, Recording, speaker_of
from phonemi.data.noise import NoiseStore
from phonemi.data.store import AudioStore
from phonemi.errors import DataError
from phonemi.signal import SAMPLE_RATE

_DRAWS = 100  # enough for a corpus that is nine tenths silence; a sound one needs a single draw


def mix_at_snr(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> tuple[np.ndarray, np.ndarray]:
    """Add noise to speech so that their power ratio over the whole utterance is `snr_db`.

    The noise gets the gain g = sqrt(P_speech / (P_noise * 10^(snr_db / 10))), P being the mean square of all samples.
    Nothing is clipped: the result may exceed full scale.

    Args:
        speech: `[sample]`.
        noise: `[sample]`, as long as the speech.
        snr_db: the ratio wanted in dB.

    Returns:
        The noisy speech and the noise in it, float32 `[sample]` each.

    Raises:
        DataError: if lengths differ, speech or noise is silent, or a value is not finite.

    >>> noisy, noise = mix_at_snr(np.array([1.0, -1.0]), np.array([4.0, 4.0]), snr_db=0)
    >>> noise, noisy
    (array([1., 1.], dtype=float32), array([2., 0.], dtype=float32))
    """
    if np.ndim(speech) != 1 or np.shape(speech) != np.shape(noise):
        raise DataError(f"speech {np.shape(speech)} and noise {np.shape(noise)} must both be [sample], of one length")
    speech_power, noise_power = (float(np.mean(np.square(part, dtype=np.float64))) for part in (speech, noise))
    if not np.isfinite([speech_power, noise_power, snr_db]).all():
        raise DataError(f"speech, noise and SNR ({snr_db} dB) must be finite; a sample is NaN or infinite")
    for name, power in (("speech", speech_power), ("noise", noise_power)):
        if power == 0:
            raise DataError(f"the {name} is silent, so that no SNR is defined")
    gain = np.sqrt(speech_power / (noise_power * 10 ** (snr_db / 10)))
    scaled_noise = (np.asarray(noise, dtype=np.float64) * gain).astype(np.float32)
    return np.asarray(speech, dtype=np.float32) + scaled_noise, scaled_noise


def generator(seed: int, *key: int | str) -> np.random.Generator:
    """A random generator that is a function of its arguments only, on any machine.

    >>> bool(generator(1, "train", 0).integers(100) == generator(1, "train", 0).integers(100))
    True
    """
    return np.random.default_rng(_hash(seed, *key))


@dataclass(frozen=True, eq=False)
class Mixture:
    """Speech with noise, 16 kHz: `noisy` and `clean` are float32 `[sample]` of one length."""

    id: str
    noisy: np.ndarray
    clean: np.ndarray
    snr_db: float
    speaker: str | None
    text: str | None
    phones: tuple[Interval, ...] | None
    noise_id: str


class DrawnMixtures:
    """A training set of any size: item `index` is a function of (seed, epoch, index) and of the two stores.

    Speaker (uniformly, so that a talkative one does not dominate), utterance, crop, SNR, noise clip and piece of it
    are drawn in this order. A crop without any sound is drawn again, utterance included. Set `epoch` for new mixtures.
    Augmentation has a generator of its own: the same speech, noise and SNRs are drawn with it and without.
    """

    def __init__(
        self,
        speech: AudioStore,
        noise: NoiseStore,
        *,
        size: int,
        snrs_db: Sequence[float],
        seed: int,
        epoch: int = 0,
        crop_s: float | None,
        by_speaker: bool = True,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Describe the set; nothing is drawn yet.

        Args:
            speech: utterances.
            noise: what the speech is mixed with.
            size: number of mixtures.
            snrs_db: the SNRs to draw from, uniformly.
            seed: of the whole experiment.
            epoch: pass over the data.
            crop_s: longest duration of a mixture in seconds; None keeps whole utterances.
            by_speaker: draw the speaker first; otherwise the utterance among all.
            augmentation: rooms, band limits and gains; none by default.

        Raises:
            DataError: if there is no speech, no noise, no SNR, or the crop has no sample.
        """
        _check_parts(speech, noise, snrs_db)
        if crop_s is not None and crop_s * SAMPLE_RATE < 1:
            raise DataError(f"crop_s is {crop_s}: a crop needs at least one sample")
        self.speech, self.noise, self.size, self.snrs_db = speech, noise, size, tuple(map(float, snrs_db))
        self.seed, self.epoch, self.augmentation = seed, epoch, augmentation or Augmentation()
        self._crop_samples = None if crop_s is None else round(crop_s * SAMPLE_RATE)
        speakers: dict[str, list[int]] = {}
        for index, recording in enumerate(speech.recordings):
            speakers.setdefault(speaker_of(recording) if by_speaker else "", []).append(index)
        self._groups = [speakers[speaker] for speaker in sorted(speakers)]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Mixture:
        if not 0 <= index < self.size:
            raise IndexError(f"mixture {index} of {self.size}")
        rng = generator(self.seed, "drawn", self.epoch, index)
        recording, clean = self._draw_crop(rng)
        snr_db = self.snrs_db[rng.integers(len(self.snrs_db))]
        id = f"{recording.id}@{snr_db:g}dB#{self.epoch}.{index}"
        augmented = (self.augmentation, generator(self.seed, "augmented", self.epoch, index))
        return _mix(id, recording, clean, self.noise, snr_db, rng, augmented if self.augmentation else None)

    def _draw_crop(self, rng: np.random.Generator) -> tuple[Recording, np.ndarray]:
        """A recording (text and phones as they are in the crop) and its samples `[at most crop]`."""
        for _ in range(_DRAWS):
            group = self._groups[rng.integers(len(self._groups))]
            utterance = group[rng.integers(len(group))]
            waveform = self.speech[utterance]
            samples = min(self._crop_samples or len(waveform), len(waveform))
            start = int(rng.integers(len(waveform) - samples + 1))
            crop = waveform[start : start + samples]
            if crop.any():
                recording = self.speech.recordings[utterance]
                return (recording, crop) if samples == len(waveform) else (_cropped(recording, start, samples), crop)
        raise DataError(
            f"{_DRAWS} speech crops in a row were silent; the last was of {self.speech.recordings[utterance].id}"
        )


class PlannedMixtures:
    """An evaluation set: every utterance at every SNR, in the order of the utterances, the same in every run.

    The noise is chosen by a hash of (seed, utterance id, SNR).
    """

    def __init__(
        self,
        speech: AudioStore,
        noise: NoiseStore,
        *,
        snrs_db: Sequence[float],
        seed: int,
        per_utterance: int | None = None,
    ) -> None:
        """Plan the set.

        Args:
            speech: utterances, mixed whole.
            noise: what the speech is mixed with.
            snrs_db: the SNRs in dB.
            seed: of the whole experiment.
            per_utterance: take only this many of the SNRs for each utterance, chosen by the hash; over the set, the
                SNRs are used equally often, to within one.

        Raises:
            DataError: if there is no speech, no noise or no SNR, or fewer SNRs than `per_utterance`.
        """
        _check_parts(speech, noise, snrs_db)
        count = len(snrs_db) if per_utterance is None else per_utterance
        if not 1 <= count <= len(snrs_db):
            raise DataError(f"per_utterance is {per_utterance}, but there are {len(snrs_db)} SNRs")
        self.speech, self.noise, self.seed = speech, noise, seed
        snr_order = generator(seed, "planned SNRs").permutation(len(snrs_db))
        rank_of = np.argsort([_hash(seed, "rank", recording.id) for recording in speech.recordings]).argsort()
        self._plan: list[tuple[int, float]] = []
        for utterance, rank in enumerate(rank_of):
            chosen = sorted(int(snr_order[(rank * count + step) % len(snrs_db)]) for step in range(count))
            self._plan += [(utterance, float(snrs_db[position])) for position in chosen]

    def __len__(self) -> int:
        return len(self._plan)

    def ids(self) -> list[str]:
        """Of all mixtures, without making them."""
        return [f"{self.speech.recordings[utterance].id}@{snr_db:g}dB" for utterance, snr_db in self._plan]

    def __getitem__(self, index: int) -> Mixture:
        utterance, snr_db = self._plan[index]
        recording = self.speech.recordings[utterance]
        id = f"{recording.id}@{snr_db:g}dB"
        return _mix(id, recording, self.speech[utterance], self.noise, snr_db, generator(self.seed, "planned", id))


def _mix(
    id: str,
    recording: Recording,
    clean: np.ndarray,
    noises: NoiseStore,
    snr_db: float,
    rng: np.random.Generator,
    augmented: tuple[Augmentation, np.random.Generator] | None = None,
) -> Mixture:
    """Draw a piece of noise and add it to the speech, augmented on the way."""
    try:
        noise_id, noise = noises.draw(len(clean), rng, speaker_of(recording))
    except DataError as error:
        raise DataError(f"mixing {id} with {error}") from None

    def add_noise(speech: np.ndarray) -> np.ndarray:
        return mix_at_snr(speech, noise, snr_db)[0]

    try:
        noisy, clean = (add_noise(clean), clean) if augmented is None else augment(clean, add_noise, *augmented)
    except DataError as error:
        raise DataError(f"mixing {id} with noise {noise_id}: {error}") from None
    return Mixture(id, noisy, clean, snr_db, recording.speaker, recording.text, recording.phones, noise_id)


def _cropped(recording: Recording, start: int, samples: int) -> Recording:
    """What is known about a part of a recording: not the text, but the phones, those on the edges cut."""
    if recording.phones is None:
        return replace(recording, text=None)
    start_s, duration_s = start / SAMPLE_RATE, samples / SAMPLE_RATE
    moved = (
        Interval(max(phone.start_s - start_s, 0.0), min(phone.end_s - start_s, duration_s), phone.phone)
        for phone in recording.phones
    )
    return replace(recording, text=None, phones=tuple(phone for phone in moved if phone.start_s < phone.end_s))


def _hash(*key: int | str) -> int:
    """256 bits that depend on the key alone (Python's own `hash` changes from run to run)."""
    parts = [part if isinstance(part, str) else operator.index(part) for part in key]
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest(), "little")


def _check_parts(speech: AudioStore, noise: NoiseStore, snrs_db: Sequence[float]) -> None:
    for name, part in (("speech", speech), ("noise", noise), ("SNRs", snrs_db)):
        if not len(part):
            raise DataError(f"no {name} to mix")
