"""The log of a run: one JSON line for each entry in RUN/log.jsonl, and TensorBoard curves if asked for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from phonemi.errors import require_extra
from phonemi.files import json_line

LOG_NAME = "log.jsonl"


class Tracker:
    """Appends to the log of one run; opening it again continues the same file.

    A line reaches the operating system whole, in one write, so killing the process loses nothing that was logged. A
    run resumed from a checkpoint logs the steps after that checkpoint a second time: of two lines with the same stage,
    label and step, the later one counts.

    With `tensorboard`, a MissingExtra if that is not installed, curves go to RUN/tensorboard: `stage/label/value`.

    >>> import tempfile
    >>> from phonemi.files import read_jsonl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Tracker(folder) as tracker:
    ...         tracker.log("train", "probe", 50, loss=0.25)
    ...     [line] = read_jsonl(Path(folder) / "log.jsonl")
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
        if self.path.exists():  # a power cut or a full disk may have left a part of the last line
            with open(self.path, "r+b") as log:
                log.truncate(log.read().rfind(b"\n") + 1)
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
        row = {"time_s": round(time.time(), 3), "stage": stage, "label": label, "step": step, **plain}
        self._lines.write(json_line(row).encode())
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
