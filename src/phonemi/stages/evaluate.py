"""Judge every system on the test set: RUN/metrics.json and RUN/per_utterance.csv, quality, words and MI with intervals.

Test speakers and test noises are in no other split. Every system is judged on the same mixtures, the noisy and the
clean signal are rows of their own, and every score that cannot be computed is counted with its reason. Recordings
whose clean speech is not known are judged by DNSMOS and by their words.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from phonemi.claims import share_of
from phonemi.config.sections import Endpoint, Evaluate
from phonemi.data.speaker_tracks import SpeakerTracks
from phonemi.devices import count_processes
from phonemi.errors import ConfigError, MissingExtra, ModelError, require_extra
from phonemi.files import read_json
from phonemi.metrics.intrusive import score_pair
from phonemi.metrics.non_intrusive import DNSMOS_PACKAGES, dnsmos, missing_packages
from phonemi.metrics.phone_similarity import PhoneSimilarity
from phonemi.metrics.score import ESTIMATE_NOT_FINITE, MAKES_NO_SIGNAL, Score
from phonemi.metrics.statistics import MIN_MODELS, estimate
from phonemi.metrics.words import Choice
from phonemi.metrics.words.recogniser import WAVEFORM_NOT_FINITE, Failure, Recogniser, installed_version, transcribe_all
from phonemi.metrics.words.transcripts import TranscriptStore
from phonemi.metrics.words.word_errors import count_words
from phonemi.results.articulation import ArticulationScores
from phonemi.results.evaluation import (
    Comparison,
    EvaluatedRow,
    Evaluation,
    EvaluationData,
    ScoredUtterance,
    Scores,
    UtteranceScore,
)
from phonemi.results.information import AggregatedInformation, Bound, Information, RowBound
from phonemi.results.record import read_record
from phonemi.stages import articulation, comparison, information, test_sets
from phonemi.stages.articulation import ArticulationJudge
from phonemi.stages.calibration import check_noisy_scores
from phonemi.stages.comparison import Sums
from phonemi.stages.labelled_frames import labelled_frames
from phonemi.stages.phone_judge import PhoneLabels, prepare_phone_judge
from phonemi.stages.protocol import describe_protocol
from phonemi.stages.recognisers import recogniser_of
from phonemi.stages.run import Run
from phonemi.stages.test_sets import TestSet
from phonemi.stages.trained_models import is_trained, load_model, require_trained
from phonemi.systems import System, find_system
from phonemi.tables import plural
from phonemi.workers import Workers

RESULT = "metrics.json"
AGGREGATED_INFORMATION = "aggregated_information.json"
PART_UTTERANCES = 256  # that one process scores before it looks what is left: some five minutes
PACKAGES = ("pesq", "pystoi")  # without which a score is missing
WORD_PACKAGES = ("jiwer", "whisper-normalizer")


def evaluate_systems(run: Run) -> None:
    """Judge every row; rows that are judged already are read from RUN/rows/<row>/scores.json.

    Launches at once share what is slow, and each writes the same result.

    If the package of a score is missing, the score counts as failed, and is computed by the next run that finds it.

    Raises:
        DataError: if an earlier stage has not been run with this configuration.
        ConfigError: if a system from elsewhere has the name of another row, or the endpoint one that no row has.
        MissingExtra: if the package of the recogniser is not installed.
    """
    settings, key = run.config.evaluate, current_key(run)
    if run.is_done("evaluate:", RESULT, key):
        return
    with _judging(run, run.systems) as (test_set, judges):
        keys = _score_keys(run)
        for name in keys:  # first what no other launch is at
            scored = _scores_of(run, name, keys[name], test_set, judges, wait=False)
            if name == "noisy":
                for line in check_noisy_scores(scored):
                    run.say(f"evaluate: {line}")
        utterances = {name: _scores_of(run, name, keys[name], test_set, judges) for name in keys}
    recogniser = judges.recogniser
    if articulation.inverts(run):
        run.folder.write(articulation.RESULT, articulation.summarise(run, key).to_json())
    with run.folder.timed("evaluate: information"):
        bounds, bits = _bounds(run)
    models = comparison.group_models(utterances, {system.name: system.base for system in run.systems})
    rows, unit = [], comparison.cluster_unit(utterances["noisy"])
    for name, of_row in models.items():
        cells = {"row": name, "label": test_sets.row_label(run, name), **bounds.get(name, {})}
        rows.append(EvaluatedRow.from_json({**cells, **comparison.summarise_row(of_row, unit)}))
    comparison.write_csv(run.folder / "per_utterance.csv", utterances)
    comparisons = comparison.compare_rows(models, run.systems, settings.endpoint, bits)
    if settings.endpoint is not None and (obstacle := _endpoint_obstacle(comparisons)):
        run.say(
            f"evaluate: the endpoint, {settings.endpoint.metric} of {settings.endpoint.row} against "
            f"{settings.endpoint.against}, is not tested: {obstacle}"
        )
    data = _describe(utterances["noisy"], recogniser)
    evaluation = Evaluation(
        key=key,
        data=data,
        rows=tuple(rows),
        comparisons=tuple(comparisons),
        by_snr=tuple(comparison.split_by_snr(models)),
        protocol=describe_protocol(run, data, comparisons, recogniser),
    )
    run.folder.write(RESULT, evaluation.to_json())


def score_systems(run: Run, shard: tuple[int, int] | None = None) -> bool:
    """Judge the rows that shard (i, n) has trained, and those that it is the first to come to of noisy and clean.

    Errors are those of `evaluate_systems`. Returns whether every row of the run is scored; without a shard nothing is
    done, since `evaluate_systems` scores what is not.
    """
    if shard is None:
        return True
    # A cascade may be made of rows of other shards: whoever finds both trained scores it.
    own = [run.systems[index] for index in share_of(len(run.systems), shard) if run.systems[index].cascade is None]
    own += [system for system in run.systems if system.cascade is not None and is_trained(run, system)]
    keys, known = _score_keys(run), {system.name for system in run.systems}
    names = [name for name in keys if name not in known] + [system.name for system in own]
    is_scored = rows_scored(run, keys)
    if not all(is_scored[name] for name in names):
        with _judging(run, own) as (test_set, judges):
            for name in names:
                _scores_of(run, name, keys[name], test_set, judges, wait=False)
    _share_information(run, [[s] for s in own if _has_information(s) and s.changes_encoder], wait=False)
    left = [name for name, scored in rows_scored(run, keys).items() if not scored]
    if left:
        run.say(f"{plural(len(keys) - len(left), 'row')} of {len(keys)} scored; the rest is done by other shards")
    return not left


def rows_scored(run: Run, keys: Mapping[str, str] | None = None) -> dict[str, bool]:
    """Whether each row, noisy and clean among them, is scored; `keys` are those of their scores."""
    keys = keys or _score_keys(run)
    return {name: run.folder.is_current(f"rows/{name}/scores.json", key) for name, key in keys.items()}


@contextmanager
def _judging(run: Run, systems: Sequence[System]) -> Iterator[tuple[TestSet, Judges]]:
    """The test set and its judges, after asking for all that may be missing, the models of `systems` among it."""
    settings = run.config.evaluate
    if taken := {system.name for system in run.systems} & settings.systems.keys():
        raise ConfigError(f"evaluate.systems: {min(taken)!r} is a row of the run: choose another name")
    for package, extra in _missing_packages(settings).items():
        run.say(f"evaluate: {package} is not installed, its score will be missing: pip install 'phonemi[{extra}]'")
    if settings.endpoint is not None:
        _check_endpoint(settings.endpoint, settings.systems)
    # What can be missing is asked for now, not after an hour of judging.
    recogniser, reason = load_recogniser(settings, run.config.seed, str(run.device)) or (None, "")
    if run.systems:
        run.folder.read(information.RESULT, run.keys.information, "evaluate", "information")
    if recogniser is not None:
        run.say(f"evaluate: words by {recogniser.name}" + (f": {reason}" if reason else ""))
    elif settings.recogniser != "none":
        run.say("evaluate: no recording has a transcript, so that no words are judged")
    for system in systems:
        require_trained(run, system)
    similarity = PhoneSimilarity(settings.lps, str(run.device)) if settings.lps else None
    test_set = test_sets.find_test_set(settings, run.data)
    test_sets.check_systems_from_elsewhere(run, test_set)
    with (
        run.folder.timed("evaluate"),
        Workers(partial(score_pair, variant=settings.composite), count_processes(), "scoring") as scoring,
    ):
        yield (
            test_set,
            Judges(
                recogniser,
                scoring,
                PhoneLabels(run, prepare_phone_judge(run), test_set) if settings.phone_bits else None,
                similarity,
                articulation.true_tracks(run) if articulation.inverts(run) else None,
            ),
        )


def _check_endpoint(endpoint: Endpoint, elsewhere: Mapping[str, str]) -> None:
    """A ConfigError if the endpoint names a row that nothing can be; one of another table is none."""
    for name in (endpoint.row, endpoint.against):
        if name not in (*test_sets.REFERENCES, *elsewhere):
            find_system(name)


def _endpoint_obstacle(comparisons: Sequence[Comparison]) -> str:
    """Why the endpoint could not be tested; "" if it was."""
    endpoint = next((one for one in comparisons if one.is_endpoint), None)
    if endpoint is None:
        return "it needs both rows, and this score of both"
    if endpoint.p_adjusted is not None:
        return ""
    few = endpoint.models is not None and endpoint.models < MIN_MODELS
    return f"it needs {MIN_MODELS} models of each row" if few else "nothing in it varies"


class Judges(NamedTuple):
    """What judges the signals of every row."""

    recogniser: Recogniser | None  # of words
    scoring: Workers[dict[str, Score]]  # against clean speech
    labels: PhoneLabels | None  # of the phones kept
    similarity: PhoneSimilarity | None  # of phones
    tracks: SpeakerTracks | None  # of the articulators, which articulation is judged by


def current_key(run: Run) -> str:
    """The key that metrics.json has if it is current."""
    return run.keys.metrics(list(_score_keys(run).values()), run.systems)


def _score_keys(run: Run) -> dict[str, str]:
    """The key of the scores of each row."""
    settings = run.config.evaluate
    missing = _missing_packages(settings)
    used = [*(PACKAGES if settings.recordings is None else ()), *(DNSMOS_PACKAGES if _wants_dnsmos(settings) else ())]
    used += WORD_PACKAGES if settings.recogniser != "none" else ()
    packages = {package: "missing" if package in missing else installed_version(package) for package in used}
    names = test_sets.row_names(run)
    return {name: run.keys.scores(name, test_sets.signal_version(run, name), packages) for name in names}


def load_recogniser(settings: Evaluate, seed: int, device: str) -> Choice | None:
    """The recogniser of the configuration, loaded; None if none is asked for, or no recording has a transcript.

    Raises:
        MissingExtra: if a package that it needs is not installed.
        ModelError: if its model cannot be loaded; also with "auto", which the keys of the scores then stand for.
    """
    recordings = test_sets.named_recordings(settings, seed)
    choice = recogniser_of(settings, device)
    if choice is None or (recordings is not None and not any(r.text for r in recordings)):
        return None
    for package in ("jiwer", "whisper_normalizer"):
        require_extra(package, "metrics")
    try:
        choice.recogniser.load()
    except ModelError as error:
        if settings.recogniser != "auto":
            raise
        raise ModelError(f"{error}; or do without Whisper: evaluate.recogniser=pocketsphinx") from None
    return choice


def _missing_packages(settings: Evaluate) -> dict[str, str]:
    """Packages of scores that are not installed, and the extra that installs each."""
    missing = {}
    for package in PACKAGES if settings.recordings is None else ():
        try:
            require_extra(package, "eval")
        except MissingExtra:
            missing[package] = "eval"
    return missing | (dict.fromkeys(missing_packages(), "dnsmos") if _wants_dnsmos(settings) else {})


def _wants_dnsmos(settings: Evaluate) -> bool:
    return settings.dnsmos or settings.recordings is not None


def _scores_of(
    run: Run, name: str, key: str, test_set: TestSet, judges: Judges, wait: bool = True
) -> list[ScoredUtterance]:
    """Scores, transcript and word counts of every utterance of one row, from disk where they are there.

    Processes that do this at the same time share the parts of a long test set; without `wait` what others are at is
    left to them, and the list may be empty.
    """
    folder = f"rows/{name}"
    names = ["scores.json"]
    if articulation.find_inverter(run, name) is not None:
        names.append(articulation.RESULT)

    def is_there(folder: str) -> bool:
        return all(run.folder.is_current(f"{folder}/{file}", key) for file in names)

    if not is_there(folder):
        starts = range(0, len(test_set), PART_UTTERANCES)
        parts = {
            f"{folder}/parts/{start:08d}": range(start, min(start + starts.step, len(test_set))) for start in starts
        }
        if len(parts) == 1:
            parts = {folder: range(len(test_set))}

        def score(part: str, indices: range) -> None:
            if not (is_there(part) or is_there(folder)):
                _score_part(run, name, key, test_set, judges, indices, part)

        run.share({f"scores.{name}.{parts[part].start}": partial(score, part, parts[part]) for part in parts}, wait)
        with run.claimed(f"scores.{name}"):
            if not is_there(folder) and all(map(is_there, parts)):
                for file in names:
                    of_parts = [read_json(run.folder / f"{part}/{file}") for part in parts]
                    utterances = [utterance for of_part in of_parts for utterance in of_part["utterances"]]
                    run.folder.write(f"{folder}/{file}", {**of_parts[0], "utterances": utterances})
                shutil.rmtree(run.folder / f"{folder}/parts")
        if not is_there(folder):
            return []
    # Read back even now, since JSON has no NaN: results must not depend on when a row was scored.
    return list(read_record(run.folder / f"{folder}/scores.json", Scores).utterances)


def _score_part(run: Run, name: str, key: str, test_set: TestSet, judges: Judges, indices: range, folder: str) -> None:
    """Score some utterances of a row, and write them into a folder of the run."""
    inverter = articulation.find_inverter(run, name)
    of_tracks = None
    if judges.tracks is not None:
        estimator = None if inverter is None else articulation.load_estimator(run, inverter, judges.tracks.names)
        of_tracks = ArticulationJudge(
            judges.tracks,
            estimator,
            test_sets.find_signal(run, name),
            is_cascade=inverter is not None and inverter.name != name,
        )
    utterances = tuple(_score_utterances(run, name, test_set, judges, indices, of_tracks))
    if of_tracks is not None and of_tracks.utterances:
        of_variables = ArticulationScores(key=key, utterances=tuple(of_tracks.utterances))
        run.folder.write(f"{folder}/{articulation.RESULT}", of_variables.to_json())
    run.folder.write(f"{folder}/scores.json", Scores(key=key, utterances=utterances).to_json())


def _score_utterances(
    run: Run, name: str, test_set: TestSet, judges: Judges, indices: range, of_tracks: ArticulationJudge | None
) -> Iterator[ScoredUtterance]:
    settings, recogniser = run.config.evaluate, judges.recogniser
    signal_of = test_sets.find_signal(run, name)
    utterances: list[ScoredUtterance] = []
    waiting: list[Callable[[], dict[str, Score]]] = []
    is_enhanced = test_sets.enhances(run, name)

    def signals() -> Iterator[np.ndarray]:
        """Signals that have a transcript; all are scored on the way to the recogniser, so that none stays in memory."""
        before = np.zeros(0, np.float32)
        for index in indices:
            mixture = test_set[index]
            signal = signal_of(mixture) if is_enhanced else mixture.noisy
            is_scored = is_enhanced or index == indices.start  # for the names of the scores that such a row lacks
            if settings.recordings is None and is_scored:
                # The clean speech of an utterance comes once for every SNR, and its PESQ takes as long as any other.
                is_same = name == "clean" and waiting and np.array_equal(signal, before)
                waiting.append(waiting[-1] if is_same else judges.scoring.submit(signal, mixture.noisy, mixture.clean))
                before = signal
            scores = dnsmos(signal) if _wants_dnsmos(settings) and is_scored else {}
            if judges.labels is not None and is_scored:
                scores["phone_bits"] = judges.labels.judge.bits(signal, judges.labels.of(index, mixture))
            if judges.similarity is not None and is_scored:
                scores["lps"] = judges.similarity.score(signal, mixture.clean)
            if of_tracks is not None:
                scores |= of_tracks.scores(mixture)
            utterance = ScoredUtterance(
                id=mixture.id,
                speaker=mixture.speaker,
                snr_db=mixture.snr_db,
                noise=mixture.noise_id,
                text=mixture.text,
                scores=_records(scores),
            )
            utterances.append(utterance)
            task.advance()
            if mixture.text and is_enhanced:
                yield signal

    with run.progress.task(f"evaluating {name}", len(indices)) as task:
        if recogniser is None:
            transcripts: list[str | Failure] = [Failure("no recogniser asked for") for _ in signals()]
        else:
            store = TranscriptStore(run.folder / "transcripts.sqlite", recogniser.settings)
            transcripts = transcribe_all(recogniser, signals(), processes=count_processes(), store=store)
        for utterance, wait_for_scores in zip(utterances, waiting, strict=is_enhanced) if waiting else ():
            utterance.scores.update(_records(wait_for_scores()))
    if not is_enhanced:
        lacking = [metric for metric in utterances[0].scores if metric not in articulation.KEYS]
        for utterance in utterances:
            utterance.scores.update(_records(dict.fromkeys(lacking, Score.failed(MAKES_NO_SIGNAL))))
    remaining = iter(transcripts)
    for utterance in utterances:
        if not is_enhanced:
            yield replace(utterance, word_failure=MAKES_NO_SIGNAL)
            continue
        transcript = next(remaining) if utterance.text else Failure("no transcript")
        if not isinstance(transcript, Failure):
            yield replace(utterance, heard=transcript, words=count_words(utterance.text or "", transcript))
        elif transcript.reason == WAVEFORM_NOT_FINITE:  # all its words are lost
            words = count_words(utterance.text or "", "")
            yield replace(utterance, word_failure=ESTIMATE_NOT_FINITE, words=words)
        else:
            yield replace(utterance, word_failure=transcript.reason)


def _records(scores: dict[str, Score]) -> dict[str, UtteranceScore]:
    return {metric: UtteranceScore.of(score) for metric, score in scores.items()}


def _bounds(run: Run) -> tuple[dict[str, dict[str, float]], dict[str, Sums]]:
    """MI of the aggregated features: a fresh probe on them, frozen, as in Table 1 of Han et al. (2026).

    Of several models of a system, the mean. Those of a single layer are conditioned on the same. A system that has the
    spectrum beside the sum has no MI, as there.

    Returns:
        The cells of each row, and the bits and frames of each model that they come from.
    """
    if not run.systems:
        return {}, {}
    measured = read_record(run.folder / information.RESULT, Information).average
    of_spectrum = next(bound for bound in measured if bound.representation == "log1p")
    bounds = {
        system.name: _mi_cells(of_spectrum) for system in run.systems if system.spectrum and not system.uses_encoder
    }
    stored = AggregatedInformation(rows=(), average=())
    if aggregated := [system for system in run.systems if _has_information(system)]:
        key = run.keys.aggregated_information(aggregated)
        if not run.folder.is_current(AGGREGATED_INFORMATION, key):
            run.folder.write(AGGREGATED_INFORMATION, _measure_aggregated(run, aggregated, key).to_json())
        stored = read_record(run.folder / AGGREGATED_INFORMATION, AggregatedInformation)
    averages = {bound.row: bound for bound in stored.average}
    sums = comparison.information_sums(stored.average, run.systems, of_spectrum)
    for base in dict.fromkeys(system.base for system in aggregated):
        models = [averages[system.name] for system in aggregated if system.base == base]
        bounds[base] = _mi_cells(models[0])
        if len(models) > 1:
            by_model = [bound.mi_bits for bound in models if bound.mi_bits is not None]
            interval = estimate(*sums[base])
            bounds[base] |= {"mi_bits": statistics.fmean(by_model), "mi_bits_spread": statistics.stdev(by_model)}
            bounds[base] |= {"mi_bits_low": interval.low, "mi_bits_high": interval.high}
    return bounds, sums


def _has_information(system: System) -> bool:
    """Whether there are features of this model of a system whose MI the table shows."""
    is_own = system.model == 1 or system.tuning is not None or system.learns_encoder
    return system.uses_encoder and not system.spectrum and is_own


def _measure_aggregated(run: Run, systems: list[System], key: str) -> AggregatedInformation:
    """The content of aggregated_information.json: the systems of the frozen encoder measured together, others alone."""
    frozen = [system for system in systems if not system.changes_encoder]
    groups = ([frozen] if frozen else []) + [[system] for system in systems if system.changes_encoder]
    _share_information(run, groups)
    parts = [read_record(run.folder / _information_file(group), AggregatedInformation) for group in groups]
    return AggregatedInformation(
        key=key,
        rows=tuple(chain.from_iterable(part.rows for part in parts)),
        average=tuple(chain.from_iterable(part.average for part in parts)),
        validation=tuple(chain.from_iterable(part.validation for part in parts)),
    )


def _share_information(run: Run, groups: list[list[System]], wait: bool = True) -> None:
    """Measure with other launches the MI of groups of systems, each with one encoder."""
    run.share({_information_claim(group): partial(_measure_group, run, group) for group in groups}, wait)


def _information_claim(group: list[System]) -> str:
    return f"information.{group[0].name if group[0].changes_encoder else 'aggregations'}"


def _information_file(group: list[System]) -> str:
    return f"rows/{group[0].name}/information.json" if group[0].changes_encoder else "cache/aggregations.json"


def _measure_group(run: Run, group: list[System]) -> None:
    """Measure the MI of systems with one encoder, unless it is measured."""
    path, key = _information_file(group), run.keys.aggregated_information(group)
    if not run.folder.is_current(path, key):
        run.folder.write(path, _measure_features(run, group, key).to_json())


def _measure_features(run: Run, systems: list[System], key: str) -> AggregatedInformation:
    """The MI of the aggregated features of systems that have one encoder."""
    lists: dict[information.ListName, list[RowBound]] = {"rows": [], "average": [], "validation": []}
    enhancers = [load_model(run.folder.model(system.name)) for system in systems]
    encoder, keys, file = run.encoder, run.keys, "encoder"
    if systems[0].changes_encoder:
        assert enhancers[0].representation is not None
        encoder, file = enhancers[0].representation.to(run.device), systems[0].name
        keys = run.keys.with_encoder(run.keys.model(systems[0]))
    splits = labelled_frames(run, encoder, file, keys)
    # Filled one by one: of a full-size table they are tens of gigabytes.
    features = {
        split: torch.empty(len(systems), *frames.states.values.shape[::2], dtype=torch.float16)
        for split, frames in splits.items()
    }
    for slot, enhancer in enumerate(enhancers):
        assert enhancer.aggregation is not None
        for split, frames in splits.items():
            features[split][slot] = frames.states.aggregated(enhancer.aggregation, run.device)
    for list_name, bounds in information.measure_frames(run, features, splits, f"aggregations of {file}").items():
        lists[list_name] += [
            RowBound(row=systems[slot].name, snr_db=snr_db, **vars(bound)) for slot, snr_db, bound in bounds
        ]
    return AggregatedInformation(
        key=key, rows=tuple(lists["rows"]), average=tuple(lists["average"]), validation=tuple(lists["validation"])
    )


def _mi_cells(bound: Bound) -> dict[str, float]:
    """What the table shows of a bound; its spread is that of the probes, where there are several."""
    cells = {key: getattr(bound, key) for key in ("mi_bits", "mi_bits_low", "mi_bits_high", "mi_bits_spread")}
    return {key: value for key, value in cells.items() if value is not None}


def _describe(utterances: list[ScoredUtterance], recogniser: Recogniser | None) -> EvaluationData:
    return EvaluationData(
        utterances=len(utterances),
        speakers=len({utterance.speaker for utterance in utterances} - {None}) or None,
        unknown_speakers=sum(utterance.speaker is None for utterance in utterances) or None,
        intervals_over=comparison.cluster_unit(utterances),
        snrs_db=tuple(sorted({utterance.snr_db for utterance in utterances if utterance.snr_db is not None})),
        recogniser="none" if recogniser is None else recogniser.name,
        recogniser_settings=None if recogniser is None else recogniser.settings,
    )
