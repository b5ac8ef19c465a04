"""Transcripts that are kept: no sound is recognised twice by the same recogniser, and always by another one."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi.errors import AudioError, DataError, PhonemiWarning
from phonemi.metrics.words import transcripts
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
            raise AudioError("estimate not finite")
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
        assert transcribe_all(counter, [broken, ramp(1)], 1, store=store)[0] == Failure("estimate not finite")
    assert counter.asked == [2, 1, 2]


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "transcripts.sqlite").write_text("this is not a database, however long it is" * 50)
    store = TranscriptStore(tmp_path / "transcripts.sqlite", {})
    with pytest.raises(DataError, match="delete it, and words are recognised again"):
        store.find([ramp(1)])


@pytest.fixture
def store(tmp_path: Path) -> TranscriptStore:
    """A store with the transcript of `ramp(1)`."""
    store = TranscriptStore(tmp_path / "transcripts.sqlite", Counter().settings)
    store.add([(ramp(1), "1 samples")])
    return store


def read_only(path: Path, **options: Any) -> sqlite3.Connection:
    return sqlite3.Connection(f"file:{path}?mode=ro", uri=True, **options)


def full(path: Path, **options: Any) -> sqlite3.Connection:
    connection = sqlite3.Connection(path, **options)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    return connection


@pytest.mark.parametrize("connect", [read_only, full])
def test_where_nothing_can_be_kept_it_is_still_read_and_said_once(
    store: TranscriptStore, monkeypatch: pytest.MonkeyPatch, connect: Callable[..., sqlite3.Connection]
) -> None:
    monkeypatch.setattr(sqlite3, "connect", connect)
    counter = Counter("samples" * 1000)  # more than fits on the last page
    long = TranscriptStore(store.path, counter.settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            assert transcribe_all(counter, [ramp(3)], 1, store=long) == [f"3 {counter.word}"]
    (warning,) = caught
    assert warning.category is PhonemiWarning
    assert "transcripts.sqlite cannot be used" in str(warning.message)
    assert store.find([ramp(1)]) == ["1 samples"]
    assert counter.asked == [3, 3]


def test_a_place_where_no_file_can_be_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = TranscriptStore(tmp_path / "file" / "transcripts.sqlite", {})
    with pytest.warns(PhonemiWarning, match="new transcripts are not kept"):
        assert transcribe_all(Counter(), [ramp(3)], 1, store=store) == ["3 samples"]


def test_a_store_that_another_process_uses_is_waited_for(
    store: TranscriptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, "WAIT_S", 0.1)
    with closing(sqlite3.connect(store.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DataError, match=r"another process has kept .*: wait until it is done") as caught:
            store.find([ramp(1)])
        assert "delete" not in str(caught.value)
    assert store.find([ramp(1)]) == ["1 samples"]
