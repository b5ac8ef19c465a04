"""Processes that apply one function to many arguments, and that are gone when this process is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from typing import Any, Generic, TypeVar, cast

from phonemi.errors import PhonemiError
from phonemi.interruption import Interruption
from phonemi.memory import keep_freed_memory
from phonemi.progress import is_quiet, quiet

QUEUE_PER_PROCESS = 4  # calls that are begun for each process before the oldest is waited for

Result = TypeVar("Result")


class Workers(Generic[Result]):
    """Processes that all apply the same function; started by the first call, ended with the `with` block.

    They are spawned, since forking a process that runs torch's threads can hang, so `function` must be picklable: it is
    sent to each of them once. With one process, or fewer, everything happens here.

    Each process gets an equal share of the threads that torch has here, and is quiet if this one is. Ctrl-C is left to
    this process. When an exception ends the block, calls that are running raise `Interrupted`, as by SIGTERM, and the
    block ends after them. The processes also end when this one is killed.

    The message for a process that dies names their work (`name`, a word) and what to do (`advice`).

    >>> with Workers(divmod, processes=1, name="dividing") as workers:
    ...     list(workers.over([(7, 2), (9, 4)]))
    [(3, 1), (2, 1)]
    """

    def __init__(
        self, function: Callable[..., Result], processes: int, name: str, advice: str = "free some, then run it again"
    ) -> None:
        self._function, self._processes, self._name, self._advice = function, processes, name, advice
        self._pool: ProcessPoolExecutor | None = None
        self._stop: Connection | None = None  # closed to stop the processes; they hold its other end
        self._queue: deque[Future[Result]] = deque()

    def __enter__(self) -> Workers[Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None or self._stop is None:
            return
        if kind is not None:
            self._stop.close()
        self._pool.shutdown(cancel_futures=True)
        self._stop.close()

    def submit(self, *arguments: Any) -> Callable[[], Result]:
        """Begin one call, after waiting for earlier ones while the queue is full.

        Returns:
            A function that waits for the result and returns it, or raises what the call raised; both this and that
            raise PhonemiError if a process died.
        """
        if self._processes <= 1:
            result = self._function(*arguments)
            return lambda: result
        while len(self._queue) >= QUEUE_PER_PROCESS * self._processes:
            self._queue.popleft().exception()  # only waits: who asks for the result gets the error
        future = self._begin(arguments)
        self._queue.append(future)
        return lambda: self._result(future)

    def over(self, arguments: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """The results for each of the arguments, in order. Arguments are taken lazily, a few ahead of the work."""
        pending: deque[Callable[[], Result]] = deque()
        ahead = 1 if self._processes <= 1 else QUEUE_PER_PROCESS * self._processes
        for each in arguments:
            pending.append(self.submit(*each))
            if len(pending) >= ahead:
                yield pending.popleft()()
        while pending:
            yield pending.popleft()()

    def as_completed(self, arguments: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """The results as they come, for long calls: no more are begun than there are processes.

        Raises:
            PhonemiError: if a process died; or what the first call that fails raises, while others still run.
        """
        running: set[Future[Result]] = set()
        for each in arguments:
            if self._processes <= 1:
                yield self._function(*each)
                continue
            if len(running) == self._processes:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from map(self._result, done)
            running.add(self._begin(each))
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from map(self._result, done)

    def _begin(self, arguments: tuple[Any, ...]) -> Future[Result]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            stopped, self._stop = context.Pipe(duplex=False)
            torch = sys.modules.get("torch")
            cores = torch.get_num_threads() if torch is not None else os.cpu_count() or 1
            threads = max(1, cores // self._processes)
            self._pool = ProcessPoolExecutor(
                self._processes, context, initializer=_start, initargs=(self._function, threads, is_quiet(), stopped)
            )
        try:
            return self._pool.submit(_work, *arguments)
        except BrokenProcessPool:
            raise self._death() from None

    def _result(self, future: Future[Result]) -> Result:
        try:
            return future.result()
        except BrokenProcessPool:
            raise self._death() from None

    def _death(self) -> PhonemiError:
        return PhonemiError(
            f"one of {self._processes} {self._name} processes died, perhaps for lack of memory: {self._advice}"
        )


class WorkerDied(PhonemiError):
    """The process that made a call is gone."""


class Worker:
    """One process that makes one call after another. Where `Workers` end together, this one dies, or is killed, alone.

    It is spawned at once, ignores Ctrl-C, is quiet if this process is, and ends when this process is gone.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other_end = context.Pipe()
        self._process = context.Process(target=_answer, args=(other_end, is_quiet()), daemon=True)
        self._process.start()
        other_end.close()  # so that the death of the process ends the connection

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Wait for the result of a function that can be pickled; not from two threads at a time.

        Raises:
            WorkerDied: if the process ends before it answers.
            Exception: what the call raises, with the traceback of the process as a note.
        """
        try:
            self._connection.send((function, arguments))
            result, error = self._connection.recv()
        except (EOFError, OSError):
            raise WorkerDied("the process that did the work died, perhaps for lack of memory") from None
        if error is not None:
            raise error
        return cast(Result, result)

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        """End the process at once; a thread that waits for its answer gets WorkerDied."""
        self._process.kill()
        self._process.join()


# Of this process, where it is a worker.
_function: Callable[..., Any] | None = None
_busy = False
_lasting = ExitStack()  # never closed


def _start(function: Callable[..., Any], threads: int, is_quiet: bool, stopped: Connection) -> None:
    """Prepare this worker of `Workers`."""
    global _function
    _function = function
    if "torch" in sys.modules:  # imported with the function
        sys.modules["torch"].set_num_threads(threads)
    _follow_parent(is_quiet, stopped)


def _answer(connection: Connection, is_quiet: bool) -> None:
    """Make the calls of a `Worker`, until the connection ends."""
    _follow_parent(is_quiet)
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        answer: tuple[Any, Exception | None]
        try:
            answer = function(*arguments), None
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = None, error
        connection.send(answer)


def _follow_parent(is_quiet: bool, *stopped: Connection) -> None:
    """Leave Ctrl-C to the parent of this process, be quiet if it is, and end with it."""
    keep_freed_memory()
    if is_quiet:
        _lasting.enter_context(quiet())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    threading.Thread(target=_watch_parent, args=stopped, daemon=True).start()


def _work(*arguments: Any) -> Any:
    """One call; SIGTERM ends it by an exception, which goes to the parent as any other does."""
    global _busy
    assert _function is not None, "a worker begins with it"
    with Interruption():
        _busy = True
        try:
            return _function(*arguments)
        finally:
            _busy = False


def _watch_parent(*stopped: Connection) -> None:
    """End the call of this worker when its parent wants to stop, and the worker when the parent is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    wait_for_any([parent.sentinel, *stopped])  # `stopped` is ready when the parent has closed its other end
    if _busy and parent.is_alive():
        os.kill(os.getpid(), signal.SIGTERM)
    parent.join()
    os._exit(1)
