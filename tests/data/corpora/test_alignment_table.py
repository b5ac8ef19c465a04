"""Rows as the two published tables have them, exported as JSON lines and CSV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phonemi.data.corpora.alignment_table import read_alignment_table
from phonemi.errors import DataError

LISTS = {"identifier": "19-198-0000", "duration": 0.5, "phones": ["[SIL]", "AE1"], "start": [0, 0.2], "end": [0.2, 0.5]}
STRUCTS = {
    "sex": "F",
    "subset": "dev-clean",
    "id": "26-495-0000",
    "words": [{"word": "a", "start": 0.2, "end": 0.5}],
    "phonemes": [{"end": 0.5, "phoneme": "AE1", "start": 0.2}],
}


def written(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def test_both_tables_as_json_lines(tmp_path: Path) -> None:
    found = read_alignment_table(written(tmp_path / "phones.jsonl", LISTS, STRUCTS))
    assert found == {"19-198-0000": [(0.0, 0.2, "[SIL]"), (0.2, 0.5, "AE1")], "26-495-0000": [(0.2, 0.5, "AE1")]}


@pytest.mark.parametrize("spell", [json.dumps, repr])
def test_lists_in_the_cells_of_a_csv_file(tmp_path: Path, spell: Any) -> None:
    def cell(value: Any) -> str:
        return '"' + (spell(value) if isinstance(value, list) else value).replace('"', '""') + '"'

    for row, columns in ((LISTS, ("identifier", "phones", "start", "end")), (STRUCTS, ("id", "subset", "phonemes"))):
        path = tmp_path / f"{columns[0]}.csv"
        path.write_text(f"{','.join(columns)}\n{','.join(cell(row[column]) for column in columns)}\n")
        assert read_alignment_table(path) == read_alignment_table(written(tmp_path / "same.jsonl", row))


@pytest.mark.parametrize(
    "row",
    [
        ["19-198-0000"],
        {"identifier": "b", "phones": ["AE1"], "start": [0.0]},
        {"identifier": "b", "phones": ["AE1"], "start": [0.0, 0.1], "end": [0.1]},
        {"identifier": "b", "phones": ["AE1"], "start": ["now"], "end": [0.1]},
        {"identifier": "b", "phones": [7], "start": [0.0], "end": [0.1]},
        {"phones": ["AE1"], "start": [0.0], "end": [0.1]},
        {"id": "b", "phonemes": [{"start": 0.0, "end": 0.1}]},
        {"id": "b", "phonemes": [7]},
        # As numpy prints lists, which is what pandas writes into CSV files.
        {"identifier": "b", "phones": "['HH' 'AH0']", "start": "[0.  0.1]", "end": "[0.1 0.2]"},
    ],
)
def test_a_row_of_another_form_is_named(tmp_path: Path, row: Any) -> None:
    path = written(tmp_path / "phones.jsonl", LISTS, row)
    with pytest.raises(DataError, match=r"phones.jsonl:2: expected an utterance as identifier, phones,") as caught:
        read_alignment_table(path)
    assert "\n" not in str(caught.value)


def test_other_faults(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"phones.jsonl:2: utterance '19-198-0000' was in the table before"):
        read_alignment_table(written(tmp_path / "phones.jsonl", LISTS, LISTS))
    with pytest.raises(DataError, match=r"empty.csv holds no alignments: it has no rows"):
        read_alignment_table(written(tmp_path / "empty.csv", "identifier"))
    with pytest.raises(DataError, match=r"absent.jsonl cannot be read as a table"):
        read_alignment_table(tmp_path / "absent.jsonl")
    (tmp_path / "cut.jsonl").write_text('{"id": "a", "phonemes": [')
    with pytest.raises(DataError, match=r"cut.jsonl:1: not JSON"):
        read_alignment_table(tmp_path / "cut.jsonl")
