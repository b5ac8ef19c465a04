from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from worker_functions import after, fail_or_wait, slow_square, warn

from phonemi.errors import PhonemiError
from phonemi.progress import quiet
from phonemi.workers import QUEUE_PER_PROCESS, Worker, WorkerDied, Workers


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_and_arguments_are_taken_as_they_are_needed(processes: int) -> None:
    taken: list[int] = []

    def arguments() -> Iterator[tuple[int]]:
        for value in range(20):
            taken.append(value)
            yield (value,)

    with Workers(slow_square, processes, "squaring") as workers:
        results = workers.over(arguments())
        first = next(results)
        assert len(taken) == (1 if processes == 1 else QUEUE_PER_PROCESS * processes)
        found = [first, *results]
    assert [square for square, _ in found] == [value * value for value in range(20)]
    assert (os.getpid() in {worker for _, worker in found}) == (processes == 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_goes_wrong_is_raised_to_who_asks(processes: int) -> None:
    with Workers(math.sqrt, processes, "rooting") as workers:
        four = workers.submit(16.0)
        with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
            workers.submit(-1.0)()
        assert four() == 4


@pytest.mark.parametrize("is_quiet", [True, False])
def test_processes_are_quiet_if_this_one_is(is_quiet: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() if is_quiet else nullcontext():
        with Workers(warn, 2, "warning") as workers:
            list(workers.over([("of several",)]))
        worker = Worker()
        worker.call(warn, "of one")
        worker.kill()
    said = capfd.readouterr().err
    assert [text in said for text in ("of several", "of one")] == [not is_quiet] * 2


def test_no_process_is_started_without_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phonemi.workers.ProcessPoolExecutor", None)
    with Workers(math.sqrt, 2, "rooting") as workers:
        assert list(workers.over([])) == []


def test_processes_that_die_are_one_line() -> None:
    with Workers(os._exit, 2, "exiting") as workers:
        results = workers.over((1,) for _ in range(30))
        with pytest.raises(PhonemiError, match="one of 2 exiting processes died, perhaps for lack of memory"):
            list(results)


def test_results_come_as_they_are_ready(tmp_path: Path) -> None:
    calls = [(tmp_path, "a", "c"), (tmp_path, "b", None), (tmp_path, "c", None)]
    with Workers(after, 2, "waiting") as workers:
        assert list(workers.as_completed(calls)) == ["b", "c", "a"]
    with Workers(after, 1, "waiting") as workers:
        assert list(workers.as_completed(calls)) == ["a", "b", "c"]


def test_the_first_failure_stops_the_others_and_begins_no_more(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it fails"), Workers(fail_or_wait, 2, "failing") as workers:
        list(workers.as_completed((tmp_path, name) for name in ("fails", "started", "never")))
    assert {path.name for path in tmp_path.iterdir()} == {"started", "interrupted"}


def test_a_process_alone_makes_calls_says_what_fails_and_dies_alone() -> None:
    worker, other = Worker(), Worker()
    assert worker.call(math.sqrt, 16.0) == 4
    with pytest.raises(ValueError, match=r"math domain error|nonnegative") as raised:
        worker.call(math.sqrt, -1.0)
    assert "Traceback" in raised.value.__notes__[0]
    with pytest.raises(WorkerDied, match="died, perhaps for lack of memory"):
        worker.call(os._exit, 1)
    with pytest.raises(WorkerDied):
        worker.call(math.sqrt, 16.0)
    killing = threading.Timer(0.2, other.kill)
    killing.start()
    with pytest.raises(WorkerDied):
        other.call(time.sleep, 60)
    killing.join()
    assert not worker.is_alive()
    assert not other.is_alive()


@pytest.mark.slow
def test_torch_threads_are_shared() -> None:
    import torch  # here, so that the processes of the other tests start without it

    before = torch.get_num_threads()
    torch.set_num_threads(6)
    try:
        with Workers(torch.get_num_threads, 2, "counting") as workers:
            assert {workers.submit()() for _ in range(8)} == {3}
    finally:
        torch.set_num_threads(before)


PARENT = """
import os, time
from phonemi.workers import Workers
if __name__ == "__main__":
    with Workers(os.getpid, 2, "telling") as workers:
        print(*{workers.submit()() for _ in range(8)}, flush=True)
        time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is not known here")
def test_none_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers
    parent.kill()
    parent.wait()
    deadline_s = time.monotonic() + 20
    while not all(map(gone, workers)):
        assert time.monotonic() < deadline_s, "a worker is still there"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Whether a process is no more, or waits to be fetched by who adopted it."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except FileNotFoundError:  # no /proc here, or gone meanwhile: asked again
        return False
