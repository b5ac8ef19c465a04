"""Word error rates of a judged run at each SNR, over all mixtures, and over all without loops of the recogniser.

    python bench/words_by_snr.py RUN

Reads RUN/per_utterance.csv, which `phonemi evaluate` writes. A recogniser that repeats itself makes more errors in a
recording than that has words; without loops no recording counts more.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

from phonemi.metrics.words.word_errors import WordCounts, count_words
from phonemi.tables import Cell, Table, snr_text


def counted(run: Path) -> dict[str, dict[float, list[WordCounts]]]:
    """The words of every recording that has some: row -> SNR in dB -> counts."""
    counts = defaultdict[str, dict[float, list[WordCounts]]](lambda: defaultdict(list))
    with open(run / "per_utterance.csv", encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            if line["wer"]:
                counts[line["row"]][float(line["snr_db"])].append(count_words(line["text"], line["heard"]))
    return counts


def rate(counts: list[WordCounts], with_loops: bool = True) -> Cell:
    """Errors per word of some recordings."""
    words = [one.reference_words for one in counts]
    errors = [one.errors if with_loops else min(one.errors, one.reference_words) for one in counts]
    return Cell(sum(errors) / sum(words), digits=3)


def main(run: Path) -> None:
    rows = counted(run)
    snrs_db = sorted({snr_db for of_row in rows.values() for snr_db in of_row})
    lines = []
    for row, of_row in rows.items():
        everything = [one for counts in of_row.values() for one in counts]
        cells = [rate(of_row[snr_db]) if of_row[snr_db] else Cell() for snr_db in snrs_db]
        lines.append([Cell(row), *cells, rate(everything), rate(everything, with_loops=False)])
    columns = ["WER", *(f"{snr_text(snr_db)} dB" for snr_db in snrs_db), "all", "without loops"]
    print(Table(columns, lines).markdown())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
