"""Recordings as float32 `[sample]` at 16 kHz, each decoded once and then kept in memory, for any number of threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.constants import SAMPLE_RATE
from phonemi.data.manifest import Recording

# The decoder gives exactly as many samples as the header says, or fails. Of other formats it may give fewer.
_EXACT_SUFFIXES = (".wav", ".flac")


class AudioStore:
    """Recordings kept in memory as 16-bit integers, each scaled to its own peak: 32 kB per second.

    `store[i]` is float32 `[sample]` at 16 kHz; it is decoded when it is first asked for, by whichever thread.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.recordings = list(recordings)
        self._packed: list[tuple[np.ndarray, float] | None] = [None] * len(self.recordings)
        self._locks = [threading.Lock() for _ in self.recordings]

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> np.ndarray:
        with self._locks[index]:
            packed = self._packed[index]
            if packed is None:
                packed = self._packed[index] = _pack(audio.load(self.recordings[index].path, SAMPLE_RATE))
        integers, scale = packed
        return integers * np.float32(scale)

    def samples(self, index: int) -> int:
        """Length of `store[index]`; decodes it only where the manifest does not tell the length exactly."""
        recording, packed = self.recordings[index], self._packed[index]
        if packed is not None:
            return len(packed[0])
        samples = exact_samples(recording.path, recording.samples, recording.sample_rate)
        return len(self[index]) if samples is None else samples


def exact_samples(path: str, samples: int, sample_rate: int) -> int | None:
    """Samples that `audio.load` gives at 16 kHz, from what the header says; None where only decoding tells.

    >>> exact_samples("a.wav", 48_000, 48_000), exact_samples("a.mp3", 48_000, 48_000)
    (16000, None)
    """
    if Path(path).suffix.lower() not in _EXACT_SUFFIXES:
        return None
    return samples if sample_rate == SAMPLE_RATE else round(samples * SAMPLE_RATE / sample_rate)  # as `audio.resample`


def _pack(waveform: np.ndarray) -> tuple[np.ndarray, float]:
    """16-bit integers and the factor that restores the waveform, with an error of at most 1/65534 of the peak."""
    peak = float(np.abs(waveform).max(initial=0.0))
    scale = peak / 32767 if peak > 1e-30 else 1.0  # below that the quotient would leave the range of float32
    return np.round(waveform / scale).astype(np.int16), scale
