"""Standard input -> a temporary sound file, and a sound file -> standard output, in pieces."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from phonemi.audio.faults import reason
from phonemi.errors import AudioError

_PIECE_BYTES = 1 << 20


@contextmanager
def from_stream(stream: BinaryIO) -> Iterator[Path]:
    """Keep what a stream gives in a temporary file, which is gone when the context ends.

    Args:
        stream: for instance `sys.stdin.buffer`; the memory taken does not grow with its length.

    Raises:
        AudioError: if it gives nothing, or the disk refuses.
    """
    with tempfile.TemporaryDirectory(prefix="phonemi-") as folder:
        path = Path(folder) / "standard-input"
        try:
            with open(path, "wb") as file:
                shutil.copyfileobj(stream, file, _PIECE_BYTES)
                is_empty = file.tell() == 0
        except OSError as error:
            raise AudioError(f"cannot keep standard input in {folder}: {reason(error)}") from None
        if is_empty:
            raise AudioError("standard input is empty: it should hold the bytes of a sound file")
        yield path


def to_stream(path: str | Path, stream: BinaryIO) -> None:
    """Copy a finished file to a stream, for instance `sys.stdout.buffer`.

    Raises:
        AudioError: if the file cannot be read, or the stream takes no more.
    """
    try:
        with open(path, "rb") as file:
            shutil.copyfileobj(file, stream, _PIECE_BYTES)
        stream.flush()
    except OSError as error:
        raise AudioError(f"cannot write to standard output: {reason(error)}") from None
