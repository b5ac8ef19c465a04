"""Tables of numbers, printed as plain text and as Markdown, and the way numbers are written everywhere.

As HTML they are printed by `report/templates/table.html`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

NOT_MEASURED = "–"


def number(value: float | None, digits: int, signed: bool = False) -> str:
    """A number as text with a true minus sign; a dash for what was not measured.

    >>> number(-0.0214, 3, signed=True), number(3, 1), number(None, 2), number(-0.001, 2)
    ('−0.021', '3.0', '–', '0.00')
    """
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    rounded = round(float(value), digits) + 0.0  # adding zero turns -0.0 into 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "−")


def snr_text(snr_db: float) -> str:
    """A signal-to-noise ratio to 0.1 dB, without trailing zeros.

    >>> snr_text(-5.0), snr_text(2.5), snr_text(4.99999), snr_text(-5e-6)
    ('−5', '2.5', '5', '0')
    """
    return f"{round(float(snr_db), 1) + 0.0:g}".replace("-", "−")


def duration_text(seconds: float) -> str:
    """A duration in the units that a person would use.

    >>> duration_text(0.003), duration_text(4.2), duration_text(75), duration_text(7380)
    ('less than 0.1 s', '4.2 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 0.05:
        return "less than 0.1 s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True)
class Column:
    """The heading of a column; `meaning` is what a page shows where the heading is pointed at."""

    title: str
    unit: str = ""
    higher_is_better: bool | None = None  # None: neither direction is better
    meaning: str = ""

    @property
    def unit_and_arrow(self) -> str:
        """The unit, and an arrow that points to the better values."""
        arrow = {True: "↑", False: "↓", None: ""}[self.higher_is_better]
        return f"{self.unit} {arrow}".strip()


@dataclass(frozen=True)
class Cell:
    """A number or a text, and what belongs to it."""

    value: float | str | None = None  # None: not measured
    digits: int = 2  # decimals of the number and its interval
    signed: bool = False  # with a plus sign, for differences
    interval: tuple[float | None, float | None] | None = None  # ends of the 95 % interval
    spread: float | None = None  # standard deviation, written with one digit more
    spread_over: str = ""  # such as "3 models"
    scored: int | None = None  # utterances that have a number, of `total`; written where some have none
    total: int | None = None
    worst: int = 0  # of these that have none, as many count as the worst value there is
    details: tuple[str, ...] = ()  # after the number in Markdown, below it on a page
    notes: tuple[str, ...] = ()  # below the number on a page alone
    mark: str = ""  # a character right after the number
    bold: bool = False  # a significant difference
    best: bool = False  # of its column; a page marks it
    kind: str = ""  # further classes of the HTML element
    hint: str = ""  # what a page shows where the cell is pointed at
    link: str = ""  # where the text leads to on a page

    @property
    def is_text(self) -> bool:
        return isinstance(self.value, str)

    @property
    def text(self) -> str:
        """The value as it is written, without what belongs to it."""
        return self.value if isinstance(self.value, str) else number(self.value, self.digits, self.signed)

    @property
    def interval_text(self) -> str:
        """The interval in square brackets; empty if one of its ends is not known."""
        if self.interval is None or None in self.interval:
            return ""
        return "[" + ", ".join(number(end, self.digits, self.signed) for end in self.interval) + "]"

    @property
    def spread_text(self) -> str:
        return "" if self.spread is None else f"±{number(self.spread, self.digits + 1)}"

    @property
    def scored_text(self) -> str:
        """How many utterances have a number, where some have none, and how many of these count as the worst."""
        if self.scored is None or self.total is None or self.scored >= self.total:
            return ""
        return f"{self.scored} of {self.total} scored" + (f", {self.worst} counted as the worst" if self.worst else "")


@dataclass(frozen=True)
class Row:
    """Cells, one for each column.

    `bound` is for rows that the others are compared with: a page shows a lower bound above and an upper bound below the
    others, however these are sorted.
    """

    cells: tuple[Cell, ...]
    bound: Literal["lower", "upper"] | None = None


class Table:
    """Columns and rows, and the ways to print them.

    Args:
        columns: headings; a text is a heading without a unit.
        rows: a `Row`, or one cell for each column; a text is a cell that holds it.
        kind: classes of the HTML element: "plain", or "metrics sortable" for a table that a click on a heading sorts.

    >>> table = Table(["row", Column("STOI")], [["noisy", Cell(0.8)], ["clean", Cell(1.0)]])
    >>> print(table.text())
    row   STOI
    noisy 0.80
    clean 1.00
    """

    def __init__(
        self, columns: Iterable[Column | str], rows: Iterable[Row | Iterable[Cell | str]], kind: str = "plain"
    ) -> None:
        self.columns = [Column(column) if isinstance(column, str) else column for column in columns]
        self.rows = [
            row if isinstance(row, Row) else Row(tuple(Cell(cell) if isinstance(cell, str) else cell for cell in row))
            for row in rows
        ]
        self.kind = kind

    def text(self, columns: int | None = None) -> str:
        """The values for a terminal that is so many characters wide: numbers at the right, no intervals.

        Columns that do not fit beside the others go below them, each block with the first column again.
        """
        mark_width = max((len(cell.mark) for row in self.rows for cell in row.cells), default=0)
        has_units = any(column.unit for column in self.columns)
        blocks: list[list[str]] = []  # [column][line]
        for index, column in enumerate(self.columns):
            cells = [row.cells[index] for row in self.rows]
            is_text = index == 0 or all(cell.is_text for cell in cells)
            padding = 0 if is_text else mark_width
            heading = [column.title, column.unit] if has_units else [column.title]
            lines = [line + " " * padding for line in heading]
            lines += [cell.text + cell.mark.ljust(padding) for cell in cells]
            width = max(map(len, lines))
            blocks.append([line.ljust(width) if is_text else line.rjust(width) for line in lines])
        first, rest = blocks[0], blocks[1:]
        printed: list[str] = []
        while rest or not printed:
            width, shown = len(first[0]), 0
            while shown < len(rest):
                width += 1 + len(rest[shown][0])
                if columns is not None and width > columns and shown > 0:
                    break
                shown += 1
            printed += [" ".join(line).rstrip() for line in zip(first, *rest[:shown], strict=True)]
            rest = rest[shown:]
        return "\n".join(printed)

    def markdown(self) -> str:
        """A Markdown table: each value with its interval, its spread and its counts; vertical bars are escaped.

        >>> cell = Cell(0.3, 3, interval=(0.25, 0.35), scored=8, total=9)
        >>> print(Table(["row", Column("SI-SDR", "dB")], [["x|y", cell]]).markdown())
        | row | SI-SDR dB |
        |---|---|
        | x\\|y | 0.300 [0.250, 0.350] (8 of 9 scored) |
        """
        titles = [f"{column.title} {column.unit}".strip() for column in self.columns]
        lines = [titles, *([_markdown_cell(cell) for cell in row.cells] for row in self.rows)]
        texts = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return "\n".join([texts[0], "|---" * len(titles) + "|", *texts[1:]])


def _markdown_cell(cell: Cell) -> str:
    counts = cell.scored_text and f"({cell.scored_text})"
    parts = (cell.text + cell.mark, cell.interval_text, cell.spread_text, counts, *cell.details)
    text = " ".join(part for part in parts if part)
    return f"**{text}**" if cell.bold else text


def plural(count: int, noun: str) -> str:
    """A count and what is counted.

    >>> plural(1, "speaker"), plural(3, "speaker")
    ('1 speaker', '3 speakers')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
