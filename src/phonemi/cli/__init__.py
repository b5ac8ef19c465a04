"""Command line -> calls of the stages: options and one-line errors, no logic.

Exit codes: 0 done, 1 the work failed (one line says why), 2 wrong usage or configuration, 130 interrupted (run it
again to go on), 143 and 129 the same by SIGTERM and SIGHUP.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from phonemi.cli import recordings, research, tools  # noqa: F401  (they register their commands, in this order)
from phonemi.cli.commands import app, explain
from phonemi.errors import ConfigError, PhonemiError, explaining_missing_packages, kept_traceback


def main() -> None:
    """Entry point: every failure becomes one line and an exit code."""
    # Read when torch is loaded. Threads that spin while they wait make all crawl where other work wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with _ending_cleanly(), explaining_missing_packages():
            app(prog_name="phonemi")
    except PhonemiError as error:
        sys.exit(explain(str(error), 2 if isinstance(error, ConfigError) else 1))
    except OSError as error:  # disk full, permissions, a name too long
        place = f": {error.filename}" if error.filename else ""
        sys.exit(explain(f"{error.strerror or error}{place}", 1))
    except _Ended as end:
        sys.exit(explain(f"ended by {end.number.name}; run the same command again to go on", 128 + end.number))
    except Exception as error:  # ours to mend, or memory ran out: its trace is for a report, not for the screen
        sys.exit(explain(f"unexpected {type(error).__name__}: {error} (traceback in {kept_traceback()})", 1))


class _Ended(BaseException):
    """The system asked for the end; an exception, so that all that would stay behind is removed on the way out."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """Raise `_Ended` on SIGTERM and SIGHUP, once; where these are ignored (nohup) or handled already, they stay so."""
    process = os.getpid()
    replaced: list[signal.Signals] = []

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a copy of this process (fork) has nothing of its own to remove
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for other in replaced:
            signal.signal(other, signal.SIG_IGN)  # a second one must not stop the removing
        raise _Ended(signal.Signals(number))

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, end)
                replaced.append(number)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)
