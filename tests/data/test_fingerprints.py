"""Fingerprints: equal for equal content, wherever it lies and whenever it was written."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from phonemi.data.fingerprints import fingerprint, fingerprint_files
from phonemi.data.manifest import Recording
from phonemi.errors import DataError


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
def test_three_thousand_unchanged_files_take_no_time(tmp_path: Path) -> None:
    paths = [write(tmp_path / "corpus" / f"{number}.wav", b"%d" % number) for number in range(3_000)]
    recordings = [Recording(id=path.stem, path=str(path), sample_rate=16_000, samples=1) for path in paths]
    before = fingerprint(recordings, tmp_path / "cache")
    start_s = time.process_time()
    assert fingerprint(recordings, tmp_path / "cache") == before
    assert time.process_time() - start_s < 0.5
