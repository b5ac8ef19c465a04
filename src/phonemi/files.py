"""Values -> files that are either complete or absent: atomic writes, JSON, JSON lines, content hashes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from phonemi.errors import DataError

LEFT_FOR_S = 24 * 3600  # after which nobody is writing a file any more, wherever it was begun
# See `_temporary`; eight digits of the name, of the machine and by chance.
_TEMPORARY = re.compile(
    r"\.(?P<name>[0-9a-f]{8})\.(?P<machine>[0-9a-f]{8})\.(?P<process>\d+)\.[0-9a-f]{8}\.part(\..*)?", re.DOTALL
)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes the final name, on any failure it is removed.

    A reader therefore never sees a partial file, whatever happens to the writer; of several writers, in threads,
    processes or containers, the last one leaves its whole file. The temporary name keeps the suffix, because audio
    libraries choose the format by it.

    Raises:
        OSError: naming `path`, for instance if its name is too long; before anything is written, where that is known.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     sorted(entry.name for entry in Path(folder).iterdir())
    ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with suppress(FileNotFoundError):
            path.lstat()  # a name that the system refuses should not be found out when all is done
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors writes files that only their owner may read
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if str(error.filename) == str(temporary):  # a name that nobody knows
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove what killed processes left of `replacing` any of `paths`; what is being written now stays.

    Of another machine or container nobody knows which processes run there: what they left goes when it is a day old.
    """
    names: dict[Path, set[str]] = defaultdict(set)
    for path in paths:
        names[path.parent].add(_digits(path.name))
    for folder, wanted in names.items():
        for entry in folder.glob(".*.part*"):
            match = _TEMPORARY.fullmatch(entry.name)
            if match and match["name"] in wanted:
                with suppress(OSError):  # gone already; in use, on Windows
                    ended = match["machine"] == _machine() and not _is_running(int(match["process"]))
                    if ended or time.time() - entry.lstat().st_mtime > LEFT_FOR_S:
                        entry.unlink()


def _temporary(path: Path) -> Path:
    """A name of bounded length that no other writer chooses, and that says who is writing what."""
    writer = f"{_machine()}.{os.getpid()}.{secrets.token_hex(4)}"
    return path.with_name(f".{_digits(path.name)}.{writer}.part{path.suffix}")


@cache
def _machine() -> str:
    """Stands for what a number of a process is a name in: this machine or, on Linux, this container."""
    try:
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:
        processes = ""
    return _digits(f"{platform.node()} {processes}")


def _digits(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


def _is_running(process: int) -> bool:
    """Whether a process of this number exists; on Windows, where signal 0 would end it, only this one is known."""
    if os.name == "nt":
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity become null, since they are not JSON."""
    write_text(path, json.dumps(_finite(value), indent=1, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({error})") from None


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(_finite(row), ensure_ascii=False) + "\n")


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read one JSON object a line.

    Raises:
        DataError: naming file and line, if the file is missing or a line is not a JSON object.
    """
    rows = []
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path}:{number}: not JSON ({error})") from None
                if not isinstance(row, dict):
                    raise DataError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
                rows.append(row)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
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


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
