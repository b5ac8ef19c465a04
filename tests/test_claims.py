from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
import typer

from phonemi.claims import claimed, share, share_of
from phonemi.cli.commands import read_shard
from phonemi.inference.plan import share_of_files

HOLD = """
import sys, time
from pathlib import Path
from phonemi.claims import claimed
with claimed(Path(sys.argv[1])) as is_ours:
    print(is_ours, flush=True)
    time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that claims the file and keeps it."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_a_claim_is_held_by_one_process_and_free_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "claims" / "row.lock"
    process = hold(path)
    try:
        with claimed(path) as is_ours:
            assert not is_ours
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with claimed(path) as is_ours:
        assert is_ours
        with claimed(path) as again:
            assert not again, "nor twice by one process"
    with claimed(path) as is_ours:
        assert is_ours


def test_who_waits_for_a_claim_says_so_once_and_gets_it(tmp_path: Path) -> None:
    path, said = tmp_path / "row.lock", []
    process = hold(path)
    threading.Timer(0.3, process.kill).start()
    start = time.monotonic()
    with claimed(path, wait=True, say=said.append) as is_ours:
        assert is_ours
    assert time.monotonic() - start > 0.2
    assert said == [f"waiting for another process, which holds {path}"]


def test_shared_work_begins_with_what_nobody_is_at_and_ends_with_what_others_have_left(tmp_path: Path) -> None:
    done: list[str] = []
    pieces = {name: partial(done.append, name) for name in "abc"}

    def claim(name: str, wait: bool) -> AbstractContextManager[bool]:
        return claimed(tmp_path / name, wait)

    process = hold(tmp_path / "a")
    try:
        share(pieces, claim, wait=False)
        assert done == ["b", "c"]
    finally:
        threading.Timer(0.3, process.kill).start()
    share(pieces, claim)
    assert done[2:] == ["b", "c", "a"], "each once, whether it has been done before is for the work to see"


@pytest.mark.parametrize("shards", [1, 2, 7, 30])
def test_shards_share_everything_and_nothing_twice(shards: int) -> None:
    positions = [position for number in range(1, shards + 1) for position in share_of(20, (number, shards))]
    assert sorted(positions) == list(range(20))
    pairs = [(Path(f"in/{name}.wav"), Path(f"out/{name}.wav")) for name in range(200)]
    parts = [share_of_files(pairs, (number, shards)) for number in range(1, shards + 1)]
    assert sorted(pair for part in parts for pair in part) == sorted(pairs)
    assert max(map(len, parts)) < 3 * 200 / shards + 5
    fewer = share_of_files(pairs[::2], (1, shards))
    assert fewer == [pair for pair in parts[0] if pair in fewer], "files keep their shard when others go"


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "1.0/2"])
def test_a_shard_that_is_none_is_a_usage_error(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected I/N"):
        read_shard(text)
    assert read_shard(None) is None
    assert read_shard("2/8") == (2, 8)
