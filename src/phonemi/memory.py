"""How this process keeps its memory; without glibc nothing here does anything."""

from __future__ import annotations

import ctypes

# Numbers of glibc's malloc.h. Networks take and free the same arrays of up to 100 MB or so in every call. As it comes,
# glibc gives each of them back to the kernel, which fills the next with zeros page by page: a fifth of the time of
# Whisper's encoder.
_TRIM_THRESHOLD, _KEPT_BYTES = -1, 1 << 30
_MMAP_THRESHOLD, _ARRAY_BYTES = -3, (256 << 20, 32 << 20)  # glibc before 2.35 refuses more than 32 MiB


def keep_freed_memory() -> None:
    """Keep up to 1 GiB of freed memory for the next arrays of up to 256 MiB, or of what glibc allows."""
    # The second alone would do harm: it stops glibc from raising the first by itself.
    if any(_call("mallopt", _MMAP_THRESHOLD, size) for size in _ARRAY_BYTES):
        _call("mallopt", _TRIM_THRESHOLD, _KEPT_BYTES)


def give_freed_memory_back() -> None:
    """Give back what is free now, so that new arrays can be told from kept memory."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> int:
    """What the function returns; 0 if there is none."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # another C library; Windows
        return 0
    return int(function(*arguments))
