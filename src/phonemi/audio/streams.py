"""Standard input -> a temporary sound file, and a sound file -> standard output, in pieces."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from phonemi.audio.faults import reason
from phonemi.audio.headers import read_header
from phonemi.errors import AudioError

_PIECE_BYTES = 1 << 20
_TO_THE_END = b"\xff\xff\xff\xff"  # a length that libsndfile takes from the size of the file


@contextmanager
def from_stream(stream: BinaryIO) -> Iterator[Path]:
    """Keep what a stream gives in a temporary file, which is gone when the context ends.

    A wav file that was written to a pipe has no length in its header (0, or the most that fits): it is that of the
    data.

    Args:
        stream: for instance `sys.stdin.buffer`; the memory taken does not grow with its length.

    Raises:
        AudioError: if it gives nothing, or the disk refuses.
    """
    with tempfile.TemporaryDirectory(prefix="phonemi-") as folder:
        path = Path(folder) / "standard-input"
        try:
            with open(path, "w+b") as file:
                shutil.copyfileobj(stream, file, _PIECE_BYTES)
                file.flush()  # the header is compared with the length on the disk
                empty = file.tell() == 0
                if (unfilled_at := read_header(file).unfilled_at) is not None:
                    file.seek(unfilled_at)
                    file.write(_TO_THE_END)
        except OSError as error:
            raise AudioError(f"cannot keep standard input in {folder}: {reason(error)}") from None
        if empty:
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
