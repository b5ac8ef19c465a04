"""Measure how much of the phones every layer holds at every SNR, beside the log1p spectrum: RUN/information.json.

This is figure 1 of Han et al. (2026), section 2.2.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from phonemi.errors import ConfigError
from phonemi.files import content_hash
from phonemi.information.mutual_information import EvaluationSet, MutualInformation, bits, entropy_nats, measure
from phonemi.metrics.statistics import MIN_CLUSTERS, estimate
from phonemi.probes.frames import Features
from phonemi.representations.log1p import Log1p
from phonemi.results.information import Bound, Information, LayerBound
from phonemi.results.record import read_record
from phonemi.stages.data_splits import Split
from phonemi.stages.labelled_frames import LabelledFrames, count_classes, labelled_frames
from phonemi.stages.run import Run
from phonemi.systems import numbered_seed

RESULT = "information.json"
PROBE_SETTINGS = {"depth", "hidden", "dropout", "epochs", "learning_rate", "batch_frames"}  # of `train_probes`
ESTIMATED = ("mi_bits", "mi_nats", "cross_entropy_bits", "accuracy")  # by a probe

ListName = Literal["rows", "average", "validation"]
"""List of a result: test frames at one SNR; of all SNRs, which is the mean over them, since each has the same frames;
or those of other speakers and noises, by which a layer may be chosen."""


class SlotBound(NamedTuple):
    """The MI of a slot: a layer, or the features of a system."""

    slot: int
    snr_db: float | None
    bound: Bound


def measure_information(run: Run) -> None:
    """Measure every layer of the encoder, and the log1p spectrum, at every SNR; launches at once share the two."""
    if run.is_done("information:", RESULT, run.keys.information):
        return
    with run.folder.timed("information"):
        names = {"encoder": run.encoder_name, "log1p": "log1p"}
        frames_of = {file: labelled_frames(run, run.encoder if file == "encoder" else Log1p(), file) for file in names}
        pieces = {
            f"information.{file}": partial(_measure_part, run, file, names[file], frames)
            for file, frames in frames_of.items()
        }
        run.share(pieces)
        encoder, spectrum = (read_record(run.folder / _part_file(file), Information) for file in names)
        information = replace(
            spectrum,
            key=run.keys.information,
            rows=encoder.rows + spectrum.rows,
            average=encoder.average + spectrum.average,
            validation=encoder.validation + spectrum.validation,
        )
        run.folder.write(RESULT, information.to_json())


def _part_file(file: str) -> str:
    return f"cache/layers.{file}.json"


def _measure_part(run: Run, file: str, name: str, splits: dict[Split, LabelledFrames]) -> None:
    """Measure one representation, unless it is measured."""
    settings, key = run.config.information, content_hash(run.keys.information, file)
    if run.folder.is_current(_part_file(file), key):
        return
    description = ", ".join(f"{split} {frames.describe()}" for split, frames in splits.items())
    run.say(f"information: {name}, {description}")
    classes = count_classes(settings)
    entropy_bits = bits(entropy_nats(splits["train"].labels.phones, classes))
    part = Information(
        key=key,
        classes=classes,
        snrs_db=settings.snrs_db,
        protocol={**settings.model_dump(mode="json"), "data": description, "train_entropy_bits": entropy_bits},
        **measure_layers(run, splits, name),
    )
    run.folder.write(_part_file(file), part.to_json())


def measure_layers(run: Run, splits: Mapping[Split, LabelledFrames], name: str) -> dict[str, Any]:
    """Measure every layer of the representation `name`: the lists of `Information`, each a tuple of `LayerBound`.

    Args:
        run: settings of the probes, and where they are trained.
        splits: hidden states of the representation, and their labels.
        name: that the bounds are of.
    """
    features = {split: frames.states.frames for split, frames in splits.items()}
    return {
        list_name: tuple(
            LayerBound(representation=name, layer=layer, snr_db=snr_db, **vars(bound))
            for layer, snr_db, bound in bounds
        )
        for list_name, bounds in measure_frames(run, features, splits, name).items()
    }


def measure_frames(
    run: Run, features: Mapping[Split, Features], splits: Mapping[Split, LabelledFrames], label: str
) -> dict[ListName, list[SlotBound]]:
    """Train one probe for each slot and judge them on every SNR of the test split, on all SNRs, and on validation.

    With several `information.seeds` this is done as often: the bounds are means, `mi_bits_spread` their deviation.

    Args:
        run: settings of the probes, and where they are trained.
        features: of each split, [slot, frame, dim], or hidden states, of which each layer is a slot.
        splits: the labels of these frames.
        label: for the progress bar.
    """
    settings = run.config.information
    labels, utterances, speakers, snrs_db = splits["test"].labels
    sets: dict[tuple[ListName, float | None], EvaluationSet] = {}
    for test_snr_db in settings.snrs_db:
        frames = np.flatnonzero(snrs_db == test_snr_db)
        sets["rows", test_snr_db] = EvaluationSet(features["test"], labels, utterances, speakers, frames)
    sets["average", None] = EvaluationSet(features["test"], labels, utterances, speakers)
    if "validation" in features:
        sets["validation", None] = EvaluationSet(features["validation"], *splits["validation"].labels[:3])
    by_probe: list[dict[tuple[ListName, float | None], list[MutualInformation]]] = []
    with run.progress.task(f"probes of {label}") as task:

        def show(done: int, total: int, loss: float) -> None:
            task.total = total * settings.seeds
            task.advance(len(by_probe) * total + done - task.completed, f"cross-entropy {bits(loss):.3f} bits")

        for number in range(1, settings.seeds + 1):
            bounds = measure(
                features["train"],
                splits["train"].labels.phones,
                sets,
                classes=count_classes(settings),
                seed=numbered_seed(run.config.seed, number),
                min_speakers=MIN_CLUSTERS,
                device=run.device,
                bf16=settings.precision == "bf16",
                progress=show,
                **settings.model_dump(include=PROBE_SETTINGS),
            )
            by_probe.append(bounds)
    lists: dict[ListName, list[SlotBound]] = {"rows": [], "average": [], "validation": []}
    for list_name, snr_db in sets:
        of_slots = zip(*(bounds[list_name, snr_db] for bounds in by_probe), strict=True)
        lists[list_name] += [SlotBound(slot, snr_db, _mean(of_slot)) for slot, of_slot in enumerate(of_slots)]
    return lists


def _mean(bounds: Sequence[MutualInformation]) -> Bound:
    """The same bound by several probes: the mean, and the standard deviation of the MI where there are several."""
    first = asdict(bounds[0])
    if len(bounds) == 1:
        return Bound(**first)
    means = {key: statistics.fmean(getattr(bound, key) for bound in bounds) for key in ESTIMATED}
    sums = np.array([bound.cluster_bits for bound in bounds])
    interval = estimate(sums, np.tile(bounds[0].cluster_frames, (len(bounds), 1)))
    means |= {"mi_bits_low": interval.low, "mi_bits_high": interval.high}
    means |= {"mi_bits_spread": statistics.stdev(bound.mi_bits for bound in bounds)}
    return Bound(**{**first, **means, "cluster_bits": tuple(sums.mean(0).tolist())})


def best_layer(run: Run, needed_by: str) -> int:
    """The layer of the encoder with the highest MI on validation speakers and noises; never the test set."""
    if not run.data.holds_out:
        raise ConfigError(
            f"{needed_by} chooses a layer on held-out data, and there is none: set data.validation_share and "
            "data.noise_folds.validation, or name the layer, as in layer-9"
        )
    run.folder.read(RESULT, run.keys.information, needed_by, "information")
    bounds = read_record(run.folder / RESULT, Information).validation
    layers = [bound for bound in bounds if bound.representation == run.encoder_name]
    return max(layers, key=lambda bound: -math.inf if bound.mi_bits is None else bound.mi_bits).layer
