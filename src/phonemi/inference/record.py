"""What made each output: a record in every folder of outputs, so that only what would come out the same is skipped.

`.phonemi-enhanced.jsonl` has one line of JSON for each time that an output was made: its name, a fingerprint of its
content, and its origin (recording, model, options). A line is written just before its output appears under its name.
So, whenever a run is killed, the file that is there has a line with its fingerprint, the old file or the new one. The
names have no folder: folders may be moved and copied, and joined if their records are.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

RECORD_FILE = ".phonemi-enhanced.jsonl"
BLOCK_BYTES, MAX_BLOCKS = 1 << 12, 64

Origin = dict[str, Any]


class Record:
    """Reads and writes the records of folders; each is read once."""

    def __init__(self) -> None:
        self._origins: dict[Path, dict[tuple[str, str], Origin]] = {}  # folder: (name, fingerprint): origin

    def origin(self, output: Path) -> Origin | None:
        """What the output was made of; None if no line is about the file as it is now. OSError if it is no file."""
        if output.parent not in self._origins:
            self._origins[output.parent] = _read(output.parent / RECORD_FILE)
        return self._origins[output.parent].get((output.name, fingerprint(output)))

    def add(self, output: Path, finished: Path, origin: Origin) -> None:
        """Note the origin of an output whose content is in `finished` still; OSError if that cannot be written."""
        line = json.dumps({"output": output.name, "fingerprint": fingerprint(finished), "origin": origin})
        with open(output.parent / RECORD_FILE, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read() == b"\n" else f"\n{line}"  # the disk was full in the middle of a line
            file.write(f"{line}\n".encode())


def _read(path: Path) -> dict[tuple[str, str], Origin]:
    origins = {}
    if path.is_file():
        for line in path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
                origins[entry["output"], entry["fingerprint"]] = entry["origin"]
            except (ValueError, KeyError, TypeError):  # not a whole line
                continue
    return origins


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
