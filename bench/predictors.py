"""Which score predicts the words: rank correlation of each score with the word errors of a judged run.

    python bench/predictors.py RUN

Reads RUN/per_utterance.csv, which `phonemi evaluate` writes. For every system, what counts is the change against the
noisy input: of the score and of the word error rate of the same recording. Two correlations (Spearman) are printed for
each score, turned so that 1 means that a better score always goes with fewer errors:

    recordings   over all recordings and systems
    systems      over the means of each system at each SNR

The intervals, and those of how much less a score predicts than the best one, are percentiles of a bootstrap over
speakers: recordings of one speaker are alike, and all systems hear the same ones. The p-value is that of the score
predicting as well as the best one, from the same draws, adjusted by Holm's method for the number of scores.
"""

from __future__ import annotations

import csv
import math
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from phonemi.metrics.statistics import holm
from phonemi.results.evaluation import source_of
from phonemi.results.metrics import METRIC, Metric
from phonemi.results.tables import p_text
from phonemi.tables import Cell, Table, number

DRAWS = 2000
LEAST = 3  # recordings, of a correlation
Changes = dict[str, NDArray[np.float64]]
"""Name of a score -> its change, [recording], positive where it got better; NaN where there is none."""


def read_changes(run: Path) -> tuple[list[dict[str, str]], Changes]:
    """The rows of all systems, and how much better than the noisy input each is in every score that the run has."""
    with open(run / "per_utterance.csv", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    noisy = {row["id"]: row for row in rows if row["row"] == "noisy"}
    judged = [row for row in rows if row["row"] not in ("noisy", "clean") and noisy[row["id"]]["wer"] and row["wer"]]
    changes = {
        key: np.array([metric.gain(_value(metric, row) - _value(metric, noisy[row["id"]])) for row in judged])
        for key, metric in METRIC.items()
        if rows and key in rows[0]
    }
    return judged, changes


def _value(metric: Metric, row: dict[str, str]) -> float:
    value = metric.value_in(row)
    return math.nan if value is None else value


def correlate(changes: Changes, groups: NDArray[np.int64], chosen: NDArray[np.int64]) -> dict[str, tuple[float, float]]:
    """Both correlations of each score, over the chosen recordings, whose system and SNR have a number in `groups`."""
    correlations = {}
    for key, change in changes.items():
        pair = np.stack([change[chosen], changes["wer"][chosen]])
        is_there = np.isfinite(pair).all(0)
        if key == "wer" or is_there.sum() < 3:
            continue
        pair, group = pair[:, is_there], groups[chosen][is_there]
        counts = np.bincount(group)
        means = np.stack([np.bincount(group, side)[counts > 0] / counts[counts > 0] for side in pair])
        correlations[key] = (float(spearmanr(*pair).statistic), float(spearmanr(*means).statistic))
    return correlations


def p_value(drawn: NDArray[np.float64]) -> float:
    """Two-sided p-value of differences drawn by a bootstrap; a draw that is not defined speaks for no difference."""
    if not np.isfinite(drawn).any():
        return math.nan
    undefined = np.count_nonzero(~np.isfinite(drawn))
    above = min(np.count_nonzero(drawn >= 0), np.count_nonzero(drawn <= 0)) + undefined
    return min(1.0, 2 * (above + 1) / (len(drawn) + 1))


def with_interval(value: float, drawn: NDArray[np.float64], signed: bool = False) -> Cell:
    """A number and what 95 % of its draws lie between; an empty cell if it is not defined."""
    if not np.isfinite(drawn).any():
        return Cell()
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Cell(value, signed=signed, interval=(low, high))


def main(run: Path) -> None:
    rows, changes = read_changes(run)
    if len({row["id"] for row in rows}) < LEAST:
        sys.exit(f"{run} has the words of fewer than {LEAST} recordings by any system: no correlation")
    names = [(row["row"].partition("@")[0], row["snr_db"]) for row in rows]
    numbers = {name: index for index, name in enumerate(dict.fromkeys(names))}
    groups = np.array([numbers[name] for name in names])
    of_speaker: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        of_speaker[row["speaker"] or source_of(row["id"])].append(index)
    speakers = [np.array(indices) for indices in of_speaker.values()]
    correlations = correlate(changes, groups, np.arange(len(rows)))
    random = np.random.default_rng(0)
    draws = [
        correlate(
            changes, groups, np.concatenate([speakers[s] for s in random.integers(0, len(speakers), len(speakers))])
        )
        for _ in range(DRAWS)
    ]
    # One that cannot be correlated, such as a constant, comes last.
    order = sorted(correlations, key=lambda key: -np.nan_to_num(correlations[key][0], nan=-2.0))
    lines: list[list[Cell]] = []
    p_values: tuple[list[float], list[float]] = [], []
    for key in order:
        cells = [Cell(METRIC[key].title)]
        for kind in (0, 1):
            drawn = np.array([(draw[key][kind], draw[order[0]][kind]) for draw in draws if key in draw])
            below = drawn[:, 0] - drawn[:, 1]
            difference = correlations[key][kind] - correlations[order[0]][kind]
            cells.append(with_interval(correlations[key][kind], drawn[:, 0]))
            cells.append(Cell() if key == order[0] else with_interval(difference, below, signed=True))
            p_values[kind].append(p_value(below))
        lines.append(cells)
    for kind, column in ((0, 2), (1, 4)):
        tested = [index for index in range(1, len(lines)) if math.isfinite(p_values[kind][index])]
        for index, adjusted in zip(tested, holm([p_values[kind][index] for index in tested]), strict=True):
            lines[index][column] = replace(lines[index][column], details=(p_text(adjusted),))
    systems = sorted({system for system, _ in names})
    change = number(-float(np.nanmean(changes["wer"])), 3, signed=True)
    print(
        f"{len(rows)} recordings by {len(systems)} systems ({', '.join(systems)}), {len(numbers)} means; "
        f"{len(speakers)} speakers; mean change of the WER {change}\n"
    )
    print(Table(["score", "recordings", "less than the best", "systems", "less than the best "], lines).markdown())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
