"""The command line: options and one-line errors; the work is done by the other rooms.

Exit codes: 0 done; 1 the work failed, and one line says why; 2 wrong usage or configuration; 130, 143 and 129
interrupted by Ctrl-C, SIGTERM and SIGHUP, after which the same command goes on.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from phonemi.cli import recordings, research, tools  # noqa: F401  importing them registers the commands
from phonemi.cli.commands import app, explain
from phonemi.errors import ConfigError, PhonemiError, explaining_missing_packages, kept_traceback


def main() -> None:
    """Entry point: every failure becomes one line and an exit code."""
    # OpenMP reads this when torch is loaded. Threads that wait actively slow everything down on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with _cleaning_up_when_terminated(), explaining_missing_packages():
            app(prog_name="phonemi")
    except PhonemiError as error:
        sys.exit(explain(str(error), 2 if isinstance(error, ConfigError) else 1))
    except OSError as error:  # disk full, permissions, a name too long
        place = f": {error.filename}" if error.filename else ""
        sys.exit(explain(f"{error.strerror or error}{place}", 1))
    except _Terminated as end:
        sys.exit(explain(f"ended by {end.number.name}; run the same command again to go on", 128 + end.number))
    except Exception as error:  # a defect of phonemi, or memory ran out: the traceback goes to a file, for a report
        sys.exit(explain(f"unexpected {type(error).__name__}: {error} (traceback in {kept_traceback()})", 1))


class _Terminated(BaseException):
    """SIGTERM or SIGHUP arrived. Raised as an exception, so that `with` and `finally` blocks remove temporary files."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number


@contextmanager
def _cleaning_up_when_terminated() -> Iterator[None]:
    """Raise `_Terminated` on the first SIGTERM or SIGHUP, unless it is ignored (nohup) or handled already."""
    process = os.getpid()
    replaced: list[signal.Signals] = []

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a forked process has no temporary files of its own
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for other in replaced:
            signal.signal(other, signal.SIG_IGN)  # a second signal must not interrupt the clean-up
        raise _Terminated(signal.Signals(number))

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
