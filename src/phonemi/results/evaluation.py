"""Results of the evaluation: scores of each utterance, means of each row with intervals, and tested differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from phonemi.metrics.score import Score
from phonemi.metrics.statistics import is_significant
from phonemi.metrics.words.word_errors import WordCounts
from phonemi.results.metrics import METRICS
from phonemi.results.record import Record, RowRecord, omitted_if_none


@dataclass(frozen=True, kw_only=True)
class UtteranceScore(Record):
    """One metric of one utterance: a value, or the reason why there is none."""

    value: float | None
    reason: str | None = None

    @classmethod
    def of(cls, score: Score) -> Self:
        """The record of a score."""
        return cls(value=score.value if math.isfinite(score.value) else None, reason=score.reason)

    @property
    def score(self) -> Score:
        """The score of the record."""
        return Score(math.nan if self.value is None else self.value, self.reason)


@dataclass(frozen=True, kw_only=True)
class ScoredUtterance(Record):
    """One utterance of the test set under one row.

    Attributes:
        id: name of the utterance.
        speaker, noise, text: who speaks, in which noise, which words; None if unknown.
        snr_db: signal-to-noise ratio of the mixture.
        scores: by key of a metric. In the file each score stands under its key beside the other values.
        heard: what the recogniser heard; None if it did not hear this utterance.
        words: those words counted against the transcript.
        word_failure: why there are no words.
    """

    id: str
    speaker: str | None = None
    snr_db: float | None = None
    noise: str | None = None
    text: str | None = None
    scores: dict[str, UtteranceScore] = field(default_factory=dict)
    heard: str | None = omitted_if_none()
    words: WordCounts | None = omitted_if_none()
    word_failure: str | None = omitted_if_none()

    @classmethod
    def from_json(cls, content: Any, where: str = "") -> Self:
        """Read an utterance, whose scores stand beside its other values."""
        scores = {key: content[key] for key in _KEYS if key in content} if isinstance(content, dict) else {}
        return super().from_json({**content, "scores": scores} if scores else content, where)

    def to_json(self) -> dict[str, Any]:
        """The utterance with its scores beside its other values."""
        content = super().to_json()
        return {**{key: content[key] for key in content if key != "scores"}, **content["scores"]}


@dataclass(frozen=True, kw_only=True)
class Scores(Record):
    """Content of rows/ROW/scores.json."""

    key: str | None = omitted_if_none()
    utterances: tuple[ScoredUtterance, ...]


_KEYS = [metric.key for metric in METRICS]


@dataclass(frozen=True, kw_only=True)
class Estimate(Record):
    """One metric of one row over the test set.

    Attributes:
        value: the mean, or for word errors the rate over the whole corpus; None if nothing was scored.
        low, high: ends of the 95 % interval.
        scored, total: how many utterances have a score, and how many there are.
        reasons: how many utterances have none for which reason.
        spread: standard deviation over several models of the row, or several probes.
        insertions: inserted words per reference word; of word errors only.
        words: reference words; of word errors only.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    insertions: float | None = omitted_if_none()
    scored: int | None = omitted_if_none()
    total: int | None = omitted_if_none()
    words: int | None = omitted_if_none()
    reasons: dict[str, int] | None = omitted_if_none()
    spread: float | None = omitted_if_none()


_PARTS = ("low", "high", "insertions", "scored", "total", "words", "reasons", "spread")


@dataclass(frozen=True, kw_only=True)
class EvaluatedRow(RowRecord):
    """One row of the results, over the whole test set or at one SNR.

    Attributes:
        snr_db: the SNR, in the results by SNR.
        models: how many models of the row were evaluated; None for one.
        estimates: by key of a metric. In the file they stand beside the other values, as in `stoi`, `stoi_low`, ....
    """

    snr_db: float | None = omitted_if_none()
    models: int | None = omitted_if_none()
    estimates: dict[str, Estimate] = field(default_factory=dict)

    def value(self, key: str) -> float | None:
        """The value of a metric; None if it was not measured."""
        return self.estimates[key].value if key in self.estimates else None

    @classmethod
    def from_json(cls, content: Any, where: str = "") -> Self:
        """Read a row, whose estimates stand beside its other values."""
        if not isinstance(content, dict):
            return super().from_json(content, where)
        estimates = {
            key: {
                "value": content[key],
                **{part: content[name] for part in _PARTS if (name := f"{key}_{part}") in content},
            }
            for key in _KEYS
            if key in content
        }
        return super().from_json({**content, "estimates": estimates}, where)

    def to_json(self) -> dict[str, Any]:
        """The row with its estimates beside its other values."""
        content = super().to_json()
        for key, estimate in content.pop("estimates").items():
            content |= {key if part == "value" else f"{key}_{part}": value for part, value in estimate.items()}
        return content


@dataclass(frozen=True, kw_only=True)
class Comparison(Record):
    """The difference of two rows in one metric, over the utterances for which both have a score.

    Attributes:
        row, against: the names of the rows; the difference is the first minus the second.
        metric: key of the metric.
        difference, low, high: the mean difference and the ends of its 95 % interval.
        p_value: of the permutation test of "no difference".
        pairs: how many utterances were compared.
        by_model: the difference of each pair of models, where several were trained.
    """

    row: str
    against: str
    metric: str
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None = None
    pairs: int | None = omitted_if_none()
    by_model: tuple[float | None, ...] | None = omitted_if_none()

    @property
    def is_significant(self) -> bool:
        """Whether the difference is significant at 5 %, see `phonemi.metrics.statistics.is_significant`."""
        return is_significant(self.low, self.high, self.p_value, self.by_model or ())


@dataclass(frozen=True, kw_only=True)
class EvaluationData(Record):
    """What the rows were evaluated on.

    Attributes:
        utterances, speakers: how many; None if the speakers are unknown.
        intervals_over: "speakers", or "utterances" where there are too few speakers to draw from.
        snrs_db: signal-to-noise ratios that occur.
        recogniser: what heard the words; "none" if nothing did.
        recogniser_settings: all that its output depends on.
    """

    utterances: int | None = None
    speakers: int | None = None
    intervals_over: str | None = None
    snrs_db: tuple[float, ...] = ()
    recogniser: str = "none"
    recogniser_settings: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation(Record):
    """Content of metrics.json: the rows, their differences, and the rows at each SNR."""

    key: str | None = omitted_if_none()
    data: EvaluationData = field(default_factory=EvaluationData)
    rows: tuple[EvaluatedRow, ...]
    comparisons: tuple[Comparison, ...] = ()
    by_snr: tuple[EvaluatedRow, ...] = ()

    @property
    def titles(self) -> Mapping[str, str]:
        """Name of each row -> what tables and sentences call it."""
        return {row.row: row.title for row in self.rows}


@dataclass(frozen=True, kw_only=True)
class Example(Record):
    """One utterance of examples.json, to listen to.

    Attributes:
        id, snr_db, text: of the mixture.
        files: name of a row -> its sound file, relative to the run folder.
        labels: name of a row -> what pages call it.
        words: name of a row -> what the recogniser heard.
        scores: name of a row -> key of a metric -> value.
    """

    id: str
    snr_db: float | None = None
    text: str | None = None
    files: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)
    words: dict[str, str | None] = field(default_factory=dict)
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
