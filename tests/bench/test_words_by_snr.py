"""bench/words_by_snr.py: errors over words at each SNR, and what a loop adds to them."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench" / "words_by_snr.py"
TEXT = "THE CAT SAT ON THE MAT AND SLEPT THERE"


def test_a_loop_counts_as_many_errors_as_there_are_words(tmp_path: Path) -> None:
    heard = {
        ("noisy", 0.0): ["the cat sat on the mat and slept there", "the cat sat on a mat and slept"],
        ("noisy", -5.0): ["the cat" + " the cat" * 40, ""],
        ("ours", 0.0): ["the cat sat on the mat and slept there"],
    }
    columns = ["row", "id", "snr_db", "wer", "text", "heard"]
    with open(tmp_path / "per_utterance.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for (row, snr_db), transcripts in heard.items():
            for number, said in enumerate(transcripts):
                one = {"row": row, "id": f"u{number}", "snr_db": snr_db, "wer": 0.5, "text": TEXT, "heard": said}
                table.writerow(one)
            table.writerow({"row": row, "id": "silent", "snr_db": snr_db, "wer": "", "text": "", "heard": ""})
    outcome = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=True)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in outcome.stdout.splitlines()]
    assert lines[0] == ["WER", "−5 dB", "0 dB", "all", "without loops"]
    assert lines[2][2] == f"{2 / 18:.3f}"
    assert float(lines[2][1]) > (82 - 9 + 9) / 18, "82 words were heard of 9, and none of 9"
    assert lines[2][4] == f"{(2 + 9 + 9) / 36:.3f}"
    assert lines[3] == ["ours", "–", "0.000", "0.000", "0.000"]
