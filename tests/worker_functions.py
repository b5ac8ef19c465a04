"""Functions that other processes run, in a module that they can import wherever the tests were started."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def slow_square(value: float) -> tuple[float, int]:
    time.sleep(0.05 * (value == 0))  # the first is the last to be ready
    return value * value, os.getpid()


def after(folder: Path, name: str, other: str | None) -> str:
    """Touch a file, after another process has touched the other one."""
    while other is not None and not (folder / other).exists():
        time.sleep(0.01)
    (folder / name).touch()
    return name


def fail_or_wait(folder: Path, name: str) -> None:
    """The first call fails once the second has started, which notes how it ends and would take a minute."""
    if name == "fails":
        while not (folder / "started").exists():
            time.sleep(0.01)
        raise ValueError("it fails")
    try:
        (folder / name).touch()
        time.sleep(60)
    except KeyboardInterrupt:
        (folder / "interrupted").touch()
        raise


def warn(text: str) -> None:
    warnings.warn(text, stacklevel=1)


def die(*_: Any) -> None:
    os._exit(1)


@dataclass
class SlowRecogniser:
    """Takes half a second for every waveform, and says by a file that it has begun."""

    folder: Path
    name = "slow"

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def load(self) -> None: ...

    def transcribe(self, waveform: Any) -> str:
        (self.folder / "started").touch()
        time.sleep(0.5)
        return f"{len(waveform)} samples"
