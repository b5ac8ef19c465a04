"""Files: complete or absent, and one clear line about those that cannot be read."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phonemi import files
from phonemi.errors import DataError
from phonemi.files import (
    content_hash,
    read_json,
    read_jsonl,
    remove_leftovers,
    replacing,
    temporary_folder,
    write_json,
    write_jsonl,
    write_text,
)


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


def test_of_two_writers_of_one_file_the_last_leaves_its_whole_file(tmp_path: Path) -> None:
    """In one process, as threads are, or in two containers, whose processes have the same number."""
    path = tmp_path / "a.txt"
    with replacing(path) as first:
        first.write_text("fir")
        with replacing(path) as second:
            second.write_text("the second")
            remove_leftovers([path])
            assert {first.name, second.name} == set(os.listdir(tmp_path))
        assert path.read_text() == "the second"
        first.write_text("the first")
    assert path.read_text() == "the first"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="needs kill -9")
def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.txt"
    code = "import os, sys; from phonemi.files import replacing\nwith replacing(sys.argv[1]): os.kill(os.getpid(), 9)"
    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)
    remove_leftovers([tmp_path / "another.txt"])
    assert os.listdir(tmp_path) == [left]
    remove_leftovers([path])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("elsewhere", ["machine", "container"])
def test_what_was_left_elsewhere_is_removed_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    """Nobody here knows whether its process runs."""
    path = tmp_path / "a.txt"
    with replacing(path) as temporary:
        pid = str(2**22 + 1)  # more than there are
        left = tmp_path / temporary.name.replace(f".{os.getpid()}.", f".{pid}.")
    ours = left.name.split(".")[2]
    files.machine_hash.cache_clear()
    with monkeypatch.context() as there:
        if elsewhere == "machine":
            there.setattr("platform.node", lambda: "another")
        else:
            there.setattr("os.readlink", lambda _: "pid:[4026532200]")
        theirs = files.machine_hash()
    files.machine_hash.cache_clear()
    left = left.with_name(left.name.replace(ours, theirs))
    path.unlink()
    left.touch()
    remove_leftovers([path])
    assert left.exists()
    day_before_s = time.time() - 25 * 3600
    os.utime(left, (day_before_s, day_before_s))
    remove_leftovers([path])
    assert os.listdir(tmp_path) == []


def test_long_names(tmp_path: Path) -> None:
    """What the system takes can be written, and what it refuses is refused before the work."""
    path = tmp_path / f"{'n' * 247}.flac"
    write_text(path, "whole")
    assert path.read_text() == "whole"
    too_long = tmp_path / f"{'n' * 251}.flac"
    with pytest.raises(OSError, match="too long") as caught, replacing(too_long):
        raise AssertionError("the work was started")
    assert caught.value.filename == str(too_long)
    assert os.listdir(tmp_path) == [path.name]


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "a.txt") as temporary:
        temporary.unlink()
    assert caught.value.filename == str(tmp_path / "a.txt")


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


def test_the_folder_of_a_process_that_was_killed_goes_with_the_next_one(tmp_path: Path) -> None:
    """Not those of running processes, of other work or of other machines, nor what is there in another way."""
    script = (
        "import os, signal; from phonemi.files import temporary_folder\n"
        "with temporary_folder('work') as folder:\n"
        "    (folder / 'a').mkdir(); (folder / 'a' / 'b').write_text('c'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script], env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "a" / "b").exists()
    others = [tmp_path / left.name.replace("work", "play"), tmp_path / "phonemi-work-", tmp_path / "phonemi-workabc"]
    others.append(tmp_path / left.name.replace(files.machine_hash(), "0" * 8))
    for other in others:
        other.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path))
        with temporary_folder("work") as one, temporary_folder("work") as another:
            assert {*tmp_path.iterdir()} == {*others, one, another}
            assert not list(one.iterdir())
        assert {*tmp_path.iterdir()} == {*others}


def umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
