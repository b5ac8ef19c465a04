"""The level of a waveform, and the same sound at another sample rate."""

from __future__ import annotations

import numpy as np
import soxr

from phonemi.errors import AudioError

_MAX_UPSAMPLING = 256  # a header that says 1 Hz would turn a second of sound into hours


def level_db(waveform: np.ndarray) -> float:
    """Root mean square level in dB relative to full scale; minus infinity for silence.

    >>> round(level_db(np.array([0.1, -0.1])), 6)
    -20.0
    """
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if np.size(waveform) else 0.0
    return 10 * float(np.log10(power)) if power > 0 else float("-inf")


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Change the sample rate of `[..., sample]` from `from_rate` to `to_rate` Hz (soxr HQ: linear phase).

    Returns:
        float32 `[..., round(sample * to_rate / from_rate)]`, aligned in time with the input.

    Raises:
        AudioError: if the new rate is more than 256 times the old one.

    >>> resample(np.zeros((2, 48_000)), 48_000, 16_000).shape
    (2, 16000)
    """
    waveform = np.asarray(waveform, dtype=np.float32)
    if from_rate == to_rate:
        return waveform
    if to_rate > _MAX_UPSAMPLING * from_rate:
        raise AudioError(
            f"a recording at {from_rate} Hz cannot become one at {to_rate} Hz: at most {_MAX_UPSAMPLING} times the rate"
        )
    result = np.zeros((*waveform.shape[:-1], round(waveform.shape[-1] * to_rate / from_rate)), dtype=np.float32)
    for channel in np.ndindex(waveform.shape[:-1]):
        resampled = soxr.resample(waveform[channel], from_rate, to_rate, quality="HQ")[: result.shape[-1]]
        result[channel][: len(resampled)] = resampled
    return result
