from __future__ import annotations

import math

from phonemi.metrics.score import NOT_FINITE, Score


def test_failed_score_is_nan_with_its_reason() -> None:
    score = Score.failed("reference silent")
    assert math.isnan(score.value)
    assert not score.ok
    assert score.reason == "reference silent"


def test_what_is_not_finite_is_not_ok() -> None:
    assert not Score(math.nan).ok
    assert Score.of(math.inf).reason == NOT_FINITE
    assert Score.of(2.0) == Score(2.0)
