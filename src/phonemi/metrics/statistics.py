"""Intervals and tests for means and differences: over speakers and, for claims about a method, over its models too.

Every statistic here is a ratio of sums: a mean is sum(values) / sum(ones), a word error rate sum(errors) / sum(words),
the mutual information sum(pointwise information) / sum(frames). One estimate and one test therefore serve all metrics.

Utterances of one speaker are alike, and so are several noisy copies of one utterance: what is summed first, and drawn
at random from the world as a whole, is the speaker, or the utterance where there are too few speakers. Another start of
the training gives another model: what is claimed of a method must hold for further models as well as further speakers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phonemi.errors import DataError
from phonemi.tables import plural

COVERAGE = 0.95
MIN_CLUSTERS = 4
"""With fewer speakers utterances are the units, and what is concluded holds for these speakers only: an interval over
two or three speakers is so wide that it says nothing."""
MIN_MODELS = 3
"""A difference between methods is tested with at least so many models of each: of two, the spread is not known."""
LARGEST_EXPONENT = 50.0  # an interval that goes beyond says nothing


@dataclass(frozen=True)
class Interval:
    """A ratio of sums, and how well it is known.

    Attributes:
        value: the ratio, the mean over models of each one's; NaN if nothing was measured.
        low, high: ends of its 95 % interval; NaN with fewer than two clusters.
        p_value: two-sided, of "it is zero"; NaN where there is no interval, or no spread that it could be tested by.
        models: how many; interval and p-value are over models too from `MIN_MODELS` on, else for these models.
        clusters: how many speakers or utterances.
    """

    value: float
    low: float
    high: float
    p_value: float
    models: int
    clusters: int


def estimate(
    numerators: ArrayLike,
    denominators: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Estimate sum(numerators) / sum(denominators) with a 95 % interval, and test whether it is zero.

    The contribution of cluster s to the ratio r of model m is linearised (the first term of its jackknife),
    z_ms = r_m + S (x_ms - r_m w_ms) / W_m, whose mean over the S clusters is r_m. Of one or two models, Student's t
    over the clusters follows. Of more, models and clusters are both drawn at random and crossed: with the mean squares
    of the two-way table z, the variance of its mean is (MS_models + max(MS_clusters - MS_rest, 0)) / (models clusters),
    with Satterthwaite's degrees of freedom. This is how studies with several readers and cases are analysed (Dorfman,
    Berbaum & Metz 1992; Hillis 2007), with the degrees of freedom of the cases counted too. Of three models that alone
    rejects 9 % of true nulls at 5 % in the worst case, because the degrees of freedom are estimated with the variance.
    So the interval is at least as wide, and the p-value as large, as those of Student's t over the models alone.

    Args:
        numerators: `[model, utterance]`, or `[utterance]` of one model; differences, to compare two systems.
        denominators: of the same shape, not negative. What has neither numerator nor denominator is left out; words
            heard where none were spoken have a numerator alone.
        clusters: one label per utterance, usually its speaker; None makes each utterance a cluster.
        bounds: what the ratio cannot be below and above. Its interval is then that of its logarithm or, with two
            bounds, its logit, and stays within.

    Raises:
        DataError: if there is not one label per utterance.

    >>> interval = estimate([1.0, 2.0, 3.0], [1, 1, 1])
    >>> interval.value, round(interval.low, 2), round(interval.high, 2), round(interval.p_value, 2)
    (2.0, -0.48, 4.48, 0.07)
    """
    sums, weights = (_cluster_sums(values, clusters) for values in (numerators, denominators))
    is_measured = weights.sum(1) > 0
    sums, weights = sums[is_measured], weights[is_measured]
    is_used = (weights != 0).any(0) | (sums != 0).any(0)
    sums, weights = sums[:, is_used], weights[:, is_used]
    models, count = sums.shape
    if not models:
        return Interval(math.nan, math.nan, math.nan, math.nan, 0, 0)
    totals = weights.sum(1, keepdims=True)
    ratios = sums.sum(1, keepdims=True) / totals
    value = float(ratios.mean())
    if count < 2:
        return Interval(value, math.nan, math.nan, math.nan, models, count)
    contributions = ratios + count * (sums - ratios * weights) / totals
    errors = [(math.sqrt(contributions.mean(0).var(ddof=1) / count), float(count - 1))]
    if models >= MIN_MODELS:
        errors = [_crossed_error(contributions), (math.sqrt(ratios.var(ddof=1) / models), float(models - 1))]
    margin = max(_quantile(freedom) * error for error, freedom in errors)
    p_value = max(_p_value(value, error, freedom) for error, freedom in errors)
    low, high = _ends(value, margin, *bounds)
    return Interval(value, low, high, p_value, models, count)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of a family of tests (Holm 1979): below 0.05 each, with probability 0.95 none is wrong.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _crossed_error(table: NDArray[np.float64]) -> tuple[float, float]:
    """Standard error of the mean of a table [model, cluster] whose rows and columns are samples, and its freedom."""
    models, count = table.shape
    by_model, by_cluster = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
    freedoms = models - 1, count - 1, (models - 1) * (count - 1)
    of_models = count * float(by_model.var(ddof=1))
    of_clusters = models * float(by_cluster.var(ddof=1))
    rest = float(((table - by_model - by_cluster + table.mean()) ** 2).sum()) / freedoms[2]
    total = of_models + max(of_clusters - rest, 0.0)
    squares = (square**2 / freedom for square, freedom in zip((of_models, of_clusters, rest), freedoms, strict=True))
    spread = sum(squares)
    # The estimate of the freedom is itself noisy: it is at least that of the smaller sample.
    freedom = max(total**2 / spread, min(freedoms[:2])) if spread > 0 else float(min(freedoms[:2]))
    return math.sqrt(total / (models * count)), freedom


def _quantile(freedom: float) -> float:
    """How many standard errors a 95 % interval goes to either side."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + COVERAGE) / 2))


def _p_value(value: float, error: float, freedom: float) -> float:
    """Two-sided p-value of "it is zero"; NaN for a value without any spread, which nothing can be tested by."""
    from scipy.special import stdtr

    if abs(value) <= 1e-12:  # rounding must not turn no difference into a sure one
        return 1.0
    return 2 * float(stdtr(freedom, -abs(value) / error)) if error > 1e-12 * abs(value) else math.nan


def _ends(value: float, margin: float, lowest: float, highest: float) -> tuple[float, float]:
    """The value less and plus a margin; on a scale without bounds where it has some, by the slope of that scale."""
    if not (math.isfinite(lowest) and lowest < value < highest):
        return value - margin, value + margin
    below, above = value - lowest, highest - value
    factor = math.exp(min(margin * (1 / below + 1 / above), LARGEST_EXPONENT))  # 1 / infinity is 0
    if math.isinf(highest):
        return lowest + below / factor, lowest + below * factor
    odds = below / above
    low, high = (lowest + (highest - lowest) * each / (1 + each) for each in (odds / factor, odds * factor))
    return low, high


def _cluster_sums(values: ArrayLike, clusters: Sequence[Hashable] | None) -> NDArray[np.float64]:
    """Sums over the utterances of each cluster, `[model, cluster]`."""
    table = np.atleast_2d(np.asarray(values, float))
    if clusters is None:
        return table
    if len(clusters) != table.shape[1]:
        raise DataError(
            f"{plural(table.shape[1], 'value')} but {plural(len(clusters), 'cluster label')}: give one each"
        )
    order: dict[Hashable, int] = {}
    columns = [order.setdefault(label, len(order)) for label in clusters]
    sums = np.zeros((len(table), len(order)))
    np.add.at(sums.T, columns, table.T)
    return sums
