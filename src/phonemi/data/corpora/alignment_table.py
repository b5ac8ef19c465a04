"""Tables of phone alignments, exported from the Hugging Face hub as JSON lines or CSV.

Two published tables have phones of LibriSpeech by the Montreal Forced Aligner. Both are read as they are:

- anyspeech/librispeech_MFA_alignments: columns identifier, duration, and the lists phones, start, end in seconds
  (its dataset card at revision a16beef; 28 538 rows of train-clean-100, 2703 of dev-clean, 2620 of test-clean);
- gilkeyio/librispeech-alignments: columns sex, subset, id, audio, transcript, words, and phonemes, a list of
  {phoneme, start, end} (its dataset card at revision 0daa1eb; CC BY 4.0; made of the TextGrids of `librispeech`).
  Users report that it has no silences; time without a phone counts as silence anyway.

The hub keeps them as Parquet, whose reader (pyarrow) this package does not depend on. Export the columns, without the
audio, with `datasets` (`Dataset.to_json`), pandas or DuckDB. In a CSV file the cells of the lists must be JSON or
Python lists.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phonemi.data.manifest import Interval
from phonemi.errors import DataError

TABLES = (".jsonl", ".json", ".csv")
EXPORT = (
    "pandas.read_parquet(FILE, columns=COLUMNS).to_json('phones.jsonl', orient='records', lines=True), "
    "with the columns ['identifier', 'phones', 'start', 'end'] or ['id', 'phonemes']"
)

_EXPECTED = "expected an utterance as identifier, phones, start and end, or as id and phonemes"
_LISTS = ("phones", "start", "end", "phonemes")


def read_alignment_table(path: str | Path) -> dict[str, list[Interval]]:
    """Read the alignments of a table.

    Args:
        path: a CSV file if it ends in .csv, JSON lines otherwise.

    Returns:
        The intervals of each utterance, in the order of the table.

    Raises:
        DataError: naming file and line, if the file is missing, empty or not text, or if a row lacks the columns above,
            has lists of different lengths, or repeats an utterance.
    """
    path = Path(path)
    utterances: dict[str, list[Interval]] = {}
    labels: dict[str, str] = {}  # one object per label instead of millions of equal strings
    try:
        for line, row in _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path):
            try:
                name, intervals = _utterance(row)
            except (KeyError, TypeError, ValueError, SyntaxError):
                raise DataError(f"{path}:{line}: {_EXPECTED}, found {str(row)[:80]}") from None
            if name in utterances:
                raise DataError(f"{path}:{line}: utterance {name!r} was in the table before")
            utterances[name] = [Interval(start_s, end_s, labels.setdefault(p, p)) for start_s, end_s, p in intervals]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table of alignments ({error})") from None
    if not utterances:
        raise DataError(f"{path} holds no alignments: it has no rows")
    return utterances


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path}:{number}: not JSON ({error})") from None


def _csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        for row in reader:
            yield reader.line_num, row


def _utterance(row: Any) -> tuple[str, list[tuple[float, float, str]]]:
    """Raises KeyError, TypeError, ValueError or SyntaxError for a row of another form."""
    if not isinstance(row, dict):
        raise TypeError
    name = row.get("identifier", row.get("id"))
    lists = {key: _list(row[key]) for key in _LISTS if row.get(key) is not None}
    if "phonemes" in lists:
        values = [(item["start"], item["end"], item["phoneme"]) for item in lists["phonemes"]]
    else:
        values = list(zip(lists["start"], lists["end"], lists["phones"], strict=True))
    if not isinstance(name, str) or not all(isinstance(phone, str) for *_, phone in values):
        raise TypeError
    return name, [(float(start_s), float(end_s), phone) for start_s, end_s, phone in values]


def _list(cell: Any) -> list[Any]:
    """The list in a cell; in a CSV file it is written as JSON or Python."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError:
            cell = ast.literal_eval(cell)
    if not isinstance(cell, list):
        raise TypeError
    return cell
