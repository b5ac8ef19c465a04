from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from phonemi.errors import DataError
from phonemi.metrics.words.recogniser import Failure, transcribe_all
from phonemi.metrics.words.word_errors import (
    WordCounts,
    corpus_wer,
    count_words,
    normalise_words,
    paired_wer_difference,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  ... -- '' ", []),
        ("MISTER QUILTER'S manner", ["mister", "quilter's", "manner"]),
        ("twenty-one, thirty–two", ["twenty", "one", "thirty", "two"]),
        ("don’t ‘quote’ me", ["don't", "quote", "me"]),
        ("Café_au  lait\n1,000", ["cafeau", "lait", "1000"]),
    ],
)
def test_normalise_words(text: str, words: list[str]) -> None:
    assert normalise_words(text) == words


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


def test_wer_of_an_empty_reference() -> None:
    assert WordCounts(0, 0, 0, 0).wer == 0.0
    assert WordCounts(0, 0, 0, 2).wer == math.inf


def test_corpus_wer_weighs_words_not_utterances() -> None:
    counts = [WordCounts(9, 0, 1, 0), WordCounts(0, 1, 0, 2), Failure("waveform not finite")]
    row = corpus_wer(counts)
    assert row["wer"] == pytest.approx(4 / 11)
    assert row["wer_insertions"] == pytest.approx(2 / 11)
    assert (row["wer_scored"], row["wer_total"], row["wer_words"]) == (2, 3, 11)
    assert row["wer_reasons"] == {"waveform not finite": 1}
    assert row["wer_low"] <= row["wer"] <= row["wer_high"]


def test_corpus_wer_counts_words_heard_where_nothing_was_said() -> None:
    row = corpus_wer([WordCounts(10, 0, 0, 0), WordCounts(0, 0, 0, 5)])
    assert row["wer"] == row["wer_insertions"] == 0.5


@pytest.mark.parametrize("counts", [[], [Failure("x")], [WordCounts(0, 0, 0, 3)]])
def test_corpus_wer_without_reference_words_is_nan(counts: list[WordCounts | Failure]) -> None:
    assert math.isnan(corpus_wer(counts)["wer"])
    assert math.isnan(corpus_wer(counts)["wer_low"])


def test_corpus_wer_by_speaker_is_wider() -> None:
    counts = [WordCounts(10 - speaker, speaker, 0, 0) for speaker in range(6) for _ in range(20)]
    speakers = [speaker for speaker in range(6) for _ in range(20)]
    by_utterance, by_speaker = corpus_wer(counts), corpus_wer(counts, clusters=speakers)
    assert by_speaker["wer_high"] - by_speaker["wer_low"] > 2 * (by_utterance["wer_high"] - by_utterance["wer_low"])


def test_paired_wer_difference_is_that_of_the_corpus_rates() -> None:
    a = [WordCounts(10 - k % 3, k % 3, 0, 1) for k in range(20)] + [Failure("x")]
    b = [WordCounts(10 - k % 3, k % 3, 0, 0) for k in range(20)] + [WordCounts(1, 0, 0, 0)]
    result = paired_wer_difference(a, b)
    assert result.difference == pytest.approx(corpus_wer(a[:20])["wer"] - corpus_wer(b[:20])["wer"])
    assert result.low == pytest.approx(0.1)
    assert result.pairs == 20
    assert result.p_value < 0.01


def test_paired_wer_difference_needs_the_same_utterances() -> None:
    with pytest.raises(DataError, match="1 and 0 utterances"):
        paired_wer_difference([WordCounts(1, 0, 0, 0)], [])
    with pytest.raises(DataError, match="utterance 0 has 1 and 2 reference words"):
        paired_wer_difference([WordCounts(1, 0, 0, 0)], [WordCounts(2, 0, 0, 0)])


@dataclass
class _Counting:
    """Says how many samples it got; stumbles over empty audio."""

    name: str = "counting"

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def transcribe(self, waveform: np.ndarray) -> str:
        if not len(waveform):
            raise RuntimeError("nothing there")
        return str(len(waveform))


def test_transcribe_all_keeps_order_counts_failures_and_reports_progress() -> None:
    done: list[int] = []
    waveforms = (np.zeros(samples, np.float32) for samples in (3, 0, 2))
    outcomes = transcribe_all(_Counting(), waveforms, processes=1, progress=done.append)
    assert outcomes == ["3", Failure("counting failed: RuntimeError"), "2"]
    assert done == [1, 2, 3]
