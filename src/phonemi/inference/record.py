"""What made each output: a record in every folder of outputs, so that only what would come out the same is skipped.

`.phonemi-enhanced.jsonl` (and `.phonemi-enhanced.PART.jsonl`, where several machines write) has one line of JSON for
each time that an output was made: its name, a fingerprint of its content, and its origin (recording, model, options). A
line is written just before its output appears under its name. So, whenever a run is killed, the file that is there has
a line with its fingerprint, the old file or the new one. The names have no folder: folders may be moved and copied, and
joined if their records are.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from phonemi.errors import AudioError

RECORD_NAME = ".phonemi-enhanced"
RECORD_FILE = f"{RECORD_NAME}.jsonl"
BLOCK_BYTES, MAX_BLOCKS = 1 << 12, 64

FAILED = "failed"  # in the origin of a shard: why some of its recordings are not there, which decides nothing
Origin = dict[str, Any]
Age = Literal["new", "same", "other"]


def decisive(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that decide how a recording comes out; the others change it by little, or by rounding."""
    return {name: value for name, value in options.items() if name not in ("chunk_s", "overlap_s", "batch_size")}


class Record:
    """Reads and writes the records of folders; each line is read once.

    Args:
        part: which of several writers this is, such as the name of its machine. Each part has a file of its own,
            because not every shared file system keeps all of what two machines append to one file.
    """

    def __init__(self, part: str | None = None) -> None:
        self._name = f"{RECORD_NAME}.{part}.jsonl" if part else RECORD_FILE
        self._origins: dict[Path, dict[tuple[str, str], Origin]] = {}  # folder: (name, fingerprint): origin
        self._read_bytes: dict[Path, int] = {}  # file: how much of it is in `_origins`

    def origin(self, output: Path) -> Origin | None:
        """What the output was made of; None if no line is about the file as it is now. OSError if it is no file."""
        key = output.name, fingerprint(output)
        origins = self._origins.setdefault(output.parent, {})
        if key not in origins:  # in lines that are not read yet, of another process perhaps
            for path in output.parent.glob(f"{RECORD_NAME}*.jsonl"):
                self._read_bytes[path] = _read_on(path, self._read_bytes.get(path, 0), origins)
        return origins.get(key)

    def age(self, source: Path, target: Path, origin: Origin) -> Age:
        """Whether a target is yet to be made, or there as it would be made, or of another model or other options.

        Raises:
            AudioError: if there is a file that phonemi did not make. An empty one is no loss.
        """
        if not target.exists() or target.stat().st_size == 0:
            return "new"
        before = self.origin(target)
        if before is None:
            raise AudioError(
                f"{target} is there already, and no record says that phonemi made it as it is: choose another output, "
                "or replace it with --overwrite"
            )
        if {key: value for key, value in before.items() if key != FAILED} == origin:
            return "same" if target.stat().st_mtime_ns >= source.stat().st_mtime_ns else "new"
        return "other" if before["recording"] == origin["recording"] else "new"

    def add(self, output: Path, finished: Path, origin: Origin) -> None:
        """Note the origin of an output whose content is in `finished` still; OSError if that cannot be written."""
        line = json.dumps({"output": output.name, "fingerprint": fingerprint(finished), "origin": origin})
        with open(output.parent / self._name, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read() == b"\n" else f"\n{line}"  # the disk was full in the middle of a line
            file.write(f"{line}\n".encode())


def _read_on(path: Path, start: int, origins: dict[tuple[str, str], Origin]) -> int:
    """Read the lines from a byte on; gives the end of what is read, which is not the middle of a line."""
    with open(path, "rb") as file:
        file.seek(start)
        for line in file:
            try:
                entry = json.loads(line)
                origins[entry["output"], entry["fingerprint"]] = entry["origin"]
            except (ValueError, KeyError, TypeError):  # not a whole line
                if not line.endswith(b"\n"):
                    break
            start += len(line)
    return start


def fingerprint(path: Path) -> str:
    """Sixteen hexadecimal digits of a file's size and content; of a long file, of pieces from start to end."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(str(size).encode())
        blocks = min(MAX_BLOCKS, -(-size // BLOCK_BYTES))
        for block in range(blocks):
            file.seek(block * (size - BLOCK_BYTES) // (blocks - 1) if block else 0)
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()[:16]
