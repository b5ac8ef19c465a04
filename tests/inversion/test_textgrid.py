"""Point tiers hold every known value at its time, and are read back by the reader of TextGrids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phonemi.data.alignment import read_textgrid, read_textgrid_points
from phonemi.errors import DataError
from phonemi.inversion.textgrid import write_textgrid_points
from phonemi.inversion.tracks import Tracks


def test_points_are_read_back(tmp_path: Path) -> None:
    values = np.array([[0.0, np.nan, 0.5], [12.3456, 120.25, 0.25], [np.nan, 119.0, 1.0]], dtype=np.float32)
    path = tmp_path / "a.TextGrid"
    write_textgrid_points(path, Tracks(values, ("LA", "F0", 'a "b"'), ("mm", "Hz", "")))
    assert read_textgrid_points(path) == {
        "LA (mm)": [(0.0, "0"), (0.01, "12.35")],
        "F0 (Hz)": [(0.01, "120.2"), (0.02, "119")],
        'a "b"': [(0.0, "0.5"), (0.01, "0.25"), (0.02, "1")],
    }
    assert "xmax = 0.03" in path.read_text()


def test_a_variable_that_is_never_known_has_an_empty_tier(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    write_textgrid_points(path, Tracks(np.full((2, 1), np.nan, np.float32), ("NAS",), ("0..1",)))
    assert read_textgrid_points(path) == {"NAS (0..1)": []}


def test_intervals_and_points_are_not_confused(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    write_textgrid_points(path, Tracks(np.zeros((2, 1), np.float32), ("phones",), ("",)))
    with pytest.raises(DataError, match="no interval tier 'phones'"):
        read_textgrid(path)


def test_a_textgrid_that_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    write_textgrid_points(path, Tracks(np.zeros((9, 1), np.float32), ("LA",), ("mm",)))
    path.write_text(path.read_text()[:-60])
    with pytest.raises(DataError, match="not a complete TextGrid"):
        read_textgrid_points(path)
