"""Result files of finished runs -> the figures of the main paper, PNG and SVG; nothing is computed again.

1a  MI by layer, averaged over the SNRs          2   weights of the layers, for each encoder
1b  MI by layer at each SNR, for each encoder    3   weights over time, beside spectrum and local SNR
1c  MI of the best layer against the SNR
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phonemi.errors import ConfigError, DataError
from phonemi.files import read_json
from phonemi.report import plots
from phonemi.report.plot_style import save_figure
from phonemi.report.results import STAGES, InformationTable, information_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(number: str, folders: Sequence[Path], out: Path) -> list[Path]:
    """Draw one figure.

    Args:
        number: "1a", "1b", "1c", "2" or "3".
        folders: runs, or folders of runs such as `phonemi table` makes.
        out: folder to write `figure<number>.png` and `.svg` to; one for each encoder where it is for one.

    Returns:
        The paths written.

    Raises:
        ConfigError: for a figure that does not exist.
        DataError: if no run has its results.
    """
    if number not in FIGURES:
        raise ConfigError(f"there is no figure {number!r}: the main paper has {', '.join(FIGURES)}")
    file, figures = FIGURES[number]
    runs = [run for folder in folders for run in _runs(folder, file)]
    if not runs:
        first = f"run `phonemi {STAGES[file]}` first"
        if STAGES[file] == "report":
            rows = "ws or dws rows" if file == "layer_weights.json" else "dws rows"
            first = f"`phonemi report` writes it for {rows} that are trained and evaluated"
        raise DataError(
            f"figure {number} is drawn from {file}, which is not in {', '.join(map(str, folders))}: {first}"
        )
    return [
        path
        for name, figure in figures(runs)
        for path in save_figure(figure, out, f"figure{number}" + (f"_{_plain(name)}" if name else ""))
    ]


def _runs(folder: Path, file: str) -> list[Path]:
    """The run itself, or those in the folder, that have the result."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: expected a run, or a folder of runs")
    return [run for run in (folder, *sorted(folder.iterdir())) if (run / file).is_file()]


def _plain(name: str) -> str:
    return re.sub("[^0-9A-Za-z]+", "-", name)


def _tables(runs: Sequence[Path]) -> list[InformationTable]:
    """MI of every encoder, called by its run where two have the same name; log1p once."""
    found: dict[str, InformationTable] = {}
    for run in runs:
        for table in information_tables(read_json(run / "information.json")):
            if len(table.mi_bits) > 1 and table.representation in found:
                table = replace(table, representation=f"{table.representation} ({run.name})")
            found.setdefault(table.representation, table)
    return sorted(found.values(), key=lambda table: len(table.mi_bits) == 1)


def _by_layer(runs: Sequence[Path]) -> Iterator[tuple[str, Figure]]:
    yield "", plots.information_by_layer(_tables(runs))


def _by_snr(runs: Sequence[Path]) -> Iterator[tuple[str, Figure]]:
    layered = [table for table in _tables(runs) if len(table.mi_bits) > 1]
    for table in layered:
        yield table.representation if len(layered) > 1 else "", plots.information_by_snr(table)


def _peak(runs: Sequence[Path]) -> Iterator[tuple[str, Figure]]:
    yield "", plots.information_peak(_tables(runs))


def _weights(runs: Sequence[Path]) -> Iterator[tuple[str, Figure]]:
    for run in runs:
        rows = read_json(run / "layer_weights.json")["rows"]
        static = [row for row in rows if not row["row"].startswith("dws")]
        yield run.name if len(runs) > 1 else "", weights_of_layers(static or rows)


def weights_of_layers(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Fig. 2 from the rows of layer_weights.json."""
    return plots.layer_weights([(row["row"], row.get("label", row["row"]), row["weights"]) for row in rows])


def _over_time(runs: Sequence[Path]) -> Iterator[tuple[str, Figure]]:
    for run in runs:
        result = read_json(run / "dynamic_weights.json")
        printed = [row for row in result["rows"] if "log1p" not in row["row"] and "hybrid" not in row["row"]]
        yield run.name if len(runs) > 1 else "", weights_over_time(result, printed or result["rows"])


def weights_over_time(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Fig. 3 from dynamic_weights.json and those of its rows that are wanted."""
    shown = [(row.get("label", row["row"]), np.asarray(row["weights"], dtype=float)) for row in rows]
    local_snr_db = np.array([np.nan if value is None else value for value in result["local_snr_db"]], dtype=float)
    log_mel = np.asarray(result["log_mel"], dtype=float)
    return plots.dynamic_weights(log_mel, local_snr_db, shown, result.get("frame_s", 0.02))


Draw = Callable[[Sequence[Path]], Iterator[tuple[str, "Figure"]]]

FIGURES: dict[str, tuple[str, Draw]] = {
    "1a": ("information.json", _by_layer),
    "1b": ("information.json", _by_snr),
    "1c": ("information.json", _peak),
    "2": ("layer_weights.json", _weights),
    "3": ("dynamic_weights.json", _over_time),
}
"""Number -> the result file it is drawn from, and how."""
