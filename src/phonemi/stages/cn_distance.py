"""Measure how far noise moves every layer: RUN/cn_distance.json, the clean-noisy distance in the spirit of BSSE.

The mixtures, and their hidden states, are those of the test speakers that the information is measured on, at every SNR.
What the models of a row have learned of the encoder is measured beside it, once they are trained, and compared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from phonemi.data.mixing import CleanSpeech
from phonemi.information.clean_noisy_distance import cn_distance
from phonemi.metrics.statistics import MIN_CLUSTERS, MIN_MODELS, Interval, estimate, holm
from phonemi.representations.base import Representation
from phonemi.results.cn_distance import CleanNoisyDistances, LayerDistance
from phonemi.stages.keys import Keys
from phonemi.stages.labelled_frames import encode_split
from phonemi.stages.run import Run
from phonemi.stages.trained_models import is_trained, load_model
from phonemi.tables import plural

RESULT = "cn_distance.json"
RANGE = 0.0, 2.0  # of both distances


class MixtureDistances(NamedTuple):
    """What each mixture adds to the means; mixtures that have no frame are left out."""

    distances: NDArray[np.float64]  # [2, model, mixture, layer], the two of `cn_distance`
    snrs_db: NDArray[np.float64]  # [mixture]
    speakers: list[str]
    utterances: list[str]

    def describe(self) -> str:
        """Its size, for the person who reads the result."""
        utterances, speakers = (len(set(names)) for names in (self.utterances, self.speakers))
        mixtures = plural(len(self.snrs_db), "mixture")
        return f"{mixtures} of {plural(utterances, 'utterance')} of {plural(speakers, 'speaker')}"


def measure_distance(run: Run) -> None:
    """Measure every layer at every SNR, of the encoder and of those that trained rows have learned."""
    learned = [s for s in run.systems if s.changes_encoder and is_trained(run, s)]
    key = run.keys.cn_distance([run.keys.model(system) for system in learned])
    if run.is_done("clean-noisy distance:", RESULT, key):
        return
    settings, rows, average = run.config.information, list[LayerDistance](), list[LayerDistance]()
    with run.folder.timed("clean-noisy distance"):
        frozen = _distances(run, run.encoder, "encoder", run.keys)
        models: dict[str, list[MixtureDistances]] = {}
        for system in learned:
            representation = load_model(run.folder.model(system.name)).representation
            assert representation is not None
            keys = run.keys.with_encoder(run.keys.model(system))
            distances = _distances(run, representation.to(run.device), system.name, keys)
            models.setdefault(system.base, []).append(distances)
        measured = {run.encoder_name: frozen} | {row: _models_together(parts) for row, parts in models.items()}
        for name, mixtures in measured.items():
            for layer in range(mixtures.distances.shape[-1]):
                rows += [_summarise(mixtures, name, layer, snr_db) for snr_db in settings.snrs_db]
                average.append(_summarise(mixtures, name, layer))
        average = _with_changes(average, measured, frozen)
        result = CleanNoisyDistances(
            key=key,
            snrs_db=settings.snrs_db,
            intervals_over=_unit(frozen),
            protocol={
                **settings.model_dump(mode="json", include={"test_utterances", "most_frames", "clips"}),
                "data": frozen.describe(),
            },
            rows=tuple(rows),
            average=tuple(average),
        )
        run.folder.write(RESULT, result.to_json())


@torch.inference_mode()
def _distances(run: Run, representation: Representation, name: str, keys: Keys) -> MixtureDistances:
    """Compare the stored states of every test mixture with those of its clean speech, which are stored too."""
    mixtures, noisy, subset = encode_split(run, representation, "test", name, keys)
    speech = CleanSpeech(mixtures.speech)
    clean = run.states.states(representation, speech, f"information.{name}.clean", keys.frames("test"), subset)
    place = {recording.id: index for index, recording in enumerate(mixtures.speech.recordings)}
    distances, snrs_db, speakers, utterances = [], [], [], []
    for index in run.progress.over(range(len(mixtures)), f"clean-noisy distance of {name}"):
        facts = mixtures.describe(index)
        pair = noisy.of(index), clean.of(place[facts.utterance_id])
        if not len(pair[0]):
            continue
        distances.append(
            torch.stack(cn_distance(*(states.to(run.device).permute(1, 0, 2)[:, None] for states in pair)))
        )
        snrs_db.append(facts.snr_db)
        speakers.append(f"speaker {facts.speaker or facts.utterance_id}")
        utterances.append(facts.utterance_id)
    by_mixture = torch.stack(distances, 1).cpu().double().numpy()[:, None]
    return MixtureDistances(by_mixture, np.array(snrs_db), speakers, utterances)


def _models_together(models: list[MixtureDistances]) -> MixtureDistances:
    """Those of all models of one row; the mixtures are the same ones."""
    return models[0]._replace(distances=np.concatenate([each.distances for each in models], axis=1))


def _unit(mixtures: MixtureDistances) -> str:
    return "speakers" if len(set(mixtures.speakers)) >= MIN_CLUSTERS else "utterances"


def _summarise(mixtures: MixtureDistances, name: str, layer: int, snr_db: float | None = None) -> LayerDistance:
    """The means of a layer over the mixtures at one SNR, or over all; intervals as those of the information."""
    taken = np.flatnonzero(mixtures.snrs_db == snr_db) if snr_db is not None else np.arange(len(mixtures.snrs_db))
    distance, one_minus_cosine = (
        _estimate(mixtures, values[:, taken, layer], taken, RANGE) for values in mixtures.distances
    )
    return LayerDistance(
        representation=name,
        layer=layer,
        snr_db=snr_db,
        utterances=len(taken),
        models=mixtures.distances.shape[1],
        **_cells("distance_sd", distance),
        **_cells("one_minus_cosine", one_minus_cosine),
    )


def _with_changes(
    average: list[LayerDistance], measured: dict[str, MixtureDistances], frozen: MixtureDistances
) -> list[LayerDistance]:
    """Those with how much further noise moves the layers of a row than those of the frozen encoder, paired.

    The p-values are adjusted together; of fewer than three models of a row nothing is tested.
    """
    changes: dict[tuple[str, int], Interval] = {}
    for row in average:
        mixtures = measured[row.representation]
        if mixtures is not frozen and mixtures.distances.shape[-1] == frozen.distances.shape[-1]:
            further = (mixtures.distances - frozen.distances)[0, :, :, row.layer]
            changes[row.representation, row.layer] = _estimate(mixtures, further, np.arange(further.shape[1]))
    tested = [place for place, change in changes.items() if change.models >= MIN_MODELS and np.isfinite(change.p_value)]
    p_values = dict(zip(tested, holm([changes[place].p_value for place in tested]), strict=True))
    return [
        replace(row, **_cells("change_sd", changes[place]), change_p_value=p_values.get(place))
        if (place := (row.representation, row.layer)) in changes
        else row
        for row in average
    ]


def _estimate(
    mixtures: MixtureDistances,
    values: NDArray[np.float64],
    taken: NDArray[np.int64],
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """The mean of values `[model, taken mixture]` over models and mixtures."""
    clusters = getattr(mixtures, _unit(mixtures))
    return estimate(values, np.ones_like(values), [clusters[index] for index in taken], bounds)


def _cells(part: str, interval: Interval) -> dict[str, Any]:
    return {part: interval.value, f"{part}_low": interval.low, f"{part}_high": interval.high}
