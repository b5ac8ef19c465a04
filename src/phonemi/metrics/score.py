"""A metric of one utterance, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

NOT_FINITE = "value not finite"
ESTIMATE_SILENT = "estimate silent"
ESTIMATE_NOT_FINITE = "estimate not finite"
ESTIMATE_UNRELATED = "estimate orthogonal to reference"
MAKES_NO_SIGNAL = "it enhances nothing"
NO_INVERTER = "it does not invert"
NOT_APPLICABLE = {MAKES_NO_SIGNAL, NO_INVERTER}  # no failure: the row does something else
FAULTS = (ESTIMATE_SILENT, ESTIMATE_NOT_FINITE, ESTIMATE_UNRELATED)
"""Reasons that are the fault of what was judged: these count as the worst value of a metric."""


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
