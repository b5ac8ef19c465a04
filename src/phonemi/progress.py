"""Work done so far -> a bar with the time left on a terminal, or a plain line now and then anywhere else."""

from __future__ import annotations

import sys
import threading
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
        file: where to; standard error unless told otherwise, so that standard output stays free for results.

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
        self._lock = threading.Lock()
        self._display: rich.progress.Progress | None = None
        self._open_bars = 0

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
        elif self._on_terminal():
            with self._bar(label, total, completed) as task:
                yield task
        else:
            plain = _PlainTask(label, total, completed, self._file)
            try:
                yield plain
            except BaseException:
                plain.close("stopped after")
                raise
            plain.close("in")

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

    def _on_terminal(self) -> bool:
        # The file decides, not rich: FORCE_COLOR in a build log must not draw bars into it.
        return self._file.isatty() and not self._console().is_dumb_terminal

    def _console(self) -> Console:
        from rich.console import Console

        return Console(file=self._file)

    @contextmanager
    def _bar(self, label: str, total: int | None, completed: int) -> Iterator[Task]:
        from rich.markup import escape

        with self._lock:
            if self._display is None:
                console = self._console()
                self._display = _display(console)
                self._display.start()
            display = self._display
            bar = display.add_task(escape(label), total=total, completed=completed, note="")
            self._open_bars += 1
        try:
            yield _BarTask(total, completed, display, bar)
        finally:
            with self._lock:
                self._open_bars -= 1
                if self._open_bars:
                    display.remove_task(bar)
                else:
                    display.stop()
                    self._display = None


class Task:
    """One piece of work, safe to advance from several threads; on its own it shows nothing."""

    def __init__(self, total: int | None, completed: int) -> None:
        self.total = total
        self.completed = completed
        self._lock = threading.Lock()

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Count `steps` more as done.

        Args:
            steps: how many.
            note: a few words to show beside the count, for instance the loss; kept until the next one.
        """
        with self._lock:
            self.completed += steps
            self._show(steps, note)

    def _show(self, steps: int, note: str | None) -> None:
        pass


class _BarTask(Task):
    def __init__(self, total: int | None, completed: int, display: rich.progress.Progress, bar: Any) -> None:
        super().__init__(total, completed)
        self._display, self._bar = display, bar

    def _show(self, steps: int, note: str | None) -> None:
        fields: dict[str, Any] = {} if note is None else {"note": note}
        self._display.update(self._bar, advance=steps, **fields)


class _PlainTask(Task):
    def __init__(self, label: str, total: int | None, completed: int, file: TextIO) -> None:
        super().__init__(total, completed)
        self._label, self._file, self._note = label, file, ""
        self._done_before = completed
        self._started_s = self._written_s = time.monotonic()

    def _show(self, steps: int, note: str | None) -> None:
        if note is not None:
            self._note = note
        now_s = time.monotonic()
        if now_s - self._written_s >= PLAIN_INTERVAL_S:
            self._written_s = now_s
            elapsed_s = now_s - self._started_s
            self._write(f"after {_clock(elapsed_s)}{self._left(elapsed_s)}")

    def close(self, word: str) -> None:
        with self._lock:
            self._write(f"{word} {_clock(time.monotonic() - self._started_s)}")

    def _left(self, elapsed_s: float) -> str:
        done_now = self.completed - self._done_before
        if self.total is None or done_now <= 0:
            return ""
        return f", {_clock(elapsed_s / done_now * max(0, self.total - self.completed))} left"

    def _write(self, timing: str) -> None:
        count = f"{self.completed}" if self.total is None else f"{self.completed}/{self.total}"
        note = f", {self._note}" if self._note else ""
        print(f"{self._label}: {count} {timing}{note}", file=self._file, flush=True)


def _display(console: Console) -> rich.progress.Progress:
    from rich import progress
    from rich.table import Column

    def fitting(max_width: int | None = None) -> Column:
        # One line whatever the width: a wrapped row would make the display jump.
        return Column(no_wrap=True, overflow="ellipsis", max_width=max_width)

    wide = console.width >= WIDE_COLUMNS
    columns: list[progress.ProgressColumn] = [
        progress.TextColumn("{task.description}", table_column=fitting(console.width // (4 if wide else 3))),
        progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
        progress.TaskProgressColumn(table_column=fitting()),
        progress.TimeRemainingColumn(elapsed_when_finished=True, table_column=fitting()),
    ]
    if wide:
        columns.insert(2, progress.MofNCompleteColumn(table_column=fitting()))
        columns.append(
            progress.TextColumn("{task.fields[note]}", markup=False, table_column=fitting(console.width // 4))
        )
    return progress.Progress(*columns, console=console, expand=True)


def _clock(seconds: float) -> str:
    """Time as h:mm:ss.

    >>> _clock(3725.4)
    '1:02:05'
    """
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
