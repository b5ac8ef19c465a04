"""Fingerprints of what files contain: a result is out of date when one of its sound files or models has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from phonemi.data.file_index import read_files
from phonemi.data.manifest import Recording, sound_files
from phonemi.errors import DataError, PhonemiError
from phonemi.files import content_hash


def fingerprint(recordings: Sequence[Recording], cache: Path | None = None) -> str:
    """Sixteen hexadecimal digits for the ids of recordings, their order, and the content of their sound files.

    The clean counterparts count; paths do not, so a copy of a corpus elsewhere has the same fingerprint. What else the
    manifest says (texts, phones) does not count either.

    `cache` is a folder that remembers the hash of each file with its size and modification time; a file is read again
    only when one of these differs. None, or a folder that cannot be written: every file is read.

    Raises:
        DataError: if a file cannot be read.
    """
    hashes = _hashes(sound_files(recordings), cache)
    return content_hash(
        [[recording.id, hashes[recording.path], hashes.get(recording.clean or "")] for recording in recordings]
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
    for path, value in read_files(_sha256, paths, index=cache and cache / "fingerprints.json").items():
        if isinstance(value, PhonemiError):
            raise value
        hashes[path] = value
    return hashes


def _sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
