"""The command line: options and one-line errors; the work is done by the other packages.

Exit codes: 0 done; 1 the work failed, and one line says why; 2 wrong usage or configuration; 130, 143 and 129
interrupted by Ctrl-C, SIGTERM and SIGHUP, after which the same command goes on.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from phonemi.cli import recordings, research, tools  # noqa: F401  (they register their commands, in this order)
from phonemi.cli.commands import app, explain, explain_interruption, logger
from phonemi.devices import launched_processes
from phonemi.errors import ConfigError, PhonemiError, PhonemiWarning, ProcessEnded, explaining_missing_packages
from phonemi.interruption import Interruption
from phonemi.memory import keep_freed_memory


def _show_warning(show: Callable[..., None], message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Print what phonemi warns of in one line, without the place in its code; leave others to `show`."""
    if issubclass(category, PhonemiWarning):
        explain(f"note: {message}", 0)
    else:
        show(message, category, *place)


def main() -> None:
    """Entry point: every failure becomes one line and an exit code; `--debug` shows where it happened too."""
    # OpenMP reads this when torch is loaded. Threads that wait actively slow everything down on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files need not be UTF-8
    try:
        with Interruption(), explaining_missing_packages(), warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            app(prog_name="phonemi")
    except PhonemiError as error:
        logger.debug("the error in full:", exc_info=True)
        if launched_processes().rank > 0 and isinstance(error, ProcessEnded):
            sys.exit(1)  # process 0 says what happened
        sys.exit(explain(str(error), 2 if isinstance(error, ConfigError) else 1))
    except OSError as error:  # disk full, permissions, a name too long
        logger.debug("the error in full:", exc_info=True)
        path = f": {error.filename}" if error.filename else ""
        sys.exit(explain(f"{error.strerror or error}{path}", 1))
    except KeyboardInterrupt as interrupt:
        sys.exit(explain_interruption(interrupt))
    except Exception as error:  # a defect of phonemi, or memory ran out
        logger.debug("the error in full:", exc_info=True)
        with tempfile.NamedTemporaryFile("w", prefix="phonemi-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
        sys.exit(explain(f"unexpected {type(error).__name__}: {error} (traceback in {file.name})", 1))
