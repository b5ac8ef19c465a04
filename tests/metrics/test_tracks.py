"""Correlation and error of tracks, on paper and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from phonemi.errors import DataError
from phonemi.metrics.tracks import CONSTANT, UNKNOWN, correlation, rmse


def test_they_are_those_of_scipy_over_what_is_known() -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((50, 3)).astype(np.float32)
    estimate = (target + rng.standard_normal((50, 3))).astype(np.float32)
    target[rng.random((50, 3)) < 0.2] = np.nan
    for variable, (ppmc, error) in enumerate(zip(correlation(estimate, target), rmse(estimate, target), strict=True)):
        known = np.isfinite(target[:, variable])
        ours, theirs = estimate[known, variable].astype(float), target[known, variable].astype(float)
        assert ppmc.value == pytest.approx(pearsonr(ours, theirs).statistic, abs=1e-6)
        assert error.value == pytest.approx(np.sqrt(np.mean((ours - theirs) ** 2)), abs=1e-6)


@given(scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_scale_and_shift_do_not_matter_to_the_correlation(scale: float, shift: float) -> None:
    target = np.random.default_rng(1).standard_normal((30, 1)).astype(np.float32)
    assert correlation(scale * target + shift, target)[0].value == pytest.approx(1, abs=1e-5)
    assert correlation(-scale * target + shift, target)[0].value == pytest.approx(-1, abs=1e-5)


def test_what_does_not_move_or_is_not_known_has_a_reason() -> None:
    target = np.stack([np.ones(10), np.arange(10), np.full(10, np.nan)], axis=1).astype(np.float32)
    estimate = np.tile(np.arange(10, dtype=np.float32)[:, None], 3)
    assert [score.reason for score in correlation(estimate, target)] == [CONSTANT, None, UNKNOWN]
    assert [score.reason for score in rmse(estimate, target)] == [None, None, UNKNOWN]
    assert [score.reason for score in correlation(0 * estimate, target)][1] == CONSTANT
    assert correlation(estimate[:2], target[:2])[1].reason == UNKNOWN, "two points are always on a line"
    with pytest.raises(DataError, match="must both be"):
        correlation(estimate, target[:5])
