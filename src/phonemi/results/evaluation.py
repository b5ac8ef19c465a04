"""Results of the evaluation: scores of each utterance, means of each row with intervals, and tested differences.

In the files, what is known of each metric stands beside the other values: `stoi` and `stoi_low` of a row, for instance.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from typing import Any, Self

from phonemi.metrics.score import Score
from phonemi.metrics.statistics import MIN_MODELS
from phonemi.metrics.words.word_errors import WordCounts
from phonemi.results.metrics import METRIC
from phonemi.results.record import Record, RowRecord, omitted_if_none
from phonemi.tables import plural


def source_of(mixture_id: str) -> str:
    """Id of the recording of the speech, the same for its mixtures at all SNRs.

    >>> source_of("speaker-1-5@-5.0dB#2")
    'speaker-1-5'
    """
    return re.sub(r"@-?[\d.]+dB(#\d+)?$", "", mixture_id)


@dataclass(frozen=True, kw_only=True)
class UtteranceScore(Record):
    """A `Score` with None, which JSON has, for NaN."""

    value: float | None
    reason: str | None = None

    @classmethod
    def of(cls, score: Score) -> Self:
        return cls(value=score.value if math.isfinite(score.value) else None, reason=score.reason)

    @property
    def score(self) -> Score:
        return Score(math.nan if self.value is None else self.value, self.reason)


@dataclass(frozen=True, kw_only=True)
class ScoredUtterance(Record):
    """One utterance of the test set under one row; `scores` are by key of a metric."""

    id: str
    speaker: str | None = None
    snr_db: float | None = None
    noise: str | None = None
    text: str | None = None  # the words that are spoken
    scores: dict[str, UtteranceScore] = field(default_factory=dict)
    heard: str | None = omitted_if_none()  # what the recogniser heard
    words: WordCounts | None = omitted_if_none()  # counts of `heard` against `text`
    word_failure: str | None = omitted_if_none()  # why there is none

    @property
    def source(self) -> str:
        """Id of the recording of the speech, the same for its mixtures at all SNRs."""
        return source_of(self.id)

    @classmethod
    def from_json(cls, content: Any, where: str = "") -> Self:
        if isinstance(content, dict):
            content = {**content, "scores": {key: content[key] for key in METRIC if key in content}}
        return super().from_json(content, where)

    def to_json(self) -> dict[str, Any]:
        content = super().to_json()
        scores: dict[str, Any] = content.pop("scores")
        return content | scores


@dataclass(frozen=True, kw_only=True)
class Scores(Record):
    """Content of rows/ROW/scores.json."""

    key: str | None = omitted_if_none()
    utterances: tuple[ScoredUtterance, ...]


@dataclass(frozen=True, kw_only=True)
class Estimate(Record):
    """One metric of one row over the test set."""

    value: float | None = None  # the mean, or for word errors the rate over the whole corpus
    low: float | None = None  # ends of the 95 % interval
    high: float | None = None
    insertions: float | None = omitted_if_none()  # per reference word; of word errors only
    scored: int | None = omitted_if_none()  # utterances that have a score, of `total`
    total: int | None = omitted_if_none()
    words: int | None = omitted_if_none()  # reference words; of word errors only
    loops: int | None = omitted_if_none()  # transcripts that repeat themselves, see `is_loop`; of word errors only
    reasons: dict[str, int] | None = omitted_if_none()  # reason -> utterances that have no score for it
    spread: float | None = omitted_if_none()  # standard deviation over several models or probes


# How a key in a row ends for each part of an estimate: `stoi` is the value, `stoi_low` the lower end.
_ENDINGS = {part.name: "" if part.name == "value" else f"_{part.name}" for part in fields(Estimate)}


@dataclass(frozen=True, kw_only=True)
class EvaluatedRow(RowRecord):
    """One row of the results; `estimates` are by key of a metric."""

    snr_db: float | None = omitted_if_none()  # None: all SNRs are pooled
    models: int | None = omitted_if_none()  # how many were evaluated; None: one
    estimates: dict[str, Estimate] = field(default_factory=dict)

    def value(self, key: str) -> float | None:
        return self.estimates[key].value if key in self.estimates else None

    @classmethod
    def from_json(cls, content: Any, where: str = "") -> Self:
        if isinstance(content, dict):
            estimates = {
                key: {part: content[key + end] for part, end in _ENDINGS.items() if key + end in content}
                for key in METRIC
                if key in content
            }
            content = {**content, "estimates": estimates}
        return super().from_json(content, where)

    def to_json(self) -> dict[str, Any]:
        content = super().to_json()
        for key, estimate in content.pop("estimates").items():
            content |= {key + _ENDINGS[part]: value for part, value in estimate.items()}
        return content


FEW_MODELS, FEW_CLUSTERS = 5, 10  # fewer show large differences only


@dataclass(frozen=True, kw_only=True)
class Difference(Record):
    """How much more one row has of something than another, and how well that is known."""

    row: str
    against: str
    difference: float | None  # mean of `row` minus `against`
    low: float | None  # ends of its 95 % interval
    high: float | None
    p_value: float | None = None  # of "no difference"
    p_adjusted: float | None = None  # what a claim is made by, see `stages.comparison`; None: not tested
    models: int | None = omitted_if_none()  # pairs of models that were trained; None: both sides exist once
    clusters: int | None = omitted_if_none()  # speakers, or utterances

    @property
    def is_significant(self) -> bool:
        """Whether the data carry the claim that the two differ, at 5 % for all of its family of tests together."""
        return self.p_adjusted is not None and self.p_adjusted < 0.05


@dataclass(frozen=True, kw_only=True)
class Comparison(Difference):
    """The difference of two rows in one metric, over the utterances for which both have a score."""

    metric: str
    pairs: int | None = omitted_if_none()  # utterances that were compared, of all models
    by_model: tuple[float | None, ...] | None = omitted_if_none()  # of each pair, where several were trained
    is_endpoint: bool = False  # the difference that the experiment was made for; endpoints are a family of their own

    @property
    def verdict(self) -> str:
        """Whether the row is "better" or "worse" than the one it is compared with; if not, why it is neither."""
        if self.p_adjusted is None:
            has_too_few = self.models is not None and self.models < MIN_MODELS
            return f"not tested, {plural(self.models, 'model')}" if self.models and has_too_few else "not tested"
        if not self.is_significant:
            return "not significant"
        return "better" if METRIC[self.metric].gain(self.difference or 0.0) > 0 else "worse"

    def obstacle(self, unit: str = "speaker") -> str:
        """What may keep a tested difference from being significant, if it is not small; "" if nothing is known.

        Args:
            unit: what the clusters are.
        """
        if self.p_adjusted is None or self.is_significant:
            return ""
        if self.p_value is not None and self.p_value < 0.05:
            return "it would be as the only difference tested"
        counts = ((self.models, FEW_MODELS, "model"), (self.clusters, FEW_CLUSTERS, unit))
        few = [plural(count, noun) for count, limit, noun in counts if count is not None and count < limit]
        return f"only {' and '.join(few)}" if few else ""


@dataclass(frozen=True, kw_only=True)
class EvaluationData(Record):
    """What the rows were evaluated on."""

    utterances: int | None = None
    speakers: int | None = None  # None: all are unknown
    unknown_speakers: int | None = omitted_if_none()  # utterances whose speaker is not known
    intervals_over: str | None = None  # "speakers", or "utterances" where there are too few speakers to test over
    snrs_db: tuple[float, ...] = ()
    recogniser: str = "none"  # what heard the words; "none": nothing did
    recogniser_settings: dict[str, Any] | None = None  # all that its output depends on


@dataclass(frozen=True, kw_only=True)
class Evaluation(Record):
    """Content of metrics.json: the rows, their differences, and the rows at each SNR."""

    key: str | None = omitted_if_none()
    data: EvaluationData = field(default_factory=EvaluationData)
    rows: tuple[EvaluatedRow, ...]
    comparisons: tuple[Comparison, ...] = ()
    by_snr: tuple[EvaluatedRow, ...] = ()
    protocol: dict[str, str] = field(default_factory=dict)  # topic -> a sentence, see `stages.protocol`

    @property
    def titles(self) -> dict[str, str]:
        """Name of each row -> what tables and sentences call it."""
        return {row.row: row.title for row in self.rows}

    @property
    def differences(self) -> dict[tuple[str, str], dict[str, Comparison]]:
        """(row, against) -> key of a metric -> their difference."""
        pairs: dict[tuple[str, str], dict[str, Comparison]] = {}
        for comparison in self.comparisons:
            pairs.setdefault((comparison.row, comparison.against), {})[comparison.metric] = comparison
        return pairs


@dataclass(frozen=True, kw_only=True)
class Example(Record):
    """One utterance of examples.json, to listen to; dictionaries are by name of a row."""

    id: str
    snr_db: float | None = None
    text: str | None = None
    files: dict[str, str]  # relative to the run folder
    labels: dict[str, str] = field(default_factory=dict)  # what pages call the row
    words: dict[str, str | None] = field(default_factory=dict)  # what the recogniser heard
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)  # by key of a metric
    tracks: str | None = omitted_if_none()  # file of the articulation that a row recovers from the noisy recording
    tracks_by: str | None = omitted_if_none()  # which row
