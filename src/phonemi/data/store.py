"""Recordings -> an AudioStore: float32 `[sample]` each, decoded once and held in memory.

Shared by everything that mixes, on any number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from phonemi import audio
from phonemi.data.manifest import Recording
from phonemi.signal import SAMPLE_RATE


class AudioStore:
    """Recordings kept in memory as 16-bit integers, each scaled to its own peak: 32 kB per second.

    `store[i]` is float32 `[sample]` at 16 kHz; it is decoded once, when first asked for, by whichever thread.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        """Nothing is read yet; see `preload`."""
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

    def preload(self, progress: Callable[[int, int], None] | None = None) -> AudioStore:
        """Decode everything now, in two threads.

        Args:
            progress: called with (recordings done, recordings in all) after each.

        Raises:
            AudioError: for the first recording that cannot be read.
        """
        with ThreadPoolExecutor(max_workers=2) as pool:
            try:
                for done, _ in enumerate(pool.map(self.__getitem__, range(len(self))), start=1):
                    if progress is not None:
                        progress(done, len(self))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Locks cannot travel to worker processes; each process gets its own.
        return {"recordings": self.recordings, "_packed": self._packed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["recordings"])  # type: ignore[misc]
        self._packed = state["_packed"]


def _pack(waveform: np.ndarray) -> tuple[np.ndarray, float]:
    """16-bit integers and the factor that turns them back; the error is at most 1/65534 of the peak."""
    peak = float(np.abs(waveform).max(initial=0.0))
    scale = peak / 32767 if peak > 1e-30 else 1.0  # below that the quotient would leave the range of float32
    return np.round(waveform / scale).astype(np.int16), scale
