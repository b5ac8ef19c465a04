"""What was read from files, remembered until they change; fingerprints of what they contain.

A result is out of date when one of its sound files or models has another fingerprint.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from phonemi.errors import DataError, PhonemiError
from phonemi.files import content_hash, read_json, sha256, write_text

if TYPE_CHECKING:
    from phonemi.data.manifest import Recording

File = TypeVar("File", bound=str | Path)
Value = TypeVar("Value")

_THREADS = 8


def fingerprint(recordings: Sequence[Recording], cache: Path | None = None) -> str:
    """Sixteen hexadecimal digits for the ids of recordings, their order, and the content of their sound files.

    The clean counterparts and the tracks count; paths do not, so a copy of a corpus elsewhere has the same fingerprint.
    What else the manifest says (texts, phones) does not count either.

    `cache` is a folder that remembers the hash of each file with its size and times; a file is read again only when one
    of these differs. None, or a folder that cannot be written: every file is read.

    Raises:
        DataError: if a file cannot be read.
    """
    files = [(recording.path, recording.clean, recording.tracks) for recording in recordings]
    hashes = _hashes([path for paths in files for path in paths if path is not None], cache)
    return content_hash(
        [
            # Tracks came later: a recording without them has the fingerprint that it always had.
            [recording.id, hashes[path], hashes.get(clean or ""), *([hashes[tracks]] if tracks else [])]
            for recording, (path, clean, tracks) in zip(recordings, files, strict=True)
        ]
    )


def fingerprint_files(paths: Iterable[str | Path], cache: Path | None = None) -> str:
    """Sixteen hexadecimal digits for the names and the content of files, for instance the folder of a local model.

    Of a folder, all files at any depth count under their names below it. `cache` and errors are as for `fingerprint`.
    """
    names: list[tuple[str, str]] = []
    for path in map(Path, paths):
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            names += [(file.relative_to(path).as_posix(), str(file)) for file in files]
        else:
            names.append((path.name, str(path)))
    hashes = _hashes([file for _, file in names], cache)
    return content_hash([[name, hashes[file]] for name, file in names])


def _hashes(paths: Sequence[str], cache: Path | None) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for path, value in read_files(sha256, paths, index=cache and cache / "fingerprints.json").items():
        if isinstance(value, PhonemiError):
            raise value
        hashes[path] = value
    return hashes


def read_files(
    read: Callable[[File], Value], paths: Iterable[File], *, index: Path | None = None
) -> dict[File, Value | PhonemiError]:
    """`read(path)` for each path, from the index where the size and the times of a file are the same.

    Args:
        read: reads a file; with an index its result must be JSON.
        paths: each is read once.
        index: a JSON file of the results, made if absent and written as a whole. Where it cannot be written, nothing is
            remembered; one that is damaged counts as absent.

    Returns:
        The result for each path in order, or the error that `read` raised.
    """
    files = list(dict.fromkeys(paths))
    # [*stamp, result] of each file: those of the index, and those that it lacks.
    entries: dict[str, list[Any]] = {}
    new: dict[str, list[Any]] = {}
    if index is not None:
        with suppress(DataError, OSError, TypeError, KeyError, AttributeError):
            entries = {name: entry for name, entry in read_json(index)["files"].items() if len(entry) == 4}

    def result(file: File) -> Value | PhonemiError:
        name = os.path.abspath(str(file))
        # Taken before a file is read: whatever is written to it meanwhile makes its entry out of date.
        stamp = None if index is None else _stamp(name)
        if stamp is not None and name in entries and entries[name][:-1] == stamp:
            remembered: Value = entries[name][-1]
            return remembered
        try:
            value = read(file)
        except PhonemiError as error:
            return error
        if stamp is not None:
            new[name] = [*stamp, value]
        return value

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        results = dict(zip(files, pool.map(result, files), strict=True))
    if index is not None and new:
        with suppress(OSError):
            write_text(index, json.dumps({"files": entries | new}))
    return results


def _stamp(path: str) -> list[int] | None:
    """Size in bytes, and when it was written and last changed in any way, in ns; None if it cannot be looked at.

    Archives and copies give a file the date of another one, so that two of one size would look the same; the second
    time nobody can set.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
