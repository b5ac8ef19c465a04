from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from phonemi.errors import ConfigError, DataError
from phonemi.files import read_json, write_json
from phonemi.report.figures import FIGURES, draw


@pytest.fixture
def tables(finished: Any, tmp_path: Path) -> Path:
    """What `phonemi table` leaves: a run for each of two encoders."""
    for name in ("first", "second"):
        (tmp_path / "out" / name).mkdir(parents=True)
        for file in {file for file, _ in FIGURES.values()} - {"cn_distance.json"}:
            shutil.copy(finished.folder / file, tmp_path / "out" / name / file)
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("number", "names", "labels"),
    [
        ("1a", ["figure1a"], ["Layer", "MI with the phones (bits)"]),
        ("1b", ["figure1b_encoder-first-", "figure1b_encoder-second-"], ["Layer", "0 dB", "10 dB"]),
        ("1c", ["figure1c"], ["SNR (dB)", "encoder (first), best layer", "encoder (second), best layer", "log1p"]),
        ("2", ["figure2_first", "figure2_second"], ["Layer", "WS (Acoustic)", "WS (Linguistic)", "WS (Hybrid)"]),
        ("3", ["figure3_first", "figure3_second"], ["Time (s)", "Noisy speech", "Local SNR", "DWS (Linguistic)"]),
    ],
)
def test_every_figure_of_several_encoders(
    tables: Path, tmp_path: Path, number: str, names: list[str], labels: list[str]
) -> None:
    paths = draw(number, [tables], tmp_path / "figures")
    assert [path.name for path in paths] == [f"{name}{ending}" for name in names for ending in (".png", ".svg")]
    for path in paths:
        if path.suffix == ".svg":
            texts = re.findall(">([^<>]+)</text>", path.read_text())
            assert set(labels) <= set(texts)
        else:
            pixels = imread(path)
            assert pixels.shape[1] >= 1_000
            assert len(np.unique(pixels[..., 0])) > 50, "more than an empty page"


def test_runs_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    rows = [
        {
            "representation": "mini",
            "layer": layer,
            "snr_db": 0,
            "mi_bits": 1.0 + layer,
            "mi_bits_low": 1,
            "mi_bits_high": 3,
        }
        for layer in (0, 1)
    ]
    for table in ("mine", "theirs"):
        write_json(tmp_path / table / "mini" / "information.json", {"rows": rows})
    folders = [tmp_path / "mine", tmp_path / "theirs", tmp_path / "mine" / "mini"]
    names = [path.stem for path in draw("1b", folders, tmp_path / "out") if path.suffix == ".svg"]
    assert names == ["figure1b_mini-mine-mini-", "figure1b_mini-theirs-mini-"]
    drawing = draw("1a", folders, tmp_path / "out")[1].read_text()
    assert all(drawing.count(f">mini ({table}/mini), layer ") == 1 for table in ("mine", "theirs"))
    weights = {"utterances": 1, "rows": [{"row": "ws-acoustic", "weights": [0.5, 0.5]}]}
    for table in ("mine", "theirs"):
        write_json(tmp_path / table / "mini" / "layer_weights.json", weights)
    names = [path.stem for path in draw("2", folders, tmp_path / "out") if path.suffix == ".svg"]
    assert names == ["figure2_mine-mini", "figure2_theirs-mini"]


def test_of_one_run_the_names_are_short(finished: Any, tmp_path: Path) -> None:
    assert [path.name for path in draw("2", [finished.folder], tmp_path)] == ["figure2.png", "figure2.svg"]


def test_both_encoders_and_log1p_once_are_in_the_figure(tables: Path, tmp_path: Path) -> None:
    drawing = draw("1a", [tables], tmp_path)[1].read_text()
    assert drawing.count(">encoder (first), layer ") == 1
    assert drawing.count(">encoder (second), layer ") == 1
    assert drawing.count(">log1p: ") == 1


def test_figure_3_shows_what_the_paper_shows(tables: Path, tmp_path: Path) -> None:
    path = tables / "first" / "dynamic_weights.json"
    result = read_json(path)
    (row,) = result["rows"]
    more = [{**row, "row": name, "label": name} for name in ("dws-acoustic", "dws-hybrid", "dws-linguistic+log1p")]
    write_json(path, {**result, "rows": [*more, row]})
    drawing = draw("3", [tables / "first"], tmp_path)[1].read_text()
    assert "dws-acoustic" in drawing
    assert row["label"] in drawing
    assert "dws-hybrid" not in drawing
    assert "+log1p" not in drawing


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no figure '4': the paper has 1a, 1b, 1c, 2, 3; one more is cn"):
        draw("4", [tmp_path], tmp_path)
    with pytest.raises(DataError, match=r"drawn from information.json, which is not in .*: run `phonemi information`"):
        draw("1a", [tmp_path], tmp_path)
    with pytest.raises(DataError, match=r"cn_distance.json, .* run `phonemi information --measure cn-distance` first"):
        draw("cn", [tmp_path], tmp_path)
    with pytest.raises(DataError, match="is not a folder: expected a run"):
        draw("2", [tmp_path / "nowhere"], tmp_path)
