"""Standard input and output, which are called `-`, as temporary files: decoders must be able to seek."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from phonemi import audio
from phonemi.errors import AudioError, PhonemiError
from phonemi.files import temporary_folder
from phonemi.inference.summary import Outcome

STREAM = Path("-")
EXTENSIONS = {"WAVEX": ".wav", "RF64": ".wav"}  # of the formats that are not named like them
BLOCK_BYTES = 1 << 20


@contextmanager
def standard_streams(
    inputs: Sequence[Path], output: str | Path, extension: str | None = None, suffix: str = ""
) -> Iterator[tuple[list[Path], str | Path]]:
    """Yield inputs and output for `plan`, with temporary files in place of `-`.

    Standard input is read at the start. Standard output is written at the end, and only after success.

    Args:
        inputs: `-` alone, or files and folders.
        output: `-`, or a file or folder.
        extension: format of what is sent, such as "flac"; None: that of the input.
        suffix: must be empty for standard output, which has no file name.

    Raises:
        AudioError: if there is more than one recording, standard output is a terminal or there is a suffix for it, or
            standard input is no sound.
    """
    with ExitStack() as stack:
        if STREAM in inputs:
            if len(inputs) > 1:
                raise AudioError("- is standard input, which is one recording: name no other input beside it")
            inputs = [stack.enter_context(from_stream(sys.stdin.buffer))]
        if str(output) != str(STREAM):
            yield list(inputs), output
            return
        if suffix:
            raise AudioError(f"- is standard output, which has no file name: leave out the suffix {suffix!r}")
        if len(inputs) > 1 or not inputs[0].is_file():
            raise AudioError("- is standard output, which takes one recording: name a folder as output")
        if sys.stdout.isatty():
            raise AudioError("standard output is a terminal: redirect it to a file or a program")
        folder = stack.enter_context(temporary_folder("output"))
        extension = f".{extension.removeprefix('.').lower()}" if extension else audio.output_suffix(inputs[0])
        target = Path(folder, f"enhanced{extension}")
        yield list(inputs), target
        to_stream(target, sys.stdout.buffer)


def name_streams(outcome: Outcome, inputs: Sequence[Path], output: str | Path) -> Outcome:
    """The outcome with `-` in place of the files that stood for standard input and output."""
    source, target, reason = outcome.source, outcome.target, outcome.reason or ""
    if STREAM in inputs:
        reason, source = reason.replace(str(source), "standard input"), STREAM
    if str(output) == str(STREAM):
        reason, target = reason.replace(str(target), "standard output"), STREAM
    return replace(outcome, source=source, target=target, reason=reason or None)


@contextmanager
def from_stream(stream: BinaryIO) -> Iterator[Path]:
    """Yield a temporary file with the content of a stream and the extension of its format.

    Errors name standard input instead of the file, those inside the block too.

    Raises:
        AudioError: if the stream is empty or no sound, or the disk is full.
    """
    with temporary_folder("input") as folder:
        path = Path(folder, "standard-input")
        try:
            with open(path, "wb") as file:
                shutil.copyfileobj(stream, file, BLOCK_BYTES)
                is_empty = file.tell() == 0
        except OSError as error:
            raise AudioError(f"cannot keep standard input in {folder}: {error.strerror or error}") from None
        if is_empty:
            raise AudioError("standard input is empty: it should hold the bytes of a sound file")
        try:
            path = path.rename(path.with_suffix(extension_of(audio.probe(path))))
            yield path
        except PhonemiError as error:
            raise type(error)(str(error).replace(str(path), "standard input")) from None


def extension_of(info: audio.AudioInfo) -> str:
    """The extension that says the format of a recording, for one whose name does not."""
    kind = "OPUS" if info.subtype == "OPUS" else info.format
    return EXTENSIONS.get(kind, f".{kind.lower()}")


def to_stream(path: Path, stream: BinaryIO) -> None:
    """Copy a finished file to a stream; AudioError if it takes no more."""
    try:
        with open(path, "rb") as file:
            shutil.copyfileobj(file, stream, BLOCK_BYTES)
        stream.flush()
    except OSError as error:
        raise AudioError(f"cannot write to standard output: {error.strerror or error}") from None
