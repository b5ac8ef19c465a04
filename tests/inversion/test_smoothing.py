"""The Kalman smoother: against the least squares that it solves, and what must hold."""

from __future__ import annotations

import numpy as np
import pytest

from phonemi.inversion.smoothing import MEASUREMENT, PROCESS, STEP, smooth


def least_squares(track):
    """The states with the greatest posterior, by one linear system: all measurements and moves at once."""
    frames = len(track)
    move = np.array([[1, STEP], [0, 1]])
    noise = np.linalg.inv(PROCESS * np.array([[STEP**3 / 3, STEP**2 / 2], [STEP**2 / 2, STEP]]))
    information, target = np.zeros((2 * frames, 2 * frames)), np.zeros(2 * frames)
    prior = np.diag([1 / MEASUREMENT, 1.0])
    information[:2, :2] += prior
    target[:2] += prior @ [track[np.isfinite(track)][0], 0]
    for frame in range(frames):
        at = 2 * frame
        if np.isfinite(track[frame]):
            information[at, at] += 1 / MEASUREMENT
            target[at] += track[frame] / MEASUREMENT
        if frame:
            step = np.zeros((2, 2 * frames))
            step[:, at - 2 : at], step[:, at : at + 2] = -move, np.eye(2)
            information += step.T @ noise @ step
    return np.linalg.solve(information, target)[::2]


@pytest.mark.parametrize("share_unknown", [0.0, 0.3])
def test_it_is_the_most_likely_track(share_unknown):
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.standard_normal((40, 2)), axis=0).astype(np.float32)
    values[rng.random(values.shape) < share_unknown] = np.nan
    for variable in range(2):
        np.testing.assert_allclose(smooth(values)[:, variable], least_squares(values[:, variable]), atol=1e-4)


def test_noise_is_taken_off_and_a_line_stays():
    time = np.linspace(0, 3, 200)
    clean = np.stack([np.sin(time), 0.5 * time], axis=1).astype(np.float32)
    noisy = clean + 0.2 * np.random.default_rng(1).standard_normal(clean.shape).astype(np.float32)
    error_before, error_after = (np.abs(tracks - clean).mean() for tracks in (noisy, smooth(noisy, process=1.0)))
    assert error_after < 0.6 * error_before


def test_what_is_never_known_stays_unknown_and_gaps_are_filled():
    values = np.full((10, 2), np.nan, dtype=np.float32)
    values[[2, 7], 0] = 1.0, 2.0
    smoothed = smooth(values)
    assert np.isfinite(smoothed[:, 0]).all()
    assert np.isnan(smoothed[:, 1]).all()
    assert smooth(np.zeros((0, 2), np.float32)).shape == (0, 2)
