"""The log of a run: one JSON line for each entry in RUN/log.jsonl, and TensorBoard curves if asked for."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from phonemi.errors import require_extra

LOG_NAME = "log.jsonl"


class Tracker:
    """Appends to the log of one run; opening it again continues the same file.

    A line reaches the operating system whole, in one write, so killing the process loses nothing that was logged. A
    run resumed from a checkpoint logs the steps after that checkpoint a second time: of two lines with the same stage,
    label and step, the later one counts.

    With `tensorboard`, a MissingExtra if that is not installed, curves go to RUN/tensorboard: `stage/label/value`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Tracker(folder) as tracker:
    ...         tracker.log("train", "probe", 50, loss=0.25)
    ...     line = json.loads((Path(folder) / "log.jsonl").read_text())
    >>> line["stage"], line["label"], line["step"], line["loss"]
    ('train', 'probe', 50, 0.25)
    """

    def __init__(self, run_dir: str | Path, tensorboard: bool = False) -> None:
        self.path = Path(run_dir) / LOG_NAME
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._curves: Any = None
        if tensorboard:
            require_extra("tensorboard", "tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            self._curves = SummaryWriter(str(self.path.parent / "tensorboard"))
        _repair_last_line(self.path)
        # Unbuffered and in append mode: one line is one write at the end of the file, also with several writers.
        self._lines = open(self.path, "ab", buffering=0)  # noqa: SIM115

    def log(self, stage: str, label: str, step: int, **values: Any) -> None:
        """Append one line.

        Args:
            stage: what kind of numbers these are, for instance `"train"` or `"validate"`.
            label: what they belong to, for instance one row of a table.
            step: optimiser updates done so far.
            values: numbers (also tensors and arrays of one element) or text. What is not finite becomes null.
        """
        plain = {name: value.item() if hasattr(value, "item") else value for name, value in values.items()}
        row = {"time_s": round(time.time(), 3), "stage": stage, "label": label, "step": step}
        for name, value in plain.items():
            row[name] = None if isinstance(value, float) and not math.isfinite(value) else value
        self._lines.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        if self._curves is not None:
            for name, value in plain.items():
                if isinstance(value, (int, float)):
                    self._curves.add_scalar(f"{stage}/{label}/{name}", value, step)

    def close(self) -> None:
        """Close the log; logging afterwards is an error."""
        self._lines.close()
        if self._curves is not None:
            self._curves.close()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _repair_last_line(path: Path) -> None:
    """Complete what a power cut or a full disk left of it by its newline if it is a whole object, else cut it off."""
    if not path.exists():
        return
    with open(path, "r+b") as log:
        content = log.read()
        start = content.rfind(b"\n") + 1
        if start == len(content):
            return
        try:
            whole = isinstance(json.loads(content[start:]), dict)
        except ValueError:
            whole = False
        if whole:
            log.write(b"\n")
        else:
            log.truncate(start)
