from __future__ import annotations

import inspect
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from phonemi.metrics.words.normalisation import normalise_words
from phonemi.metrics.words.recogniser import Failure, transcribe_all
from phonemi.metrics.words.word_errors import WordCounts, count_words, is_loop

LONG = inspect.getdoc(json) + inspect.getdoc(inspect) + inspect.getdoc(math)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("the cat sat", "THE CAT, SAT!", WordCounts(3, 0, 0, 0)),
        ("the cat sat", "the dog sat", WordCounts(2, 1, 0, 0)),
        ("the cat sat", "the sat", WordCounts(2, 0, 1, 0)),
        ("the cat sat", "the big cat sat", WordCounts(3, 0, 0, 1)),
        ("the cat sat", "", WordCounts(0, 0, 3, 0)),
        ("", "thank you", WordCounts(0, 0, 0, 2)),
        ("?", "...", WordCounts(0, 0, 0, 0)),
        ("a b c d", "a x c e f", WordCounts(2, 2, 0, 1)),
    ],
)
def test_count_words_analytic(reference: str, hypothesis: str, expected: WordCounts) -> None:
    pytest.importorskip("jiwer")
    assert count_words(reference, hypothesis) == expected


def test_a_loop_is_found_in_a_long_text_and_length_alone_is_none() -> None:
    words = np.random.default_rng(0).choice(normalise_words(LONG), 3000)
    assert not is_loop(" ".join(words))
    assert is_loop(" ".join(words[:400]) + " of the children" * 40)


def test_wer_of_an_empty_reference() -> None:
    assert WordCounts(0, 0, 0, 0).wer == 0.0
    assert WordCounts(0, 0, 0, 2).wer == math.inf


@dataclass
class _Counting:
    """Says how many samples it got; stumbles over empty audio."""

    name: str = "counting"
    asked: list[int] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def transcribe(self, waveform: np.ndarray) -> str:
        self.asked.append(len(waveform))
        if not len(waveform):
            raise RuntimeError("nothing there")
        return str(len(waveform))


def test_transcribe_all_asks_for_the_same_sound_of_a_batch_once() -> None:
    once = _Counting()
    waveforms = [np.zeros(samples, np.float32) for samples in (4, 3, 3, 2, 1, 2, 2)]  # batches of 1, 2 and 4
    assert transcribe_all(once, waveforms, processes=1) == ["4", "3", "3", "2", "1", "2", "2"]
    assert once.asked == [4, 3, 2, 1]


def test_transcribe_all_begins_with_small_batches() -> None:
    sizes: list[int] = []

    class InBatches(_Counting):
        batch = 16

        def transcribe_batch(self, waveforms: Sequence[np.ndarray]) -> list[str | Failure]:
            sizes.append(len(waveforms))
            return [self.transcribe(waveform) for waveform in waveforms]

    waveforms = (np.full(10 + index, 1, np.float32) for index in range(40))
    assert transcribe_all(InBatches(), waveforms, processes=2) == [str(10 + index) for index in range(40)]
    assert sizes == [2, 4, 8, 16, 10]


def test_transcribe_all_keeps_order_counts_failures_and_reports_progress() -> None:
    done: list[int] = []
    waveforms = (np.zeros(samples, np.float32) for samples in (3, 0, 2))
    outcomes = transcribe_all(_Counting(), waveforms, processes=1, progress=done.append)
    assert outcomes == ["3", Failure("counting failed: RuntimeError"), "2"]
    assert done == [1, 2, 3]
