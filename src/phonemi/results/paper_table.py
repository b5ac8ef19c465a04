"""Result of `phonemi table`: a table of the paper, with our numbers and the printed ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from phonemi.results.evaluation import Comparison, EvaluatedRow
from phonemi.results.record import Record, omitted_if_none


@dataclass(frozen=True, kw_only=True)
class PaperRow(EvaluatedRow):
    """A row as it was evaluated here; `published` holds what the paper prints, by key of a metric.

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
    """Content of tableNUMBER.json.

    Attributes:
        number: of the table in the paper.
        scale: "paper" or "mini".
        encoders: name of each encoder -> the model that it is.
        intervals_over: see `EvaluationData`.
        rows: in the order of the paper.
        comparisons: of each row with the acoustic row of the same encoder.
        made_by: version and commit of the software.
    """

    number: int
    scale: str
    encoders: dict[str, str]
    intervals_over: str = "speakers"
    rows: tuple[PaperRow, ...]
    comparisons: tuple[PaperComparison, ...] = ()
    made_by: dict[str, Any] = field(default_factory=dict)
