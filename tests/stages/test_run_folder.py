from __future__ import annotations

import json
from pathlib import Path

import pytest

from phonemi.errors import DataError
from phonemi.stages.run import RunFolder


def test_a_result_is_current_as_long_as_its_key_is_asked_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.is_current("a.json", "key")
    folder.write("a.json", {"key": "key", "value": 1})
    assert folder.is_current("a.json", "key")
    assert not folder.is_current("a.json", "other")
    assert folder.read("a.json", "key", "the table", "evaluate")["value"] == 1
    folder.write("c.json", ["not an object"])
    assert not folder.is_current("c.json", "key")


def test_a_result_that_cannot_be_used_names_the_command_to_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write("a.json", {"key": "key"})
    with pytest.raises(DataError, match="is of another configuration or data"):
        folder.read("a.json", "other", "the table", "evaluate")
    with pytest.raises(DataError) as error:
        folder.read("b.json", "key", "the table", "evaluate")
    assert str(error.value) == (
        f"the table needs {tmp_path / 'b.json'}, which is not there: run `phonemi evaluate --run {tmp_path}` first"
    )


def test_times_add_up_over_interruptions(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), folder.timed("train"):
            raise KeyboardInterrupt
    with folder.timed("evaluate"):
        pass
    stages = json.loads((tmp_path / "timings.json").read_text())["stages"]
    assert [stage["stage"] for stage in stages] == ["train", "evaluate"]
