"""Read the result files of a run folder, whichever of them there are."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonemi.errors import DataError
from phonemi.results.articulation import Articulation
from phonemi.results.cn_distance import CleanNoisyDistances
from phonemi.results.evaluation import Evaluation, Example
from phonemi.results.information import Information
from phonemi.results.record import Record, T, read_record
from phonemi.results.weights import DynamicWeights, LayerWeights

STAGES = {
    "information.json": "information",
    "cn_distance.json": "information --measure cn-distance",
    "fine_tuned_information.json": "information --measure fine-tuning",
    "layer_weights.json": "report",
    "dynamic_weights.json": "report",
    "metrics.json": "evaluate",
    "articulation.json": "evaluate",
    "examples.json": "report",
    "per_utterance.csv": "evaluate",
    "log.jsonl": "train",
    "timings.json": "any",
    "config.yaml": "any",
}
"""Result file -> the stage that writes it."""

# What a command leaves in a folder before it has any result: lists of files, and what was read from their headers.
_NO_RESULTS = {"config.yaml", "timings.json", "recordings.jsonl", "cache/fingerprints.json", "cache/headers.json"}


@contextmanager
def removing_empty_run(folder: Path) -> Iterator[None]:
    """Remove a run folder that the block has made if it fails, not if it is interrupted, before there is any result."""
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    is_new = not folder.exists() or not any(folder.iterdir())
    try:
        yield
    except Exception:
        if is_new and folder.exists():
            files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
            names = {path.relative_to(folder).as_posix() for path in files if path.parent != folder / "manifests"}
            if names <= _NO_RESULTS:
                for entry in folder.iterdir():
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                for path in new_folders:
                    with suppress(OSError):  # it holds something else by now
                        path.rmdir()
        raise


def has_results(folder: Path) -> bool:
    """Whether a run has anything that its report can show."""
    files = [folder / name for name, stage in STAGES.items() if stage != "any"]
    return any(path.is_file() and path.stat().st_size for path in files)


@dataclass(frozen=True, kw_only=True)
class StageTime(Record):
    """Seconds that a stage took, over all times that it was started."""

    stage: str
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Timings(Record):
    """Content of timings.json."""

    stages: tuple[StageTime, ...]


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """What is in a run folder; None or empty for a file that is not there."""

    files: tuple[str, ...] = ()  # names from `STAGES`
    information: Information | None = None
    cn_distance: CleanNoisyDistances | None = None
    fine_tuned: Information | None = None  # of the encoders that rows have changed
    layer_weights: LayerWeights | None = None
    dynamic_weights: DynamicWeights | None = None
    evaluation: Evaluation | None = None
    articulation: Articulation | None = None  # of rows that invert
    examples: tuple[Example, ...] = ()
    per_utterance: tuple[dict[str, str], ...] = ()  # lines of per_utterance.csv
    log: tuple[dict[str, Any], ...] = ()  # lines of log.jsonl, from training
    timings: Timings | None = None
    config: str = ""

    @property
    def titles(self) -> dict[str, str]:
        """Name of each row -> what tables and sentences call it."""
        weighted = {row.row: row.title for row in self.layer_weights.rows} if self.layer_weights else {}
        return {**weighted, **(self.evaluation.titles if self.evaluation else {})}


def read_results(run_dir: str | Path) -> RunResults:
    """Read the results of a run.

    Raises:
        DataError: if the folder does not exist or a file cannot be read; the message names the file and what is wrong.
    """
    folder = Path(run_dir)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: expected the folder of a run")
    files = tuple(name for name in STAGES if (folder / name).is_file())

    def read(name: str, kind: type[T]) -> T | None:
        return read_record(folder / name, kind) if name in files else None

    def text(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8", errors="replace") if name in files else ""

    lines = csv.DictReader(io.StringIO(text("per_utterance.csv")))
    return RunResults(
        files=files,
        information=read("information.json", Information),
        cn_distance=read("cn_distance.json", CleanNoisyDistances),
        fine_tuned=read("fine_tuned_information.json", Information),
        layer_weights=read("layer_weights.json", LayerWeights),
        dynamic_weights=read("dynamic_weights.json", DynamicWeights),
        evaluation=read("metrics.json", Evaluation),
        articulation=read("articulation.json", Articulation),
        examples=read("examples.json", tuple[Example, ...]) or (),
        per_utterance=tuple({key: value or "" for key, value in line.items() if key} for line in lines),
        log=_parse_log(text("log.jsonl"), folder / "log.jsonl"),
        timings=read("timings.json", Timings),
        config=text("config.yaml"),
    )


def _parse_log(text: str, path: Path) -> tuple[dict[str, Any], ...]:
    lines = text.split("\n")
    rows = []
    for line_number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else {}
        except json.JSONDecodeError as error:
            if line_number < len(lines):
                raise DataError(f"{path}:{line_number}: not JSON ({error})") from None
            row = {}  # a stage that is running or was killed has not finished the last line
        if not isinstance(row, dict):
            raise DataError(f"{path}:{line_number}: expected a JSON object, found {type(row).__name__}")
        rows += [row] if row else []
    return tuple(rows)
