"""The exercise of CONTRIBUTING: a new system is one file and its entry in the registry of papers.

This file is that file. Everything else (training, evaluation, tables, report) finds the system by its name.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phonemi.config import load_config
from phonemi.files import read_json
from phonemi.stages.evaluate import evaluate_systems
from phonemi.stages.run import Run
from phonemi.stages.train import train_systems
from phonemi.systems import PAPERS, Look, System

DUMMY = System(
    name="dummy",
    label="Dummy (layer 1, with the spectrum)",
    aggregation="single_layer",
    layer=1,
    spectrum=True,
    compared_with=("log1p",),
    look=Look("single", dashed=True),
    terms={"Dummy": "a system that only the tests have"},
)


@pytest.fixture
def dummy_paper() -> Iterator[None]:
    PAPERS.append({DUMMY.name: DUMMY})
    yield
    PAPERS.pop()


@pytest.mark.usefixtures("dummy_paper")
def test_a_new_system_is_trained_evaluated_and_shown(
    finished: Any, tmp_path: Path, phonemi: Any, blank_figures: None
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    changes = ["enhance.rows=[log1p, dummy]", "enhance.steps=10", "enhance.validate_every=10"]
    run = Run(folder, load_config(folder / "config.yaml", [*changes, "evaluate.recogniser=none"]))
    train_systems(run)
    evaluate_systems(run)
    metrics = read_json(folder / "metrics.json")
    assert {row["row"]: row["label"] for row in metrics["rows"]}["dummy"] == DUMMY.label
    assert {(c["row"], c["against"]) for c in metrics["comparisons"]} >= {("dummy", "noisy"), ("dummy", "log1p")}
    assert phonemi("report", folder).code == 0
    assert DUMMY.label in (folder / "report.html").read_text()
