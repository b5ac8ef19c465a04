"""Transcripts that are kept: no sound is recognised twice by the same recogniser, and always by another one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi.errors import AudioError, DataError
from phonemi.metrics.words.recogniser import Failure, transcribe_all
from phonemi.metrics.words.transcripts import TranscriptStore


@dataclass
class Counter:
    """Hears the number of samples, and counts how often it was asked."""

    word: str = "samples"
    asked: list[int] = field(default_factory=list)
    name = "counter"

    @property
    def settings(self) -> dict[str, Any]:
        return {"recogniser": "counter", "word": self.word}

    def load(self) -> None:
        pass

    def transcribe(self, waveform: np.ndarray) -> str:
        self.asked.append(len(waveform))
        if not np.isfinite(waveform).all():
            raise AudioError("waveform not finite")
        return f"{len(waveform)} {self.word}"


def ramp(samples: int) -> np.ndarray:
    return np.arange(samples, dtype=np.float32)


def test_what_was_heard_is_not_asked_again(tmp_path: Path) -> None:
    counter = Counter()
    store = TranscriptStore(tmp_path / "RUN" / "transcripts.sqlite", counter.settings)
    assert transcribe_all(counter, [ramp(3), ramp(4)], 1, store=store) == ["3 samples", "4 samples"]
    again = TranscriptStore(store.path, counter.settings)
    texts = transcribe_all(counter, [ramp(5), ramp(4), ramp(3)], 1, store=again)
    assert texts == ["5 samples", "4 samples", "3 samples"]
    assert counter.asked == [3, 4, 5]


def test_another_sound_or_recogniser_is_another_transcript(tmp_path: Path) -> None:
    counter, other = Counter(), Counter("numbers")
    path = tmp_path / "transcripts.sqlite"
    transcribe_all(counter, [ramp(3)], 1, store=TranscriptStore(path, counter.settings))
    assert TranscriptStore(path, counter.settings).find([ramp(3), -ramp(3)]) == ["3 samples", None]
    assert transcribe_all(other, [ramp(3)], 1, store=TranscriptStore(path, other.settings)) == ["3 numbers"]


def test_failures_are_tried_again(tmp_path: Path) -> None:
    counter = Counter()
    store = TranscriptStore(tmp_path / "transcripts.sqlite", counter.settings)
    broken = np.full(2, np.nan, np.float32)
    for _ in range(2):
        assert transcribe_all(counter, [broken, ramp(1)], 1, store=store)[0] == Failure("waveform not finite")
    assert counter.asked == [2, 1, 2]


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "transcripts.sqlite").write_text("this is not a database, however long it is" * 50)
    store = TranscriptStore(tmp_path / "transcripts.sqlite", {})
    with pytest.raises(DataError, match="delete it, and words are recognised again"):
        store.find([ramp(1)])
