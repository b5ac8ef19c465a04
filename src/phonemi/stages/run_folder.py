"""The folder of a run: its results as JSON files, and whether they are those of the configuration that is asked for.

A result holds the key that it was made with (`stages.keys`). It is current as long as that is the key it would get now.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phonemi.errors import DataError
from phonemi.files import read_json, write_json


class RunFolder:
    """Results in a folder.

    Args:
        path: RUN; made when something is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __truediv__(self, name: str | Path) -> Path:
        """Path of a file in the folder."""
        return self.path / name

    def model(self, system: str) -> Path:
        """Folder of the trained model of a system, by its name."""
        return self.path / "rows" / system / "model"

    def is_current(self, name: str, key: str) -> bool:
        """Whether RUN/name is a JSON object that was made with this key."""
        path = self.path / name
        if not path.exists():
            return False
        result = read_json(path)
        return isinstance(result, dict) and result.get("key") == key

    def read(self, name: str, key: str, needed_by: str, command: str) -> Any:
        """A result of an earlier stage.

        Args:
            name: file in the folder.
            key: that it must have.
            needed_by: what asks for it, for the message.
            command: of phonemi, which makes it.

        Raises:
            DataError: if it is not there, or is of another configuration or data, with the command to run first.
        """
        path, line = self.path / name, f"phonemi {command} --run {self.path}"
        if not path.exists():
            raise DataError(f"{needed_by} needs {path}, which is not there: run `{line}` first")
        if not self.is_current(name, key):
            raise DataError(f"{needed_by} needs {path}, which is of another configuration or data: run `{line}`")
        return read_json(path)

    def write(self, name: str, value: Any) -> None:
        """Write a result: all of it or, if that fails, nothing."""
        write_json(self.path / name, value)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of the block to RUN/timings.json, also when it is interrupted."""
        start = time.perf_counter()
        try:
            yield
        finally:
            path = self.path / "timings.json"
            seconds = {row["stage"]: row["seconds"] for row in read_json(path)["stages"]} if path.exists() else {}
            seconds[stage] = round(seconds.get(stage, 0.0) + time.perf_counter() - start, 1)
            write_json(path, {"stages": [{"stage": name, "seconds": s} for name, s in seconds.items()]})
