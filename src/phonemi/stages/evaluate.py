"""Trained rows and test speech -> RUN/metrics.json and per_utterance.csv: quality, words and MI, with intervals.

Test speakers and test noises are in no other split. Every row is judged on the same mixtures, the noisy and the clean
signal are rows of their own, and every score that cannot be computed is counted with its reason.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from phonemi.data.mixing import AudioStore, Mixture, PlannedMixtures
from phonemi.errors import DataError
from phonemi.files import read_json, replacing
from phonemi.metrics.intrusive import INTRUSIVE_KEYS, score_pair
from phonemi.metrics.score import Score, summarise
from phonemi.metrics.statistics import PairedDifference, paired_difference
from phonemi.metrics.words import (
    Failure,
    PocketsphinxRecogniser,
    Recogniser,
    WordCounts,
    corpus_wer,
    count_words,
    paired_wer_difference,
    transcribe_all,
)
from phonemi.models.enhancer import Enhancer
from phonemi.stages import information, train
from phonemi.stages.information import Material, evenly
from phonemi.stages.rows import parse
from phonemi.stages.run import Run

RESULT = "metrics.json"
REFERENCES = ("noisy", "clean")
COMPARED = ("si_sdri_db", "stoi", "pesq_wb_lqo", "wer")

Utterance = dict[str, Any]


def run(run: Run) -> None:
    """Judge every row; rows already judged are read from RUN/rows/<row>/scores.json."""
    key = run.key("evaluate", run.config.model_dump(mode="json", exclude={"device"}))
    if run.is_done(RESULT, key):
        run.say("evaluate: done already")
        return
    names = [*REFERENCES, *run.config.enhance.rows]
    mixtures = evaluation_set(run)
    with run.timed("evaluate"):
        judged = {name: _judged(run, name, mixtures) for name in names}
    with run.timed("evaluate: information"):
        bounds = _bounds(run)
    rows = [
        {"row": name, "label": _label(name), **bounds.get(name, {}), **_summary(run, judged[name])} for name in names
    ]
    _write_csv(run, judged)
    run.write(
        RESULT,
        {
            "key": key,
            "data": _facts(run, mixtures),
            "rows": rows,
            "comparisons": _comparisons(run, judged),
            "by_snr": _by_snr(run, judged),
        },
    )


def evaluation_set(run: Run) -> PlannedMixtures:
    """The test set: utterances with a transcript, of the test speakers, in noise of the test folds."""
    settings = run.config.evaluate
    spoken = [recording for recording in run.speech["test"] if recording.text]
    if not spoken:
        raise DataError("no recording of the test split has a transcript: the words cannot be judged")
    return PlannedMixtures(
        AudioStore(evenly(spoken, settings.utterances, run.config.seed)),
        run.noise_store("test"),
        snrs_db=settings.snrs_db,
        seed=run.config.seed,
        per_utterance=settings.per_utterance,
    )


def system(run: Run, name: str) -> Callable[[Mixture], np.ndarray]:
    """What turns a mixture into the signal that row `name` is judged on."""
    if name in REFERENCES:
        return lambda mixture: getattr(mixture, name)
    row = parse(name)
    if not train.is_done(run, row):
        raise DataError(f"row {name!r} is not trained with this configuration: run `phonemi train` first")
    enhancer = Enhancer.from_pretrained(run.folder / "rows" / name / "model").to(run.device)
    return lambda mixture: enhancer.enhance(mixture.noisy)


def recogniser_of(run: Run) -> Recogniser | None:
    """The recogniser of the configuration."""
    chosen = run.config.evaluate.recogniser
    if chosen == "none":
        return None
    if chosen == "pocketsphinx-grammar":
        from phonemi.data.corpora.synthetic import grammar_jsgf

        return PocketsphinxRecogniser(grammar_jsgf())
    return PocketsphinxRecogniser()


def _judged(run: Run, name: str, mixtures: PlannedMixtures) -> list[Utterance]:
    """Scores, transcript and word counts of one row, one dictionary an utterance."""
    made_by = None if name in REFERENCES else train.row_key(run, parse(name))
    settings = run.config.evaluate.model_dump(mode="json", exclude={"examples", "resamples"})
    key = run.key("scores", name, settings, made_by)
    path = f"rows/{name}/scores.json"
    if run.is_done(path, key):
        return read_json(run.folder / path)["utterances"]
    enhance = system(run, name)
    found: list[Utterance] = []

    def signals() -> Iterator[np.ndarray]:
        """Enhanced signals one after the other; scored on the way to the recogniser, so that none is kept."""
        for index in range(len(mixtures)):
            mixture = mixtures[index]
            estimate = enhance(mixture)
            scores = score_pair(estimate, mixture.noisy, mixture.clean)
            found.append(
                {
                    "id": mixture.id,
                    "speaker": mixture.speaker,
                    "snr_db": mixture.snr_db,
                    "noise": mixture.noise_id,
                    "text": mixture.text,
                    **{metric: asdict(scores[metric]) for metric in INTRUSIVE_KEYS},
                }
            )
            yield estimate

    recogniser = recogniser_of(run)
    with run.progress.task(f"evaluating {name}", len(mixtures)) as task:
        if recogniser is None:
            heard: list[str | Failure] = [
                Failure("no recogniser asked for") for _ in run.progress.over(signals(), name)
            ]
        else:
            heard = transcribe_all(recogniser, signals(), processes=_processes(), progress=lambda _: task.advance(1))
    for utterance, words in zip(found, heard, strict=True):
        if isinstance(words, Failure):
            utterance["word_failure"] = words.reason
        else:
            utterance["heard"] = words
            utterance["words"] = asdict(count_words(utterance["text"], words))
    run.write(path, {"key": key, "utterances": found})
    return found


def _processes() -> int:
    return max(1, min(8, torch.get_num_threads()))


def _scores(utterances: list[Utterance], metric: str) -> list[Score]:
    # JSON has no NaN: a failed score comes back as null.
    return [
        Score(math.nan if u[metric]["value"] is None else u[metric]["value"], u[metric]["reason"]) for u in utterances
    ]


def _counts(utterances: list[Utterance]) -> list[WordCounts | Failure]:
    return [WordCounts(**u["words"]) if "words" in u else Failure(u["word_failure"]) for u in utterances]


def _bootstrap(run: Run, utterances: list[Utterance]) -> dict[str, Any]:
    """Whole speakers are drawn, because utterances of one speaker are alike."""
    speakers = [u["speaker"] or u["id"] for u in utterances]
    return {"clusters": speakers, "seed": run.config.seed, "resamples": run.config.evaluate.resamples}


def _summary(run: Run, utterances: list[Utterance]) -> dict[str, Any]:
    drawn = _bootstrap(run, utterances)
    cells: dict[str, Any] = {}
    for metric in INTRUSIVE_KEYS:
        cells |= summarise(_scores(utterances, metric), **drawn).as_row(metric)
    return cells | corpus_wer(_counts(utterances), **drawn)


def _comparisons(run: Run, judged: dict[str, list[Utterance]]) -> list[dict[str, Any]]:
    """Every row against the noisy input, and against the acoustic aggregation where it was trained."""
    found = []
    for against in ("noisy", "ws-acoustic"):
        for name in run.config.enhance.rows:
            if against not in judged or name == against:
                continue
            for metric in COMPARED:
                difference = _difference(run, judged[name], judged[against], metric)
                found.append({"row": name, "against": against, "metric": metric, **asdict(difference)})
    return found


def _difference(run: Run, first: list[Utterance], second: list[Utterance], metric: str) -> PairedDifference:
    drawn = _bootstrap(run, first)
    if metric == "wer":
        return paired_wer_difference(_counts(first), _counts(second), **drawn)
    return paired_difference(_scores(first, metric), _scores(second, metric), **drawn)


def _by_snr(run: Run, judged: dict[str, list[Utterance]]) -> list[dict[str, Any]]:
    found = []
    for name, utterances in judged.items():
        for snr_db in sorted({u["snr_db"] for u in utterances}):
            cells = _summary(run, [u for u in utterances if u["snr_db"] == snr_db])
            found.append({"row": name, "snr_db": snr_db, **cells})
    return found


def _bounds(run: Run) -> dict[str, dict[str, float]]:
    """MI of what conditions each row: a fresh probe on the frozen aggregation, as in Table 1 of the main paper."""
    wanted = [parse(name) for name in run.config.enhance.rows]
    measured = run.read(information.RESULT, "evaluate", "information")["average"]
    bounds = {
        row.name: _cells(one)
        for row in wanted
        if row.kind == "log1p"
        for one in measured
        if one["representation"] == "log1p"
    }
    aggregated = [row for row in wanted if row.kind != "log1p"]
    if not aggregated:
        return bounds
    key = run.key("bounds", information.result_key(run), [train.row_key(run, row) for row in aggregated])
    if not run.is_done("aggregated_information.json", key):
        material = Material(run, run.representation)
        fused: list[list[torch.Tensor]] = [[], [], []]
        for row in aggregated:
            aggregation = Enhancer.from_pretrained(run.folder / "rows" / row.name / "model").aggregation
            if aggregation is None:
                raise DataError(f"the model of row {row.name!r} has no aggregation: train it again")
            for slot, states in zip(fused, (material.train, material.test, material.validation), strict=True):
                slot.append(states.fused(aggregation))
        train_, test, validation = (torch.stack(slot) for slot in fused)
        rows = material.measure(train_, test, validation, "aggregations")
        for one in rows:
            one["row"] = aggregated[one.pop("slot")].name
        run.write("aggregated_information.json", {"key": key, "rows": rows})
    for one in read_json(run.folder / "aggregated_information.json")["rows"]:
        if one["snr_db"] == information.AVERAGE:
            bounds[one["row"]] = _cells(one)
    return bounds


def _cells(row: dict[str, Any]) -> dict[str, float]:
    return {key: row[key] for key in ("mi_bits", "mi_bits_low", "mi_bits_high")}


def _label(name: str) -> str:
    return name if name in REFERENCES else parse(name).label


def _facts(run: Run, mixtures: PlannedMixtures) -> dict[str, Any]:
    recogniser = recogniser_of(run)
    return {
        "utterances": len(mixtures),
        "speakers": len({recording.speaker for recording in mixtures.speech.recordings}),
        "snrs_db": run.config.evaluate.snrs_db,
        "recogniser": "none" if recogniser is None else recogniser.name,
        "recogniser_settings": None if recogniser is None else recogniser.settings,
    }


def _write_csv(run: Run, judged: dict[str, list[Utterance]]) -> None:
    columns = ["row", "id", "speaker", "snr_db", "noise", *INTRUSIVE_KEYS, "wer", "failed", "text", "heard"]
    with (
        replacing(run.folder / "per_utterance.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for name, utterances in judged.items():
            for utterance in utterances:
                reasons = {utterance[metric]["reason"] for metric in INTRUSIVE_KEYS} - {None}
                line = {key: utterance.get(key) for key in ("id", "speaker", "snr_db", "noise", "text", "heard")}
                line |= {metric: utterance[metric]["value"] for metric in INTRUSIVE_KEYS}
                wer = WordCounts(**utterance["words"]).wer if "words" in utterance else None
                table.writerow({"row": name, **line, "wer": wer, "failed": "; ".join(sorted(reasons))})
