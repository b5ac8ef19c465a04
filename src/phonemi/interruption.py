"""End the work cleanly when the user or the system asks for it: Ctrl-C, SIGTERM, or a closed terminal.

A signal becomes an exception, so that `with` and `finally` remove temporary files and save what can be continued.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Ctrl-C, what services are stopped by, and a terminal that is closed (Windows has no SIGHUP).
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end; `number` says which one."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


class Interruption:
    """While the block runs, `SIGNALS` raise `Interrupted`, but never in the middle of a deferred part.

    If it `is_held`, they do not: `pending` says which one has come, and who works in the block looks at it when the
    work can end. Only an error of the block then becomes `Interrupted`, since it may be of the signal's making: another
    process of this training that has ended already.

    Blocks can be nested: the inner one has the say, and the handlers of the outer one come back after it. Signals that
    were ignored (a job started with nohup) stay ignored. Outside the main thread, where Python delivers no signals,
    this does nothing.
    """

    def __init__(self, is_held: bool = False) -> None:
        self.is_held = is_held
        self.pending: signal.Signals | None = None
        self._process = os.getpid()
        self._deferring = False
        self._handlers_before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers_before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        if self.is_held and self.pending is not None and kind is not None and issubclass(kind, Exception):
            raise Interrupted(self.pending)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold a signal back until the block has ended, also by an error; a second Ctrl-C does not wait."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            self._raise_pending()

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """In the middle of what is held, let signals raise at once, also one that has come before."""
        before, self.is_held = self.is_held, False
        try:
            self._raise_pending()
            yield
        finally:
            self.is_held = before

    def _raise_pending(self) -> None:
        if self.pending is not None and not self.is_held:
            raise Interrupted(self.pending)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a copy of this process (fork) has nothing to save or to remove
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif (self._deferring or self.is_held) and (self.pending is None or number != signal.SIGINT):
            self.pending = self.pending or signal.Signals(number)  # the system may repeat its signals
        else:
            # From here on only Ctrl-C can disturb the saving and removing: the system may repeat its signals.
            for other in self._handlers_before.keys() - {signal.SIGINT}:
                signal.signal(other, signal.SIG_IGN)
            raise Interrupted(signal.Signals(number))
