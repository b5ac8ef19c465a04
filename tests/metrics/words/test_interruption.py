"""Ctrl-C while words are recognised: what is being transcribed is finished, and nothing behind it begun."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker_functions import SlowRecogniser

from phonemi.metrics.words.faster_whisper import FasterWhisperBackend
from phonemi.metrics.words.recogniser import Waveform, transcribe_all
from phonemi.metrics.words.whisper import WhisperRecogniser

LONGEST_S = 3.0  # for one decode of half a second on a busy machine; a batch takes at least 8 s


@contextmanager
def ctrl_c_ends_it_soon(has_begun: Callable[[], bool]) -> Iterator[None]:
    pressed_at: list[float] = []

    def press() -> None:
        while not has_begun():
            time.sleep(0.01)
        pressed_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    took_s = time.monotonic() - pressed_at[0]
    thread.join()
    assert took_s < LONGEST_S


def waveforms() -> Iterator[Waveform]:
    return (np.full(100, index, np.float32) for index in range(100))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_while_waveforms_are_transcribed(processes: int, tmp_path: Path) -> None:
    with ctrl_c_ends_it_soon((tmp_path / "started").exists):
        transcribe_all(SlowRecogniser(tmp_path), waveforms(), processes)


@pytest.mark.slow
def test_while_a_whisper_transcribes_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(FasterWhisperBackend):
        """A backend without a model, with the threads of one."""

        def __init__(self, *_: Any) -> None:
            self.threads, self.batch = 2, 32

        def _transcribe_one(self, piece: Waveform) -> str:
            return SlowRecogniser(tmp_path).transcribe(piece)

    monkeypatch.setattr("phonemi.metrics.words.whisper.FasterWhisperBackend", Slow)
    with ctrl_c_ends_it_soon((tmp_path / "started").exists):
        whisper = WhisperRecogniser("tiny.en", backend="faster-whisper")
        transcribe_all(whisper, (1 + w for w in waveforms()), processes=32)  # so that the first batch is whole


@pytest.mark.slow
def test_while_they_are_made(tmp_path: Path) -> None:
    made: list[int] = []

    def slowly() -> Iterator[Waveform]:
        for index, waveform in enumerate(waveforms()):
            made.append(index)
            time.sleep(0.5)
            yield waveform

    with ctrl_c_ends_it_soon(lambda: bool(made)):
        transcribe_all(SlowRecogniser(tmp_path), slowly(), 1)
    assert len(made) < 10


def test_what_goes_wrong_with_a_waveform_ends_it(tmp_path: Path) -> None:
    def failing() -> Iterator[Waveform]:
        yield np.zeros(1, np.float32)
        raise ValueError("the file is gone")

    with pytest.raises(ValueError, match="the file is gone"):
        transcribe_all(SlowRecogniser(tmp_path), failing(), 1)
