"""How well tracks are recovered: Pearson's correlation (PPMC) and root mean square error, of each variable."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phonemi.errors import DataError
from phonemi.metrics.score import Score

MIN_FRAMES = 3  # known in both; two points are always on a line
CONSTANT = "does not move"
UNKNOWN = "not known"


def correlation(estimate: NDArray[np.float32], target: NDArray[np.float32]) -> list[Score]:
    """Pearson's product-moment correlation of each variable, -1 to 1, over the frames that are known in both.

    The published scores average over the utterances first, then over the variables.

    Args:
        estimate, target: [frame, variable], NaN where unknown.

    Returns:
        A score for each variable; it fails where a track does not move or is not known, and has no number then.

    Raises:
        DataError: if the shapes differ.
    """
    scores = []
    for ours, theirs in _known(estimate, target):
        if len(ours) < MIN_FRAMES:
            scores.append(Score.failed(UNKNOWN))
            continue
        ours, theirs = ours - ours.mean(), theirs - theirs.mean()
        length = np.sqrt((ours**2).sum() * (theirs**2).sum())
        scores.append(Score.of(float(ours @ theirs / length)) if length > 1e-12 else Score.failed(CONSTANT))
    return scores


def rmse(estimate: NDArray[np.float32], target: NDArray[np.float32]) -> list[Score]:
    """Root mean square error of each variable, in its unit; arguments and errors as for `correlation`."""
    return [
        Score.of(float(np.sqrt(((ours - theirs) ** 2).mean()))) if len(ours) else Score.failed(UNKNOWN)
        for ours, theirs in _known(estimate, target)
    ]


def _known(
    estimate: NDArray[np.float32], target: NDArray[np.float32]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    if estimate.ndim != 2 or estimate.shape != target.shape:
        raise DataError(f"tracks {list(estimate.shape)} and {list(target.shape)} must both be [frame, variable]")
    known = np.isfinite(estimate) & np.isfinite(target)
    columns = zip(estimate.T.astype(np.float64), target.T.astype(np.float64), known.T, strict=True)
    return [(ours[at], theirs[at]) for ours, theirs, at in columns]
