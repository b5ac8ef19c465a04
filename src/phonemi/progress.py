"""Show how far the work is: a bar with the time left on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    import rich.progress
    from rich.console import Console

Item = TypeVar("Item")

PLAIN_INTERVAL_S = 10.0
WIDE_COLUMNS = 72  # below this width the counts and the note would leave no room for the bar


class Progress:
    """Shows how far each piece of work has come; silent when not `enabled`.

    On a terminal every open task has a bar. Tasks opened while another is open disappear when they end; the outermost
    one stays on the screen, so a stage with a hundred validations leaves one line. In a file, a pipe or a notebook a
    task writes at most one line every ten seconds and one when it ends.

    Args:
        enabled: False for no output at all.
        file: where to; by default standard error, so that standard output stays free for results.

    >>> import io
    >>> out = io.StringIO()
    >>> with Progress(file=out).task("encoding", total=2) as task:
    ...     task.advance(2, note="peak 0.5")
    >>> print(out.getvalue(), end="")
    encoding: 2/2 in 0:00:00, peak 0.5
    """

    def __init__(self, enabled: bool = True, file: TextIO | None = None) -> None:
        self._enabled = enabled
        self._file = sys.stderr if file is None else file
        self._display: rich.progress.Progress | None = None

    @contextmanager
    def task(self, label: str, total: int | None = None, completed: int = 0) -> Iterator[Task]:
        """Show one piece of work while the block runs.

        Args:
            label: what is being done, a word or two.
            total: how many steps there are; None when nobody knows.
            completed: steps done by an earlier run, which say nothing about the speed of this one.
        """
        if not self._enabled:
            yield Task(total, completed)
        # The file decides, not rich: FORCE_COLOR in a build log must not draw bars into it.
        elif self._file.isatty() and not self._console().is_dumb_terminal:
            with self._bar(label, total, completed) as task:
                yield task
        else:
            plain = _PlainTask(label, total, completed, self._file)
            try:
                yield plain
            except BaseException:
                plain.write_end("stopped after")
                raise
            plain.write_end("in")

    def over(self, iterable: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
        """Yield the items of `iterable`, showing how many have been dealt with.

        >>> list(Progress(enabled=False).over("ab", "letters"))
        ['a', 'b']
        """
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        with self.task(label, total) as task:
            for item in iterable:
                yield item
                task.advance()

    def say(self, text: str) -> None:
        """Write one line, above any bar."""
        if not self._enabled:
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
        try:
            yield _BarTask(total, completed, display, bar)
        finally:
            if outermost:
                display.stop()
                self._display = None
            else:
                display.remove_task(bar)


class Task:
    """One piece of work; on its own it shows nothing."""

    def __init__(self, total: int | None, completed: int) -> None:
        self.total = total
        self.completed = completed

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Count `steps` more as done.

        Args:
            steps: how many.
            note: a few words to show beside the count, for instance the loss; they stay until the next note.
        """
        self.completed += steps


class _BarTask(Task):
    def __init__(
        self, total: int | None, completed: int, display: rich.progress.Progress, bar: rich.progress.TaskID
    ) -> None:
        super().__init__(total, completed)
        self._display, self._bar = display, bar

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        super().advance(steps)
        fields: dict[str, Any] = {} if note is None else {"note": note}
        self._display.update(self._bar, completed=self.completed, **fields)


class _PlainTask(Task):
    def __init__(self, label: str, total: int | None, completed: int, file: TextIO) -> None:
        super().__init__(total, completed)
        self._label, self._file, self._note = label, file, ""
        self._completed_before = completed
        self._started_s = self._written_s = time.monotonic()

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        super().advance(steps)
        self._note = self._note if note is None else note
        now_s = time.monotonic()
        if now_s - self._written_s < PLAIN_INTERVAL_S:
            return
        self._written_s = now_s
        elapsed_s, done = now_s - self._started_s, self.completed - self._completed_before
        left = ""
        if self.total is not None and done > 0:
            left = f", {_clock(elapsed_s / done * max(0, self.total - self.completed))} left"
        self._write(f"after {_clock(elapsed_s)}{left}")

    def write_end(self, word: str) -> None:
        self._write(f"{word} {_clock(time.monotonic() - self._started_s)}")

    def _write(self, timing: str) -> None:
        count = f"{self.completed}" if self.total is None else f"{self.completed}/{self.total}"
        note = f", {self._note}" if self._note else ""
        print(f"{self._label}: {count} {timing}{note}", file=self._file, flush=True)


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


def _clock(seconds: float) -> str:
    """Time as h:mm:ss.

    >>> _clock(3725.4)
    '1:02:05'
    """
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
