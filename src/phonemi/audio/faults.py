"""Error messages about sound files, in one line each."""

from __future__ import annotations

import os

import numpy as np

from phonemi.errors import AudioError

# Times full scale. The sum of squares of larger samples overflows single precision.
MAX_ABS_SAMPLE = 1e15
_SYSTEM_ERROR = 2  # libsndfile's code for an error of the operating system, whose text it does not give


def reason(error: BaseException) -> str:
    """The text of an error of the operating system, libsndfile or FFmpeg, in one line."""
    # soundfile raises AssertionError when fewer samples were written than it was given.
    if isinstance(error, AssertionError) or getattr(error, "code", None) == _SYSTEM_ERROR:
        return "the system refused; is the disk full?"
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
    return " ".join(str(text).split()).rstrip(".")


def check_finite(
    waveform: np.ndarray,
    path: str | os.PathLike[str] | None = None,
    first_sample: int = 0,
    total_samples: int | None = None,
) -> None:
    """Refuse samples that are NaN, infinite, or larger than `MAX_ABS_SAMPLE`.

    Args:
        waveform: `[sample]` or `[channel, sample]`.
        path: the file that it comes from or goes to, for the message; None: it belongs to no file.
        first_sample: position in the file where the waveform begins.
        total_samples: length of the file; None: the waveform is all of it.

    Raises:
        AudioError: saying how many such samples there are in the waveform, and where the first one is.

    >>> check_finite(np.array([[0.0, 0.5], [0.0, np.inf]]))
    Traceback (most recent call last):
    phonemi.errors.AudioError: 1 of 4 samples are NaN or infinite or above 1e+15, the first is sample 1 of channel 1
    """
    usable = np.abs(np.atleast_2d(waveform)) <= MAX_ABS_SAMPLE  # False for NaN, which a maximum might skip
    unusable_count = usable.size - int(np.count_nonzero(usable))
    if unusable_count == 0:
        return
    sample = int(usable.all(axis=0).argmin())
    message = (
        f"{unusable_count} of {usable.size} samples are NaN or infinite or above {MAX_ABS_SAMPLE:g}, "
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


def truncated(path: str | os.PathLike[str], promised: int, found: int) -> AudioError:
    """The error for a file that ends before its header says."""
    return AudioError(f"{path} is cut short: its header promises {promised} samples, {found} can be read")
