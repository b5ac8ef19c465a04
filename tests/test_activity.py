"""What processes say they are doing, and who reads it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from phonemi import activity
from phonemi.activity import Activity, read_activities
from phonemi.files import write_json
from phonemi.progress import Progress

WORK = """
import sys, time
from pathlib import Path
from phonemi.progress import Progress
with Progress(enabled=False).on_board(Path(sys.argv[1])).task("training", 10) as task:
    task.advance(3, "loss 0.5")
    print("", flush=True)
    time.sleep(60)
"""


def test_a_task_is_on_the_board_while_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "INTERVAL_S", 0.0)
    shown = io.StringIO()
    progress = Progress(file=shown).on_board(tmp_path / "board")
    with progress.task("rows", 4) as rows:
        rows.advance(1)
        with progress.task("judging", 20) as judging:
            judging.advance(5, "12 words")
            (doing,) = read_activities(tmp_path / "board")
            assert (doing.label, doing.completed, doing.total, doing.note) == ("judging", 5, 20, "12 words")
            assert doing.process == os.getpid()
            assert abs(doing.time_s - time.time()) < 5
        (doing,) = read_activities(tmp_path / "board")
        assert (doing.label, doing.completed) == ("rows", 1)
    assert read_activities(tmp_path / "board") == []
    assert shown.getvalue().startswith("judging: 5/20"), "and is shown here as it always was"


def test_it_is_seldom_written(tmp_path: Path) -> None:
    with Progress(enabled=False).on_board(tmp_path).task("training", 100) as task:
        for _ in range(100):
            task.advance()
        (doing,) = read_activities(tmp_path)
        assert doing.completed < 100


def test_who_was_killed_is_taken_off(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (doing,) = read_activities(tmp_path)
        assert (doing.process, doing.label, doing.total) == (process.pid, "training", 10)
        elsewhere = replace(doing, machine="00000000", host="node2")
        write_json(tmp_path / "elsewhere.json", asdict(elsewhere))
        process.kill()
    assert read_activities(tmp_path) == [elsewhere], "nobody here knows whether that one lives"
    (tmp_path / "elsewhere.json").write_text("{")
    assert read_activities(tmp_path) == []


def test_a_silent_process_is_told_apart() -> None:
    doing = Activity("00", "node1", 7, "ws-acoustic", 250, 500, "loss 0.1", 0.0, 60.0)
    assert "silent" not in doing.describe(90.0)
    assert doing.describe(60.0 + 600).endswith("silent for 10 min 0 s")
    assert replace(doing, total=None, note="").describe(61.0) == "ws-acoustic after 1 min 0 s"


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Progress(enabled=False).on_board(tmp_path / "file" / "board").task("training", 2) as task:
        task.advance()
    assert task.completed == 1
