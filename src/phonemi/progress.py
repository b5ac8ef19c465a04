"""Show how far the work is: a bar with the time left on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from phonemi.activity import Board
from phonemi.tables import duration_text

if TYPE_CHECKING:
    import rich.progress
    from rich.console import Console

Item = TypeVar("Item")

PLAIN_INTERVAL_S = 10.0
WIDE_COLUMNS = 72  # below this width the counts and the note would leave no room for the bar


_quiet_blocks = 0  # of `quiet` that are running


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what is said besides results and errors: progress, notes, warnings, bars of downloads.

    It holds for this process, and for the workers (`phonemi.workers`) that it starts meanwhile.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    global _quiet_blocks
    had_bars = not are_progress_bars_disabled()
    _quiet_blocks += 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if had_bars:
                disable_progress_bars()
            yield
    finally:
        _quiet_blocks -= 1
        if had_bars:
            enable_progress_bars()


def is_quiet() -> bool:
    """Whether a block of `quiet` is running."""
    return _quiet_blocks > 0


class Progress:
    """Shows how far each piece of work has come; silent when not `enabled`, or made while all is `quiet`.

    On a terminal every open task has a bar. Tasks opened while another is open disappear when they end; the outermost
    one stays on the screen, so a stage with a hundred validations leaves one line. In a file, a pipe or a notebook a
    task writes at most one line every ten seconds and one when it ends.

    It goes to standard error by default, so that standard output stays free for results.

    >>> import io
    >>> out = io.StringIO()
    >>> with Progress(file=out).task("encoding", total=2) as task:
    ...     task.advance(2, note="peak 0.5")
    >>> print(out.getvalue(), end="")
    encoding: 2/2 in less than 0.1 s, peak 0.5
    """

    def __init__(self, enabled: bool = True, file: TextIO | None = None) -> None:
        self.is_enabled = enabled and not is_quiet()
        self._board: Board | None = None
        self._file = sys.stderr if file is None else file
        self._display: rich.progress.Progress | None = None

    def on_board(self, folder: Path) -> Progress:
        """The same, which other processes can see in a folder besides (`activity`), even if it is not enabled."""
        progress = copy(self)
        progress._board = Board(folder)
        return progress

    @contextmanager
    def task(self, label: str, total: int | None = None, completed: int = 0) -> Iterator[Task]:
        """Show one piece of work of `total` steps, None when nobody knows, while the block runs.

        `completed` were done by an earlier run, which say nothing about the speed of this one.
        """
        with self._shown(label, total, completed) as task:
            if (board := self._board) is None:
                yield task
                return
            task.also(board.update)
            with board.showing(label, task):
                yield task

    @contextmanager
    def _shown(self, label: str, total: int | None, completed: int) -> Iterator[Task]:
        if not self.is_enabled or total == 0:  # no bar for no work
            yield Task(total, completed)
            return
        # The file decides, not rich: FORCE_COLOR in a build log must not draw bars into it.
        is_terminal = self._file.isatty() and not self._console().is_dumb_terminal
        with (self._bar if is_terminal else self._lines)(label, total, completed) as task:
            yield task

    def over(self, iterable: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
        """Yield the items of `iterable`, showing how many have been dealt with."""
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        with self.task(label, total) as task:
            for item in iterable:
                yield item
                task.advance()

    def say(self, text: str) -> None:
        """Write one line, above any bar."""
        if not self.is_enabled:
            return
        if self._display is not None:
            self._display.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._file, flush=True)

    def _console(self) -> Console:
        from rich.console import Console

        return Console(file=self._file)

    @contextmanager
    def _bar(self, label: str, total: int | None, completed: int) -> Iterator[Task]:
        from rich.markup import escape

        outermost = self._display is None
        if self._display is None:
            self._display = _display(self._console())
            self._display.start()
        display = self._display
        bar = display.add_task(escape(label), total=total, completed=completed, note="")

        def show(task: Task) -> None:
            display.update(bar, total=task.total, completed=task.completed, note=task.note)

        try:
            yield Task(total, completed, show)
        finally:
            if outermost:
                display.stop()
                self._display = None
            else:
                display.remove_task(bar)

    @contextmanager
    def _lines(self, label: str, total: int | None, completed: int) -> Iterator[Task]:
        start_s = written_s = time.monotonic()

        def write(timing: str) -> None:
            count = f"{task.completed}" if task.total is None else f"{task.completed}/{task.total}"
            note = f", {task.note}" if task.note else ""
            print(f"{label}: {count} {timing}{note}", file=self._file, flush=True)

        def show(task: Task) -> None:
            nonlocal written_s
            now_s = time.monotonic()
            if now_s - written_s < PLAIN_INTERVAL_S or task.completed == task.total:  # the end has its own line
                return
            written_s = now_s
            done, left = task.completed - completed, ""
            if task.total is not None and done > 0:
                left = f", {duration_text((now_s - start_s) / done * max(0, task.total - task.completed))} left"
            write(f"after {duration_text(now_s - start_s)}{left}")

        task = Task(total, completed, show)
        end = "stopped after"
        try:
            yield task
            end = "in"
        finally:
            if task.total or task.completed:  # no line for no work
                write(f"{end} {duration_text(time.monotonic() - start_s)}")


class Task:
    """One piece of work; on its own it shows nothing."""

    def __init__(self, total: int | None, completed: int, show: Callable[[Task], object] = lambda task: None) -> None:
        self.total = total
        self.completed = completed
        self.note = ""
        self._show = show

    def also(self, show: Callable[[], object]) -> None:
        """Call this too whenever it has advanced."""
        first = self._show
        self._show = lambda task: (first(task), show())

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Count `steps` more as done; the note, for instance the loss, stands beside the count until the next one."""
        self.completed += steps
        self.note = self.note if note is None else note
        self._show(self)


def _display(console: Console) -> rich.progress.Progress:
    from rich import progress
    from rich.table import Column

    def fit(max_width: int | None = None) -> Column:
        # One line whatever the width: a wrapped row would make the display jump.
        return Column(no_wrap=True, overflow="ellipsis", max_width=max_width)

    wide = console.width >= WIDE_COLUMNS
    columns: list[progress.ProgressColumn] = [
        progress.TextColumn("{task.description}", table_column=fit(console.width // (4 if wide else 3))),
        progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
        progress.TaskProgressColumn(table_column=fit()),
        progress.TimeRemainingColumn(elapsed_when_finished=True, table_column=fit()),
    ]
    if wide:
        columns.insert(2, progress.MofNCompleteColumn(table_column=fit()))
        columns.append(progress.TextColumn("{task.fields[note]}", markup=False, table_column=fit(console.width // 4)))
    return progress.Progress(*columns, console=console, expand=True)
