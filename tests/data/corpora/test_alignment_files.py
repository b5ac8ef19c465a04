"""Zip archives of TextGrids and the two published tables as alignments, and paths that are none."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from phonemi.data.corpora.alignment_files import find_alignments, read_alignment_table
from phonemi.errors import DataError

TEXTGRID = '"ooTextFile" "TextGrid" 0 0.5 <exists> 1 "IntervalTier" "phones" 0 0.5 1 0 0.5 "{phone}"'


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_textgrids_are_read_out_of_the_archive(tmp_path: Path) -> None:
    place = "LibriSpeech/dev-clean/19/198"
    archive = zipped(
        tmp_path / "alignments.zip",
        {
            f"{place}/19-198-0000.TextGrid": TEXTGRID.format(phone="AE1").encode(),
            f"{place}/19-198-0001.TextGrid": TEXTGRID.format(phone="B").encode("utf-16"),
            f"__MACOSX/{place}/._19-198-0000.TextGrid": b"\0",
            "LibriSpeech/README.txt": b"not an alignment",
        },
    )
    entries = find_alignments([archive])
    assert list(entries) == ["19-198-0000", "19-198-0001"]
    assert [entry.intervals() for [entry] in entries.values()] == [[(0, 0.5, "AE1")], [(0, 0.5, "B")]]
    assert entries["19-198-0000"][0].path == archive / place / "19-198-0000.TextGrid"
    assert [path.name for path in tmp_path.iterdir()] == ["alignments.zip"]


def test_a_damaged_member_is_named_when_it_is_read(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"x.TextGrid": TEXTGRID.format(phone="AE1" * 99).encode(), "y.TextGrid": b""})
    content = bytearray(archive.read_bytes())
    content[60:64] = bytes(4)
    archive.write_bytes(content)
    entries = find_alignments([archive])
    with pytest.raises(DataError, match=r"a.zip/x.TextGrid cannot be read \("):
        entries["x"][0].intervals()
    with pytest.raises(DataError, match=r"a.zip/y.TextGrid is not a complete TextGrid"):
        entries["y"][0].intervals()


def test_paths_that_hold_no_alignments(tmp_path: Path) -> None:
    def fault(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            find_alignments([path])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert fault(tmp_path).endswith("holds no CTM file, no TextGrid and no HTK label file (.lab)")
    (tmp_path / "train.clean.100-00000-of-00001.parquet").write_bytes(b"PAR1")
    table = tmp_path / "train.clean.100-00000-of-00001.parquet"
    assert fault(tmp_path).endswith(f"; name the file itself: {table}")
    assert "is a Parquet table, which is not read here; export it as JSON lines first: pandas" in fault(table)
    assert "absent.zip cannot be read (No such file" in fault(tmp_path / "absent.zip")
    (tmp_path / "a.zip").write_bytes(b"PK")
    assert "a.zip is not a zip archive (" in fault(tmp_path / "a.zip")
    assert fault(zipped(tmp_path / "b.zip", {"a.txt": b""})) == f"{tmp_path / 'b.zip'} holds no TextGrid"
    assert "absent.ctm cannot be read (No such file" in fault(tmp_path / "absent.ctm")


# --- tables

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
    with pytest.raises(DataError, match=r"cut.jsonl:1: expected an utterance"):
        read_alignment_table(tmp_path / "cut.jsonl")
