"""Reading many files, and again only those that have changed; fingerprints, equal for equal content anywhere."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from phonemi.data.fingerprints import fingerprint, fingerprint_files, read_files
from phonemi.data.manifest import Recording
from phonemi.errors import AudioError, DataError
from phonemi.files import content_hash, sha256


def write(path: Path, content: bytes, time_ns: int = 10**18) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(time_ns, time_ns))
    return path


def recordings_in(folder: Path) -> list[Recording]:
    rows = []
    for id, content in (("a", b"aaa"), ("b", b"bbb")):
        noisy, clean = write(folder / f"{id}.wav", content), write(folder / "clean" / f"{id}.wav", content * 2)
        rows.append(Recording(id=id, path=str(noisy), clean=str(clean), sample_rate=16_000, samples=3))
    return rows


@pytest.fixture
def recordings(tmp_path: Path) -> list[Recording]:
    return recordings_in(tmp_path / "corpus")


@pytest.fixture(params=[True, False], ids=["remembered", "not remembered"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "cache" if request.param else None


def test_content_that_changed_is_noticed_and_times_alone_are_not(
    recordings: list[Recording], cache: Path | None
) -> None:
    before = fingerprint(recordings, cache)
    assert fingerprint(recordings, cache) == before
    for path in (recordings[0].path, recordings[1].clean):
        assert path is not None
        content = Path(path).read_bytes()
        os.utime(path, ns=(10**18 + 1, 10**18 + 1))
        assert fingerprint(recordings, cache) == before, "touched, but equal"
        write(Path(path), content[::-1].upper(), time_ns=10**18 + 2)
        assert fingerprint(recordings, cache) != before, "replaced by a file of the same size"
        write(Path(path), content, time_ns=10**18 + 3)
        assert fingerprint(recordings, cache) == before


def test_ids_and_order_count_but_paths_do_not(recordings: list[Recording], cache: Path | None, tmp_path: Path) -> None:
    before = fingerprint(recordings, cache)
    assert fingerprint(recordings_in(tmp_path / "copy"), cache) == before
    assert fingerprint(recordings[::-1], cache) != before
    assert fingerprint([replace(recordings[0], id="c"), recordings[1]], cache) != before
    assert fingerprint([replace(recordings[0], clean=None), recordings[1]], cache) != before
    assert fingerprint([replace(recordings[0], text="words"), recordings[1]], cache) == before


def test_a_file_that_is_not_there_is_named(recordings: list[Recording], cache: Path | None) -> None:
    fingerprint(recordings, cache)
    Path(recordings[1].path).unlink()
    with pytest.raises(DataError, match=r"cannot read .*b\.wav: No such file"):
        fingerprint(recordings, cache)


def test_a_folder_of_files(cache: Path | None, tmp_path: Path) -> None:
    folder, single = tmp_path / "model", write(tmp_path / "single.txt", b"one")
    write(folder / "config.json", b"{}")
    write(folder / "sub" / "weights", b"12")
    before = fingerprint_files([folder, single], cache)
    shutil.copytree(folder, tmp_path / "moved")
    assert fingerprint_files([tmp_path / "moved", single], cache) == before
    assert fingerprint_files([folder], cache) != before
    write(folder / "sub" / "weights", b"21", time_ns=10**18 + 1)
    assert fingerprint_files([folder, single], cache) != before
    write(folder / "sub" / "weights", b"12", time_ns=10**18 + 2)
    assert fingerprint_files([folder, single], cache) == before
    (folder / "config.json").rename(folder / "other.json")
    assert fingerprint_files([folder, single], cache) != before


@pytest.mark.slow
def test_an_unchanged_file_is_not_opened_again(tmp_path: Path) -> None:
    paths = [write(tmp_path / "corpus" / f"{number}.wav", b"%d" % number) for number in range(30)]
    recordings = [Recording(id=path.stem, path=str(path), sample_rate=16_000, samples=1) for path in paths]
    opened: list[str] = []
    sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
    before = fingerprint(recordings, tmp_path / "cache")
    assert {str(path) for path in paths} <= set(opened)
    opened.clear()
    assert fingerprint(recordings, tmp_path / "cache") == before
    assert not {str(path) for path in paths} & set(opened)


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


def test_tracks_count_where_there_are_any(recordings: list[Recording], tmp_path: Path) -> None:
    before = fingerprint(recordings)
    tracks = write(tmp_path / "a.npz", b"tracks")
    with_tracks = [replace(recordings[0], tracks=str(tracks)), *recordings[1:]]
    after = fingerprint(with_tracks)
    write(tracks, b"others")
    assert len({before, after, fingerprint(with_tracks)}) == 3
    assert fingerprint([replace(recording, clean=None) for recording in recordings]) == content_hash(
        [[recording.id, sha256(recording.path), None] for recording in recordings]
    )
