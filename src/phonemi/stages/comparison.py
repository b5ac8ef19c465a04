"""Scores of every utterance and row -> means with intervals, tested differences, and per_utterance.csv.

A system of which several models were trained, from other initial weights, is judged by all of them at once. What is
said of a system, and not of one model of it, is tested over its models and over speakers (`metrics.statistics`).
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from phonemi.config.sections import Endpoint
from phonemi.files import replacing
from phonemi.metrics.composite import COMPOSITE_KEYS
from phonemi.metrics.non_intrusive import DNSMOS_KEYS
from phonemi.metrics.score import NOT_APPLICABLE, NOT_FINITE
from phonemi.metrics.statistics import MIN_CLUSTERS, MIN_MODELS, estimate, holm
from phonemi.metrics.words.word_errors import is_loop
from phonemi.results.articulation import VariableScores
from phonemi.results.evaluation import Comparison, Difference, EvaluatedRow, ScoredUtterance
from phonemi.results.information import Bound, RowBound
from phonemi.results.metrics import METRIC
from phonemi.systems import System
from phonemi.systems.han2026 import BASELINES

COMPARED = (
    "mi_bits",
    "si_sdri_db",
    "stoi",
    "pesq_wb_lqo",
    *COMPOSITE_KEYS,
    *DNSMOS_KEYS,
    "lps",
    "phone_bits",
    "ppmc",
    "ppmc_clean",
    "rmse_mm",
    "wer",
)
"""What is tested. The divided variant of the composite measures is not: it is there to stand beside other tables."""
MAX_SNRS = 10  # more are grouped

Models = dict[str, list[list[ScoredUtterance]]]
"""Row -> for each of its models, the judged utterances, in the same order everywhere."""
Sums = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Numerators and denominators of a ratio, [model, utterance or cluster] each."""
Unit = Literal["speakers", "utterances"]
AnyComparison = TypeVar("AnyComparison", bound=Comparison)
AnyDifference = TypeVar("AnyDifference", bound=Difference)


def group_models(utterances: Mapping[str, list[ScoredUtterance]], base_names: Mapping[str, str]) -> Models:
    """Put the models of a system side by side; noisy, clean and systems from elsewhere have one each."""
    models: Models = {}
    for name, of_model in utterances.items():
        models.setdefault(base_names.get(name, name), []).append(of_model)
    return models


def summarise_row(models: Sequence[list[ScoredUtterance]], unit: Unit) -> dict[str, Any]:
    """The cells of a row: mean, interval and counts of every score; with several models, the spread of their means."""
    cells: dict[str, Any] = {"models": len(models)} if len(models) > 1 else {}
    utterances = [utterance for of_model in models for utterance in of_model]
    for metric in (*_scored_metrics(models[0]), "wer"):
        sums = _sums(models, metric)
        interval = estimate(*sums, clusters_of(models[0], unit), METRIC[metric].bounds)
        reasons = Counter(filter(None, (_failure(utterance, metric) for utterance in utterances)))
        if reasons.keys() & NOT_APPLICABLE:
            continue
        cells |= {
            metric: interval.value,
            f"{metric}_low": interval.low,
            f"{metric}_high": interval.high,
            f"{metric}_scored": len(utterances) - reasons.total(),
            f"{metric}_total": len(utterances),
        }
        if reasons:
            cells[f"{metric}_reasons"] = dict(reasons.most_common())
        if interval.models > 1:
            cells[f"{metric}_spread"] = statistics.stdev(
                estimate(*of_model).value for of_model in zip(*sums, strict=True)
            )
    counts = [utterance.words for utterance in utterances if utterance.words]
    words = sum(count.reference_words for count in counts)
    insertions = sum(count.insertions for count in counts) / words if words else None
    loops = sum(is_loop(utterance.heard or "") for utterance in utterances)
    return cells | {"wer_words": words, "wer_insertions": insertions} | ({"wer_loops": loops} if loops else {})


def compare_rows(
    models: Models,
    systems: Sequence[System],
    endpoint: Endpoint | None = None,
    information: Mapping[str, Sums] | None = None,
) -> list[Comparison]:
    """Every row against the noisy input, and against the system that it is an alternative to.

    Where there are two systems from elsewhere, they are compared too.

    Model k of one row is paired with model k of the other. A difference is tested where the data can carry it: between
    what exists once (the noisy input, systems from elsewhere) over speakers; of systems that were trained here over
    `MIN_MODELS` models and more. The endpoint is tested at 5 %; the p-values of all others are adjusted together, by
    Holm's method. Metrics without any scored pair are left out.

    Args:
        models: of all rows, "noisy" among them.
        systems: of the run, which say what they are compared with.
        endpoint: the one difference that the experiment was made for.
        information: row -> bits and frames of each model and cluster, whose MI is compared too.
    """
    trained = {system.base for system in systems}
    learned = {system.base for system in systems if system.tuning is not None or system.learns_encoder}
    alternatives = {system.name: system.compared_with for system in systems}
    rows = [name for name in models if name not in ("noisy", "clean")]
    pairs = {(name, "noisy"): None for name in rows}
    for name in rows:
        others = [other for other in alternatives.get(name, BASELINES) if other in models]
        pairs |= {(name, other): None for other in others[:1]}
    elsewhere = [name for name in rows if name not in trained]
    if len(elsewhere) == 2:  # which of them is better is then what is asked
        pairs |= {(elsewhere[1], elsewhere[0]): None}
    if endpoint and {endpoint.row, endpoint.against} <= models.keys():
        pairs.pop((endpoint.against, endpoint.row), None)  # the same differences the other way round
        pairs |= {(endpoint.row, endpoint.against): None}
    bits, labels = information or {}, clusters_of(models["noisy"][0], cluster_unit(models["noisy"][0]))
    metrics = ("mi_bits", *_scored_metrics(models["noisy"][0]), "wer")
    comparisons = []
    for name, against in pairs:
        for metric in (metric for metric in COMPARED if metric in metrics):
            varied = learned if metric == "mi_bits" else trained
            are_trained = name in varied, against in varied
            if metric == "mi_bits":
                first, second, clusters = bits.get(name), bits.get(against), None
            else:
                first, second, clusters = _sums(models[name], metric), _sums(models[against], metric), labels
            if first is None or second is None:
                continue
            difference, weights = _paired(first, second, are_trained)
            if not weights.any():
                continue
            interval = estimate(difference, weights, clusters)
            by_model = [estimate(*of_model).value for of_model in zip(difference, weights, strict=True)]
            comparisons.append(
                Comparison(
                    row=name,
                    against=against,
                    metric=metric,
                    difference=interval.value,
                    low=interval.low,
                    high=interval.high,
                    p_value=interval.p_value,
                    pairs=None if metric == "mi_bits" else int(np.count_nonzero(weights)),
                    clusters=interval.clusters,
                    models=interval.models if any(are_trained) else None,
                    by_model=tuple(by_model) if len(by_model) > 1 else None,
                    is_endpoint=endpoint is not None
                    and (name, against, metric) == (endpoint.row, endpoint.against, endpoint.metric),
                )
            )
    return adjust(comparisons)


def adjust(comparisons: Sequence[AnyComparison]) -> list[AnyComparison]:
    """Give all that are tested the p-values that a claim is made by: Holm's, over endpoints and over the others."""
    endpoints, others = (
        iter(adjust_family([one for one in comparisons if one.is_endpoint == is_endpoint]))
        for is_endpoint in (True, False)
    )
    return [next(endpoints if comparison.is_endpoint else others) for comparison in comparisons]


def adjust_family(differences: Sequence[AnyDifference]) -> list[AnyDifference]:
    """Give those that are tested, of `MIN_MODELS` models or of what exists once, their p-values by Holm's method."""
    p_values = {
        index: difference.p_value
        for index, difference in enumerate(differences)
        if difference.p_value is not None and math.isfinite(difference.p_value)
        if difference.models is None or difference.models >= MIN_MODELS
    }
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [replace(difference, p_adjusted=adjusted.get(index)) for index, difference in enumerate(differences)]


def split_by_snr(models: Models) -> list[EvaluatedRow]:
    """Every row at every SNR; where the SNRs were measured, or are many, at the nearest multiple of 5 dB."""
    snrs_db = sorted({u.snr_db for u in models["noisy"][0] if u.snr_db is not None})
    rounded = {snr_db: round(snr_db, 1) + 0.0 for snr_db in snrs_db}  # adding zero turns -0.0 into 0.0
    are_few = len(set(rounded.values())) <= MAX_SNRS
    as_planned = are_few and all((2 * snr_db).is_integer() for snr_db in rounded.values())
    group = {snr_db: tenths if as_planned else 5.0 * round(tenths / 5) for snr_db, tenths in rounded.items()}
    rows, unit = [], cluster_unit(models["noisy"][0])
    for name, of_row in models.items():
        for snr_db in sorted(set(group.values())):
            at_snr = [
                [u for u in utterances if u.snr_db in group and group[u.snr_db] == snr_db] for utterances in of_row
            ]
            cells = summarise_row(at_snr, unit)
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
                reasons = {metric: utterance.scores[metric].reason for metric in metrics}
                reasons["wer"] = utterance.word_failure
                failed = "; ".join(f"{metric}: {reason}" for metric, reason in reasons.items() if reason)
                table.writerow({"row": name, **line, "wer": wer, "failed": failed})


def cluster_unit(utterances: Sequence[ScoredUtterance | VariableScores]) -> Unit:
    """What intervals and tests are over: speakers, as utterances of one are alike; of too few, their utterances."""
    speakers = {utterance.speaker for utterance in utterances} - {None}
    return "speakers" if len(speakers) >= MIN_CLUSTERS else "utterances"


def clusters_of(utterances: Sequence[ScoredUtterance | VariableScores], unit: Unit) -> list[str]:
    """The speaker of each utterance or else the recording: its copies at several SNRs are one observation."""
    return [(utterance.speaker if unit == "speakers" else None) or utterance.source for utterance in utterances]


def _scored_metrics(utterances: Sequence[ScoredUtterance]) -> list[str]:
    """The scores that were asked for: the same for every utterance and row."""
    return [key for key in METRIC if key in utterances[0].scores]


def _sums(models: Sequence[list[ScoredUtterance]], metric: str) -> Sums:
    """What each utterance adds to a mean: its score and 1, or for word errors the errors and the words."""
    pairs = np.array([[_contribution(utterance, metric) for utterance in of_model] for of_model in models], float)
    return pairs[..., 0], pairs[..., 1]


def _contribution(utterance: ScoredUtterance, metric: str) -> tuple[float, float]:
    if metric == "wer":
        words = utterance.words
        return (words.errors, words.reference_words) if words else (0.0, 0.0)
    value = METRIC[metric].value_of(utterance.scores[metric].score)
    return (0.0, 0.0) if value is None else (value, 1.0)


def _failure(utterance: ScoredUtterance, metric: str) -> str | None:
    """Why an utterance has no score of its own; None if it has one."""
    if metric == "wer":
        return utterance.word_failure or (None if utterance.words else "not recognised")
    score = utterance.scores[metric].score
    return None if score.ok else score.reason or NOT_FINITE


def _paired(first: Sums, second: Sums, are_trained: tuple[bool, bool]) -> Sums:
    """Differences where both have a value, of as many models as both have; what exists once is paired with each one."""
    # What was trained has been one of many models, even where it is the only one.
    counts = [len(side[0]) for side, is_trained in zip((first, second), are_trained, strict=True) if is_trained]
    models = min(counts, default=1)
    (a, a_weights), (b, b_weights) = (
        tuple(part[:models] if is_trained else np.repeat(part[:1], models, 0) for part in side)
        for side, is_trained in zip((first, second), are_trained, strict=True)
    )
    both = a_weights == b_weights
    return np.where(both, a - b, 0.0), np.where(both, a_weights, 0.0)


def information_sums(
    bounds: Sequence[RowBound], systems: Sequence[System], of_spectrum: Bound | None = None
) -> dict[str, Sums]:
    """Row -> bits and frames of each model and cluster, of the MI of its features, which may be the spectrum alone.

    Features that are not learned are the same in every model of a row: there is one.
    """
    measured: dict[str, Bound] = {bound.row: bound for bound in bounds}
    sums: dict[str, Sums] = {}
    for base in dict.fromkeys(system.base for system in systems):
        models = [system for system in systems if system.base == base]
        of_row = [measured[system.name] for system in models if system.name in measured]
        if of_spectrum is not None and models[0].spectrum and not models[0].uses_encoder:
            of_row = [of_spectrum]
        if of_row and all(bound.cluster_bits and bound.cluster_frames for bound in of_row):
            sums[base] = np.array([b.cluster_bits for b in of_row]), np.array([b.cluster_frames for b in of_row], float)
    return sums
