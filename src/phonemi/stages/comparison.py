"""Scores of every utterance and row -> means with intervals, paired differences, and per_utterance.csv.

A row of which several models were trained, from other initial weights, is judged by all of them at once: its mean is
over utterances and models, its interval over speakers, and its spread says how far the models lie apart.
"""

from __future__ import annotations

import csv
import math
import statistics
from dataclasses import asdict
from typing import Any, Literal

from phonemi.files import replacing
from phonemi.metrics.intrusive import INTRUSIVE_KEYS
from phonemi.metrics.non_intrusive import DNSMOS_KEYS
from phonemi.metrics.score import Score, summarise
from phonemi.metrics.statistics import MIN_CLUSTERS, PairedDifference, paired_difference
from phonemi.metrics.words.recogniser import Failure
from phonemi.metrics.words.word_errors import WordCounts, corpus_wer, paired_wer_difference
from phonemi.stages.run import Run

SCORES = (*INTRUSIVE_KEYS, *DNSMOS_KEYS)
COMPARED = ("si_sdri_db", "stoi", "pesq_wb_lqo", *DNSMOS_KEYS, "wer")

MOST_SNRS = 10

Utterance = dict[str, Any]
Judged = dict[str, list[list[Utterance]]]
"""Row -> for each of its models, the judged utterances, in the same order everywhere."""


def _judged_by(utterances: list[Utterance]) -> list[str]:
    """Those of `SCORES` that were asked for: the same for every utterance and row."""
    return [metric for metric in SCORES if metric in utterances[0]]


def _scores(utterances: list[Utterance], metric: str) -> list[Score]:
    # A failed score is null in JSON, which has no NaN.
    return [
        Score(math.nan if u[metric]["value"] is None else u[metric]["value"], u[metric]["reason"]) for u in utterances
    ]


def _counts(utterances: list[Utterance]) -> list[WordCounts | Failure]:
    return [WordCounts(**u["words"]) if "words" in u else Failure(u["word_failure"]) for u in utterances]


def _bootstrap(run: Run, utterances: list[Utterance]) -> dict[str, Any]:
    """Whole speakers are drawn, because utterances of one speaker are alike; of too few, their utterances."""
    unit = drawn_unit(utterances)
    return {
        "clusters": [u[unit] or u["id"] for u in utterances],
        "seed": run.config.seed,
        "resamples": run.config.evaluate.resamples,
    }


def drawn_unit(utterances: list[Utterance]) -> Literal["speaker", "id"]:
    """What the bootstrap draws and the permutation test flips as a whole; several models of a row share their ids."""
    known = {u["speaker"] or u["id"] for u in utterances}
    return "speaker" if len(known) >= MIN_CLUSTERS else "id"


def by_row(run: Run, judged: dict[str, list[Utterance]]) -> Judged:
    """Models of a row side by side; noisy, clean and the systems from elsewhere have one each."""
    bases = {row.name: row.base for row in run.rows}
    rows: Judged = {}
    for name, utterances in judged.items():
        rows.setdefault(bases.get(name, name), []).append(utterances)
    return rows


def summary(run: Run, models: list[list[Utterance]]) -> dict[str, Any]:
    """The cells of a row: mean, interval and counts of every score; with several models, the spread of their means."""
    cells = _cells(run, [utterance for utterances in models for utterance in utterances])
    if len(models) > 1:
        each = [_cells(run, utterances) for utterances in models]
        cells["models"] = len(models)
        for metric in (*_judged_by(models[0]), "wer"):
            values = [found[metric] for found in each]
            if all(value is not None and math.isfinite(value) for value in values):
                cells[f"{metric}_spread"] = statistics.stdev(values)
    return cells


def _cells(run: Run, utterances: list[Utterance]) -> dict[str, Any]:
    drawn = _bootstrap(run, utterances)
    cells: dict[str, Any] = {}
    for metric in _judged_by(utterances):
        cells |= summarise(_scores(utterances, metric), **drawn).as_row(metric)
    return cells | corpus_wer(_counts(utterances), **drawn)


def comparisons(run: Run, judged: Judged) -> list[dict[str, Any]]:
    """Every row against the noisy input, and against the acoustic aggregation that it is an alternative to.

    Models meet in the order of their numbers. What no utterance of a pair of rows was scored by is left out.
    """
    found = []
    metrics = [metric for metric in COMPARED if metric in (*_judged_by(judged["noisy"][0]), "wer")]
    pairs = [(name, "noisy") for name in judged if name not in ("noisy", "clean")]
    pairs += [(name, acoustic) for name, _ in pairs if (acoustic := _acoustic_of(run, name, judged)) is not None]
    for name, against in pairs:
        for metric in metrics:
            cells = _compared(run, judged[name], judged[against], metric)
            if cells["pairs"]:
                found.append({"row": name, "against": against, "metric": metric, **cells})
    return found


def _acoustic_of(run: Run, name: str, judged: Judged) -> str | None:
    """The acoustic row of the same kind and inputs, or else the nearest that was trained."""
    if name == "ws-acoustic":  # what the others are compared with
        return None
    row = next((row for row in run.rows if row.name == name), None)
    kind = row.kind if row is not None and row.kind in ("ws", "dws") else "ws"
    plus = "+log1p" if row is not None and row.log1p and row.kind != "log1p" else ""
    candidates = (
        f"{kind}-acoustic{plus}",
        f"{kind}-acoustic",
        f"ws-acoustic{plus}",
        "ws-acoustic",
        "ws-acoustic+log1p",
    )
    return next((candidate for candidate in candidates if candidate in judged and candidate != name), None)


def _compared(run: Run, first: list[list[Utterance]], second: list[list[Utterance]], metric: str) -> dict[str, Any]:
    """The paired difference over all models; with several, also that of each."""
    models = max(len(first), len(second))
    first, second = (side * (models // len(side)) for side in (first, second))
    pairs = list(zip(first, second, strict=True))
    cells = asdict(_difference(run, [u for one, _ in pairs for u in one], [u for _, one in pairs for u in one], metric))
    if models > 1:
        cells["by_model"] = [_difference(run, one, other, metric).difference for one, other in pairs]
    return cells


def _difference(run: Run, first: list[Utterance], second: list[Utterance], metric: str) -> PairedDifference:
    drawn = _bootstrap(run, first)
    if metric == "wer":
        return paired_wer_difference(_counts(first), _counts(second), **drawn)
    return paired_difference(_scores(first, metric), _scores(second, metric), **drawn)


def by_snr(run: Run, judged: Judged) -> list[dict[str, Any]]:
    """Every row at every SNR; those that were measured, or are many, go to the nearest multiple of 5 dB."""
    known = sorted({u["snr_db"] for u in judged["noisy"][0] if u["snr_db"] is not None})
    tenths = {snr_db: round(snr_db, 1) + 0.0 for snr_db in known}
    as_planned = len(set(tenths.values())) <= MOST_SNRS and all((2 * place).is_integer() for place in tenths.values())
    group = {snr_db: place if as_planned else 5.0 * round(place / 5) for snr_db, place in tenths.items()}
    found = []
    for name, models in judged.items():
        for place in sorted(set(group.values())):
            cells = summary(run, [[u for u in utterances if group.get(u["snr_db"]) == place] for utterances in models])
            found.append({"row": name, "snr_db": place, **cells})
    return found


def write_csv(run: Run, judged: dict[str, list[Utterance]]) -> None:
    """RUN/per_utterance.csv: one line for each model of each row and each utterance."""
    metrics = _judged_by(judged["noisy"])
    columns = ["row", "id", "speaker", "snr_db", "noise", *metrics, "wer", "failed", "text", "heard"]
    with (
        replacing(run.folder / "per_utterance.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for name, utterances in judged.items():
            for utterance in utterances:
                reasons = {utterance[metric]["reason"] for metric in metrics}
                reasons = (reasons | {utterance.get("word_failure")}) - {None}
                line = {key: utterance.get(key) for key in ("id", "speaker", "snr_db", "noise", "text", "heard")}
                line |= {metric: utterance[metric]["value"] for metric in metrics}
                wer = WordCounts(**utterance["words"]).wer if "words" in utterance else None
                table.writerow({"row": name, **line, "wer": wer, "failed": "; ".join(sorted(reasons))})
