"""Measure how far noise moves every layer: RUN/cn_distance.json, the clean-noisy distance in the spirit of BSSE.

The mixtures, and their hidden states, are those of the test speakers that the information is measured on, at every SNR.
What a row of the run has learned of the encoder is measured beside it, once that row is trained.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from phonemi.data.mixing import CleanSpeech
from phonemi.information.clean_noisy_distance import cn_distance
from phonemi.metrics.statistics import MIN_CLUSTERS, Interval, estimate
from phonemi.representations.base import Representation
from phonemi.results.cn_distance import CleanNoisyDistances, LayerDistance
from phonemi.stages.keys import Keys
from phonemi.stages.labelled_frames import encode_split
from phonemi.stages.run import Run
from phonemi.stages.train import is_trained, load_model
from phonemi.tables import plural

RESULT = "cn_distance.json"
RANGE = 0.0, 2.0  # of both distances


class MixtureDistances(NamedTuple):
    """What each mixture adds to the means; mixtures that have no frame are left out."""

    distances: NDArray[np.float64]  # [2, mixture, layer], the two of `cn_distance`
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
    learned = [s for s in run.systems if s.changes_encoder and s.model == 1 and is_trained(run, s)]
    key = run.keys.cn_distance([run.keys.model(system) for system in learned])
    if run.is_done("clean-noisy distance:", RESULT, key):
        return
    settings, rows, average = run.config.information, list[LayerDistance](), list[LayerDistance]()
    with run.folder.timed("clean-noisy distance"):
        measured = {run.encoder_name: _distances(run, run.encoder, "encoder", run.keys)}
        for system in learned:
            representation = load_model(run.folder.model(system.name)).representation
            assert representation is not None
            keys = run.keys.with_encoder(run.keys.model(system))
            measured[system.name] = _distances(run, representation.to(run.device), system.name, keys)
        for name, mixtures in measured.items():
            for layer in range(mixtures.distances.shape[2]):
                rows += [_summarise(mixtures, name, layer, snr_db) for snr_db in settings.snrs_db]
                average.append(_summarise(mixtures, name, layer))
        result = CleanNoisyDistances(
            key=key,
            snrs_db=settings.snrs_db,
            intervals_over=_unit(mixtures),
            protocol={
                **settings.model_dump(mode="json", include={"test_utterances", "most_frames", "clips"}),
                "data": mixtures.describe(),
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
    by_mixture = torch.stack(distances, 1).cpu().double().numpy()
    return MixtureDistances(by_mixture, np.array(snrs_db), speakers, utterances)


def _unit(mixtures: MixtureDistances) -> str:
    return "speakers" if len(set(mixtures.speakers)) >= MIN_CLUSTERS else "utterances"


def _summarise(mixtures: MixtureDistances, name: str, layer: int, snr_db: float | None = None) -> LayerDistance:
    """The means of a layer over the mixtures at one SNR, or over all; intervals as those of the information."""
    taken = np.flatnonzero(mixtures.snrs_db == snr_db) if snr_db is not None else np.arange(len(mixtures.snrs_db))
    clusters = getattr(mixtures, _unit(mixtures))
    distance, one_minus_cosine = (
        estimate(values[taken, layer], np.ones(len(taken)), [clusters[index] for index in taken], RANGE)
        for values in mixtures.distances
    )
    return LayerDistance(
        representation=name,
        layer=layer,
        snr_db=snr_db,
        utterances=len(taken),
        **_cells("distance_sd", distance),
        **_cells("one_minus_cosine", one_minus_cosine),
    )


def _cells(part: str, interval: Interval) -> dict[str, float]:
    return {part: interval.value, f"{part}_low": interval.low, f"{part}_high": interval.high}
