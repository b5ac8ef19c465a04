"""Scores of every utterance and row -> means with intervals, paired differences, and per_utterance.csv.

A system of which several models were trained, from other initial weights, is judged by all of them at once: its mean
is over utterances and models, its interval over speakers, and its spread says how far the models lie apart.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

from phonemi.files import replacing
from phonemi.metrics.intrusive import INTRUSIVE_KEYS
from phonemi.metrics.non_intrusive import DNSMOS_KEYS
from phonemi.metrics.score import Score, summarise
from phonemi.metrics.statistics import MIN_CLUSTERS, PairedDifference, paired_difference
from phonemi.metrics.words.recogniser import Failure
from phonemi.metrics.words.word_errors import WordCounts, corpus_wer, paired_wer_difference
from phonemi.results.evaluation import Comparison, EvaluatedRow, ScoredUtterance
from phonemi.systems import System
from phonemi.systems.han2026 import BASELINES

SCORES = (*INTRUSIVE_KEYS, *DNSMOS_KEYS)
COMPARED = ("si_sdri_db", "stoi", "pesq_wb_lqo", *DNSMOS_KEYS, "wer")
MAX_SNRS = 10  # more are grouped


class Resampling(NamedTuple):
    """Of the bootstrap, and of the permutation test."""

    seed: int
    resamples: int  # draws, or sign flips


Models = dict[str, list[list[ScoredUtterance]]]
"""Row -> for each of its models, the judged utterances, in the same order everywhere."""


def group_models(utterances: Mapping[str, list[ScoredUtterance]], base_names: Mapping[str, str]) -> Models:
    """Put the models of a system side by side; noisy, clean and systems from elsewhere have one each."""
    models: Models = {}
    for name, of_model in utterances.items():
        models.setdefault(base_names.get(name, name), []).append(of_model)
    return models


def summarise_row(models: Sequence[list[ScoredUtterance]], resampling: Resampling) -> dict[str, Any]:
    """The cells of a row: mean, interval and counts of every score; with several models, the spread of their means."""
    cells = _cells([utterance for utterances in models for utterance in utterances], resampling)
    if len(models) > 1:
        by_model = [_cells(utterances, resampling) for utterances in models]
        cells["models"] = len(models)
        for metric in (*_scored_metrics(models[0]), "wer"):
            means = [of_model[metric] for of_model in by_model]
            if all(mean is not None and math.isfinite(mean) for mean in means):
                cells[f"{metric}_spread"] = statistics.stdev(means)
    return cells


def compare_rows(models: Models, systems: Sequence[System], resampling: Resampling) -> list[Comparison]:
    """Every row against the noisy input, and against the system that it is an alternative to.

    Model k of one row is paired with model k of the other. Metrics without any scored pair are left out.
    """
    alternatives = {system.name: system.compared_with for system in systems}
    metrics = [metric for metric in COMPARED if metric in (*_scored_metrics(models["noisy"][0]), "wer")]
    rows = [name for name in models if name not in ("noisy", "clean")]
    pairs = [(name, "noisy") for name in rows]
    for name in rows:
        others = [other for other in alternatives.get(name, BASELINES) if other in models]
        pairs += [(name, other) for other in others[:1]]
    comparisons = []
    for name, against in pairs:
        for metric in metrics:
            cells = _compare(models[name], models[against], metric, resampling)
            if cells["pairs"]:
                comparisons.append(Comparison(row=name, against=against, metric=metric, **cells))
    return comparisons


def split_by_snr(models: Models, resampling: Resampling) -> list[EvaluatedRow]:
    """Every row at every SNR; where the SNRs were measured, or are many, at the nearest multiple of 5 dB."""
    snrs_db = sorted({u.snr_db for u in models["noisy"][0] if u.snr_db is not None})
    rounded = {snr_db: round(snr_db, 1) + 0.0 for snr_db in snrs_db}  # adding zero turns -0.0 into 0.0
    are_few = len(set(rounded.values())) <= MAX_SNRS
    as_planned = are_few and all((2 * snr_db).is_integer() for snr_db in rounded.values())
    group = {snr_db: tenths if as_planned else 5.0 * round(tenths / 5) for snr_db, tenths in rounded.items()}
    rows = []
    for name, of_row in models.items():
        for snr_db in sorted(set(group.values())):
            at_snr = [
                [u for u in utterances if u.snr_db in group and group[u.snr_db] == snr_db] for utterances in of_row
            ]
            cells = summarise_row(at_snr, resampling)
            rows.append(EvaluatedRow.from_json({"row": name, "snr_db": snr_db, **cells}))
    return rows


def write_csv(path: Path, utterances: Mapping[str, list[ScoredUtterance]]) -> None:
    """Write one line for each model of each row and each utterance."""
    metrics = _scored_metrics(utterances["noisy"])
    columns = ["row", "id", "speaker", "snr_db", "noise", *metrics, "wer", "failed", "text", "heard"]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for name, of_row in utterances.items():
            for utterance in of_row:
                line = {key: getattr(utterance, key) for key in ("id", "speaker", "snr_db", "noise", "text", "heard")}
                line |= {metric: utterance.scores[metric].value for metric in metrics}
                wer = None if utterance.words is None else utterance.words.wer
                reasons = {utterance.word_failure, *(utterance.scores[metric].reason for metric in metrics)} - {None}
                table.writerow({"row": name, **line, "wer": wer, "failed": "; ".join(sorted(filter(None, reasons)))})


def bootstrap_unit(utterances: Sequence[ScoredUtterance]) -> Literal["speakers", "utterances"]:
    """What the bootstrap draws, and the permutation test flips, as a whole.

    Speakers, because utterances of one are alike; of too few, their utterances. Models of a system share their ids.
    """
    clusters = {utterance.speaker or utterance.id for utterance in utterances}
    return "speakers" if len(clusters) >= MIN_CLUSTERS else "utterances"


def _scored_metrics(utterances: Sequence[ScoredUtterance]) -> list[str]:
    """Those of `SCORES` that were asked for: the same for every utterance and row."""
    return [metric for metric in SCORES if metric in utterances[0].scores]


def _scores(utterances: Sequence[ScoredUtterance], metric: str) -> list[Score]:
    return [utterance.scores[metric].score for utterance in utterances]


def _word_counts(utterances: Sequence[ScoredUtterance]) -> list[WordCounts | Failure]:
    return [u.words if u.words is not None else Failure(u.word_failure or "not recognised") for u in utterances]


def _bootstrap(utterances: Sequence[ScoredUtterance], resampling: Resampling) -> dict[str, Any]:
    by_speaker = bootstrap_unit(utterances) == "speakers"
    clusters = [(u.speaker if by_speaker else None) or u.id for u in utterances]
    return {"clusters": clusters, **resampling._asdict()}


def _cells(utterances: Sequence[ScoredUtterance], resampling: Resampling) -> dict[str, Any]:
    bootstrap = _bootstrap(utterances, resampling)
    cells: dict[str, Any] = {}
    for metric in _scored_metrics(utterances):
        cells |= summarise(_scores(utterances, metric), **bootstrap).as_row(metric)
    return cells | corpus_wer(_word_counts(utterances), **bootstrap)


def _compare(
    first: list[list[ScoredUtterance]], second: list[list[ScoredUtterance]], metric: str, resampling: Resampling
) -> dict[str, Any]:
    """The paired difference over all models; with several, also that of each."""
    models = max(len(first), len(second))
    first, second = (side * (models // len(side)) for side in (first, second))

    def difference(ours: Sequence[ScoredUtterance], theirs: Sequence[ScoredUtterance]) -> PairedDifference:
        bootstrap = _bootstrap(ours, resampling)
        if metric == "wer":
            return paired_wer_difference(_word_counts(ours), _word_counts(theirs), **bootstrap)
        return paired_difference(_scores(ours, metric), _scores(theirs, metric), **bootstrap)

    pairs = list(zip(first, second, strict=True))
    cells = asdict(difference([u for ours, _ in pairs for u in ours], [u for _, theirs in pairs for u in theirs]))
    if models > 1:
        cells["by_model"] = tuple(difference(ours, theirs).difference for ours, theirs in pairs)
    return cells
