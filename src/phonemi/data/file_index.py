"""Read something from each of many files, several at a time, and again only when a file has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from phonemi.errors import DataError, PhonemiError
from phonemi.files import read_json, write_text

File = TypeVar("File", bound=str | Path)
Value = TypeVar("Value")

_THREADS = 8


def read_files(
    read: Callable[[File], Value], paths: Iterable[File], *, index: Path | None = None
) -> dict[File, Value | PhonemiError]:
    """`read(path)` for each path, from the index where the size and the modification time of a file are the same.

    Args:
        read: reads a file; with an index its result must be JSON.
        paths: each is read once.
        index: a JSON file of the results, made if absent and written as a whole. Where it cannot be written, nothing is
            remembered; one that is damaged counts as absent.

    Returns:
        The result for each path in order, or the error that `read` raised.
    """
    files = list(dict.fromkeys(paths))
    entries = _entries(index)
    # Taken before a file is read: whatever is written to it meanwhile makes its entry out of date.
    stamps: dict[File, list[int] | None] = {file: _stamp(file) for file in files} if index is not None else {}
    results: dict[File, Value | PhonemiError] = {}
    changed: list[File] = []
    for file in files:
        entry = entries.get(os.path.abspath(str(file)))
        if entry is not None and entry[:2] == stamps[file]:
            results[file] = entry[2]
        else:
            changed.append(file)

    def result(file: File) -> Value | PhonemiError:
        try:
            return read(file)
        except PhonemiError as error:
            return error

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        results.update(zip(changed, pool.map(result, changed), strict=True))
    if index is not None and changed:
        for file in changed:
            stamp, value = stamps[file], results[file]
            if stamp is not None and not isinstance(value, PhonemiError):
                entries[os.path.abspath(str(file))] = [*stamp, value]
        with suppress(OSError):
            write_text(index, json.dumps({"files": entries}))
    return {file: results[file] for file in files}


def _entries(index: Path | None) -> dict[str, list[Any]]:
    """[size, modification time, result] of each file in the index."""
    if index is None:
        return {}
    try:
        entries = read_json(index)["files"]
        return {path: entry for path, entry in entries.items() if len(entry) == 3}
    except (DataError, OSError, TypeError, KeyError, AttributeError):
        return {}


def _stamp(path: str | Path) -> list[int] | None:
    """Size in bytes and modification time in ns; None for a file that cannot be looked at."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return [status.st_size, status.st_mtime_ns]
