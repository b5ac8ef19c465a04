"""Files: complete or absent, and one clear line about those that cannot be read."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from phonemi.errors import DataError
from phonemi.files import content_hash, read_json, read_jsonl, replacing, write_json, write_jsonl, write_text


def test_replacing_names_the_file_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.flac"
    with replacing(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (path.parent, ".flac")
        assert temporary.name.startswith("."), "hidden, so that a search for recordings does not find it"
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.flac"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("x")])
def test_a_failure_keeps_the_old_file_and_nothing_else(tmp_path: Path, failure: BaseException) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail_half_way() -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        fail_half_way()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_noticed_by_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "a.txt", "text")
    assert os.listdir(tmp_path) == []


def test_json_round_trip_without_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ä": [1, 2.5, None, math.nan, (math.inf, "x")]})
    assert read_json(tmp_path / "a.json") == {"ä": [1, 2.5, None, None, [None, "x"]]}


def test_json_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json does not exist"):
        read_json(tmp_path / "a.json")
    for content in (b"{", b"\xff\xfe"):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.json is not JSON"):
            read_json(tmp_path / "a.json")


def test_json_lines_round_trip(tmp_path: Path) -> None:
    rows = [{"a": 1}, {"b": [math.nan, "ü"]}]
    write_jsonl(tmp_path / "a.jsonl", iter(rows))
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8").count("\n") == 2
    assert read_jsonl(tmp_path / "a.jsonl") == [{"a": 1}, {"b": [None, "ü"]}]
    write_jsonl(tmp_path / "a.jsonl", [])
    assert read_jsonl(tmp_path / "a.jsonl") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\n{"a": \n', r"a\.jsonl:3: not JSON"),
        (b'{"a": 1}\n[1, 2]\n', r"a\.jsonl:2: expected a JSON object, found list"),
        (b"\xff\xfe\x00", "is not a JSON-lines file"),
    ],
)
def test_json_lines_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_jsonl(tmp_path / "a.jsonl")


def test_missing_json_lines_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_jsonl(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="is not a JSON-lines file"):
        read_jsonl(tmp_path)


def test_content_hash_sees_every_change_but_the_order_of_keys() -> None:
    values = [("a",), ("a", 1), ("a", "1"), (["a", 1],), ({"a": 1},), ({"a": 2},), ()]
    hashes = [content_hash(*value) for value in values]
    assert len(set(hashes)) == len(values)
    assert all(len(hash_) == 16 and int(hash_, 16) >= 0 for hash_ in hashes)
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})


def test_others_may_read_what_a_writer_keeps_to_its_owner(tmp_path: Path) -> None:
    write_text(tmp_path / "usual", "")
    with replacing(tmp_path / "a.bin") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT, 0o600))
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "usual").stat().st_mode == 0o100666 & ~umask()


def umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
