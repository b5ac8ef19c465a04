"""A function and many arguments -> results in order, by several processes that are gone when this one is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

from phonemi.errors import PhonemiError

AHEAD = 4  # pieces of work for each process that are begun before the oldest is waited for

Result = TypeVar("Result")


class Workers(Generic[Result]):
    """Processes that all do the same; started by the first piece of work, ended with the `with` block.

    They are spawned, since forking a process that runs torch's threads can hang, so `function` must be picklable: it is
    sent to each of them once. With one process, or fewer, everything happens here.

    Args:
        function: what they do.
        processes: how many.
        what: their work in a word, for the error message.

    >>> with Workers(divmod, processes=1, what="dividing") as workers:
    ...     list(workers.over([(7, 2), (9, 4)]))
    [(3, 1), (2, 1)]
    """

    def __init__(self, function: Callable[..., Result], processes: int, what: str) -> None:
        self._function, self._processes, self._what = function, processes, what
        self._pool: ProcessPoolExecutor | None = None
        self._begun: deque[Future[Result]] = deque()

    def __enter__(self) -> Workers[Result]:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def submit(self, *arguments: Any) -> Callable[[], Result]:
        """Begin one piece of work, once there are not too many; what comes back waits for its result when called.

        Raises:
            PhonemiError: if a process died; or what the function raises, here or when the result is asked for.
        """
        if self._processes <= 1:
            result = self._function(*arguments)
            return lambda: result
        while len(self._begun) >= AHEAD * self._processes:
            self._begun.popleft().exception()  # only waits: an error is raised to who asks for the result
        if self._pool is None:
            context, begin = multiprocessing.get_context("spawn"), (self._function,)
            self._pool = ProcessPoolExecutor(self._processes, context, initializer=_begin, initargs=begin)
        try:
            future = self._pool.submit(_work, *arguments)
        except BrokenProcessPool:
            raise self._died() from None
        self._begun.append(future)
        return lambda: self._result(future)

    def over(self, arguments: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """The results for each of the arguments, which are taken lazily, a few ahead of the work."""
        waiting: deque[Callable[[], Result]] = deque()
        ahead = 1 if self._processes <= 1 else AHEAD * self._processes
        for one in arguments:
            waiting.append(self.submit(*one))
            if len(waiting) >= ahead:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()

    def _result(self, future: Future[Result]) -> Result:
        try:
            return future.result()
        except BrokenProcessPool:
            raise self._died() from None

    def _died(self) -> PhonemiError:
        return PhonemiError(
            f"one of {self._processes} {self._what} processes died, perhaps for lack of memory: free some, then run "
            "it again"
        )


def follow_parent() -> None:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the parent, and never outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


_function: Callable[..., Any] | None = None  # of a worker


def _begin(function: Callable[..., Any]) -> None:
    global _function
    follow_parent()
    _function = function


def _work(*arguments: Any) -> Any:
    assert _function is not None, "a worker begins with it"
    return _function(*arguments)
