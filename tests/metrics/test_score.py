from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi.errors import DataError
from phonemi.metrics.score import NOT_FINITE, Score, summarise


def test_failed_score_is_nan_with_its_reason() -> None:
    score = Score.failed("reference silent")
    assert math.isnan(score.value)
    assert not score.ok
    assert score.reason == "reference silent"


def test_nan_without_reason_is_not_ok() -> None:
    assert not Score(math.nan).ok
    assert summarise([Score(math.nan), Score(1.0)]).reasons == {NOT_FINITE: 1}


def test_failures_are_counted_and_do_not_move_mean_or_interval() -> None:
    good = [Score(value) for value in (1.0, 2.0, 4.0, 5.0)]
    mixed = [Score.failed("a"), *good[:2], Score.failed("b"), *good[2:], Score.failed("a")]
    alone, among = summarise(good), summarise(mixed)
    assert among.reasons == {"a": 2, "b": 1}
    assert (among.scored, among.total) == (4, 7)
    assert (among.mean, among.low, among.high) == (alone.mean, alone.low, alone.high) == (3.0, alone.low, alone.high)


@pytest.mark.parametrize("scores", [[], [Score.failed("reference silent")] * 3])
def test_nothing_scored_gives_nan(scores: list[Score]) -> None:
    summary = summarise(scores)
    assert math.isnan(summary.mean)
    assert math.isnan(summary.low)
    assert (summary.scored, summary.total) == (0, len(scores))


def test_one_score_has_a_mean_and_no_interval() -> None:
    summary = summarise([Score(2.0)])
    assert summary.mean == 2.0
    assert math.isnan(summary.low)


def test_interval_is_close_to_the_normal_one() -> None:
    values = np.random.default_rng(0).standard_normal(400)
    summary = summarise([Score(float(value)) for value in values])
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert summary.low == pytest.approx(values.mean() - half, abs=0.015)
    assert summary.high == pytest.approx(values.mean() + half, abs=0.015)


def test_same_seed_same_interval() -> None:
    scores = [Score(float(value)) for value in range(20)]
    assert summarise(scores, seed=3) == summarise(scores, seed=3)
    assert summarise(scores, seed=3).low != summarise(scores, seed=4).low


def test_clusters_widen_the_interval_when_speakers_differ() -> None:
    speakers = [speaker for speaker in "abcdef" for _ in range(30)]
    scores = [Score(float("abcdef".index(speaker))) for speaker in speakers]
    by_utterance, by_speaker = summarise(scores), summarise(scores, clusters=speakers)
    assert by_speaker.mean == by_utterance.mean
    assert by_speaker.high - by_speaker.low > 3 * (by_utterance.high - by_utterance.low)


def test_clusters_must_match() -> None:
    with pytest.raises(DataError, match="2 values but 1 cluster"):
        summarise([Score(1.0), Score(2.0)], clusters=["a"])


def test_row_has_units_counts_and_reasons() -> None:
    row = summarise([Score(1.0), Score(3.0), Score.failed("too short")]).as_row("si_sdr_db")
    assert list(row) == [f"si_sdr_db{end}" for end in ("", "_low", "_high", "_scored", "_total", "_reasons")]
    assert row["si_sdr_db"] == 2.0
    assert "stoi_reasons" not in summarise([Score(1.0)]).as_row("stoi")


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_interval_lies_within_the_values(values: list[float]) -> None:
    summary = summarise([Score(value) for value in values], resamples=50)
    assert min(values) - 1e-9 <= summary.low <= summary.high <= max(values) + 1e-9
