"""`-` for standard input and output -> files, for as long as a block of work needs them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from phonemi import audio
from phonemi.errors import AudioError, PhonemiError
from phonemi.inference.summary import Summary

STREAM = Path("-")
ENDINGS = {"WAVEX": ".wav", "RF64": ".wav"}  # of formats whose names differ


@contextmanager
def standard_streams(
    inputs: Sequence[Path], output: str | Path, extension: str | None = None, suffix: str = ""
) -> Iterator[tuple[list[Path], str | Path]]:
    """Give `plan` files in place of `-`: standard input is read first, standard output is sent when all is well.

    Args:
        inputs: `-` alone, or files and folders.
        output: `-`, or a file or folder.
        extension: of what is sent, such as "flac"; None: the format of the input.
        suffix: for the name of an output, which standard output has not.

    Raises:
        AudioError: if several recordings are to go through one of the two, a terminal would get sound, or standard
            output a suffix.
    """
    with ExitStack() as stack:
        if STREAM in inputs:
            if len(inputs) > 1:
                raise AudioError("- is standard input, one recording: name no other input beside it")
            inputs = [stack.enter_context(_standard_input())]
        if str(output) != str(STREAM):
            yield list(inputs), output
            return
        if suffix:
            raise AudioError(f"- is standard output, which has no name that {suffix!r} could go into: leave it out")
        if len(inputs) > 1 or not inputs[0].is_file():
            raise AudioError("- is standard output, for one recording: name a folder as output")
        if sys.stdout.isatty():
            raise AudioError("standard output is a terminal: send it to a file or a program")
        folder = stack.enter_context(TemporaryDirectory(prefix="phonemi-"))
        ending = f".{extension.removeprefix('.').lower()}" if extension else audio.output_suffix(inputs[0])
        target = Path(folder, f"enhanced{ending}")
        yield list(inputs), target
        audio.to_stream(target, sys.stdout.buffer)


def name_streams(summary: Summary, inputs: Sequence[Path], output: str | Path) -> Summary:
    """The summary with `-` in place of the files that stood for standard input and output."""
    outcomes = []
    for outcome in summary.outcomes:
        source, target, reason = outcome.source, outcome.target, outcome.reason or ""
        if STREAM in inputs:
            reason, source = reason.replace(str(source), "standard input"), STREAM
        if str(output) == str(STREAM):
            reason, target = reason.replace(str(target), "standard output"), STREAM
        outcomes.append(replace(outcome, source=source, target=target, reason=reason or None))
    return replace(summary, outcomes=outcomes)


@contextmanager
def _standard_input() -> Iterator[Path]:
    """A file that holds what comes from standard input, named like its format; errors name standard input instead."""
    with audio.from_stream(sys.stdin.buffer) as path:
        try:
            info = audio.probe(path)
            kind = "OPUS" if info.subtype == "OPUS" else info.format
            path = path.rename(path.with_suffix(ENDINGS.get(kind, f".{kind.lower()}")))
            yield path
        except PhonemiError as error:
            raise type(error)(str(error).replace(str(path), "standard input")) from None
