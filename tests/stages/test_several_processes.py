"""The commands that train, started by torchrun in two processes, make what they make in one."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from phonemi.files import read_json, read_jsonl

COMMANDS = ("pretrain", "aggregate", "train")
SETTINGS = (
    "encoder.rounds=[{units: mel, clusters: 8, steps: 12}]", "encoder.accumulate=2", "aggregate.aggregations=[ws]",
    "aggregate.accumulate=3", "enhance.rows=[log1p,ws-hybrid]", "enhance.steps=10", "enhance.validate_every=5",
    "enhance.accumulate=2", "enhance.jobs=2",
)  # fmt: skip
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@pytest.fixture
def settings(corpus: Any) -> list[str]:
    return [word for setting in (*corpus.settings, *SETTINGS) for word in ("--set", setting)]


def run_commands(*arguments: str) -> None:
    """What each of the two processes does."""
    from phonemi import cli

    if os.environ["RANK"] != "0":
        os.replace = None  # type: ignore[assignment]  # which every file is written with
    for command in COMMANDS:
        sys.argv = ["phonemi", command, *arguments]
        try:
            cli.main()
        except SystemExit as end:
            if end.code:
                raise


@pytest.mark.slow
def test_two_processes_make_what_one_makes(
    settings: list[str], phonemi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for command in COMMANDS:
        outcome = phonemi(command, "--run", one, *settings, "--set", "enhance.jobs=1")
        assert outcome.code == 0, outcome
    together = subprocess.run(
        [*TORCHRUN, __file__, "-r", str(two), *settings], capture_output=True, text=True, timeout=300, check=False
    )
    assert together.returncode == 0, together.stderr
    assert together.stderr.count("one row after the other, each by all 2 processes") == 1
    files = [{path.relative_to(run) for path in run.rglob("*") if path.is_file()} for run in (one, two)]
    assert files[0] == files[1]
    for path in files[0]:
        if path.suffix == ".safetensors":
            expected, weights = (load_file(run / path) for run in (one, two))
            for name, value in expected.items():
                torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-5, msg=f"{path}: {name}")
    logs = [read_jsonl(run / "log.jsonl") for run in (one, two)]
    assert len(logs[0]) == len(logs[1]), "the first one alone writes"
    for expected, row in zip(*logs, strict=True):
        assert (row["stage"], row["label"], row["step"]) == (expected["stage"], expected["label"], expected["step"])
        for name in expected.keys() - {"time_s", "steps_per_s", "stage", "label"}:
            # PESQ aligns pieces of sound by their energy: rounding can move one.
            tolerance = 1e-3 if name == "pesq_wb_lqo" else 1e-5
            assert row[name] == pytest.approx(expected[name], rel=tolerance, abs=tolerance), (row, name)
    keys = [read_json(run / "rows" / "ws-hybrid" / "result.json")["key"] for run in (one, two)]
    assert keys[0] == keys[1]
    assert phonemi("train", "--run", two).stderr.count("done already") == 2


@pytest.mark.slow
def test_what_is_wrong_is_said_once_and_ends_both(settings: list[str], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    wrong = ["--set", "enhance.accumulate=1", "--set", "enhance.batch=4"]
    command = [sys.executable, "-m", "phonemi.cli", "train", "--run", str(tmp_path / "run"), *settings, *wrong]
    processes = [
        subprocess.Popen(command, env=environment | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=180)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [2, 1]
    assert [re.findall("^phonemi: .*", text, re.M) for text in said] == [
        [
            "phonemi: enhance.accumulate is 1, but each of 2 processes needs a batch of its own in every update: "
            "set enhance.accumulate=2 enhance.batch=2"
        ],
        [],
    ]
    assert not (tmp_path / "run").exists()


def test_other_commands_refuse_to_run_several_times(
    phonemi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, blank_figures: None
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    outcome = phonemi("evaluate", "--run", tmp_path / "run")
    assert outcome.code == 2
    assert outcome.error == (
        "phonemi evaluate works in one process: start it without torchrun, which is for pretrain, aggregate, train"
    )
    monkeypatch.setenv("RANK", "1")
    assert phonemi("evaluate", "--run", tmp_path / "run").stderr == "", "process 0 says why"


if __name__ == "__main__":
    run_commands(*sys.argv[1:])
