"""Trained rows and test speech -> RUN/metrics.json and per_utterance.csv: quality, words and MI, with intervals.

Test speakers and test noises are in no other split. Every row is judged on the same mixtures, the noisy and the clean
signal are rows of their own, and every score that cannot be computed is counted with its reason. Recordings of which
nobody has the clean speech are judged by DNSMOS and by their words.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from phonemi.enhancers.enhancer import Enhancer
from phonemi.errors import DataError, MissingExtra, require_extra
from phonemi.files import read_json
from phonemi.metrics.intrusive import score_pair
from phonemi.metrics.non_intrusive import dnsmos, missing_packages
from phonemi.metrics.score import Score
from phonemi.metrics.words.word_errors import Failure, Recogniser, count_words, normalise_words, transcribe_all
from phonemi.stages import information, train
from phonemi.stages.comparison import Utterance, by_row, by_snr, comparisons, drawn_unit, summary, write_csv
from phonemi.stages.hidden_states import Mixtures
from phonemi.stages.information import Material
from phonemi.stages.run import Run
from phonemi.stages.systems import (
    check_systems,
    evaluation_set,
    given_recordings,
    heard_by,
    label_of,
    made_by,
    recogniser_of,
    rows_of,
    system,
)
from phonemi.systems.han2026 import NOISY_TRACKS, NOISY_VOICEBANK_DEMAND, TRACK_TOLERANCE, VOICEBANK_DEMAND_TEST
from phonemi.systems.system import parse
from phonemi.workers import Workers

RESULT = "metrics.json"
SCORED_BY = ("pesq", "pystoi")  # packages without which a score is missing


def run(run: Run) -> None:
    """Judge every row; rows already judged are read from RUN/rows/<row>/scores.json.

    Raises:
        DataError: if an earlier stage has not been run with this configuration.
        MissingExtra: if the package of the recogniser is not installed. Without that of a score, the score is counted
            as failed, and made up for once the package is there.
    """
    key = result_key(run)
    if run.is_done(RESULT, key):
        run.say("evaluate: done already")
        return
    for package, extra in _missing(run).items():
        run.say(f"evaluate: {package} is not installed, its score will be missing: pip install 'phonemi[{extra}]'")
    recogniser = recogniser_of(run)
    if run.rows:  # now, not after an hour of judging
        run.read(information.RESULT, information.result_key(run), "evaluate", "information")
    for row in run.rows:
        train.require_done(run, row)
    mixtures = evaluation_set(run)
    check_systems(run, mixtures)
    judged: dict[str, list[Utterance]] = {}
    with run.timed("evaluate"):
        for name in rows_of(run):
            judged[name] = _judged(run, name, mixtures, recogniser)
            if name == "noisy":
                for line in calibration(judged[name]):
                    run.say(f"evaluate: {line}")
    with run.timed("evaluate: information"):
        bounds = _bounds(run)
    by_name = by_row(run, judged)
    rows = [
        {"row": name, "label": label_of(run, name), **bounds.get(name, {}), **summary(run, models)}
        for name, models in by_name.items()
    ]
    write_csv(run, judged)
    run.write(
        RESULT,
        {
            "key": key,
            "data": _facts(judged["noisy"], recogniser),
            "rows": rows,
            "comparisons": comparisons(run, by_name),
            "by_snr": by_snr(run, by_name),
        },
    )


def result_key(run: Run) -> str:
    """Hash of what the result depends on: everything."""
    systems = [made_by(run, name) for name in run.config.evaluate.systems]
    everything = run.config.for_key(exclude={"device"})
    return run.key("evaluate", everything, given_recordings(run), systems, *heard_by(run), *_missing(run))


def calibration(noisy: list[Utterance]) -> list[str]:
    """What the noisy recordings of the whole VoiceBank-DEMAND test set reach, beside what they are known to.

    A metric or a conversion that is off shows here, before anything that was trained is judged.
    """
    if len(noisy) != VOICEBANK_DEMAND_TEST or {one["id"].partition("_")[0] for one in noisy} != {"p232", "p257"}:
        return []
    lines, wrong = ["noisy VoiceBank-DEMAND test set, and what is known of it:"], []
    for metric, (known, tolerance) in NOISY_VOICEBANK_DEMAND.items():
        values = [one[metric]["value"] for one in noisy if one[metric]["value"] is not None]
        found = float(np.mean(values)) if values else float("nan")
        lines.append(f"{metric} {found:.3f} of {len(values)} recordings, known {known:g} within {tolerance:g}")
        if not abs(found - known) <= tolerance:
            wrong.append(metric)
    by_id = {one["id"]: one for one in noisy}
    known_tracks = [(name, *pair) for name, scores in NOISY_TRACKS.items() if name in by_id for pair in scores.items()]
    off = [
        f"{metric} of {name}"
        for name, metric, known in known_tracks
        if not abs((by_id[name][metric]["value"] or float("nan")) - known) <= TRACK_TOLERANCE[metric]
    ]
    lines.append(f"{len(known_tracks) - len(off)} of {len(known_tracks)} scores known of single recordings are met")
    if wrong := wrong + off:
        lines.append(f"WARNING: {', '.join(wrong)} of the noisy recordings is OFF: NO score below can be compared")
    return lines


def _missing(run: Run) -> dict[str, str]:
    """Packages of scores that are not installed, and the extra that installs each.

    They are part of the keys, so that installing one makes the scores anew.
    """
    missing = {}
    for package in SCORED_BY if _has_clean(run) else ():
        try:
            require_extra(package, "eval")
        except MissingExtra:
            missing[package] = "eval"
    return missing | (dict.fromkeys(missing_packages(), "dnsmos") if _wants_dnsmos(run) else {})


def _has_clean(run: Run) -> bool:
    return run.config.evaluate.recordings is None


def _wants_dnsmos(run: Run) -> bool:
    return run.config.evaluate.dnsmos or not _has_clean(run)


def _judged(run: Run, name: str, mixtures: Mixtures, recogniser: Recogniser | None) -> list[Utterance]:
    """Scores, transcript and word counts of one row, one dictionary an utterance."""
    elsewhere = {"examples", "resamples", "systems", "whisper"}  # whisper: in what `heard_by` gives
    settings = run.config.evaluate.model_dump(mode="json", exclude=elsewhere)
    made = made_by(run, name)
    key = run.key("scores", name, settings, given_recordings(run), made, *heard_by(run), *_missing(run))
    path = f"rows/{name}/scores.json"
    if not run.is_done(path, key):
        run.write(path, {"key": key, "utterances": _judge(run, name, mixtures, recogniser)})
    # Read back even now, since JSON has no NaN: results must not depend on when a row was judged.
    return read_json(run.folder / path)["utterances"]


def _judge(run: Run, name: str, mixtures: Mixtures, recogniser: Recogniser | None) -> list[Utterance]:
    enhance = system(run, name)
    found: list[Utterance] = []
    scores: list[Callable[[], dict[str, Score]]] = []

    def signals() -> Iterator[np.ndarray]:
        """Enhanced signals with a transcript; all are scored on the way to the recogniser, so that none is kept."""
        for index in range(len(mixtures)):
            mixture = mixtures[index]
            estimate = enhance(mixture)
            if _has_clean(run):
                scores.append(scoring.submit(estimate, mixture.noisy, mixture.clean))
            found.append(
                {
                    "id": mixture.id,
                    "speaker": mixture.speaker,
                    "snr_db": mixture.snr_db,
                    "noise": mixture.noise_id,
                    "text": mixture.text,
                    **(_plain(dnsmos(estimate)) if _wants_dnsmos(run) else {}),
                }
            )
            task.advance()
            if mixture.text:
                yield estimate

    with (
        run.progress.task(f"evaluating {name}", len(mixtures)) as task,
        Workers(score_pair, run.processes, "scoring") as scoring,
    ):
        if recogniser is None:
            heard: list[str | Failure] = [Failure("no recogniser asked for") for _ in signals()]
        else:
            heard = transcribe_all(recogniser, signals(), processes=run.processes)
        for utterance, scored in zip(found, scores, strict=True) if scores else ():
            utterance |= _plain(scored())
    normalise = normalise_words if recogniser is None else recogniser.normalise
    next_heard = iter(heard)
    for utterance in found:
        words = next(next_heard) if utterance["text"] else Failure("no transcript")
        if isinstance(words, Failure):
            utterance["word_failure"] = words.reason
        else:
            utterance["heard"] = words
            utterance["words"] = asdict(count_words(utterance["text"], words, normalise))
    return found


def _plain(scores: dict[str, Score]) -> dict[str, Any]:
    return {metric: asdict(score) for metric, score in scores.items()}


def _bounds(run: Run) -> dict[str, dict[str, float]]:
    """MI of what aggregates the layers for each row: a fresh probe on it, frozen, as in Table 1 of the main paper.

    Of several models of a row, the mean. Those of a frozen aggregation are conditioned on the same. A row that has the
    spectrum beside the sum has no MI, as there.
    """
    if not run.rows:
        return {}
    measured = read_json(run.folder / information.RESULT)["average"]
    bounds = {
        row.name: _cells(one)
        for row in run.rows
        if row.kind == "log1p"
        for one in measured
        if one["representation"] == "log1p"
    }
    aggregated = [row for row in run.rows if not row.log1p and (row.model == 1 or not row.is_frozen)]
    if not aggregated:
        return bounds
    key = run.key("bounds", information.result_key(run), [train.row_key(run, row) for row in aggregated])
    if not run.is_done("aggregated_information.json", key):
        material = Material(run, run.representation)
        # Filled row by row: of a full-size table they are tens of gigabytes.
        fused = {
            split: torch.empty(len(aggregated), len(states.values), states.values.shape[2], dtype=torch.float16)
            for split, states in material.states.items()
        }
        for slot, row in enumerate(aggregated):
            aggregation = Enhancer.from_pretrained(run.folder / "rows" / row.name / "model").aggregation
            if aggregation is None:
                raise DataError(f"the model of row {row.name!r} has no aggregation: train it again")
            for split, states in material.states.items():
                fused[split][slot] = states.fused(aggregation, run.device)
        rows = material.measure(fused, "aggregations")
        for one in rows:
            one["row"] = aggregated[one.pop("slot")].name
        run.write("aggregated_information.json", {"key": key, "rows": rows})
    averages = [
        one
        for one in read_json(run.folder / "aggregated_information.json")["rows"]
        if one["snr_db"] == information.AVERAGE
    ]
    for base in dict.fromkeys(row.base for row in aggregated):
        models = [_cells(one) for one in averages if parse(one["row"]).base == base]
        bounds[base] = {key: float(np.mean([cells[key] for cells in models])) for key in models[0]}
        if len(models) > 1:
            bounds[base]["mi_bits_spread"] = statistics.stdev(cells["mi_bits"] for cells in models)
    return bounds


def _cells(row: dict[str, Any]) -> dict[str, float]:
    """What the table has of a bound; its spread is that of the probes, where there are several."""
    return {key: row[key] for key in ("mi_bits", "mi_bits_low", "mi_bits_high", "mi_bits_spread") if key in row}


def _facts(judged: list[Utterance], recogniser: Recogniser | None) -> dict[str, Any]:
    return {
        "utterances": len(judged),
        "speakers": len({utterance["speaker"] for utterance in judged} - {None}) or None,
        "intervals_over": {"speaker": "speakers", "id": "utterances"}[drawn_unit(judged)],
        "snrs_db": sorted({utterance["snr_db"] for utterance in judged if utterance["snr_db"] is not None}),
        "recogniser": "none" if recogniser is None else recogniser.name,
        "recogniser_settings": None if recogniser is None else recogniser.settings,
    }
