"""What became of each recording as a table on disk, row by row: of any number, in little memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phonemi.errors import ConfigError, require_extra
from phonemi.files import json_line, replacing
from phonemi.inference.summary import Outcome, in_utf8

COLUMNS = ("source", "target", "state", "reason", "duration_s", "time_s", "notes")
KINDS = (".csv", ".jsonl", ".parquet")
ROWS_A_GROUP = 10_000  # of Parquet

Row = dict[str, Any]


def check_kind(path: Path) -> None:
    """Raise ConfigError if the name of a table does not end with one of `KINDS`; MissingExtra for want of pyarrow."""
    if path.suffix not in KINDS:
        raise ConfigError(f"{path}: cannot write a table of this kind; use one of {', '.join(KINDS)}")
    if path.suffix == ".parquet":
        require_extra("pyarrow.parquet", "cluster")


@contextmanager
def writing_rows(path: Path) -> Iterator[Callable[[Outcome], object]]:
    """Give a function that writes one row; the table has its name when the block has ended, and is whole."""
    check_kind(path)
    open_table = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}[path.suffix]
    with replacing(path) as temporary, open_table(temporary) as write:
        yield lambda outcome: write(in_utf8(asdict(outcome) | {"notes": "; ".join(outcome.notes)}))


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[Row], object]]:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        yield table.writerow


@contextmanager
def _json_lines(path: Path) -> Iterator[Callable[[Row], object]]:
    with open(path, "w", encoding="utf-8") as file:
        yield lambda row: file.write(json_line(row))


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[Row], object]]:
    pa, parquet = require_extra("pyarrow", "cluster"), require_extra("pyarrow.parquet", "cluster")
    kinds = {"duration_s": pa.float64(), "time_s": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    rows: list[Row] = []
    with parquet.ParquetWriter(path, schema) as table:

        def write_group() -> None:
            table.write_table(pa.Table.from_pylist(rows, schema))
            rows.clear()

        def write(row: Row) -> None:
            rows.append(row)
            if len(rows) == ROWS_A_GROUP:
                write_group()

        yield write
        write_group()
