"""What is wrong with a sound file -> the words for it, in one line."""

from __future__ import annotations

import os

import numpy as np

from phonemi.errors import AudioError

_SYSTEM_ERROR = 2  # libsndfile's code for a refusal of the operating system, which it does not name
_LOUDEST = 1e30  # times full scale: beyond it, sums of single-precision numbers become infinite


def reason(error: BaseException) -> str:
    """What the system or libsndfile objected to; AssertionError is soundfile's short write."""
    if isinstance(error, AssertionError) or getattr(error, "code", None) == _SYSTEM_ERROR:
        return "the system refused; is the disk full?"
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
    return " ".join(str(text).split()).rstrip(".")


def check_finite(path: str | os.PathLike[str], block: np.ndarray) -> None:
    """Refuse samples that are NaN, infinite, or so large that a sum of them would be.

    Raises:
        AudioError: saying how many there are.
    """
    # No sum or maximum of a block says this: NaN must count too.
    if bad := block.size - int(np.count_nonzero(np.abs(block) < _LOUDEST)):
        raise AudioError(f"{path}: {bad} of {block.size} samples are NaN or infinite")


def truncated(path: str | os.PathLike[str], promised: int, found: int) -> AudioError:
    """The error for a file that ends before its header says."""
    return AudioError(f"{path} is cut short: its header promises {promised} samples, {found} can be read")
