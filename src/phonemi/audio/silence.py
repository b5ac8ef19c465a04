"""Keep what C libraries print from the terminal: mpg123 complains of damaged mp3 files without naming them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_STANDARD_ERROR = 2
_one_at_a_time = Lock()  # another thread would save the silent stream as the true one


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Let whatever writes to standard error inside the block write to nowhere, for the whole process."""
    with _one_at_a_time:
        try:
            before = os.dup(_STANDARD_ERROR)
        except OSError:  # there is none
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, _STANDARD_ERROR)
            yield
        finally:
            os.dup2(before, _STANDARD_ERROR)
            os.close(nowhere)
            os.close(before)
