"""Judge how well articulation is recovered: RUN/rows/ROW/articulation.json, and over all rows RUN/articulation.json.

Every row that inverts is judged on the mixtures of the test set, and on their clean speech. Correlations are those of
each utterance and variable; the mean over the variables is a score of the utterance beside all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phonemi.data.mixing import Mixture
from phonemi.data.speaker_tracks import SpeakerTracks
from phonemi.errors import DataError
from phonemi.inversion import smoothing
from phonemi.inversion.inverter import Inverter
from phonemi.metrics.score import NO_INVERTER, Score
from phonemi.metrics.statistics import estimate
from phonemi.metrics.tracks import correlation, rmse
from phonemi.results.articulation import (
    BABBLE_LESS_OTHER,
    Articulation,
    ArticulationDifference,
    ArticulationScores,
    VariableScore,
    VariableScores,
)
from phonemi.results.evaluation import UtteranceScore
from phonemi.results.record import read_record
from phonemi.stages.comparison import Unit, adjust_family, cluster_unit, clusters_of
from phonemi.stages.run import Run
from phonemi.stages.test_sets import Signal, named_recordings
from phonemi.systems import System, find_system, numbered_name

RESULT = "articulation.json"
KEYS = ("ppmc", "ppmc_clean", "rmse_mm")
LENGTH_UNIT = "mm"

Estimator = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Waveform [sample] at 16 kHz -> normalised tracks [frame, variable]."""


def inverts(run: Run) -> bool:
    """Whether any row of the run recovers articulation."""
    return any(system.inverts for system in run.systems)


def true_tracks(run: Run) -> SpeakerTracks:
    """What the articulators do in the speech of the test set.

    Raises:
        DataError: if no recording of it says it.
    """
    settings = run.config.evaluate.model_copy(update={"utterances": None})  # ranges are of all that a speaker says
    named = named_recordings(settings, run.config.seed)
    try:
        return SpeakerTracks(run.data.speech[settings.split] if named is None else named)
    except DataError as error:
        raise DataError(f"test speech: {error}") from None


def find_inverter(run: Run, name: str) -> System | None:
    """The system whose inverter a row has: itself, or a part of a cascade; None if it does not invert."""
    system = next((system for system in run.systems if system.name == name and system.inverts), None)
    if system is None or system.cascade is None:
        return system
    return find_system(numbered_name(system.cascade.inverter, system.model))


def load_estimator(run: Run, system: System, variables: Sequence[str]) -> Estimator:
    """What recovers articulation in a system that inverts; a DataError if it is not of these variables."""
    inverter = Inverter.from_pretrained(run.folder.model(system.name)).to(run.device)
    if inverter.variables != tuple(variables):
        raise DataError(
            f"the test speech has tracks of {', '.join(variables)}; row {system.name!r} has learned "
            f"{', '.join(inverter.variables)}"
        )

    @torch.inference_mode()
    def estimate_tracks(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        tracks: NDArray[np.float32] = inverter(torch.from_numpy(waveform)[None].to(run.device))[0].cpu().numpy()
        return smoothing.smooth(tracks) if run.config.inversion.smooth else tracks

    return estimate_tracks


class ArticulationJudge:
    """Judges one row.

    Args:
        tracks: what the articulators do in the speech of the test set.
        estimator: of the row; None: every score fails.
        signal_of: what the row makes of a mixture, which the inverter of a cascade is given.
        is_cascade: whether it is one; others are given the mixture itself.
    """

    def __init__(
        self, tracks: SpeakerTracks, estimator: Estimator | None, signal_of: Signal, is_cascade: bool = False
    ) -> None:
        self.tracks, self._estimator = tracks, estimator
        self._signal_of: Signal = signal_of if is_cascade else lambda mixture: mixture.noisy
        self.utterances: list[VariableScores] = []
        self._clean: tuple[str, list[Score]] = ("", [])  # of the last utterance: it comes once for every SNR

    def scores(self, mixture: Mixture) -> dict[str, Score]:
        """Scores of a mixture by key of a metric; those of each variable are kept in `utterances`."""
        if self._estimator is None:
            return {key: Score.failed(NO_INVERTER) for key in KEYS}
        ppmc, errors_mm = self._compare(mixture)
        if self._clean[0] != mixture.utterance_id:
            self._clean = mixture.utterance_id, self._compare(replace(mixture, noisy=mixture.clean))[0]
        by_key = {"ppmc": ppmc, "ppmc_clean": self._clean[1], "rmse_mm": errors_mm}
        of_variables = {
            key: {name: UtteranceScore.of(score) for name, score in zip(self.tracks.names, scores, strict=True)}
            for key, scores in by_key.items()
        }
        self.utterances.append(
            VariableScores(
                id=mixture.id,
                speaker=mixture.speaker,
                snr_db=mixture.snr_db,
                noise=mixture.noise_id,
                ppmc=of_variables["ppmc"],
                ppmc_clean=of_variables["ppmc_clean"],
                rmse_mm=of_variables["rmse_mm"],
            )
        )
        return {key: _mean(scores) for key, scores in by_key.items()}

    def _compare(self, mixture: Mixture) -> tuple[list[Score], list[Score]]:
        """Correlation of each variable, and root mean square error in mm of those that are lengths."""
        assert self._estimator is not None
        estimated = self._estimator(self._signal_of(mixture))
        true = self.tracks.part(mixture.utterance_id, 0, len(mixture.clean))
        frames = min(len(estimated), len(true))
        estimated, true = estimated[:frames], true[:frames]
        failed = Score.failed("no tracks")
        if mixture.utterance_id not in self.tracks.speakers:
            return [failed] * true.shape[1], [failed] * true.shape[1]
        normalisation = self.tracks.normalisation_of(mixture.utterance_id)
        reach = normalisation.reach.astype(np.float32)
        errors = rmse(estimated * reach, true * reach)
        not_a_length = Score.failed("not a length")
        in_mm = [
            error if unit == LENGTH_UNIT else not_a_length
            for error, unit in zip(errors, normalisation.units, strict=True)
        ]
        return correlation(estimated, true), in_mm


def _mean(scores: Sequence[Score]) -> Score:
    """The mean of those that could be computed."""
    values = [score.value for score in scores if score.ok]
    return Score.of(float(np.mean(values))) if values else Score.failed(scores[0].reason or "no variable")


def summarise(run: Run, key: str) -> Articulation:
    """Means of every row, variable, kind of noise and SNR, with intervals over models and speakers."""
    models: dict[str, list[tuple[VariableScores, ...]]] = {}
    for system in run.systems:
        if system.inverts:
            scores = read_record(run.folder / f"rows/{system.name}/{RESULT}", ArticulationScores)
            models.setdefault(system.base, []).append(scores.utterances)
    labels = {system.base: system.label for system in run.systems}
    rows = [
        replace(score, label=labels[base])
        for base, of_models in models.items()
        for score in _summaries(base, of_models)
    ]
    both = [system for system in run.systems if system.inverts and system.network is not None]
    most = [system for system in both if system.learns_encoder] or both
    joint = list(dict.fromkeys(system.base for system in most))
    return Articulation(key=key, rows=tuple(rows), differences=tuple(compare(models, joint)))


def compare(
    models: Mapping[str, Sequence[tuple[VariableScores, ...]]], joint: Sequence[str]
) -> list[ArticulationDifference]:
    """Mean correlations of joint rows less those of all others, in noise, in each kind of it at each SNR, and in clean.

    Model k of one row is paired with model k of the other; of `MIN_MODELS` pairs and more the differences are tested.
    The paper's two claims are families of tests of their own, adjusted by Holm's method: over all noise, and by how
    much more in babble than in other noise. Everything else is the third.
    """
    pairs = [(row, other) for row in joint for other in models if other not in joint]
    families: dict[str, list[ArticulationDifference]] = {}
    for difference in (one for row, other in pairs for one in _differences(row, other, models[row], models[other])):
        is_claim = difference.snr_db is None and difference.noise in ("all", BABBLE_LESS_OTHER)
        families.setdefault(difference.noise if is_claim else "where", []).append(difference)
    return [difference for family in families.values() for difference in adjust_family(family)]


def _differences(
    row: str, against: str, first: Sequence[tuple[VariableScores, ...]], second: Sequence[tuple[VariableScores, ...]]
) -> Iterator[ArticulationDifference]:
    utterances = first[0]
    clusters = clusters_of(utterances, cluster_unit(utterances))
    for (noise, snr_db), gains in _gains_by_condition(first, second).items():
        known = np.isfinite(gains)
        if not known.any(1).all():
            continue
        interval = estimate(np.where(known, gains, 0), known.astype(float), clusters)
        low, high, p_value = (
            value if math.isfinite(value) else None for value in (interval.low, interval.high, interval.p_value)
        )
        yield ArticulationDifference(
            row=row,
            against=against,
            noise=noise,
            snr_db=snr_db,
            difference=interval.value,
            low=low,
            high=high,
            p_value=p_value,
            models=interval.models,
            clusters=interval.clusters,
        )


def _gains_by_condition(
    first: Sequence[tuple[VariableScores, ...]], second: Sequence[tuple[VariableScores, ...]]
) -> dict[tuple[str, float | None], NDArray[np.float64]]:
    """(noise, SNR) -> differences `[model, utterance]`, NaN for utterances under other conditions."""
    utterances, gains = first[0], _gains(first, second, "ppmc")
    in_babble = np.array([utterance.kind == "babble" for utterance in utterances])
    at_db = np.array([math.nan if utterance.snr_db is None else utterance.snr_db for utterance in utterances])
    at = {snr_db: at_db == snr_db for snr_db in np.unique(at_db[np.isfinite(at_db)]).tolist()}
    result: dict[tuple[str, float | None], NDArray[np.float64]] = {("all", None): gains}
    if in_babble.any() and not in_babble.all():
        for noise, of_kind in {"babble": in_babble, "other": ~in_babble}.items():
            result[noise, None] = np.where(of_kind, gains, math.nan)
            result |= {(noise, snr_db): np.where(of_kind & at[snr_db], gains, math.nan) for snr_db in at}
        result[BABBLE_LESS_OTHER, None] = _contrast(gains, in_babble)
    else:
        result |= {("all", snr_db): np.where(at[snr_db], gains, math.nan) for snr_db in at}
    _, once = np.unique([utterance.source for utterance in utterances], return_index=True)
    result["clean", None] = np.full(gains.shape, math.nan)  # a recording comes once for every SNR
    result["clean", None][:, once] = _gains(first, second, "ppmc_clean")[:, once]
    return result


def _gains(
    first: Sequence[tuple[VariableScores, ...]], second: Sequence[tuple[VariableScores, ...]], key: str
) -> NDArray[np.float64]:
    """Differences `[model, utterance]` of mean correlations, of as many models as both have."""
    values = [
        np.array([[_value(getattr(utterance, key), None) for utterance in of_model] for of_model in models])
        for models in (first, second)
    ]
    pairs = min(map(len, values))
    gains: NDArray[np.float64] = values[0][:pairs] - values[1][:pairs]
    return gains


def _contrast(gains: NDArray[np.float64], in_babble: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Contributions `[model, utterance]` whose mean is the mean gain in babble less that in other noise.

    They are that contrast and each utterance's distance from the mean of its kind, by the weight of this kind: so their
    sums over a cluster are the first term of its jackknife, which `estimate` needs.
    """
    contributions = np.full(gains.shape, math.nan)
    known = np.isfinite(gains)
    for of_model, result, is_known in zip(gains, contributions, known, strict=True):
        kinds = is_known & in_babble, is_known & ~in_babble
        if not all(kind.any() for kind in kinds):
            continue
        means = [of_model[kind].mean() for kind in kinds]
        for kind, mean, sign in zip(kinds, means, (1, -1), strict=True):
            result[kind] = means[0] - means[1] + sign * (of_model[kind] - mean) * is_known.sum() / kind.sum()
    return contributions


def _summaries(row: str, models: Sequence[tuple[VariableScores, ...]]) -> Iterator[VariableScore]:
    first = models[0]
    names = tuple(first[0].ppmc)
    unit = cluster_unit(first)
    snrs_db = sorted({utterance.snr_db for utterance in first if utterance.snr_db is not None})
    for variable in (*names, None):
        for kind in ("all", "babble", "other"):
            for snr_db in (*snrs_db, None):
                indices = [
                    index
                    for index, utterance in enumerate(first)
                    if kind in ("all", utterance.kind) and snr_db in (None, utterance.snr_db)
                ]
                if indices:
                    parts = [[of_model[index] for index in indices] for of_model in models]
                    score = VariableScore(row=row, variable=variable, noise=kind, snr_db=snr_db)
                    yield replace(score, **_estimates(parts, variable, "ppmc", unit))
        parts = [list({utterance.source: utterance for utterance in of_model}.values()) for of_model in models]
        score = VariableScore(row=row, variable=variable, noise="clean")
        yield replace(score, **_estimates(parts, variable, "ppmc_clean", unit))


def _estimates(models: Sequence[list[VariableScores]], variable: str | None, key: str, unit: Unit) -> dict[str, Any]:
    values = np.array([[_value(getattr(utterance, key), variable) for utterance in of_model] for of_model in models])
    known = np.isfinite(values)
    interval = estimate(np.where(known, values, 0), known.astype(float), clusters_of(models[0], unit), (-1, 1))
    low, high = (end if math.isfinite(end) else None for end in (interval.low, interval.high))
    value = interval.value if math.isfinite(interval.value) else None
    return {"value": value, "low": low, "high": high, "models": len(models), "scored": int(known.sum())}


def _value(scores: dict[str, UtteranceScore], variable: str | None) -> float:
    """The score of a variable, or the mean of all that could be computed; NaN if there is none."""
    of_variables = scores.values() if variable is None else [scores[variable]]
    values = [score.value for score in of_variables if score.value is not None]
    return float(np.mean(values)) if values else math.nan
