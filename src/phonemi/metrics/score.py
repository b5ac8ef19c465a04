"""A metric of one utterance, or the reason why there is none; its mean and interval over utterances."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from phonemi.metrics.statistics import bootstrap_interval

NOT_FINITE = "value not finite"
ESTIMATE_SILENT = "estimate silent"
ESTIMATE_NOT_FINITE = "estimate not finite"


@dataclass(frozen=True)
class Score:
    """One metric of one utterance.

    >>> Score(1.5).ok, Score.failed("reference silent").ok
    (True, False)
    """

    value: float  # NaN if it could not be computed
    reason: str | None = None  # why it could not be computed

    @classmethod
    def failed(cls, reason: str) -> Score:
        """A score that could not be computed. Reasons should be few and fixed: tables count them."""
        return cls(math.nan, reason)

    @classmethod
    def of(cls, value: float) -> Score:
        """A score of this number; failed if it is not finite."""
        return cls(value) if math.isfinite(value) else cls.failed(NOT_FINITE)

    @property
    def ok(self) -> bool:
        """Whether there is a finite number."""
        return self.reason is None and math.isfinite(self.value)


@dataclass(frozen=True)
class Summary:
    """One metric over a set of utterances."""

    mean: float  # over the scored utterances; NaN when none was scored
    low: float  # ends of the 95 % bootstrap interval; NaN with fewer than two scored utterances (or clusters)
    high: float
    scored: int  # number of utterances with a score
    total: int
    reasons: dict[str, int] = field(default_factory=dict)  # how many utterances failed for which reason

    def as_row(self, key: str) -> dict[str, float | int | dict[str, int]]:
        """The cells of a results table.

        >>> Summary(0.9, 0.8, 1.0, 3, 4, {"reference silent": 1}).as_row("stoi")["stoi_reasons"]
        {'reference silent': 1}
        """
        cells = asdict(self)
        row = {key: cells.pop("mean")} | {f"{key}_{name}": value for name, value in cells.items()}
        if not self.reasons:
            del row[f"{key}_reasons"]
        return row


def summarise(
    scores: Sequence[Score], *, clusters: Sequence[Hashable] | None = None, seed: int = 0, resamples: int = 2000
) -> Summary:
    """Mean over the utterances that were scored, with a 95 % percentile bootstrap interval.

    A failed score does not enter the mean and does not disappear: it counts in `total` and in `reasons`, not in
    `scored`.

    Args:
        scores: one per utterance.
        clusters: one label per utterance, usually its speaker. Whole clusters are then resampled: utterances of one
            speaker are alike, so an interval over utterances would be too narrow. None resamples utterances.
        seed, resamples: of the bootstrap.

    Raises:
        DataError: if `clusters` has another length than `scores`.

    >>> summary = summarise([Score(1.0), Score(3.0), Score.failed("reference silent")])
    >>> summary.mean, summary.scored, summary.total, summary.reasons
    (2.0, 2, 3, {'reference silent': 1})
    """
    ok = np.array([score.ok for score in scores], dtype=bool)
    values = np.array([score.value if score.ok else 0.0 for score in scores])
    # A failed score weighs nothing: numerator and denominator are both zero.
    low, high = bootstrap_interval(values, ok, clusters=clusters, seed=seed, resamples=resamples)
    scored = int(ok.sum())
    reasons = Counter(score.reason or NOT_FINITE for score in scores if not score.ok)
    mean = float(values.sum() / scored) if scored else math.nan
    return Summary(mean, low, high, scored, len(scores), dict(reasons.most_common()))
