"""Reading many files: several at a time, and again only those that have changed."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from phonemi.data.fingerprints import read_files
from phonemi.errors import AudioError


class Reader:
    """Reads texts, and remembers which."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(self, path: Path) -> str:
        self.paths.append(path.name)
        try:
            return path.read_text()
        except OSError:
            raise AudioError(f"cannot read {path.name}") from None


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_text(f"text of {path.name}")
    return paths


def test_what_is_read_keeps_the_order_and_the_errors(files: list[Path], tmp_path: Path) -> None:
    reader = Reader()
    paths = [files[2], tmp_path / "absent", files[0], files[2]]
    results = read_files(reader, paths)
    assert list(results) == [files[2], tmp_path / "absent", files[0]]
    assert [str(value) for value in results.values()] == ["text of c", "cannot read absent", "text of a"]


def test_several_files_are_read_at_a_time() -> None:
    first_may_end = threading.Event()

    def read(path: Path) -> str:
        if path.name == "0":
            assert first_may_end.wait(5)
        if path.name == "1":
            raise AudioError("1 is empty")
        first_may_end.set()
        return path.name

    results = read_files(read, [Path(str(index)) for index in range(4)])
    assert [str(result) for result in results.values()] == ["0", "1 is empty", "2", "3"]
    assert isinstance(results[Path("1")], AudioError)


def test_only_what_has_changed_is_read_again(files: list[Path], tmp_path: Path) -> None:
    index = tmp_path / "made" / "index.json"
    expected = read_files(Reader(), files, index=index)
    reader = Reader()
    assert read_files(reader, files, index=index) == expected
    assert reader.paths == []
    files[1].write_text("other text")
    os.utime(files[2], ns=(1, 1))
    results = read_files(reader, files, index=index)
    assert sorted(reader.paths) == ["b", "c"]
    assert list(results.values()) == ["text of a", "other text", "text of c"]
    assert read_files(reader, files, index=index) == results
    assert len(reader.paths) == 2


def test_an_error_is_not_remembered(files: list[Path], tmp_path: Path) -> None:
    index, path = tmp_path / "index.json", tmp_path / "late"
    assert isinstance(read_files(Reader(), [path], index=index)[path], AudioError)
    path.write_text("here now")
    assert read_files(Reader(), [path], index=index) == {path: "here now"}
    path.unlink()
    assert isinstance(read_files(Reader(), [path], index=index)[path], AudioError)


def test_sets_of_files_share_an_index(files: list[Path], tmp_path: Path) -> None:
    index, reader = tmp_path / "index.json", Reader()
    read_files(reader, files[:2], index=index)
    read_files(reader, files[1:], index=index)
    read_files(reader, files, index=index)
    assert sorted(reader.paths) == ["a", "b", "c"]


@pytest.mark.parametrize("content", ["", "[1]", '{"files": []}', json.dumps({"files": {"/x": 3}}), "\0"])
def test_a_damaged_index_counts_as_absent(files: list[Path], tmp_path: Path, content: str) -> None:
    index = tmp_path / "index.json"
    index.write_text(content)
    for _ in range(2):
        assert list(read_files(Reader(), files, index=index).values()) == ["text of a", "text of b", "text of c"]


def test_an_index_that_cannot_be_written_is_not_needed(files: list[Path], tmp_path: Path) -> None:
    index = files[0] / "index.json"  # below a file, where not even root can write
    for _ in range(2):
        reader = Reader()
        assert list(read_files(reader, files, index=index).values()) == ["text of a", "text of b", "text of c"]
        assert len(reader.paths) == 3
