from __future__ import annotations

import math

import numpy as np
import pytest

from phonemi.errors import DataError
from phonemi.metrics import statistics
from phonemi.metrics.score import Score
from phonemi.metrics.statistics import bootstrap_interval, paired_difference, paired_ratio


def _scores(values: np.ndarray) -> list[Score]:
    return [Score(float(value)) for value in values]


def test_constant_shift_is_found_whatever_the_spread() -> None:
    b = np.random.default_rng(0).normal(0.0, 10.0, 30)
    result = paired_difference(_scores(b + 0.5), _scores(b))
    assert result.difference == pytest.approx(0.5)
    assert result.low == pytest.approx(0.5)
    assert result.high == pytest.approx(0.5)
    assert result.p_value == pytest.approx(1 / 2001)
    assert result.pairs == 30


def test_equal_systems_have_p_one() -> None:
    scores = _scores(np.arange(10.0))
    result = paired_difference(scores, scores)
    assert (result.difference, result.p_value) == (0.0, 1.0)


def test_p_value_is_that_of_all_sign_flips() -> None:
    # Of the 16 sign patterns of (1, 1, 1, 1), two are as far from zero.
    result = paired_ratio([1, 1, 1, 1], [1, 1, 1, 1], resamples=20_000)
    assert result.p_value == pytest.approx(2 / 16, abs=0.01)


def test_p_values_are_uniform_without_a_difference() -> None:
    random = np.random.default_rng(0)
    values = [paired_ratio(random.standard_normal(20), np.ones(20), resamples=200).p_value for _ in range(300)]
    assert np.mean(np.array(values) < 0.1) == pytest.approx(0.1, abs=0.05)


def test_only_pairs_scored_by_both_take_part() -> None:
    a = [Score(1.0), Score.failed("x"), Score(3.0), Score(10.0)]
    b = [Score(0.0), Score(5.0), Score(1.0), Score.failed("y")]
    result = paired_difference(a, b)
    assert (result.difference, result.pairs) == (1.5, 2)


def test_no_pairs_give_nan() -> None:
    result = paired_difference([Score.failed("x")], [Score(1.0)])
    assert math.isnan(result.difference)
    assert math.isnan(result.p_value)
    assert result.pairs == 0


def test_clusters_are_flipped_as_a_whole() -> None:
    # Twenty utterances of two speakers are two independent differences: p cannot go below 2 / 4.
    speakers = ["a"] * 10 + ["b"] * 10
    result = paired_ratio(np.ones(20), np.ones(20), clusters=speakers)
    assert result.p_value == pytest.approx(0.5, abs=0.05)
    assert result.pairs == 20


def test_unlabelled_utterances_are_clusters_of_their_own() -> None:
    values = np.arange(8.0)
    assert bootstrap_interval(values, np.ones(8), clusters=[None] * 8) == bootstrap_interval(values, np.ones(8))


def test_zero_difference_still_takes_part() -> None:
    assert paired_ratio([0.0, 2.0], [1, 1]).difference == 1.0


def test_ratio_interval_covers_the_ratio_of_sums() -> None:
    errors, words = [1, 0, 5, 2, 3], [10, 2, 20, 8, 30]
    low, high = bootstrap_interval(errors, words)
    assert low < sum(errors) / sum(words) < high


def test_interval_does_not_depend_on_how_many_draws_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).standard_normal(10)
    whole = bootstrap_interval(values, np.ones(10), resamples=500)
    monkeypatch.setattr(statistics, "_MAX_DRAWS_AT_ONCE", 70)
    assert bootstrap_interval(values, np.ones(10), resamples=500) == whole


def test_coverage_of_the_cluster_bootstrap() -> None:
    """Speakers with a common offset: about 95 % of intervals hold the truth, which those over utterances miss."""
    random = np.random.default_rng(1)
    speakers = np.repeat(np.arange(25), 8)
    hits = {"speaker": 0, "utterance": 0}
    for seed in range(100):
        values = random.standard_normal(25)[speakers] + 0.3 * random.standard_normal(200)
        for kind, clusters in (("speaker", list(speakers)), ("utterance", None)):
            low, high = bootstrap_interval(values, np.ones(200), clusters=clusters, seed=seed, resamples=200)
            hits[kind] += low <= 0 <= high
    assert hits["speaker"] >= 85
    assert hits["utterance"] <= 70


def test_lengths_must_match() -> None:
    with pytest.raises(DataError, match="1 and 2 scores"):
        paired_difference([Score(1.0)], [Score(1.0), Score(2.0)])
    with pytest.raises(DataError, match="cluster"):
        paired_ratio([1.0], [1.0], clusters=["a", "b"])
