"""What two waveforms must be for an intrusive metric to have a number for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phonemi.errors import DataError
from phonemi.metrics.score import ESTIMATE_NOT_FINITE, ESTIMATE_SILENT, Score

Waveform = NDArray[np.float64]


def comparable_pair(estimate: ArrayLike, clean: ArrayLike) -> tuple[Waveform, Waveform] | Score:
    """Both waveforms `[sample]` in float64, or a failed score where one is silent or not finite.

    Raises:
        DataError: if they have other shapes, or other lengths than each other.
    """
    estimate, clean = np.asarray(estimate, dtype=np.float64), np.asarray(clean, dtype=np.float64)
    if estimate.ndim != 1 or estimate.shape != clean.shape:
        raise DataError(
            f"estimate {list(estimate.shape)} and clean {list(clean.shape)} must both be [sample] and equal"
        )
    if not np.isfinite(clean).all():
        return Score.failed("reference not finite")
    if not np.isfinite(estimate).all():
        return Score.failed(ESTIMATE_NOT_FINITE)
    if not clean.any():
        return Score.failed("reference silent")
    if not estimate.any():
        return Score.failed(ESTIMATE_SILENT)
    return estimate, clean
