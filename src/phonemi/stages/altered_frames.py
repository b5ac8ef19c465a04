"""Pre-training of Mockingjay and TERA: frames of log-mel are altered, and the encoder finds out what they were.

A crop loses spans of frames (Liu et al. 2020, arXiv:1910.12638) and, in TERA (Liu et al. 2021, arXiv:2007.06028), a
band of frequencies and sometimes its exact magnitudes. What is altered is drawn as in S3PRL's `pretrain/mockingjay`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.config import Round
from phonemi.representations.tera import LAYER_NORM_EPS, Tera, initialise
from phonemi.stages.crops import Crops

SPAN = 7  # frames of 10 ms
SPAN_SHARE = 0.15  # of the frames, less where spans overlap
ZERO_SHARE, EXCHANGE_SHARE = (
    0.8,
    0.1,
)  # shares of the crops whose spans become 0, or other frames; in the rest they stay
NOISE_STD = 0.2  # of bins whose standard deviation is 1


@dataclass
class AlteredCrops:
    """Crops of a stream of standardised log-mel pairs, before and after they are altered."""

    crops: Crops
    mels: int
    round_: Round

    def batch(self, step: int, held_out: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """The altered frames, where they count (bool), and the frames as they were, [batch, frame of 10 ms, bin] each.

        A function of the step alone.
        """
        pairs, _, _ = self.crops.batch(step, held_out)
        frames = pairs.reshape(len(pairs), -1, self.mels)
        random = np.random.default_rng([self.crops.seed, step, int(held_out), 1])
        inputs, marks = frames.float(), torch.zeros(frames.shape, dtype=torch.bool)
        for crop, crop_marks in zip(inputs, marks, strict=True):
            alter(crop, crop_marks, self.round_.frequency_share, self.round_.noise_share, random)
        return inputs, marks, frames


def alter(
    frames: Tensor, marks: Tensor, frequency_share: float, noise_share: float, random: np.random.Generator
) -> None:
    """Alter a crop [frame, bin] in place, and mark in `marks`, bool [frame, bin], what is to be found out.

    Args:
        frames: standardised log-mel frames.
        marks: all False.
        frequency_share: largest share of the bins that is masked together.
        noise_share: probability of noise on all frames, which nothing marks.
        random: what is drawn from.
    """
    count, bins = frames.shape
    spans = round(count * SPAN_SHARE / SPAN)

    def draw() -> Tensor:
        starts = random.permutation(max(count - SPAN, 1))[:spans]
        return torch.from_numpy((starts[:, None] + np.arange(SPAN)).ravel()).clamp_max(count - 1)

    places, fate = draw(), random.random()
    if fate < ZERO_SHARE:
        frames[places] = 0
    elif fate < ZERO_SHARE + EXCHANGE_SHARE:
        frames[places] = frames[draw()]
    marks[places] = True
    width = int(random.integers(0, int(bins * frequency_share) + 1))
    lowest = int(random.integers(0, bins - width + 1))
    frames[:, lowest : lowest + width] = 0
    marks[:, lowest : lowest + width] = True
    if random.random() < noise_share:
        frames += torch.from_numpy(random.normal(0, NOISE_STD, frames.shape)).to(frames)


class Reconstruction(nn.Module):
    """An encoder, and a head that predicts log-mel frames: Linear, GELU, LayerNorm, Linear."""

    def __init__(self, encoder: Tera) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.Linear(encoder.dim, encoder.dim),
            nn.GELU(),
            nn.LayerNorm(encoder.dim, LAYER_NORM_EPS),
            nn.Linear(encoder.dim, encoder.bins),
        )
        self.head.apply(initialise)

    def forward(self, inputs: Tensor, marks: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, frame, bin] each -> mean absolute error where `marks`, and the share of it that was explained.

        That share is 1 for a perfect prediction and 0 for one of the mean, which is 0 in standardised frames.
        """
        predicted = self.head(self.encoder.encode(inputs).states[-1]).float()[marks]
        frames = frames.float()[marks]
        loss = (predicted - frames).abs().mean()
        return loss, 1 - loss / frames.abs().mean().clamp_min(1e-6)
