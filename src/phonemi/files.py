"""Write files that are either complete or absent; read and write JSON and JSON lines; hash values."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from phonemi.errors import DataError

# A temporary file of this age counts as abandoned, even if another machine created it.
MAX_TEMPORARY_AGE_S = 24 * 3600
# Hash of the final name, hash of the machine, number of the process, eight random digits: see `_temporary_path`.
_TEMPORARY = re.compile(
    r"\.(?P<name>[0-9a-f]{8})\.(?P<machine>[0-9a-f]{8})\.(?P<process>\d+)\.[0-9a-f]{8}\.part(\..*)?", re.DOTALL
)

_TEMPORARY_FOLDER = re.compile(r"phonemi-[a-z]+-(?P<machine>[0-9a-f]{8})\.(?P<process>\d+)\.\w+")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes the final name, on any failure it is removed.

    A reader never sees a partial file, and of several writers the last one leaves its whole file. The temporary name
    keeps the suffix, because audio libraries choose the format by it.

    Raises:
        OSError: naming `path`; before the block runs if its name is too long.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     sorted(entry.name for entry in Path(folder).iterdir())
    ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(path)
    try:
        with suppress(FileNotFoundError):
            path.lstat()  # fails now, and not after all the work, for a name that the system refuses
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors writes files that only their owner may read
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if str(error.filename) == str(temporary):  # a name that means nothing to the user
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove temporary files that killed processes left when they were `replacing` any of `paths`.

    A file goes when the process that wrote it has ended. Processes of other machines and containers cannot be seen
    from here: their files go when they are a day old.
    """
    hashes: dict[Path, set[str]] = defaultdict(set)
    for path in paths:
        hashes[path.parent].add(_short_hash(path.name))
    for folder, names in hashes.items():
        for entry in folder.glob(".*.part*"):
            match = _TEMPORARY.fullmatch(entry.name)
            if match and match["name"] in names:
                with suppress(OSError):  # removed by another process meanwhile; in use, on Windows
                    ended = match["machine"] == machine_hash() and not is_running(int(match["process"]))
                    if ended or time.time() - entry.lstat().st_mtime > MAX_TEMPORARY_AGE_S:
                        entry.unlink()


@contextmanager
def temporary_folder(work: str) -> Iterator[Path]:
    """Give an empty folder among the temporary ones, which is gone after the block.

    Before that, the folders go that processes left which were killed at the same `work`, a word.
    """
    if os.name == "posix":
        for entry in Path(tempfile.gettempdir()).glob(f"phonemi-{work}-*"):
            match = _TEMPORARY_FOLDER.fullmatch(entry.name)
            with suppress(OSError):
                ended = match and match["machine"] == machine_hash() and not is_running(int(match["process"]))
                if ended and entry.lstat().st_uid == os.getuid():
                    shutil.rmtree(entry, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"phonemi-{work}-{machine_hash()}.{os.getpid()}.") as folder:
        yield Path(folder)


def _temporary_path(path: Path) -> Path:
    """A hidden name beside `path`, of bounded length, that no other writer takes and that says which process writes."""
    writer = f"{machine_hash()}.{os.getpid()}.{secrets.token_hex(4)}"
    return path.with_name(f".{_short_hash(path.name)}.{writer}.part{path.suffix}")


@cache
def machine_hash() -> str:
    """Different wherever the same process number means another process: on another machine or in another container."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # Linux: the set of processes that this one can see
    except OSError:
        namespace = ""
    return _short_hash(f"{platform.node()} {namespace}")


def _short_hash(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


def is_running(process: int) -> bool:
    """Whether a process of this number exists; on Windows, where signal 0 would end it, only this one is known."""
    if os.name == "nt":
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # there, but of another user; or no possible number
        pass
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, complete or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity become null, since they are not JSON."""
    write_text(path, json.dumps(_finite(value), indent=1, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; raise DataError if it is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({error})") from None


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as lines:
        lines.writelines(map(json_line, rows))


def json_line(row: dict[str, Any]) -> str:
    """One JSON object and a newline; NaN and infinity become null."""
    return json.dumps(_finite(row), ensure_ascii=False) + "\n"


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; raise DataError, naming file and line, for anything else."""
    rows = []
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise DataError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
                    rows.append(row)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{number}: not JSON ({error})") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise DataError(f"{path} is not a JSON-lines file ({error})") from None
    return rows


def content_hash(*values: Any) -> str:
    """Sixteen hexadecimal digits that change when any of the JSON-able `values` changes.

    >>> content_hash("a", 1) == content_hash("a", 1), content_hash("a", 1) == content_hash("a", 2)
    (True, False)
    """
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        with open(path, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
