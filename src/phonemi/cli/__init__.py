"""Command line -> calls of the stages: options and one-line errors, no logic.

Exit codes: 0 done, 1 the work failed (one line says why), 2 wrong usage, 130 interrupted (run it again to go on).
"""

from __future__ import annotations

import sys

from phonemi.cli import recordings, research, tools  # noqa: F401  (they register their commands, in this order)
from phonemi.cli.commands import app, explain
from phonemi.errors import PhonemiError, kept_traceback


def main() -> None:
    """Entry point: every failure becomes one line and an exit code."""
    try:
        app(prog_name="phonemi")
    except PhonemiError as error:
        sys.exit(explain(str(error), 1))
    except OSError as error:  # disk full, permissions, a name too long
        place = f": {error.filename}" if error.filename else ""
        sys.exit(explain(f"{error.strerror or error}{place}", 1))
    except Exception as error:  # ours to mend, or memory ran out: its trace is for a report, not for the screen
        sys.exit(explain(f"unexpected {type(error).__name__}: {error} (traceback in {kept_traceback()})", 1))
