"""A table of six rows made by several processes at once, some of which are killed: `make scale`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from phonemi.files import read_json, read_jsonl
from phonemi.recipes.table import plan

pytestmark = [pytest.mark.scale, pytest.mark.slow]

KILLS, STEPS = 10, 30
ROWS = plan("2", "mini", ("mini",))[0].rows


@pytest.fixture(scope="module")
def options(corpus: Any) -> list[str]:
    """Of `phonemi table 2`, in which each of six rows takes a few seconds."""
    small = [change for change in corpus.settings if not change.startswith(("data.speech", "data.noise="))]
    small += [
        f"enhance.steps={STEPS}",
        "enhance.validate_every=10",
    ]
    small += ["aggregate.steps=20", "evaluate.recogniser=none", "evaluate.utterances=2"]
    words = ["2", "--scale", "mini", "--encoder", "mini", "--manifests", str(corpus.data)]
    return words + [word for change in small for word in ("--set", change)]


@pytest.fixture(scope="module")
def expected(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The table by one process."""
    out = tmp_path_factory.mktemp("alone")
    assert launch(out, options).wait() == 0
    table = numbers(out)
    assert set(ROWS) < set(table)
    return table


def launch(out: Path, options: list[str], *more: str) -> subprocess.Popen[bytes]:
    out.mkdir(exist_ok=True)
    with open(out / "said.txt", "ab") as said:
        command = [sys.executable, "-m", "phonemi.cli", "table", *options, "--out", str(out), *more]
        return subprocess.Popen(command, stdout=said, stderr=said)


def numbers(out: Path) -> dict[str, Any]:
    """Every number of the table, by row."""
    table = read_json(out / "table2.json")
    return {row["row"]: row for row in table["rows"]} | {"comparisons": table["comparisons"]}


def results(out: Path) -> dict[Path, int]:
    """When each result of each row was written."""
    return {path: path.stat().st_mtime_ns for path in (out / "mini" / "rows").glob("*/*.json")}


def check_nothing_is_left(out: Path, options: list[str]) -> None:
    """Every row is there, and another launch does nothing."""
    before = results(out)
    assert {path.parent.name for path in before} >= set(ROWS)
    assert launch(out, options).wait() == 0
    assert results(out) == before


def workers_of(process: int) -> list[int]:
    """The processes of Ray that make models, below this one."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
    below = {process}
    while more := {one for one, parent in parents.items() if parent in below} - below:
        below |= more
    return [one for one in below if "_make_share" in names.get(one, "")]


@contextmanager
def killing(find: Callable[[], list[int]], times: int = KILLS) -> Iterator[list[int]]:
    """Kill one of the processes that `find` finds, at random moments, until it was done so often; gives whom."""
    rng, killed, is_over = random.Random(0), list[int](), False

    def kill_some() -> None:
        while len(killed) < times and not is_over:
            time.sleep(rng.uniform(0.5, 4))
            if processes := find():
                process = rng.choice(processes)
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    thread = threading.Thread(target=kill_some)
    thread.start()
    try:
        yield killed
    finally:
        is_over = True
        thread.join()


def test_launches_share_the_rows_though_one_of_them_is_killed_ten_times(
    options: list[str], expected: dict[str, Any], tmp_path: Path
) -> None:
    steady = launch(tmp_path, options, "--shard", "1/2")
    rng, kills = random.Random(1), 0
    while True:
        process = launch(tmp_path, options, "--shard", "2/2")
        if kills == KILLS:
            break
        try:
            process.wait(timeout=rng.uniform(4, 12))
            break  # done before ten kills: the machine is fast
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert process.wait() == steady.wait() == 0, (tmp_path / "said.txt").read_text()
    if not (tmp_path / "table2.json").exists():  # both waited for a claim of the other at the end
        assert launch(tmp_path, options).wait() == 0
    assert kills > 3
    assert numbers(tmp_path) == expected
    check_nothing_is_left(tmp_path, options)


def test_two_launches_at_once_do_nothing_twice(options: list[str], expected: dict[str, Any], tmp_path: Path) -> None:
    both = [launch(tmp_path, options) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0], (tmp_path / "said.txt").read_text()
    assert numbers(tmp_path) == expected
    log = read_jsonl(tmp_path / "mini" / "log.jsonl")
    ends = [line["label"] for line in log if (line["stage"], line["step"]) == ("train", STEPS)]
    assert sorted(label for label in ends if label in ROWS) == sorted(ROWS)
    check_nothing_is_left(tmp_path, options)


def test_a_cluster_of_this_machine_makes_it_though_its_workers_are_killed(
    options: list[str], expected: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'phonemi[cluster]'")
    process = launch(tmp_path, options, "--on", "ray")
    with killing(lambda: workers_of(process.pid)) as killed:
        assert process.wait() == 0, (tmp_path / "said.txt").read_text()
    assert len(killed) > 3
    assert numbers(tmp_path) == expected
    check_nothing_is_left(tmp_path, options)
