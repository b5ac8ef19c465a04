"""What the processes that share a folder are doing, in one place: a small file of each, rewritten every few seconds."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from phonemi.errors import DataError
from phonemi.files import is_running, machine_hash, read_json, write_json
from phonemi.tables import duration_text

INTERVAL_S = 3.0


@dataclass(frozen=True)
class Activity:
    """One piece of work of one process."""

    machine: str  # `files.machine_hash`
    host: str
    process: int
    label: str
    completed: int
    total: int | None  # None: nobody knows
    note: str
    start_s: float  # since 1970, as `time.time`
    time_s: float  # when this was true

    def describe(self, now_s: float) -> str:
        """What is done, how far, and for how long; and that the process is silent, if it is.

        >>> Activity("3f", "node1", 7, "ws-acoustic", 250, 500, "loss 0.1", 0.0, 60.0).describe(61.0)
        'ws-acoustic: 250/500 after 1 min 0 s, loss 0.1'
        """
        count = "" if self.total is None else f": {self.completed}/{self.total}"
        text = f"{self.label}{count} after {duration_text(self.time_s - self.start_s)}"
        text += f", {self.note}" if self.note else ""
        silent_s = now_s - self.time_s
        return text if silent_s < 20 * INTERVAL_S else f"{text}; silent for {duration_text(silent_s)}"


class Work(Protocol):
    """What is reported of a piece of work: `progress.Task`."""

    completed: int
    total: int | None
    note: str


class Board:
    """Where this process says what it does: FOLDER/<machine>.<process>.json, which is there while it does something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list[tuple[str, Work, float]] = []  # the innermost last
        self._written_s = 0.0

    @contextmanager
    def showing(self, label: str, work: Work) -> Iterator[None]:
        """Report this work while the block runs, then what it was a part of."""
        self._open.append((label, work, time.time()))
        self.update(now=True)
        try:
            yield
        finally:
            self._open.pop()
            if self._open:
                self.update(now=True)
            else:
                with suppress(OSError):
                    self._path().unlink(missing_ok=True)

    def update(self, now: bool = False) -> None:
        """Write how far it is, unless that was done a moment ago. Work does not fail because this cannot be written."""
        time_s = time.time()
        if self._open and (now or time_s - self._written_s >= INTERVAL_S):
            self._written_s = time_s
            label, work, start_s = self._open[-1]
            process = machine_hash(), platform.node(), os.getpid()
            activity = Activity(*process, label, work.completed, work.total, work.note, start_s, time_s)
            with suppress(OSError):
                write_json(self._path(), asdict(activity))

    def _path(self) -> Path:
        return self.folder / f"{machine_hash()}.{os.getpid()}.json"


def read_activities(folder: Path) -> list[Activity]:
    """What is being done, by host and process; the files of processes of this machine that were killed are removed."""
    activities = []
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, DataError, TypeError):  # it ended meanwhile
            activity = Activity(**read_json(path))
            if activity.machine == machine_hash() and not is_running(activity.process):
                path.unlink()
                continue
            activities.append(activity)
    return activities
