"""Mixtures of speech and noise at a given SNR, and the sets of mixtures that training and evaluation read.

Every random draw depends on (seed, epoch, index) alone, so a mixture is the same on any number of workers or ranks.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from phonemi import audio
from phonemi.constants import SAMPLE_RATE
from phonemi.data.augmentation import augment, draw_gain
from phonemi.data.manifest import PAIR_TOLERANCE, Interval, Recording, speaker_of
from phonemi.data.store import AudioStore, NoiseStore
from phonemi.errors import DataError
from phonemi.tables import plural

if TYPE_CHECKING:
    from phonemi.config import Augment

_MAX_DRAWS = 100  # enough for a corpus that is nine tenths silence; usually the first draw will do


@dataclass(frozen=True, eq=False)
class Mixture:
    """Speech with noise at 16 kHz: `noisy` and `clean` are float32 `[sample]` of the same length."""

    id: str
    noisy: np.ndarray
    clean: np.ndarray
    snr_db: float
    speaker: str | None
    text: str | None
    noise_id: str
    utterance_id: str = ""  # of the recording of the speech
    start: int = 0  # where the mixture begins in it, in samples at 16 kHz


class MixtureFacts(NamedTuple):
    """What is known about a mixture before it is made; `utterance_id` is that of the recording of the speech."""

    id: str
    utterance_id: str
    speaker: str | None
    snr_db: float
    phones: tuple[Interval, ...] | None
    samples: int


class Mixtures(Protocol):
    """A set of mixtures, each made when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mixture: ...


class DrawnMixtures:
    """A training set of any size: mixture `index` depends on (seed, epoch, index) and the two stores alone.

    Drawn in this order from one generator: the speaker (uniformly, so that a talkative one does not dominate), the
    utterance, the start of the crop, the SNR, and what `NoiseStore.draw` draws. A crop of zeros is drawn again, from
    the speaker on. Changing the order changes all published results. Augmentation has a generator of its own: speech,
    noise and SNRs are the same with it and without. Set `epoch` for new mixtures.

    Args:
        speech, noise: what is mixed.
        size: number of mixtures.
        snrs_db: the SNRs to draw from, uniformly.
        seed, epoch: of the whole experiment, and of this pass over the data.
        crop_s: maximum duration of a mixture; None keeps whole utterances.
        augmentation: rooms, band limits and gains; none by default.

    Raises:
        DataError: if there is no speech, no noise, no SNR, or the crop has no sample.
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
        augmentation: Augment | None = None,
    ) -> None:
        _require_parts(speech, noise, snrs_db)
        if crop_s is not None and crop_s * SAMPLE_RATE < 1:
            raise DataError(f"crop_s is {crop_s}: a crop needs at least one sample")
        self.speech, self.noise, self.size, self.snrs_db = speech, noise, size, tuple(map(float, snrs_db))
        self.seed, self.epoch, self.augmentation = seed, epoch, augmentation
        self._max_samples = None if crop_s is None else round(crop_s * SAMPLE_RATE)
        by_name: dict[str, list[int]] = {}
        for index, recording in enumerate(speech.recordings):
            by_name.setdefault(speaker_of(recording), []).append(index)
        self._speakers = [by_name[name] for name in sorted(by_name)]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Mixture:
        if not 0 <= index < self.size:
            raise IndexError(f"mixture {index} of {self.size}")
        rng = generator(self.seed, "drawn", self.epoch, index)
        recording, start, crop = self._draw_crop(rng)
        snr_db = self.snrs_db[rng.integers(len(self.snrs_db))]
        id = f"{recording.id}@{snr_db:g}dB#{self.epoch}.{index}"
        chance = generator(self.seed, "augmented", self.epoch, index)
        augmentation = (self.augmentation, chance) if self.augmentation else None
        return replace(_mix(id, recording, crop, self.noise, snr_db, rng, augmentation), start=start)

    def _draw_crop(self, rng: np.random.Generator) -> tuple[Recording, int, np.ndarray]:
        """A recording and a part of it: start, and `[sample]`; the text is left out where it is not all of it."""
        for _ in range(_MAX_DRAWS):
            utterances = self._speakers[rng.integers(len(self._speakers))]
            utterance = utterances[rng.integers(len(utterances))]
            recording, waveform = self.speech.recordings[utterance], self.speech[utterance]
            samples = min(self._max_samples or len(waveform), len(waveform))
            start = int(rng.integers(len(waveform) - samples + 1))
            crop = waveform[start : start + samples]
            if crop.any():
                return recording if samples == len(waveform) else replace(recording, text=None), start, crop
        raise DataError(f"{_MAX_DRAWS} speech crops in a row were silent; the last was of {recording.id}")


class PlannedMixtures:
    """An evaluation set: every utterance at every SNR, in the order of the utterances, the same in every run.

    The noise is chosen by a hash of the seed and the utterance: where an utterance is there at every SNR, it is in the
    same noise at each, so that a curve over the SNR shows the SNR and not the draw.

    Args:
        speech, noise: what is mixed; utterances are whole.
        snrs_db: the SNRs.
        seed: of the whole experiment.
        per_utterance: take only this many of the SNRs for each utterance, chosen by the hash, each in a noise of its
            own; over the set, the SNRs are used equally often, to within one. None: every SNR.
        clips: noise clips of each utterance, each at every SNR.

    Raises:
        DataError: if there is no speech, no noise or no SNR, or fewer SNRs than `per_utterance`.
    """

    def __init__(
        self,
        speech: AudioStore,
        noise: NoiseStore,
        *,
        snrs_db: Sequence[float],
        seed: int,
        per_utterance: int | None = None,
        clips: int = 1,
    ) -> None:
        _require_parts(speech, noise, snrs_db)
        count = len(snrs_db) if per_utterance is None else per_utterance
        if not 1 <= count <= len(snrs_db):
            raise DataError(f"per_utterance is {per_utterance}, but there are {len(snrs_db)} SNRs")
        self.speech, self.noise, self.seed = speech, noise, seed
        snr_order = generator(seed, "planned SNRs").permutation(len(snrs_db))
        ranks = np.argsort([_stable_hash(seed, "rank", recording.id) for recording in speech.recordings]).argsort()
        self._plan: list[tuple[str, int, float, tuple[int | str, ...]]] = []  # id, utterance, SNR, key of the noise
        for utterance, rank in enumerate(ranks):
            name = speech.recordings[utterance].id
            positions = sorted(int(snr_order[(rank * count + step) % len(snrs_db)]) for step in range(count))
            for clip, position in itertools.product(range(clips), positions):
                snr_db = float(snrs_db[position])
                id = f"{name}@{snr_db:g}dB" + (f"#{clip + 1}" if clip else "")
                self._plan.append((id, utterance, snr_db, (name, clip) if per_utterance is None else (id,)))

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Mixture:
        id, utterance, snr_db, key = self._plan[index]
        recording = self.speech.recordings[utterance]
        return _mix(id, recording, self.speech[utterance], self.noise, snr_db, generator(self.seed, "planned", *key))

    def ids(self) -> list[str]:
        """Ids of all mixtures, in their order."""
        return [id for id, *_ in self._plan]

    def describe(self, index: int) -> MixtureFacts:
        """What is known about a mixture; decodes the speech where `AudioStore.samples` must."""
        id, utterance, snr_db, _ = self._plan[index]
        recording, samples = self.speech.recordings[utterance], self.speech.samples(utterance)
        return MixtureFacts(id, recording.id, recording.speaker, snr_db, recording.phones, samples)


class CleanSpeech:
    """Every utterance of a store without noise: a mixture at an infinite SNR."""

    def __init__(self, speech: AudioStore) -> None:
        self.speech = speech

    def __len__(self) -> int:
        return len(self.speech.recordings)

    def __getitem__(self, index: int) -> Mixture:
        recording, clean = self.speech.recordings[index], self.speech[index]
        about = recording.speaker, recording.text, "", recording.id
        return Mixture(f"{recording.id}@clean", clean, clean, math.inf, *about)


class NoisyRecordings:
    """One mixture for each noisy recording whose clean speech is unknown; no waveform is kept in memory.

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
        if abs(len(noisy) - len(clean)) > PAIR_TOLERANCE:
            lengths = f"{len(noisy)} noisy and {plural(len(clean), 'clean sample')} at 16 kHz"
            raise DataError(f"{recording.id}: {lengths}: not the same recording")
        samples = min(len(noisy), len(clean))
        noisy, clean = noisy[:samples], clean[:samples]
        snr_db = _measured_snr_db(noisy, clean) if recording.snr_db is None else recording.snr_db
        return _mixture(recording, noisy, clean, snr_db)


class CroppedPairs:
    """One crop of each pair of recordings: crop `index` depends on (seed, epoch, index) and the recording alone.

    Args:
        recordings: noisy, each with its clean counterpart.
        crop_s: duration of a crop. A shorter recording is repeated from its beginning.
        seed, epoch: of the whole experiment, and of this pass over the data.
        augmentation: only its gains are applied; none by default.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        *,
        crop_s: float,
        seed: int,
        epoch: int = 0,
        augmentation: Augment | None = None,
    ) -> None:
        self.pairs, self.samples = PairedRecordings(recordings), round(crop_s * SAMPLE_RATE)
        self.seed, self.epoch, self.augmentation = seed, epoch, augmentation
        if self.samples < 1:
            raise DataError(f"crop_s is {crop_s}: a crop needs at least one sample")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Mixture:
        pair = self.pairs[index]
        rng = generator(self.seed, "crop of a pair", self.epoch, index)
        start = int(rng.integers(max(len(pair.noisy) - self.samples, 0) + 1))
        gain = np.float32(1)
        if self.augmentation is not None and any(self.augmentation.gain_db):
            gain = draw_gain(self.augmentation, rng)
        noisy, clean = (gain * np.resize(part[start:], self.samples) for part in (pair.noisy, pair.clean))
        return replace(pair, id=f"{pair.id}#{self.epoch}", noisy=noisy, clean=clean, text=None, start=start)


def mix_at_snr(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> tuple[np.ndarray, np.ndarray]:
    """Add noise to speech so that their power ratio over the whole utterance is `snr_db`.

    The noise gets the gain g = sqrt(P_speech / (P_noise * 10^(snr_db / 10))), P being the mean square of all samples.
    Nothing is clipped: the result may exceed full scale.

    Args:
        speech: `[sample]`.
        noise: `[sample]`, as long as the speech.
        snr_db: the SNR to reach, in dB.

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
    """A random generator that depends on its arguments only, on any machine.

    >>> bool(generator(1, "train", 0).integers(100) == generator(1, "train", 0).integers(100))
    True
    """
    return np.random.default_rng(_stable_hash(seed, *key))


def _mix(
    id: str,
    recording: Recording,
    clean: np.ndarray,
    noise_store: NoiseStore,
    snr_db: float,
    rng: np.random.Generator,
    augmentation: tuple[Augment, np.random.Generator] | None = None,
) -> Mixture:
    """Draw a piece of noise and add it to the speech, which may be augmented on the way."""
    try:
        noise_id, noise = noise_store.draw(len(clean), rng, speaker_of(recording))
    except DataError as error:
        raise DataError(f"mixing {id} with {error}") from None

    def add_noise(speech: np.ndarray) -> np.ndarray:
        return mix_at_snr(speech, noise, snr_db)[0]

    try:
        noisy, clean = (add_noise(clean), clean) if augmentation is None else augment(clean, add_noise, *augmentation)
    except DataError as error:
        raise DataError(f"mixing {id} with noise {noise_id}: {error}") from None
    return Mixture(id, noisy, clean, snr_db, recording.speaker, recording.text, noise_id, recording.id)


def _stable_hash(*key: int | str) -> int:
    """256 bits that depend on the key alone (Python's own `hash` changes from run to run)."""
    parts = [part if isinstance(part, str) else operator.index(part) for part in key]
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest(), "little")


def _require_parts(speech: AudioStore, noise: NoiseStore, snrs_db: Sequence[float]) -> None:
    for name, part in (("speech", speech), ("noise", noise), ("SNRs", snrs_db)):
        if not len(part):
            raise DataError(f"no {name} to mix")


def _measured_snr_db(noisy: np.ndarray, clean: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.mean(clean.astype(np.float64) ** 2) / np.mean((noisy - clean).astype(np.float64) ** 2)
        snr_db = float(10 * np.log10(ratio))
    return snr_db if np.isfinite(snr_db) else float("nan")


def _mixture(recording: Recording, noisy: np.ndarray, clean: np.ndarray, snr_db: float) -> Mixture:
    about = recording.speaker, recording.text, recording.noise or "", recording.id
    return Mixture(recording.id, noisy, clean, snr_db, *about)
