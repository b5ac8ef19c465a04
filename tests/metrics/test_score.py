from __future__ import annotations

import math

from phonemi.metrics.score import ESTIMATE_SILENT, NOT_FINITE, Score


def test_failed_score_is_nan_with_its_reason() -> None:
    score = Score.failed("reference silent")
    assert math.isnan(score.value)
    assert not score.ok
    assert score.reason == "reference silent"


def test_what_is_not_finite_is_not_ok() -> None:
    assert not Score(math.nan).ok
    assert Score.of(math.inf).reason == NOT_FINITE
    assert Score.of(2.0) == Score(2.0)


def test_an_estimate_that_is_at_fault_gets_the_worst_and_no_other_failure_does() -> None:
    assert Score(0.7).or_worst(0.0) == 0.7
    assert Score.failed(ESTIMATE_SILENT).or_worst(-30.0) == -30.0
    assert Score.failed("reference silent").or_worst(-30.0) is None
    assert Score.failed("pesq is not installed").or_worst(1.0) is None
