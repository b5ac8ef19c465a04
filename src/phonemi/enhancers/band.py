"""Noisy [channel, sample] at any rate + its enhanced band below 8 kHz [channel, sample at 16 kHz] -> both bands joined.

The network hears nothing above 8 kHz. What lies there is the difference between a recording and what comes back of it
from 16 kHz, made with the same filters: with a gain of 1 everywhere the sum is the recording again, to rounding.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from phonemi import audio
from phonemi.signal import HOP, SAMPLE_RATE

UpperBand = Literal["attenuate", "remove", "keep"]


def to_16_khz(channels: np.ndarray, sample_rate: int) -> np.ndarray:
    """Channels [channel, sample] at any rate -> float32 [channel, sample at 16 kHz].

    From a higher rate a sample more may come than `audio.resample` makes: all of the end comes back.

    >>> to_16_khz(np.zeros((1, 48_001)), 48_000).shape
    (1, 16001)
    """
    if sample_rate > SAMPLE_RATE:
        channels = np.pad(channels, ((0, 0), (0, math.ceil(sample_rate / SAMPLE_RATE))))
    return audio.resample(channels, sample_rate, SAMPLE_RATE)


def join_bands(
    noisy: np.ndarray,
    lower: np.ndarray,
    enhanced: np.ndarray,
    top_gain: np.ndarray,
    sample_rate: int,
    upper_band: UpperBand,
) -> np.ndarray:
    """Bring what was enhanced back to the rate of the recording, and what lies above 8 kHz with it.

    Args:
        noisy: float32 [channel, sample] at `sample_rate`.
        lower: what `to_16_khz` made of it.
        enhanced: [channel, sample] at 16 kHz, what the network made of that.
        top_gain: amplitude gain just below 8 kHz of each STFT frame, [channel, frame]; 0 to 1.
        sample_rate: in Hz. At 16 kHz and below there is no upper band.
        upper_band: multiply the upper band by `top_gain`, remove it, or keep it as it is.

    Returns:
        float32 [channel, sample], as long as `noisy`.
    """
    samples = noisy.shape[1]
    joined = _resampled_back(enhanced, sample_rate, samples)
    if sample_rate <= SAMPLE_RATE or upper_band == "remove":
        return joined
    upper = noisy - _resampled_back(lower, sample_rate, samples)
    if upper_band == "attenuate":
        # Between the centres of two frames as much of each as its window has there, or nearly so.
        frame = np.arange(samples) * (SAMPLE_RATE / HOP / sample_rate)
        for band, gain in zip(upper, top_gain, strict=True):
            band *= np.interp(frame, np.arange(len(gain)), gain).astype(np.float32)
    return joined + upper


def _resampled_back(channels: np.ndarray, sample_rate: int, samples: int) -> np.ndarray:
    """[channel, sample at 16 kHz] -> a new array [channel, samples]: zeros appended, or the end cut."""
    resampled = audio.resample(channels, SAMPLE_RATE, sample_rate)[:, :samples]
    return np.pad(resampled, ((0, 0), (0, samples - resampled.shape[1])))
