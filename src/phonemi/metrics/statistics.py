"""Bootstrap intervals and paired permutation tests over utterances or speakers.

Every statistic here is a ratio of sums: a mean is sum(values) / sum(ones), a word error rate sum(errors) / sum(words).
One bootstrap and one permutation test therefore serve all metrics. Utterances of one cluster (usually a speaker) are
summed first.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phonemi.errors import DataError

if TYPE_CHECKING:
    from phonemi.metrics.score import Score

COVERAGE = 0.95
MIN_CLUSTERS = 6
"""With fewer speakers use utterances as units, and draw conclusions about these speakers only: the signs of five can be
flipped in too few ways for p < 0.05 (2 of 2^5), and a bootstrap of so few has hardly any different samples."""
_MAX_DRAWS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two systems on the same utterances.

    Attributes:
        difference: first system minus second; NaN without pairs.
        low, high: ends of the 95 % bootstrap interval; NaN with fewer than two pairs (or clusters).
        p_value: two-sided sign-flip permutation test of "no difference"; NaN without pairs.
        pairs: utterances on which both systems were scored.
    """

    difference: float
    low: float
    high: float
    p_value: float
    pairs: int


def bootstrap_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> tuple[float, float]:
    """95 % percentile interval of sum(numerators) / sum(denominators) over resampled utterances or clusters.

    Args:
        numerators: `[utterance]`.
        denominators: `[utterance]`, not negative; an utterance with zero in both is left out.
        clusters: one label per utterance; an utterance with the label None is a cluster by itself.
        seed: of the resampling.
        resamples: number of bootstrap samples.

    Returns:
        Lower and upper end; both NaN with fewer than two utterances (or clusters).

    Raises:
        DataError: if `clusters` has another length than the values.

    >>> low, high = bootstrap_interval([1.0, 2.0, 3.0], [1, 1, 1])
    >>> 1.0 <= low < 2.0 < high <= 3.0
    True
    """
    sums = _cluster_sums(numerators, denominators, clusters)
    if len(sums) < 2:
        return math.nan, math.nan
    random = np.random.default_rng(seed)
    drawn = [sums[random.integers(len(sums), size=(draws, len(sums)))].sum(1) for draws in _blocks(resamples, sums)]
    numerator, denominator = np.concatenate(drawn).T
    ratios = numerator[denominator > 0] / denominator[denominator > 0]
    if not ratios.size:
        return math.nan, math.nan
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(
    a: Sequence[Score],
    b: Sequence[Score],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> PairedDifference:
    """Mean of a - b over the utterances on which both systems were scored.

    Args:
        a: scores of the first system, one per utterance.
        b: scores of the second system for the same utterances in the same order.
        clusters: one label per utterance, usually its speaker; speakers are then resampled and flipped as a whole.
        seed: of bootstrap and permutations.
        resamples: number of each.

    Raises:
        DataError: if the lengths differ.
    """
    if len(a) != len(b):
        raise DataError(f"paired difference of {len(a)} and {len(b)} scores: give both systems the same utterances")
    pairs = list(zip(a, b, strict=True))
    both_ok = np.array([first.ok and second.ok for first, second in pairs], dtype=bool)
    differences = np.array([first.value - second.value if first.ok and second.ok else 0.0 for first, second in pairs])
    return paired_ratio(differences, both_ok, clusters=clusters, seed=seed, resamples=resamples)


def paired_ratio(
    differences: ArrayLike,
    denominators: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> PairedDifference:
    """sum(differences) / sum(denominators) with its bootstrap interval and sign-flip permutation p-value.

    If there is no difference, the two systems can be exchanged on any utterance (or cluster of utterances), which flips
    the sign of its difference. p = (1 + random flips with a sum at least as far from zero) / (1 + resamples), which is
    never 0.

    Args:
        differences: `[utterance]`, first system minus second.
        denominators: `[utterance]`, zero for an utterance that is left out.
        clusters: one label per utterance, or None.
        seed: of bootstrap and permutations.
        resamples: number of each.

    Raises:
        DataError: if `clusters` has another length than the values.
    """
    low, high = bootstrap_interval(differences, denominators, clusters=clusters, seed=seed, resamples=resamples)
    sums = _cluster_sums(differences, denominators, clusters)
    total, weight = sums.sum(0)
    pairs = int(np.count_nonzero(denominators))
    if not weight > 0:
        return PairedDifference(math.nan, low, high, math.nan, pairs)
    random = np.random.default_rng([seed, 1])
    # The tolerance makes sums that differ only by rounding count as equally far from zero.
    threshold = abs(total) - 1e-12 * np.abs(sums[:, 0]).sum()
    extreme = 0
    for draws in _blocks(resamples, sums):
        signs = random.integers(2, size=(draws, len(sums))) * 2.0 - 1.0
        extreme += int(np.count_nonzero(np.abs(signs @ sums[:, 0]) >= threshold))
    return PairedDifference(float(total / weight), low, high, (1 + extreme) / (1 + resamples), pairs)


def _cluster_sums(
    numerators: ArrayLike, denominators: ArrayLike, clusters: Sequence[Hashable] | None
) -> NDArray[np.float64]:
    """Sums of numerators and denominators, `[cluster, 2]`, without the clusters of utterances that are left out."""
    pairs = np.stack([np.asarray(numerators, float), np.asarray(denominators, float)], axis=-1).reshape(-1, 2)
    if clusters is None:
        return pairs[pairs.any(1)]
    if len(clusters) != len(pairs):
        raise DataError(f"{len(pairs)} values but {len(clusters)} cluster labels: give one per utterance")
    order: dict[Hashable, int] = {}
    rows = [order.setdefault((index,) if label is None else label, len(order)) for index, label in enumerate(clusters)]
    sums = np.zeros((len(order), 2))
    np.add.at(sums, rows, pairs)
    is_used = np.zeros(len(order), dtype=bool)
    is_used[np.asarray(rows, dtype=int)[pairs.any(1)]] = True
    return sums[is_used]


def _blocks(resamples: int, sums: NDArray[np.float64]) -> Iterator[int]:
    """Numbers of resamples to draw at a time, so that memory does not grow with the number of utterances."""
    max_block = max(1, _MAX_DRAWS_AT_ONCE // max(1, len(sums)))
    for start in range(0, resamples, max_block):
        yield min(max_block, resamples - start)
