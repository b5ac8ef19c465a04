"""Which score predicts the words: rank correlation of each score with the word errors of a judged run.

    python bench/predictors.py RUN

Reads RUN/per_utterance.csv, which `phonemi evaluate` writes. For every system, what counts is the change against the
noisy input: of the score and of the word error rate of the same recording. Two correlations (Spearman) are printed for
each score, turned so that 1 means that a better score always goes with fewer errors:

    recordings   over all recordings and systems
    systems      over the means of each system at each SNR

The intervals, and those of how much less a score predicts than the best one, are percentiles of a bootstrap over
speakers: recordings of one speaker are alike, and all systems hear the same ones.
"""

from __future__ import annotations

import csv
import math
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from phonemi.metrics.score import FAULTS, Score
from phonemi.results.metrics import METRIC
from phonemi.tables import Cell, Table, number

DRAWS = 500
Changes = dict[str, NDArray[np.float64]]
"""Name of a score -> its change, [recording], positive where it got better; NaN where there is none."""


def value_of(row: dict[str, str], key: str) -> float:
    """What a score of one recording counts for; NaN where there is none."""
    text = row.get(key) or ""
    fault = next((fault for fault in FAULTS if fault in row["failed"]), None)
    score = Score.of(float(text)) if text else Score.failed(fault or "not scored")
    value = METRIC[key].value_of(score)
    return math.nan if value is None else value


def read_changes(run: Path) -> tuple[list[dict[str, str]], Changes]:
    """The rows of all systems, and how much better than the noisy input each is in every score that the run has."""
    with open(run / "per_utterance.csv", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    noisy = {row["id"]: row for row in rows if row["row"] == "noisy"}
    judged = [row for row in rows if row["row"] not in ("noisy", "clean") and noisy[row["id"]]["wer"] and row["wer"]]
    keys = [key for key in METRIC if key in rows[0]]
    return judged, {
        key: np.array([METRIC[key].gain(value_of(row, key) - value_of(noisy[row["id"]], key)) for row in judged])
        for key in keys
    }


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


def main(run: Path) -> None:
    rows, changes = read_changes(run)
    names = [(row["row"].partition("@")[0], row["snr_db"]) for row in rows]
    numbers = {name: index for index, name in enumerate(dict.fromkeys(names))}
    groups = np.array([numbers[name] for name in names])
    of_speaker: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        of_speaker[row["speaker"] or row["id"]].append(index)
    speakers = [np.array(indices) for indices in of_speaker.values()]
    correlations = correlate(changes, groups, np.arange(len(rows)))
    random = np.random.default_rng(0)
    draws = [
        correlate(
            changes, groups, np.concatenate([speakers[s] for s in random.integers(0, len(speakers), len(speakers))])
        )
        for _ in range(DRAWS)
    ]
    order = sorted(correlations, key=lambda key: -correlations[key][0])
    lines = []
    for key in order:
        cells = [Cell(METRIC[key].title)]
        for kind in (0, 1):
            drawn = np.array([(draw[key][kind], draw[order[0]][kind]) for draw in draws if key in draw])
            low, high = np.nanpercentile(drawn[:, 0], [2.5, 97.5])
            cells.append(Cell(correlations[key][kind], interval=(low, high)))
            low, high = np.nanpercentile(drawn[:, 0] - drawn[:, 1], [2.5, 97.5])
            difference = correlations[key][kind] - correlations[order[0]][kind]
            cells.append(Cell() if key == order[0] else Cell(difference, signed=True, interval=(low, high)))
        lines.append(cells)
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
