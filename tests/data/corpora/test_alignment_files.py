"""Zip archives of TextGrids as alignments, and paths that are none."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from phonemi.data.corpora.alignment_files import open_alignments
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
    with open_alignments([archive]) as entries:
        assert list(entries) == ["19-198-0000", "19-198-0001"]
        assert [entry.intervals() for [entry] in entries.values()] == [[(0, 0.5, "AE1")], [(0, 0.5, "B")]]
        assert entries["19-198-0000"][0].path == archive / place / "19-198-0000.TextGrid"
    assert [path.name for path in tmp_path.iterdir()] == ["alignments.zip"]


def test_a_damaged_member_is_named_when_it_is_read(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"x.TextGrid": TEXTGRID.format(phone="AE1" * 99).encode(), "y.TextGrid": b""})
    content = bytearray(archive.read_bytes())
    content[60:64] = bytes(4)
    archive.write_bytes(content)
    with open_alignments([archive]) as entries:
        with pytest.raises(DataError, match=r"a.zip/x.TextGrid cannot be read \("):
            entries["x"][0].intervals()
        with pytest.raises(DataError, match=r"a.zip/y.TextGrid is not a complete TextGrid"):
            entries["y"][0].intervals()


def test_paths_that_hold_no_alignments(tmp_path: Path) -> None:
    def fault(path: Path) -> str:
        with pytest.raises(DataError) as caught, open_alignments([path]):
            pass
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
