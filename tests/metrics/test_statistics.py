"""Intervals and tests: analytic cases, and what they promise, tried on simulated experiments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from phonemi.errors import DataError
from phonemi.metrics.statistics import estimate, holm

EXPERIMENTS = 1500


def test_of_one_model_it_is_students_t() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 12)
    interval = estimate(values, np.ones(12))
    expected = stats.ttest_1samp(values, 0)
    assert interval.p_value == pytest.approx(expected.pvalue)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert (interval.models, interval.clusters) == (1, 12)


def test_without_differences_between_speakers_it_is_students_t_over_models() -> None:
    by_model = np.array([0.1, 0.5, 0.3, 0.2])
    interval = estimate(np.tile(by_model[:, None], 20), np.ones((4, 20)))
    expected = stats.ttest_1samp(by_model, 0)
    assert interval.p_value == pytest.approx(expected.pvalue)
    assert interval.value == pytest.approx(0.275)


def test_without_differences_between_models_it_is_students_t_over_speakers() -> None:
    by_speaker = np.array([0.1, 0.5, 0.3, 0.2, -0.4])
    interval = estimate(np.tile(by_speaker, (6, 1)), np.ones((6, 5)))
    assert interval.p_value == pytest.approx(stats.ttest_1samp(by_speaker, 0).pvalue)


def test_a_ratio_weighs_words_and_its_error_is_that_of_the_jackknife() -> None:
    random = np.random.default_rng(1)
    words = random.integers(5, 30, 200)
    errors = random.binomial(words, 0.2)
    interval = estimate(errors, words)
    assert interval.value == errors.sum() / words.sum()
    without = [(errors.sum() - e) / (words.sum() - w) for e, w in zip(errors, words, strict=True)]
    error = math.sqrt(199 / 200 * np.sum((np.array(without) - np.mean(without)) ** 2))
    assert (interval.high - interval.low) / 2 == pytest.approx(stats.t.ppf(0.975, 199) * error, rel=0.01)


def test_noisy_copies_of_an_utterance_are_one_observation() -> None:
    values = [0.1, 0.7, 0.4, 0.2]
    once = estimate(values, np.ones(4))
    copies = estimate(np.repeat(values, 6), np.ones(24), np.repeat(list("abcd"), 6).tolist())
    assert vars(copies) == pytest.approx(vars(once))


def test_what_weighs_nothing_is_left_out() -> None:
    assert vars(estimate([1.0, 3.0, 0.0], [1, 1, 0])) == vars(estimate([1.0, 3.0], [1, 1]))
    without = estimate([[1.0, 3.0, 2.5], [0.0] * 3], [[1, 1, 1], [0] * 3])
    assert vars(without) == vars(estimate([1.0, 3.0, 2.5], [1, 1, 1]))


def test_with_too_little_there_is_no_interval() -> None:
    nothing = estimate([], [])
    assert math.isnan(nothing.value)
    one = estimate([0.5, 0.7], [1, 1], ["a", "a"])
    assert one.value == 0.6
    assert math.isnan(one.low)
    assert math.isnan(one.p_value)
    with pytest.raises(DataError, match="2 values but 3 cluster labels"):
        estimate([1, 2], [1, 1], ["a", "b", "c"])


def test_no_difference_at_all_is_not_significant() -> None:
    assert estimate(np.zeros((3, 5)), np.ones((3, 5))).p_value == 1.0


def test_what_has_no_spread_cannot_be_tested() -> None:
    assert math.isnan(estimate(np.full(5, 0.25), np.ones(5)).p_value)
    assert math.isnan(estimate([0.1, math.nan, 0.3], np.ones(3)).p_value)


@pytest.mark.parametrize(
    ("values", "bounds"), [([0.99, 0.98, 0.95, 0.999], (0, 1)), ([0, 0, 0.01, 0.9], (0, math.inf))]
)
def test_an_interval_stays_where_values_can_be(values: list[float], bounds: tuple[float, float]) -> None:
    free, bounded = estimate(values, np.ones(4)), estimate(values, np.ones(4), bounds=bounds)
    assert not (bounds[0] <= free.low and free.high <= bounds[1]), "a case that needs it"
    assert bounds[0] < bounded.low < bounded.value < bounded.high < bounds[1]
    assert bounded.p_value == free.p_value
    tight = estimate(np.array([0.5, 0.501, 0.499, 0.5]), np.ones(4), bounds=bounds)
    assert (tight.low, tight.high) == pytest.approx((0.4987, 0.5013), abs=1e-4), "far from the bounds it is the same"


def test_holm_is_that_of_the_textbook() -> None:
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def simulate(
    models: int, speakers: int, of_models: float, of_speakers: float, rest: float, skewed: bool = False
) -> NDArray[np.float64]:
    """Differences of two methods that do not differ, [experiment, model, speaker]."""
    random = np.random.default_rng([models, speakers, int(skewed)])

    def draw(deviation: float, *shape: int) -> NDArray[np.float64]:
        values = random.exponential(1, shape) - 1 if skewed else random.normal(size=shape)
        return deviation * values

    return (
        draw(of_models, EXPERIMENTS, models, 1)
        + draw(of_speakers, EXPERIMENTS, 1, speakers)
        + draw(rest, EXPERIMENTS, models, speakers)
    )


@pytest.mark.slow
@pytest.mark.parametrize("deviations", [(1, 0, 3), (1, 1, 3), (1, 3, 0.5), (0.3, 3, 3), (0, 0, 3), (0.4, 1, 1)])
@pytest.mark.parametrize("speakers", [4, 10, 42, 200])
@pytest.mark.parametrize("models", [3, 5, 10])
def test_true_nulls_are_seldom_rejected_and_intervals_hold_the_truth(
    models: int, speakers: int, deviations: tuple[float, float, float]
) -> None:
    """At most 7 % false positives at 5 %, and at least 93 % coverage, whatever differs: starts, speakers or both."""
    rejected = covered = 0
    for differences in simulate(models, speakers, *deviations):
        interval = estimate(differences, np.ones_like(differences))
        rejected += interval.p_value < 0.05
        covered += interval.low <= 0.0 <= interval.high
    assert rejected <= 0.07 * EXPERIMENTS
    assert covered >= 0.93 * EXPERIMENTS


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [4, 10, 42])
def test_intervals_of_one_model_hold_its_own_mean(speakers: int) -> None:
    """The mean of a model over all speakers, of scores with a long tail too."""
    for skewed, share in ((False, 0.93), (True, 0.85)):
        differences = simulate(1, speakers, 0, 1, 1, skewed)
        intervals = [estimate(of_one, np.ones_like(of_one)) for of_one in differences]
        assert np.mean([interval.low <= 0 <= interval.high for interval in intervals]) >= share


@pytest.mark.slow
@pytest.mark.parametrize(("speakers", "share"), [(4, 0.89), (6, 0.89), (10, 0.89), (42, 0.92)])
def test_intervals_of_word_error_rates_hold_the_truth(speakers: int, share: float) -> None:
    """Some speakers are far harder than others, and read more words: the fewer, the more often the interval is off."""
    random = np.random.default_rng(speakers)
    covered = 0
    for _ in range(EXPERIMENTS):
        rates = random.gamma(1.5, 0.2 / 1.5, speakers)
        words = random.integers(20, 250, speakers)
        interval = estimate(random.poisson(rates * words), words, bounds=(0, math.inf))
        covered += interval.low <= 0.2 <= interval.high
    assert covered >= share * EXPERIMENTS


def test_a_difference_that_is_there_is_found() -> None:
    differences = 1.0 + simulate(5, 42, 0.3, 0.3, 3)[:200]
    p_values = [estimate(of_one, np.ones_like(of_one)).p_value for of_one in differences]
    assert np.mean(np.array(p_values) < 0.05) > 0.8
