"""Measure how much of the phones every layer holds at every SNR, beside the log1p spectrum: RUN/information.json.

This is figure 1 of Han et al. (2026), section 2.2.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from phonemi.config.sections import Information as InformationSettings
from phonemi.errors import ConfigError
from phonemi.information.mutual_information import EvaluationSet, MutualInformation, bits, entropy_nats, measure
from phonemi.metrics.statistics import MIN_CLUSTERS
from phonemi.probes.frames import Features
from phonemi.progress import Progress
from phonemi.representations.log1p import Log1p
from phonemi.results.information import Bound, Information, LayerBound
from phonemi.results.record import read_record
from phonemi.stages.data_splits import Split
from phonemi.stages.labelled_frames import LabelledFrames, count_classes, labelled_frames
from phonemi.stages.run import Run
from phonemi.systems import numbered_seed

RESULT = "information.json"
PROBE_SETTINGS = {"depth", "hidden", "dropout", "epochs", "learning_rate", "batch_frames"}  # of `train_probes`
ESTIMATED = ("mi_bits", "mi_nats", "cross_entropy_bits", "accuracy", "mi_bits_low", "mi_bits_high")  # by a probe


class SlotBounds(NamedTuple):
    """The MI of every slot: a layer, or the features of a system."""

    by_snr: dict[float, list[Bound]]  # SNR in dB -> each slot
    average: list[Bound]  # all SNRs pooled, which is the mean over them, since each has the same frames
    validation: list[Bound]  # pooled, of other speakers and noises: what a layer may be chosen by; empty if none


def measure_information(run: Run) -> None:
    """Measure every layer of the encoder, and the log1p spectrum, at every SNR."""
    if run.folder.is_current(RESULT, run.keys.information):
        run.say("information: done already")
        return
    settings, config = run.config.information, run.config
    rows: list[LayerBound] = []
    average: list[LayerBound] = []
    validation: list[LayerBound] = []
    with run.folder.timed("information"):
        for representation, name, file in ((run.encoder, run.encoder_name, "encoder"), (Log1p(), "log1p", "log1p")):
            splits = labelled_frames(settings, run.data, run.keys, run.states, representation, file)
            description = ", ".join(f"{split} {frames.describe()}" for split, frames in splits.items())
            run.say(f"information: {name}, {description}")
            features = {split: frames.states.frames for split, frames in splits.items()}
            bounds = measure_frames(settings, features, splits, config.seed, run.device, run.progress, name)
            for snr_db, at_snr in bounds.by_snr.items():
                rows += _layers(name, at_snr, snr_db)
            average += _layers(name, bounds.average)
            validation += _layers(name, bounds.validation)
        # The labels are the same for both representations.
        classes, phones = count_classes(settings), splits["train"].labels.phones
        protocol = {
            **settings.model_dump(mode="json"),
            "data": description,
            "train_entropy_bits": bits(entropy_nats(phones, classes)),
        }
        information = Information(
            key=run.keys.information,
            classes=classes,
            snrs_db=settings.snrs_db,
            protocol=protocol,
            rows=tuple(rows),
            average=tuple(average),
            validation=tuple(validation),
        )
        run.folder.write(RESULT, information.to_json())


def measure_frames(
    settings: InformationSettings,
    features: Mapping[Split, Features],
    splits: Mapping[Split, LabelledFrames],
    seed: int,
    device: Any,
    progress: Progress,
    label: str,
) -> SlotBounds:
    """Train one probe for each slot and judge them on every SNR of the test split, on all SNRs, and on validation.

    With several `information.seeds` this is done as often: the bounds are means, `mi_bits_spread` their deviation.

    Args:
        settings: of the probes.
        features: of each split, [slot, frame, dim], or hidden states, of which each layer is a slot.
        splits: the labels of these frames.
        seed: of the run.
        device: where the probes are trained.
        progress: where progress is shown.
        label: for the progress bar.
    """
    labels, utterances, speakers, snrs_db = splits["test"].labels
    sets: dict[tuple[str, float | None], EvaluationSet] = {}
    for known_snr_db in settings.snrs_db:
        frames = np.flatnonzero(snrs_db == known_snr_db)
        sets["rows", known_snr_db] = EvaluationSet(features["test"], labels, utterances, speakers, frames)
    sets["average", None] = EvaluationSet(features["test"], labels, utterances, speakers)
    if "validation" in features:
        sets["validation", None] = EvaluationSet(features["validation"], *splits["validation"].labels[:3])
    by_probe: list[dict[tuple[str, float | None], list[MutualInformation]]] = []
    with progress.task(f"probes of {label}") as task:

        def show(done: int, total: int, loss: float) -> None:
            task.total = total * settings.seeds
            task.advance(len(by_probe) * total + done - task.completed, f"cross-entropy {bits(loss):.3f} bits")

        for number in range(1, settings.seeds + 1):
            bounds = measure(
                features["train"],
                splits["train"].labels.phones,
                sets,
                classes=count_classes(settings),
                seed=numbered_seed(seed, number),
                min_speakers=MIN_CLUSTERS,
                device=device,
                bf16=settings.precision == "bf16",
                progress=show,
                **settings.model_dump(include=PROBE_SETTINGS),
            )
            by_probe.append(bounds)
    results = {
        place: [_mean(of_slot) for of_slot in zip(*(bounds[place] for bounds in by_probe), strict=True)]
        for place in sets
    }
    by_snr = {snr_db: results["rows", snr_db] for snr_db in settings.snrs_db}
    return SlotBounds(by_snr, results["average", None], results.get(("validation", None), []))


def _layers(representation: str, bounds: Sequence[Bound], snr_db: float | None = None) -> list[LayerBound]:
    return [
        LayerBound(representation=representation, layer=layer, snr_db=snr_db, **vars(bound))
        for layer, bound in enumerate(bounds)
    ]


def best_layer(run: Run, needed_by: str) -> int:
    """The layer of the encoder with the highest MI on validation speakers and noises; never the test set.

    Raises:
        ConfigError: if none are held out.
        DataError: if the analysis has not been run with this configuration.
    """
    if not run.data.holds_out:
        raise ConfigError(
            f"{needed_by} chooses a layer on held-out data, and there is none: set data.validation_share and "
            "data.noise_folds.validation, or name the layer, as in layer-9"
        )
    run.folder.read(RESULT, run.keys.information, needed_by, "information")
    bounds = read_record(run.folder / RESULT, Information).validation
    layers = [bound for bound in bounds if bound.representation == run.encoder_name]
    return max(layers, key=lambda bound: -math.inf if bound.mi_bits is None else bound.mi_bits).layer


def _mean(bounds: Sequence[MutualInformation]) -> Bound:
    """The same bound by several probes: the mean, and the standard deviation of the MI where there are several."""
    first = asdict(bounds[0])
    if len(bounds) == 1:
        return Bound(**first)
    means = {key: statistics.fmean(getattr(bound, key) for bound in bounds) for key in ESTIMATED}
    return Bound(**{**first, **means}, mi_bits_spread=statistics.stdev(bound.mi_bits for bound in bounds))
