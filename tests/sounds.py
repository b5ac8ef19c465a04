"""Waveforms and files that tests of several rooms need: `from sounds import noise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def noise(*shape: int, seed: int = 1) -> Tensor:
    """Normal noise of standard deviation 0.1, the same for the same seed."""
    import torch

    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform_noise(*shape: int) -> np.ndarray:
    """Noise in [-0.5, 0.5], float32, always the same."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def truncate(path: Path, share: float) -> Path:
    """Leave the first `share` of a file's bytes; return its path."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path
