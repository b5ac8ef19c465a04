"""Download and verify files, and unpack archives; an interrupted download goes on where it stopped."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from phonemi.errors import DataError
from phonemi.files import write_text

Progress = Callable[[int, int], None]
"""Called with (bytes received, bytes in all); the second is 0 where the server does not say."""

MARKER = ".phonemi-complete"

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60.0
# Give up after so many connections in a row without a new byte; pause before each further try.
_MAX_FRUITLESS_TRIES = 4
_PAUSE_S = 1.0


def fetch(url: str, path: str | Path, *, md5: str | None = None, progress: Progress | None = None) -> Path:
    """Download a file to `path`, which is returned, unless it is there already.

    The bytes received are kept beside it as "<name>.part"; a later call, or the next try after a broken connection,
    asks the server only for the rest. The file gets its name when it is complete and its MD5 sum, if given, is right.

    Raises:
        DataError: if the server refuses, the connection keeps breaking, the disk is full or the checksum is wrong (a
            download with a wrong checksum is removed).
    """
    path = Path(path)
    if path.exists():
        if problem := _checksum_problem(path, md5):
            raise DataError(f"{path} is not the file of {url}: {problem}; remove it and run it again")
        return path
    part = path.with_name(f"{path.name}.part")
    fruitless_tries = 0
    while True:
        size_before = _size(part)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _receive(url, part, progress)
            break
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        fruitless_tries = 0 if _size(part) > size_before else fruitless_tries + 1
        if fruitless_tries == _MAX_FRUITLESS_TRIES:
            raise DataError(f"cannot download {url}: {reason} (after {_size(part)} bytes; run it again to go on)")
        time.sleep(_PAUSE_S)
    if problem := _checksum_problem(part, md5):
        part.unlink()
        raise DataError(f"downloaded {url} but {problem}; it was removed, run it again")
    os.replace(part, path)
    return path


def extract(archive: str | Path, folder: str | Path) -> None:
    """Unpack a zip or tar archive into `folder`, unless that was done before.

    Only plain files and folders are unpacked, with the permissions of new files. Last of all, the archive's name is
    written to the file `.phonemi-complete` in the folder.

    Raises:
        DataError: if the archive is missing, damaged or of another kind, or if a member has an absolute path, leads
            out of the folder, or is a link or a device; such a member is never written.
    """
    archive, folder = Path(archive), Path(folder)
    if archive.name in _extracted(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _members(archive):
            target = _inside(folder, name, archive)
            (target.parent if content else target).mkdir(parents=True, exist_ok=True)
            if content:
                with content, open(target, "wb") as file:
                    shutil.copyfileobj(content, file, _CHUNK_BYTES)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{archive} is damaged or not supported ({error}); remove it and download it again") from None
    except OSError as error:
        raise DataError(f"cannot extract {archive}: {error.strerror or error}") from None
    write_text(folder / MARKER, "".join(f"{name}\n" for name in [*_extracted(folder), archive.name]))


def fetch_and_extract(
    url: str,
    folder: str | Path,
    *,
    name: str | None = None,
    md5: str | None = None,
    md5_may_differ: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Download an archive into `folder`, unpack it there and remove it, unless that was done before.

    `name` is that of the archive, by default the last part of the URL. Errors are those of `fetch` and `extract`; with
    `md5_may_differ`, another checksum is no error, but a note for the user that is returned.
    """
    archive = Path(folder) / (name or url.split("?")[0].rsplit("/", 1)[-1])
    if archive.name in _extracted(Path(folder)):
        return []
    fetch(url, archive, md5=None if md5_may_differ else md5, progress=progress)
    problem = _checksum_problem(archive, md5) if md5_may_differ else ""
    extract(archive, folder)
    archive.unlink()
    return [f"{url} is not the archive known here: {problem}"] if problem else []


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """Append to `part` the bytes that it lacks, over one connection; OSError if it ends early."""
    done = _size(part)
    # In a compressed transfer, byte positions would mean nothing.
    headers = {"User-Agent": "phonemi", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # Nothing after byte `done`: the file is complete if the server says that it has this length.
        if error.headers.get("Content-Range") == f"bytes */{done}":
            return
        part.unlink()
        raise OSError("the file on the server has changed") from None
    with answer:
        resumed = answer.status == http.client.PARTIAL_CONTENT
        done = done if resumed else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else 0
        with open(part, "ab" if resumed else "wb") as file:
            while chunk := answer.read(_CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if done < total:
        raise OSError(f"the connection broke after {done} of {total} bytes")


def _checksum_problem(path: Path, md5: str | None) -> str:
    """How the MD5 sum of a file differs from the expected one; empty if it does not."""
    if md5 is None:
        return ""
    with open(path, "rb") as file:
        actual = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return "" if actual == md5.lower() else f"its md5 is {actual}, expected {md5}"


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Name and content of each member; None for a folder."""
    # Tar first: a tar archive that ends with a zip archive looks like a zip archive, too.
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for member in tar:
                if not (member.isfile() or member.isdir()):
                    raise DataError(f"{archive}: {member.name!r} is a link or a device; not extracted")
                yield member.name, tar.extractfile(member)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise DataError(f"{archive}: {info.filename!r} is a link or a device; not extracted")
                yield info.filename, None if info.is_dir() else zipped.open(info)
    else:
        raise DataError(f"{archive} is neither a zip nor a tar archive")


def _inside(folder: Path, name: str, archive: Path) -> Path:
    """Path of a member; "a\\b" and "C:" lead out of the folder on some systems, so they are refused on all."""
    parts = name.rstrip("/").split("/")
    unsafe = name.startswith("/") or re.match("[A-Za-z]:", name) or re.search(r"[\\\0]", name) or ".." in parts
    target = folder.joinpath(*parts)
    # A link that is already in the folder could lead out of it, too.
    if unsafe or not target.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{archive}: {name!r} leads out of the folder; not extracted")
    return target


def _extracted(folder: Path) -> list[str]:
    marker = folder / MARKER
    return marker.read_text(encoding="utf-8").splitlines() if marker.exists() else []


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
