"""Scores of every utterance and row -> means with intervals, paired differences, and per_utterance.csv."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict
from typing import Any

from phonemi.files import replacing
from phonemi.metrics.intrusive import INTRUSIVE_KEYS
from phonemi.metrics.non_intrusive import DNSMOS_KEYS
from phonemi.metrics.score import Score, summarise
from phonemi.metrics.statistics import PairedDifference, paired_difference
from phonemi.metrics.words import Failure, WordCounts, corpus_wer, paired_wer_difference
from phonemi.stages.run import Run

SCORES = (*INTRUSIVE_KEYS, *DNSMOS_KEYS)
COMPARED = ("si_sdri_db", "stoi", "pesq_wb_lqo", *DNSMOS_KEYS, "wer")

MOST_SNRS = 10

Utterance = dict[str, Any]


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
    """Whole speakers are drawn, because utterances of one speaker are alike."""
    speakers = [u["speaker"] or u["id"] for u in utterances]
    return {"clusters": speakers, "seed": run.config.seed, "resamples": run.config.evaluate.resamples}


def summary(run: Run, utterances: list[Utterance]) -> dict[str, Any]:
    """The cells of a row: mean, interval and counts of every score."""
    drawn = _bootstrap(run, utterances)
    cells: dict[str, Any] = {}
    for metric in _judged_by(utterances):
        cells |= summarise(_scores(utterances, metric), **drawn).as_row(metric)
    return cells | corpus_wer(_counts(utterances), **drawn)


def comparisons(run: Run, judged: dict[str, list[Utterance]]) -> list[dict[str, Any]]:
    """Every row against the noisy input, and against the acoustic aggregation where it was trained.

    What no utterance of a pair of rows was scored by is left out.
    """
    found = []
    metrics = [metric for metric in COMPARED if metric in (*_judged_by(judged["noisy"]), "wer")]
    for against in ("noisy", "ws-acoustic"):
        for name in judged:
            if against not in judged or name in ("noisy", "clean", against):
                continue
            for metric in metrics:
                difference = _difference(run, judged[name], judged[against], metric)
                if difference.pairs:
                    found.append({"row": name, "against": against, "metric": metric, **asdict(difference)})
    return found


def _difference(run: Run, first: list[Utterance], second: list[Utterance], metric: str) -> PairedDifference:
    drawn = _bootstrap(run, first)
    if metric == "wer":
        return paired_wer_difference(_counts(first), _counts(second), **drawn)
    return paired_difference(_scores(first, metric), _scores(second, metric), **drawn)


def by_snr(run: Run, judged: dict[str, list[Utterance]]) -> list[dict[str, Any]]:
    """Every row at every SNR; measured SNRs, of which there are many, go to the nearest multiple of 5 dB."""
    known = sorted({u["snr_db"] for u in judged["noisy"] if u["snr_db"] is not None})
    group = {snr_db: snr_db if len(known) <= MOST_SNRS else 5.0 * round(snr_db / 5) for snr_db in known}
    found = []
    for name, utterances in judged.items():
        for place in sorted(set(group.values())):
            cells = summary(run, [u for u in utterances if group.get(u["snr_db"]) == place])
            found.append({"row": name, "snr_db": place, **cells})
    return found


def write_csv(run: Run, judged: dict[str, list[Utterance]]) -> None:
    """RUN/per_utterance.csv: one line for each row and utterance."""
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
