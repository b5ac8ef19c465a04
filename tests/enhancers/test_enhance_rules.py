"""docs/enhance-rules.md: its script runs, and gives the numbers of its table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "enhance-rules.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::phonemi.errors.PhonemiWarning")
def test_levels_above_8_khz_are_those_of_the_page(capsys):
    text = PAGE.read_text()
    [block] = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(compile(block, PAGE.name, "exec"), {})
    found = [
        [float(number) for number in re.findall(r"-?\d+\.?\d*", line)] for line in capsys.readouterr().out.splitlines()
    ]
    rows = re.findall(r"^\| (\d+) dB \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|$", text, re.M)
    assert len(found) == len(rows) == 4
    for numbers, row in zip(found, rows, strict=True):
        assert numbers == pytest.approx([float(number) for number in row], abs=1.0)
