"""bench/predictors.py: what goes with the words is found, whatever is missing."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phonemi.metrics.score import ESTIMATE_SILENT

SCRIPT = Path(__file__).parents[2] / "bench" / "predictors.py"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two systems, one of two models; PESQ goes with the words, STOI does not; one recording is muted."""
    random = np.random.default_rng(0)
    columns = ["row", "id", "speaker", "snr_db", "stoi", "pesq_wb_lqo", "wer", "failed"]
    with open(tmp_path / "per_utterance.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for system in ("noisy", "clean", "theirs", "ours", "ours@2"):
            for number in range(24):
                change = 0.0 if system in ("noisy", "clean") else random.normal(0, 0.1)
                is_muted = system == "theirs" and number == 3
                table.writerow(
                    {
                        "row": system,
                        "id": f"u{number}",
                        "speaker": f"s{number // 2}",
                        "snr_db": 5.0 * (number % 2),
                        "stoi": "" if is_muted else 0.5 + 0.1 * random.random(),
                        "pesq_wb_lqo": "" if is_muted else 2.0 - change,
                        "wer": 1.0 if is_muted else 0.5 + change,
                        "failed": f"stoi: {ESTIMATE_SILENT}; pesq_wb_lqo: {ESTIMATE_SILENT}" if is_muted else "",
                    }
                )
    return tmp_path


def test_the_score_that_goes_with_the_words_comes_first(run: Path) -> None:
    outcome = subprocess.run([sys.executable, str(SCRIPT), str(run)], capture_output=True, text=True, check=True)
    first, _, *table = outcome.stdout.splitlines()
    assert first.startswith("72 recordings by 2 systems (ours, theirs), 4 means; 12 speakers;")
    assert table[2].startswith("| PESQ | 1.00 [1.00, 1.00] |")
    assert table[3].startswith("| STOI | ")
    assert float(table[3].split("|")[2].split("[")[0].replace("−", "-")) < 0.5


def test_a_score_that_never_changes_predicts_nothing_and_is_not_tested(run: Path) -> None:
    table = run / "per_utterance.csv"
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with open(table, "w", newline="", encoding="utf-8") as file:
        changed = csv.DictWriter(file, rows[0])
        changed.writeheader()
        changed.writerows(row | {"stoi": 0.5, "failed": ""} for row in rows)
    outcome = subprocess.run([sys.executable, str(SCRIPT), str(run)], capture_output=True, text=True, check=True)
    assert outcome.stdout.splitlines()[-1].startswith("| STOI | – |")
    assert " p " not in outcome.stdout


def test_a_run_without_words_is_one_line(run: Path) -> None:
    table = run / "per_utterance.csv"
    table.write_text(table.read_text().splitlines()[0])
    outcome = subprocess.run([sys.executable, str(SCRIPT), str(run)], capture_output=True, text=True)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.splitlines() == [
        f"{run} has the words of fewer than 3 recordings by any system: no correlation"
    ]
