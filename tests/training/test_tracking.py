import json
import math
import sys
import types

import numpy as np
import pytest
import torch

from phonemi.errors import MissingExtra
from phonemi.files import read_jsonl
from phonemi.training.tracking import Tracker


def test_every_line_is_on_disk_before_the_next_call(tmp_path):
    tracker = Tracker(tmp_path / "run")
    for step in range(3):
        tracker.log("train", "probe", step, loss=step / 2)
        assert [row["loss"] for row in read_jsonl(tmp_path / "run" / "log.jsonl")] == [n / 2 for n in range(step + 1)]
    tracker.close()


def test_opening_again_continues_the_file(tmp_path):
    for step in (1, 2):
        with Tracker(tmp_path) as tracker:
            tracker.log("train", "probe", step)
    assert [row["step"] for row in read_jsonl(tmp_path / "log.jsonl")] == [1, 2]


@pytest.mark.parametrize("kept_bytes", range(32))
def test_a_last_line_cut_anywhere_is_repaired(tmp_path, kept_bytes):
    lines = ['{"step": 1}\n', '{"step": 2, "n": "Ü"}\n']
    (tmp_path / "log.jsonl").write_bytes("".join(lines).encode()[:kept_bytes])
    with Tracker(tmp_path) as tracker:
        tracker.log("train", "probe", 3)
    kept = [1] if kept_bytes >= len(lines[0]) else []
    assert [row["step"] for row in read_jsonl(tmp_path / "log.jsonl")] == [*kept, 3]


def test_values_become_plain_json(tmp_path):
    values = {"a": torch.tensor(2.0), "b": np.float32(0.5), "c": math.nan, "d": math.inf, "e": "text", "f": np.int64(3)}
    with Tracker(tmp_path) as tracker:
        tracker.log("validate", "probe", 1, **values)
    line = (tmp_path / "log.jsonl").read_text()
    row = json.loads(line, parse_constant=pytest.fail)
    assert [row[name] for name in "abcdef"] == [2.0, 0.5, None, None, "text", 3]


def test_tensorboard_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtra, match=r"phonemi\[tensorboard\]"):
        Tracker(tmp_path, tensorboard=True)


def test_tensorboard_gets_the_numbers_only(tmp_path, monkeypatch):
    written = []
    writer = types.SimpleNamespace(add_scalar=lambda *row: written.append(row), close=lambda: written.append("closed"))
    monkeypatch.setitem(sys.modules, "tensorboard", types.ModuleType("tensorboard"))
    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = lambda folder: writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    with Tracker(tmp_path, tensorboard=True) as tracker:
        tracker.log("train", "probe", 7, loss=0.5, note="text")
    assert written == [("train/probe/loss", 0.5, 7), "closed"]
