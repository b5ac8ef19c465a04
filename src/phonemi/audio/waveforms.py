"""The level of a waveform, the same sound at another sample rate, and samples that are not finite."""

from __future__ import annotations

import os

import numpy as np
import soxr

from phonemi.errors import AudioError
from phonemi.tables import plural

_MAX_UPSAMPLING = 256  # a header that says 1 Hz would turn a second of sound into hours
_MAX_ABS_SAMPLE = 1e15  # times full scale; the sum of squares of larger samples overflows single precision


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


def check_finite(
    waveform: np.ndarray,
    path: str | os.PathLike[str] | None = None,
    first_sample: int = 0,
    total_samples: int | None = None,
) -> None:
    """Raise AudioError if samples of `[sample]` or `[channel, sample]` are NaN, infinite or above 1e15.

    The message names `path`, where the waveform begins at `first_sample` of `total_samples` (None: it is all of it).

    >>> check_finite(np.array([[0.0, 0.5], [0.0, np.inf]]))
    Traceback (most recent call last):
    phonemi.errors.AudioError: 1 of 4 samples are NaN or infinite or above 1e+15, the first is sample 1 of channel 1
    """
    usable = np.abs(np.atleast_2d(waveform)) <= _MAX_ABS_SAMPLE  # False for NaN, which a maximum might skip
    unusable_count = usable.size - int(np.count_nonzero(usable))
    if unusable_count == 0:
        return
    sample = int(usable.all(axis=0).argmin())
    message = (
        f"{unusable_count} of {plural(usable.size, 'sample')} are NaN or infinite or above {_MAX_ABS_SAMPLE:g}, "
        f"the first is sample {first_sample + sample}"
    )
    if len(usable) > 1:
        message += f" of channel {usable[:, sample].argmin()}"
    if path is not None:
        message = f"{path}: {message}"
    end = first_sample + usable.shape[1]
    if total_samples is not None and end - first_sample < total_samples:
        message += f"; counted from sample {first_sample} to {end}"
    raise AudioError(message)
