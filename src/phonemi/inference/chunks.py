"""Cutting a long recording into overlapping chunks, enhancing them, and joining them again without a seam."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np

from phonemi.inference.condition import Condition

CHUNK_S = 30.0
# A longer overlap buys nothing. With the shipped enhancer and 80 s of LibriSpeech in white noise at -5 dB, chunks of
# 27 s differ from the recording enhanced as a whole by -32 to -33 dB, because attention, LSTM and level
# normalisation see less of it, and by -29 to -31 dB around the seams, with overlaps of 0.5, 1, 2 and 4 s alike. The
# SI-SDR is that of the whole.
OVERLAP_S = 1.0
FRAMES_PER_S = 50  # of the speech encoders


class EnhancedChunk(NamedTuple):
    """The enhanced version of a chunk, float32 and of its shape, and what was noticed about the noisy one."""

    waveform: np.ndarray
    condition: Condition


class ChunkEnhancer(Protocol):
    """Anything that enhances chunks of recordings, such as `phonemi.Enhancer`."""

    def origin(self, **options: Any) -> dict[str, Any]:
        """What decides the results, JSON-able: the model, and the options with their defaults.

        Raises:
            PhonemiError: for options that cannot be.
        """

    def enhance_chunks(self, chunks: Sequence[np.ndarray], sample_rate: int, **options: Any) -> list[EnhancedChunk]:
        """Enhance several chunks together; the results are those of each chunk alone, to rounding.

        Args:
            chunks: float32 `[channel, sample]` each, full scale 1; they may belong to different recordings.
            sample_rate: of all chunks, in Hz.
            options: settings of the enhancer, such as `mix`.

        Raises:
            PhonemiError: if one of the chunks cannot be enhanced.
        """


class Chunk(NamedTuple):
    """A piece of a recording."""

    noisy: np.ndarray  # float32 [channel, sample] at the rate of the recording
    new_samples: int  # how many of its samples no earlier chunk contains
    is_last: bool


def plan_cut(samples: int, sample_rate: int, chunk_s: float, overlap_s: float) -> tuple[list[int], int]:
    """Cut a recording into chunks of nearly equal length, so that the last one does not lack context.

    All chunks begin on the 20 ms grid of the encoder's frames; so their frames are those of the whole recording.

    Returns:
        The samples of each chunk that no earlier one contains, and the overlap: how many of its first samples a chunk
        shares with the chunk before it, where that has so many.

    >>> plan_cut(42, sample_rate=150, chunk_s=0.08, overlap_s=0.0)
    ([12, 9, 12, 9], 0)
    """
    frame = max(1, sample_rate // FRAMES_PER_S)
    overlap = round(overlap_s * sample_rate / frame) * frame
    if chunk_s == math.inf:
        return [samples], overlap
    longest_step = max(1, round(chunk_s * sample_rate - overlap) // frame) * frame
    chunks = math.ceil(samples / longest_step)
    ends = [math.ceil(index * samples / (chunks * frame)) * frame for index in range(1, chunks)] + [samples]
    return [end - start for start, end in pairwise([0, *ends])], overlap


def overlapping(blocks: Iterator[np.ndarray], overlap: int) -> Iterator[Chunk]:
    """Put the last `overlap` samples of what came before in front of each of consecutive blocks `[channel, sample]`.

    >>> [(chunk.noisy.tolist(), chunk.is_last) for chunk in overlapping(iter([np.eye(1), np.ones((1, 2))]), 1)]
    [([[1.0]], False), ([[1.0, 1.0, 1.0]], True)]
    """
    block = next(blocks, None)
    noisy = block
    while block is not None and noisy is not None:
        following = next(blocks, None)
        yield Chunk(noisy, block.shape[1], following is None)
        if following is not None:
            noisy = np.concatenate([noisy[:, max(0, noisy.shape[1] - overlap) :], following], axis=1)
        block = following


class OverlapAdd:
    """Joins enhanced chunks by cross-fading where they overlap, by `overlap` samples.

    Of an overlap, the first quarter is taken from the earlier chunk and the last quarter from the later one, because
    a network knows little context at the border of a chunk; in the half between, one fades into the other linearly.
    """

    def __init__(self, overlap: int) -> None:
        self._overlap = overlap
        self._tail: np.ndarray | None = None  # end of the last chunk, to be faded into the next one

    def add(self, chunk: np.ndarray, is_last: bool) -> np.ndarray:
        """Add the next enhanced chunk `[channel, sample]`, which is overwritten; return the samples that are final."""
        if self._tail is not None:
            shared = self._tail.shape[1]
            fade = np.linspace(-0.5, 1.5, shared, dtype=np.float32).clip(0, 1)
            chunk[:, :shared] = self._tail * (1 - fade) + chunk[:, :shared] * fade
        final = chunk.shape[1] if is_last else max(0, chunk.shape[1] - self._overlap)
        self._tail = chunk[:, final:].copy()
        return chunk[:, :final]


def enhance_in_chunks(
    enhancer: ChunkEnhancer,
    noisy: np.ndarray,
    sample_rate: int,
    chunk_s: float = CHUNK_S,
    overlap_s: float = OVERLAP_S,
    **options: Any,
) -> EnhancedChunk:
    """Enhance a recording that is in memory, float32 [channel, sample], as a file of it would be enhanced."""
    blocks, overlap = plan_cut(noisy.shape[1], sample_rate, chunk_s, overlap_s)
    pieces = iter(np.split(noisy, np.cumsum(blocks)[:-1], axis=1))
    overlap_add, condition = OverlapAdd(overlap), Condition()
    waveform, start = np.empty_like(noisy), 0
    for chunk in overlapping(pieces, overlap):
        [enhanced] = enhancer.enhance_chunks([chunk.noisy], sample_rate, **options)
        final = overlap_add.add(enhanced.waveform, chunk.is_last)
        waveform[:, start : start + final.shape[1]] = final
        start += final.shape[1]
        condition += enhanced.condition
    return EnhancedChunk(waveform, condition)
