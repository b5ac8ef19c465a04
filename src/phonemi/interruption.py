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

    Blocks can be nested: the inner one has the say, and the handlers of the outer one come back after it. Signals that
    were ignored (a job started with nohup) stay ignored. Outside the main thread, where Python delivers no signals,
    this does nothing.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._deferring = False
        self._pending: signal.Signals | None = None
        self._handlers_before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers_before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold a signal back until the block has ended, also when it ends by an error; a second one does not wait."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            if self._pending is not None:
                # An error may be of the signal's making: another process of this training that has ended already.
                raise Interrupted(self._pending)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a copy of this process (fork) has nothing to save or to remove
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._deferring and self._pending is None:
            self._pending = signal.Signals(number)
        else:
            # From here on only Ctrl-C can disturb the saving and removing: the system may repeat its signals.
            for other in self._handlers_before.keys() - {signal.SIGINT}:
                signal.signal(other, signal.SIG_IGN)
            raise Interrupted(signal.Signals(number))
