"""A corpus held in memory as one stream of 20 ms frames -> batches of masked crops, each a function of its step alone.

Crops may be played faster or slower (Ko et al., Audio augmentation for speech recognition, Interspeech 2015), and
inputs may be made noisy while the targets stay those of the clean speech (WavLM, arXiv 2110.13900): noise of the
training folds, or a part of another crop spoken over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from phonemi import audio
from phonemi.config import Encoder
from phonemi.data.mixing import mix_at_snr
from phonemi.data.store import NoiseStore
from phonemi.representations.mel_transformer import mel_pairs
from phonemi.signal import SAMPLE_RATE, SSL_FIELD, SSL_HOP

HELD_OUT_EVERY = 20  # one crop in twenty of the stream is validation
_FULL_SCALE = 32767


class Stream:
    """The corpus as one sequence of 20 ms frames.

    Args:
        features: of each utterance, log-mel pairs that are not standardised yet, half precision [frame, 2 * mels].
        samples: of each, int16 [sample] (`as_integers`), where noisy crops or other speeds are wanted.

    Attributes:
        features: [frame, 2 * mels] half precision.
        starts: first frame of each utterance, then the number of frames, [utterance + 1].
        samples: int16 [320 * frame + 80]: frame t covers samples 320 t to 320 t + 400. Empty unless kept.
        mean, std: [mels], what the features are standardised with.
    """

    def __init__(self, features: list[Tensor], samples: list[Tensor] | None = None):
        self.starts = [0, *np.cumsum([len(item) for item in features]).tolist()]
        self.features = torch.cat(features)
        kept = [
            waveform[: SSL_HOP * len(item)]  # what is left over at the end belongs to no frame
            for waveform, item in zip(samples or [], features, strict=samples is not None)
        ]
        self.samples = torch.cat([*kept, torch.zeros(SSL_FIELD - SSL_HOP, dtype=torch.int16)])
        self.mean, self.std = self.features.new_zeros(0).float(), self.features.new_zeros(0).float()

    def standardise(self, mels: int) -> None:
        """Bring every bin to zero mean and unit variance over the corpus, in place."""
        per_bin = self.features.view(-1, mels)
        self.mean = torch.stack([chunk.float().sum(0) for chunk in per_bin.split(65_536)]).sum(0) / len(per_bin)
        squares = [(chunk.float() - self.mean).square().sum(0) for chunk in per_bin.split(65_536)]
        self.std = (torch.stack(squares).sum(0) / len(per_bin)).sqrt().clamp_min(1e-3)
        for chunk in per_bin.split(65_536):
            chunk.copy_((chunk.float() - self.mean) / self.std)

    def waveform(self, start: int, frames: int) -> np.ndarray:
        """Samples of a crop, float32 [320 * frames + 80]."""
        piece = self.samples[SSL_HOP * start : SSL_HOP * (start + frames) + SSL_FIELD - SSL_HOP]
        return piece.numpy() / np.float32(_FULL_SCALE)

    def batches(self, frames: int = 6_000) -> list[tuple[int, int]]:
        """Whole utterances, about `frames` at a time, as [first, last) ranges of utterances."""
        ranges, first = [], 0
        for index in range(1, len(self.starts)):
            if self.starts[index] - self.starts[first] >= frames or index == len(self.starts) - 1:
                ranges.append((first, index))
                first = index
        return ranges


@dataclass
class Crops:
    """Batches of crops with masks.

    The stream is cut into blocks of two crops; one block in twenty is held out for validation.
    """

    stream: Stream  # with samples where crops are made noisy or played at other speeds
    targets: Tensor  # [frame, ...], what is predicted of each
    settings: Encoder
    seed: int
    noise: NoiseStore | None = None  # what the noisy crops are disturbed with

    def batch(self, step: int, held_out: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """features [batch, frame, bin], mask bool [batch, frame], targets [batch, frame, ...]."""
        random = np.random.default_rng([self.seed, step, int(held_out)])
        size, count = self.settings.crop_frames, self.settings.batch
        blocks = len(self.stream.features) // (2 * size)
        every = min(HELD_OUT_EVERY, max(2, blocks))
        block = random.integers(0, blocks, count)
        speeds, offsets = np.ones(count), np.zeros(count, dtype=int)
        if held_out:
            block -= block % every
        else:
            block = np.where(block % every == 0, np.minimum(block + 1, blocks - 1), block)
            if self.settings.speeds != (1.0, 1.0):
                speeds = random.uniform(*self.settings.speeds, count)
            # A faster crop is cut from a longer piece, which must not reach into the next block: it may be held out.
            offsets = random.integers(0, np.minimum(size, np.floor(2 * size - size * speeds)).astype(int) + 1)
        starts = block * 2 * size + offsets
        index = torch.from_numpy(starts[:, None] + ((np.arange(size) + 0.5) * speeds[:, None]).astype(int))
        mask = span_mask((count, size), self.settings.mask_start, self.settings.mask_span, random)
        features = self.stream.features[index]
        noisy = np.zeros(count, dtype=bool)
        if self.noise is not None and self.settings.noisy_share > 0:
            noisy = random.random(count) < self.settings.noisy_share
        rows = np.flatnonzero(noisy | (speeds != 1))
        if len(rows):
            waveforms = [self._waveform(starts[row], speeds[row]) for row in rows]
            for position, row in enumerate(rows):
                if noisy[row]:
                    waveforms[position] = self._disturbed(waveforms[position], starts[row - 1], random)
            features[rows] = self._features(np.stack(waveforms))
        return features, mask, self.targets[index]

    def _waveform(self, start: int, speed: float) -> np.ndarray:
        """A crop played `speed` times as fast (and as high), float32 [sample]."""
        size = self.settings.crop_frames
        if speed == 1:
            return self.stream.waveform(start, size)
        samples = SSL_HOP * size + SSL_FIELD - SSL_HOP
        piece = self.stream.waveform(start, int(np.ceil(size * speed)))
        played = audio.resample(piece, round(SAMPLE_RATE * speed), SAMPLE_RATE)[:samples]
        return np.pad(played, (0, samples - len(played)))

    def _features(self, waveforms: np.ndarray) -> Tensor:
        """Waveforms [crop, sample] -> features of the stream's kind, half precision [crop, frame, bin]."""
        lengths = torch.full((len(waveforms),), waveforms.shape[1])
        pairs = mel_pairs(torch.from_numpy(waveforms), lengths, self.stream.mean, self.stream.std)
        return pairs[:, : self.settings.crop_frames].to(self.stream.features.dtype)

    def _disturbed(self, clean: np.ndarray, other: int, random: np.random.Generator) -> np.ndarray:
        """A crop with noise, or with the one that starts at `other` over at most half of it, float32 [sample]."""
        samples = len(clean)
        snr_db = random.uniform(*self.settings.noisy_snrs_db)
        if random.random() < self.settings.mixed_share:
            disturbance = np.zeros_like(clean)
            length = int(random.integers(1, samples // 2 + 1))
            first = int(random.integers(0, samples - length + 1))
            disturbance[first : first + length] = self.stream.waveform(other, self.settings.crop_frames)[:length]
        else:
            disturbance = self.noise.draw(samples, random)[1] if self.noise is not None else np.zeros_like(clean)
        if not (clean.any() and disturbance.any()):
            return clean  # a crop of pure silence has no SNR
        return mix_at_snr(clean, disturbance, snr_db)[0]


def span_mask(shape: tuple[int, int], start: float, span: int, random: np.random.Generator) -> Tensor:
    """Masked spans, bool [batch, frame]: each frame starts a span of `span` frames with probability `start`.

    >>> span_mask((4, 1000), 0.08, 10, np.random.default_rng(0)).float().mean().item() > 0.5
    True
    """
    begins = torch.from_numpy(random.random(shape) < start).float()[:, None]
    covered = functional.max_pool1d(functional.pad(begins, (span - 1, 0)), span, 1)[:, 0] > 0
    covered[:, 0] |= ~covered.any(1)  # no crop without a target
    return covered


def as_integers(waveform: Tensor) -> Tensor:
    """Floats of full scale 1 -> int16, half the memory; what is beyond full scale is clipped."""
    return (waveform.clamp(-1, 1) * _FULL_SCALE).round().short()
