"""phonemi.inference.rows: a table has a row for each recording, whole or not at all."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest

from phonemi.errors import ConfigError, MissingExtra
from phonemi.files import read_jsonl
from phonemi.inference.rows import COLUMNS, check_kind, writing_rows
from phonemi.inference.summary import Outcome, Summary

NOTES = ["clipped", "half as loud"]
OUTCOMES = [
    Outcome(Path("a.wav"), Path("out/a.wav"), duration_s=1.5, time_s=0.25, notes=NOTES),
    Outcome("s3://b/caf\udce9.wav", "s3://c/b.wav", "failed", 'no, "never"\nat all'),
]


def write(path):
    with writing_rows(path) as write_row:
        for outcome in OUTCOMES:
            write_row(outcome)


def test_lines_of_json_and_csv(tmp_path):
    write(tmp_path / "x.jsonl")
    first, second = read_jsonl(tmp_path / "x.jsonl")
    assert first == dict(
        zip(COLUMNS, ("a.wav", "out/a.wav", "done", None, 1.5, 0.25, "clipped; half as loud"), strict=True)
    )
    assert second["source"] == "s3://b/caf\\xe9.wav"
    write(tmp_path / "x.csv")
    with open(tmp_path / "x.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["notes"] == "clipped; half as loud"
    assert rows[1]["reason"] == OUTCOMES[1].reason


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'phonemi[cluster]'")
    write(tmp_path / "x.parquet")
    rows = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert [row["state"] for row in rows] == ["done", "failed"]
    assert (rows[0]["duration_s"], rows[1]["duration_s"], rows[0]["reason"]) == (1.5, None, None)


def test_a_table_is_whole_or_absent(tmp_path):
    def write_half():
        with writing_rows(tmp_path / "x.csv") as write_row:
            write_row(OUTCOMES[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_kinds_that_cannot_be_written():
    with pytest.raises(ConfigError, match=r"use one of \.csv, \.jsonl, \.parquet"):
        check_kind(Path("x.xlsx"))
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(MissingExtra, match=r"phonemi\[cluster\]"):
            check_kind(Path("x.parquet"))


def test_a_summary_in_little_memory_counts_all_and_names_the_first(monkeypatch):
    monkeypatch.setattr("phonemi.inference.summary.MAX_NAMED", 3)
    outcomes = [
        Outcome(Path(f"{n}.wav"), Path(f"out/{n}.wav"), "failed" if n % 2 else "done", duration_s=1) for n in range(20)
    ]
    summary, full = Summary(outcomes, 5.0, keeps_all=False), Summary(outcomes, 5.0)
    assert summary.totals() == full.totals()
    assert summary.line() == full.line()
    assert [len(summary.outcomes), summary.unnamed, len(full.outcomes), full.unnamed] == [3, 7, 20, 0]
