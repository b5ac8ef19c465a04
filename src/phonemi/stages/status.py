"""How far the runs of a folder are, and what every process that works on them is doing: `phonemi status`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from phonemi.activity import Activity, read_activities
from phonemi.config import load_config
from phonemi.errors import DataError
from phonemi.stages.evaluate import RESULT, current_key, rows_scored
from phonemi.stages.run import CLAIMS, Run
from phonemi.stages.trained_models import is_trained
from phonemi.tables import plural


@dataclass(frozen=True)
class RunStatus:
    """How far one run is."""

    folder: Path
    models: int  # of all rows
    trained: int  # of them
    rows: int  # to be scored: the models, and what they are compared with
    scored: int  # of them
    is_evaluated: bool  # whether metrics.json is there, and made of all of them
    activities: tuple[Activity, ...]

    def lines(self) -> list[str]:
        """For the terminal: one line of the run, and one of each process."""
        state = "evaluated" if self.is_evaluated else "not evaluated yet"
        counts = (
            f"{plural(self.models, 'model')}, {self.trained} trained; {plural(self.rows, 'row')}, {self.scored} scored"
        )
        now_s = time.time()
        workers = [f"  {one.host} {one.process}  {one.describe(now_s)}" for one in self.activities]
        return [f"{self.folder}: {counts}; {state}", *workers]


def read_status(folder: Path) -> list[RunStatus]:
    """The run in the folder or, of a table, those below it.

    Raises:
        DataError: if there is none, or its data cannot be found.
    """
    places = ("config.yaml", "*/config.yaml", "*/*/config.yaml")
    runs = sorted({path.parent for place in places for path in folder.glob(place)})
    if not runs:
        raise DataError(f"{folder} is no run folder, and has none: expected RUN or the OUT of phonemi table")
    return [_status(path) for path in runs if path == folder or not (path.parent / "config.yaml").exists()]


def _status(folder: Path) -> RunStatus:
    run = Run(folder, load_config(folder / "config.yaml"), save=False)
    scored = rows_scored(run)
    return RunStatus(
        folder=folder,
        models=len(run.systems),
        trained=sum(is_trained(run, system) for system in run.systems),
        rows=len(scored),
        scored=sum(scored.values()),
        is_evaluated=run.folder.is_current(RESULT, current_key(run)),
        activities=tuple(read_activities(folder / CLAIMS)),
    )
