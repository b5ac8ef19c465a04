"""Which score predicts the words: rank correlation of each score with the word errors of a judged run.

    python bench/predictors.py RUN

Reads RUN/per_utterance.csv, which `phonemi evaluate` writes. For every system, what counts is the change against the
noisy input: of the score and of the word error rate of the same recording. Two correlations (Spearman) are printed for
each score, turned so that 1 means that a better score always goes with fewer errors:

    recordings   over all recordings and systems
    systems      over the means of each system at each SNR
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from phonemi.results.metrics import METRIC, METRICS
from phonemi.tables import Cell, Table, number

Scores = dict[str, float]


def changes_of(run: Path) -> list[tuple[str, str, Scores]]:
    """System, SNR and change against noisy of every score, of every recording of every system."""
    with open(run / "per_utterance.csv", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    scored = {(row["row"], row["id"]): {key: float(row[key]) for key in METRIC if row.get(key)} for row in rows}
    return [
        (row["row"], row["snr_db"], {key: value - noisy[key] for key, value in ours.items() if key in noisy})
        for row in rows
        if row["row"] not in ("noisy", "clean")
        for ours, noisy in [(scored[row["row"], row["id"]], scored["noisy", row["id"]])]
    ]


def correlation(changes: list[Scores], key: str) -> tuple[float, int]:
    """Rank correlation of fewer errors with a better score, and over how many pairs."""
    pairs = [(METRIC[key].gain(one[key]), -one["wer"]) for one in changes if key in one and "wer" in one]
    if len(pairs) < 3:
        return float("nan"), len(pairs)
    return float(spearmanr(*np.array(pairs).T).statistic), len(pairs)


def main(run: Path) -> None:
    changes = changes_of(run)
    groups: dict[tuple[str, str], list[Scores]] = defaultdict(list)
    for system, snr_db, change in changes:
        groups[system, snr_db].append(change)
    means = [
        {
            key: float(np.mean([one[key] for one in group if key in one]))
            for key in METRIC
            if any(key in o for o in group)
        }
        for group in groups.values()
    ]
    rows = []
    for metric in METRICS:
        if metric.key == "wer":
            continue
        (by_recording, recordings), (by_system, systems) = (
            correlation(of, metric.key) for of in ([change for *_, change in changes], means)
        )
        if recordings:
            cells = [Cell(by_recording), str(recordings), Cell(by_system), str(systems)]
            rows.append((by_recording, [metric.title, *cells]))
    rows.sort(key=lambda row: -row[0])
    systems = sorted({system for system, *_ in changes})
    print(
        f"{len(systems)} systems ({', '.join(systems)}); WER of all {number(np.mean([m['wer'] for m in means]), 3)}\n"
    )
    print(Table(["score", "recordings", "pairs", "systems", "pairs "], [cells for _, cells in rows]).markdown())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
