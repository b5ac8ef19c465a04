"""Thousands of broken files: sound or one line each, never another exception, a crash, a hang or much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("mutants.py")


@pytest.mark.slow
def test_broken_files(tmp_path: Path) -> None:
    count = int(os.environ.get("PHONEMI_MUTANTS", "300"))  # 2000 take some minutes
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(count), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * count)
    assert done.returncode == 0, f"it ended while reading {[path.name for path in tmp_path.iterdir()]}: {done.stderr}"
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["sound"] + found["refused"] == count
    assert min(found["sound"], found["refused"]) > count // 5
    assert found["slowest_s"] < 60
    assert found["most_bytes"] < 500 << 20
