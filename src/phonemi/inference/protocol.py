"""What an enhancer must offer for files to be enhanced with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np


class Condition(Protocol):
    """What an enhancer noticed about a recording, for instance that it is clipped."""

    def __add__(self, other: Self, /) -> Self:
        """Combine what was noticed about two pieces of the same recording."""

    def texts(self) -> list[str]:
        """One sentence for each thing that a listener should know."""


class EnhancedChunk(NamedTuple):
    """The enhanced version of one chunk.

    Attributes:
        waveform: float32 `[channel, sample]`, of the same shape as the noisy chunk.
        condition: what was noticed about the noisy chunk.
    """

    waveform: np.ndarray
    condition: Condition


class ChunkEnhancer(Protocol):
    """Anything that enhances chunks of recordings, such as `phonemi.Enhancer`."""

    def enhance_chunks(self, chunks: Sequence[np.ndarray], sample_rate: int, **options: Any) -> list[EnhancedChunk]:
        """Enhance several chunks together; the results are those of each chunk alone, to rounding.

        Args:
            chunks: float32 `[channel, sample]` each, full scale 1; they may belong to different recordings.
            sample_rate: of all chunks, in Hz.
            options: settings of the enhancer, such as `mix`.

        Returns:
            One result for each chunk, in the same order.

        Raises:
            PhonemiError: if one of the chunks cannot be enhanced.
        """
