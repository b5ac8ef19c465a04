"""The band above 8 kHz, which the network does not hear: taken from the recording and added to the enhanced speech.

This band is the recording minus its own round trip through 16 kHz. Both ways use the same filters, so that with a gain
of 1 everywhere the sum restores the recording, to rounding.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from phonemi import audio
from phonemi.signal import HOP, SAMPLE_RATE

UpperBand = Literal["attenuate", "remove", "keep"]


def to_16_khz(channels: np.ndarray, sample_rate: int) -> np.ndarray:
    """Resample channels [channel, sample] of any rate to float32 [channel, sample] at 16 kHz.

    From a higher rate, the result may be one sample longer than that of `audio.resample`, so that the whole end of the
    recording can be restored.

    >>> to_16_khz(np.zeros((1, 48_001)), 48_000).shape
    (1, 16001)
    """
    if sample_rate > SAMPLE_RATE:
        channels = np.pad(channels, ((0, 0), (0, math.ceil(sample_rate / SAMPLE_RATE))))
    return audio.resample(channels, sample_rate, SAMPLE_RATE)


def join_bands(
    noisy: np.ndarray,
    noisy_16_khz: np.ndarray,
    enhanced_16_khz: np.ndarray,
    top_gain: np.ndarray,
    sample_rate: int,
    upper_band: UpperBand,
) -> np.ndarray:
    """Resample the enhanced speech to the rate of the recording and add the band above 8 kHz.

    Args:
        noisy: float32 [channel, sample] at `sample_rate`.
        noisy_16_khz: what `to_16_khz` made of it, [channel, sample].
        enhanced_16_khz: the enhanced version of that, [channel, sample].
        top_gain: amplitude gain just below 8 kHz in each STFT frame, [channel, frame]; 0 to 1.
        sample_rate: in Hz. At 16 kHz and below there is no upper band.
        upper_band: whether to multiply the upper band by `top_gain`, to remove it, or to keep it as it is.

    Returns:
        float32 [channel, sample], as long as `noisy`.
    """
    samples = noisy.shape[1]
    enhanced = _from_16_khz(enhanced_16_khz, sample_rate, samples)
    if sample_rate <= SAMPLE_RATE or upper_band == "remove":
        return enhanced
    upper = noisy - _from_16_khz(noisy_16_khz, sample_rate, samples)
    if upper_band == "attenuate":
        # Linear interpolation between the centres of the frames, which is nearly what their windows overlap to.
        frame_position = np.arange(samples) * (SAMPLE_RATE / HOP / sample_rate)
        for channel, gain in zip(upper, top_gain, strict=True):
            channel *= np.interp(frame_position, np.arange(len(gain)), gain).astype(np.float32)
    joined: np.ndarray = enhanced + upper
    return joined


def _from_16_khz(channels: np.ndarray, sample_rate: int, samples: int) -> np.ndarray:
    """Resample [channel, sample at 16 kHz] to a new array [channel, samples]; zeros fill up what is missing."""
    resampled = audio.resample(channels, SAMPLE_RATE, sample_rate)[:, :samples]
    return np.pad(resampled, ((0, 0), (0, samples - resampled.shape[1])))
