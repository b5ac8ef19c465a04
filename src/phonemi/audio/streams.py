"""Sound from standard input, through a temporary file, and to standard output."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from phonemi.audio.formats import reason
from phonemi.errors import AudioError

_BLOCK_BYTES = 1 << 20


@contextmanager
def from_stream(stream: BinaryIO) -> Iterator[Path]:
    """Copy a stream to a temporary file, which is removed when the context ends: decoders must be able to seek.

    Raises:
        AudioError: if the stream is empty, or the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="phonemi-") as folder:
        path = Path(folder) / "standard-input"
        try:
            with open(path, "wb") as file:
                shutil.copyfileobj(stream, file, _BLOCK_BYTES)
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
            shutil.copyfileobj(file, stream, _BLOCK_BYTES)
        stream.flush()
    except OSError as error:
        raise AudioError(f"cannot write to standard output: {reason(error)}") from None
