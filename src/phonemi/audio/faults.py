"""What is wrong with a sound file -> the words for it, in one line."""

from __future__ import annotations

import os

import numpy as np

from phonemi.errors import AudioError

_SYSTEM_ERROR = 2  # libsndfile's code for a refusal of the operating system, which it does not name
LOUDEST = 1e15  # times full scale: beyond it, sums of squares in single precision become infinite


def reason(error: BaseException) -> str:
    """What the system or libsndfile objected to; AssertionError is soundfile's short write."""
    if isinstance(error, AssertionError) or getattr(error, "code", None) == _SYSTEM_ERROR:
        return "the system refused; is the disk full?"
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
    return " ".join(str(text).split()).rstrip(".")


def check_finite(path: str | os.PathLike[str], block: np.ndarray, start: int = 0, samples: int | None = None) -> None:
    """Refuse samples that are NaN, infinite, or so large that the sum of their squares would be.

    Args:
        path: the file, for the message.
        block: `[channel, sample]`, a piece of it.
        start: where in the file the piece begins.
        samples: of each channel of the whole file; None: the piece is all of it.

    Raises:
        AudioError: saying how many there are in this piece, and which is the first.
    """
    # No sum or maximum of a block says this: NaN must count too.
    usable = np.abs(block) <= LOUDEST
    if bad := block.size - int(np.count_nonzero(usable)):
        sample = int(usable.all(axis=0).argmin())
        channel = f" of channel {usable[:, sample].argmin()}" if len(block) > 1 else ""
        end = start + block.shape[1]
        piece = f"; counted from sample {start} to {end}" if samples is not None and end - start < samples else ""
        raise AudioError(
            f"{path}: {bad} of {block.size} samples are NaN or infinite or above {LOUDEST:g}, "
            f"the first is sample {start + sample}{channel}{piece}"
        )


def truncated(path: str | os.PathLike[str], promised: int, found: int) -> AudioError:
    """The error for a file that ends before its header says."""
    return AudioError(f"{path} is cut short: its header promises {promised} samples, {found} can be read")
