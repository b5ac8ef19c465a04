"""Made-up recordings and the smallest enhancers, for the tests of folders and long files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonemi import audio
from phonemi.aggregations import WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.inference.chunks import EnhancedChunk
from phonemi.inference.condition import Condition
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig


def make_sound(samples: int, channels: int = 1, sample_rate: int = 16_000) -> np.ndarray:
    """A tone with overtones whose level changes, and a little noise: [channel, sample]."""
    times_s = np.arange(samples) / sample_rate
    tone = sum(np.sin(2 * np.pi * f * times_s) / 8 for f in (220, 660, 1500)) * (1 + np.sin(7 * times_s)) / 2
    noise = np.random.default_rng(0).normal(0, 0.02, (channels, samples))
    return (tone + noise).astype(np.float32)


@pytest.fixture(scope="session")
def sound() -> Callable[..., np.ndarray]:
    return make_sound


@pytest.fixture(scope="session")
def written() -> Callable[..., Path]:
    """Writes `sound` to a file and gives its path back."""

    def write(
        path: Path, samples: int = 3000, channels: int = 1, sample_rate: int = 16_000, subtype: str | None = None
    ) -> Path:
        audio.save(path, make_sound(samples, channels, sample_rate), sample_rate, subtype=subtype)
        return path

    return write


class Recorder:
    """Gives back what it gets, and remembers how much that was: the lengths of each batch."""

    name = "recorder"

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    @property
    def samples(self) -> list[int]:
        return [samples for batch in self.batches for samples in batch]

    def origin(self, **options: Any) -> dict[str, Any]:
        return options

    def enhance_chunks(self, chunks: Sequence[np.ndarray], sample_rate: int, **_: Any) -> list[EnhancedChunk]:
        self.batches.append([chunk.shape[-1] for chunk in chunks])
        return [EnhancedChunk(chunk.copy(), Condition()) for chunk in chunks]


@pytest.fixture(scope="session")
def new_recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


class OwnFrameOnly(MaskEnhancer):
    """A mask that differs from bin to bin and frame to frame, but ignores every other frame."""

    def forward(self, log1p: torch.Tensor, features: Any, lengths: Any = None) -> torch.Tensor:
        return torch.sigmoid(8 * (log1p - 0.8))


@pytest.fixture(scope="session")
def frame_enhancer() -> Enhancer:
    """What it does to a frame depends on no other frame."""
    return Enhancer(None, None, OwnFrameOnly(0, True, hidden=1, layers=1))


@pytest.fixture(scope="session")
def identity() -> Enhancer:
    """Keeps everything."""
    model = MaskEnhancer(0, True, hidden=1, layers=1)
    model.output.bias.data += 1000
    return Enhancer(None, None, model)


@pytest.fixture(scope="session")
def encoder_enhancer() -> Enhancer:
    """Attention and a BLSTM with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = MelTransformerConfig(mels=20, dim=16, blocks=1, heads=2, feedforward=8, position_kernel=3)
        mask_enhancer = MaskEnhancer(16, True, hidden=4, layers=1, level_db=-20.0)
        for parameter in mask_enhancer.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return Enhancer(MelTransformer(config).requires_grad_(False), WeightedSum(2), mask_enhancer)
