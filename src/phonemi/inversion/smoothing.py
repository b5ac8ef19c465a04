"""A Kalman smoother for estimated tracks: articulators have mass, and do not jump from frame to frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEP, PROCESS, MEASUREMENT = 0.1, 300.0, 0.25
"""Time step, intensity of the process noise and variance of the measurement, as the public inversion code has them."""


def smooth(
    values: NDArray[np.float32], step: float = STEP, process: float = PROCESS, measurement: float = MEASUREMENT
) -> NDArray[np.float32]:
    """Smooth each variable by a Kalman filter with constant velocity, forwards and then backwards (RTS).

    The state is (position, velocity), moved by [[1, T], [0, 1]] with noise Q [[T^3 / 3, T^2 / 2], [T^2 / 2, T]]; the
    position is measured with variance R.

    Args:
        values: [frame, variable]; NaN, where nothing is measured, is filled.
        step, process, measurement: T, Q and R.

    Returns:
        float32 [frame, variable]; a variable that is never known stays NaN.
    """
    move = np.array([[1.0, step], [0.0, 1.0]])
    noise = process * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
    smoothed = np.full(values.shape, np.nan, dtype=np.float32)
    for variable in range(values.shape[1]):
        track = values[:, variable].astype(np.float64)
        known = np.isfinite(track)
        if known.any():
            smoothed[:, variable] = _smooth_track(track, known, move, noise, measurement)
    return smoothed


def _smooth_track(
    track: NDArray[np.float64],
    known: NDArray[np.bool_],
    move: NDArray[np.float64],
    noise: NDArray[np.float64],
    measurement: float,
) -> NDArray[np.float64]:
    frames = len(track)
    state, spread = np.array([track[known][0], 0.0]), np.diag([measurement, 1.0])
    predicted, filtered = np.zeros((2, frames, 2))
    spread_before, spread_after = np.zeros((2, frames, 2, 2))
    for frame in range(frames):
        if frame:
            state, spread = move @ state, move @ spread @ move.T + noise
        predicted[frame], spread_before[frame] = state, spread
        if known[frame]:
            gain = spread[:, 0] / (spread[0, 0] + measurement)
            state = state + gain * (track[frame] - state[0])
            spread = spread - np.outer(gain, spread[0])
        filtered[frame], spread_after[frame] = state, spread
    for frame in range(frames - 2, -1, -1):
        gain = spread_after[frame] @ move.T @ np.linalg.inv(spread_before[frame + 1])
        filtered[frame] += gain @ (filtered[frame + 1] - predicted[frame + 1])
    return filtered[:, 0]
