"""One run by several launches: shards, each by itself, and stages that are started twice at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phonemi.config import load_config
from phonemi.files import read_json
from phonemi.stages import run_stages, train
from phonemi.stages.aggregate import pretrain_aggregations
from phonemi.stages.information import measure_information
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


def test_two_launches_of_an_analysis_and_of_the_aggregations_share_them(corpus: Any, tmp_path: Path) -> None:
    settings = [
        *corpus.settings,
        "representation=mini",
        "aggregate.steps=5",
        "enhance.rows=[ws-linguistic, dws-linguistic]",
    ]
    alone = Run(tmp_path / "alone", load_config(None, settings))
    measure_information(alone)
    pretrain_aggregations(alone)
    options = [word for change in settings for word in ("--set", change)]
    for stage, said in (("information", "information: {}, train"), ("aggregate", "{} (linguistic): 5/5")):
        words = [sys.executable, "-m", "phonemi.cli", stage, "--run", str(tmp_path / "shared"), *options]
        launches = [subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in "12"]
        log = "".join(launch.communicate()[1] for launch in launches)
        assert [launch.returncode for launch in launches] == [0, 0], log
        for name in ("mini", "log1p") if stage == "information" else ("ws", "dws"):
            assert f"\n{log}".count(f"\n{said.format(name)}") == 1, log
    for name in ("information.json", "aggregations/ws/result.json", "aggregations/dws/result.json"):
        assert read_json(tmp_path / "shared" / name) == read_json(alone.folder / name)
