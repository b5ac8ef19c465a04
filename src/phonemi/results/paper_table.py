"""A table of a paper: rows and differences of the runs of its encoders, beside what is printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from phonemi.results.articulation import Articulation
from phonemi.results.evaluation import Comparison, EvaluatedRow
from phonemi.results.record import Record, omitted_if_none


@dataclass(frozen=True, kw_only=True)
class PaperRow(EvaluatedRow):
    """A row as it was evaluated here, and what the paper prints of it, by key of a metric.

    `encoder` is empty for rows that are the same for every encoder.
    """

    encoder: str
    published: dict[str, float | None] | None = omitted_if_none()


@dataclass(frozen=True, kw_only=True)
class PaperComparison(Comparison):
    """The difference of two rows of one encoder."""

    encoder: str


@dataclass(frozen=True, kw_only=True)
class PaperTable(Record):
    """Content of tableNUMBER.json, which `phonemi table` writes: our numbers and those that the paper prints."""

    number: int | None = omitted_if_none()  # of the table in the paper
    name: str | None = omitted_if_none()  # of a table without a number
    scale: str  # "paper" or "mini"
    encoders: dict[str, str]  # name -> the model that it is
    intervals_over: str = "speakers"
    rows: tuple[PaperRow, ...]  # in the order of the paper
    comparisons: tuple[PaperComparison, ...] = ()  # with the acoustic row of the same encoder
    articulation: dict[str, Articulation] | None = omitted_if_none()  # by encoder, where rows invert
    protocols: dict[str, dict[str, str]] = field(default_factory=dict)  # encoder -> topic -> a sentence
    note: str | None = omitted_if_none()  # what is printed about the table, and of no row
    made_by: dict[str, Any] = field(default_factory=dict)  # version and commit of the software
