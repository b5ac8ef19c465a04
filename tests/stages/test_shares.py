"""Shards of one run, each by itself: rows that do not divide evenly, and a second time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phonemi.config import load_config
from phonemi.files import read_json
from phonemi.stages import run_stages, train
from phonemi.stages.run import Run

pytestmark = pytest.mark.slow

ROWS = ("log1p", "ws-acoustic", "ws-acoustic+log1p")


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS])
def test_two_shards_make_a_run_each_row_once(
    rows: tuple[str, ...], corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["representation=mini", f"enhance.rows=[{', '.join(rows)}]", "enhance.steps=4", "enhance.validate_every=4"]
    small += ["evaluate.recogniser=none", "evaluate.endpoint=null", "aggregate.steps=5"]
    trained, train_system = list[str](), train.train_system

    def note_and_train(run: Run, system: Any, *rest: Any) -> None:
        trained.append(system.name)
        train_system(run, system, *rest)

    monkeypatch.setattr(train, "train_system", note_and_train)

    def launch(shard: tuple[int, int] | None) -> bool:
        return run_stages(Run(tmp_path, load_config(None, [*corpus.settings, *small])), shard)

    assert not launch((2, 2)), "the other shard has not done its part"
    assert trained == list(rows[1::2])
    assert launch((1, 2)), "and who comes last joins the parts"
    assert sorted(trained) == sorted(rows)
    before = read_json(tmp_path / "metrics.json")
    assert {row["row"] for row in before["rows"]} == {"noisy", "clean", *rows}
    for shard in ((2, 2), (1, 2), None):
        assert launch(shard)
    assert len(trained) == len(rows)
    assert read_json(tmp_path / "metrics.json") == before
