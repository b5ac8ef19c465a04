"""Measure how much of the phones every layer holds at every SNR, beside the log1p spectrum: RUN/information.json.

This is figure 1 of Han et al. (2026), section 2.2.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from phonemi.config.sections import Information
from phonemi.errors import ConfigError
from phonemi.information.mutual_information import EvaluationSet, MutualInformation, bits, entropy_nats, measure
from phonemi.metrics.statistics import MIN_CLUSTERS
from phonemi.probes.frames import Features
from phonemi.progress import Progress
from phonemi.representations.log1p import Log1p
from phonemi.stages.data_splits import Split
from phonemi.stages.labelled_frames import LabelledFrames, count_classes, labelled_frames
from phonemi.stages.run import Run
from phonemi.systems import numbered_seed

RESULT = "information.json"
PROBE_SETTINGS = {"depth", "hidden", "dropout", "epochs", "learning_rate", "batch_frames"}  # of `train_probes`
ESTIMATED = ("mi_bits", "mi_nats", "cross_entropy_bits", "accuracy", "mi_bits_low", "mi_bits_high")  # by a probe
Tables = dict[str, list[dict[str, Any]]]
"""rows: for each SNR; average: over all SNRs; validation: the same of other speakers and noises."""


def measure_information(run: Run) -> None:
    """Measure every layer of the encoder, and the log1p spectrum, at every SNR."""
    if run.folder.is_current(RESULT, run.keys.information):
        run.say("information: done already")
        return
    settings, config = run.config.information, run.config
    results: Tables = {"rows": [], "average": [], "validation": []}
    with run.folder.timed("information"):
        for representation, name, file in ((run.encoder, run.encoder_name, "encoder"), (Log1p(), "log1p", "log1p")):
            splits = labelled_frames(settings, run.data, run.keys, run.states, representation, file)
            description = ", ".join(f"{split} {frames.describe()}" for split, frames in splits.items())
            run.say(f"information: {name}, {description}")
            features = {split: frames.states.frames for split, frames in splits.items()}
            bounds = measure_frames(settings, features, splits, config.seed, run.device, run.progress, name)
            for table, rows in bounds.items():
                results[table] += [{"representation": name, "layer": row.pop("slot"), **row} for row in rows]
        # The labels are the same for both representations.
        classes, phones = count_classes(settings), splits["train"].labels.phones
        protocol = {
            **settings.model_dump(mode="json"),
            "data": description,
            "train_entropy_bits": bits(entropy_nats(phones, classes)),
        }
        facts = {"unit": "bits", "classes": classes, "snrs_db": settings.snrs_db, "protocol": protocol}
        run.folder.write(RESULT, {"key": run.keys.information, **facts, **results})


def measure_frames(
    settings: Information,
    features: Mapping[Split, Features],
    splits: Mapping[Split, LabelledFrames],
    seed: int,
    device: Any,
    progress: Progress,
    label: str,
) -> Tables:
    """Train one probe for each slot and judge them on every SNR of the test split, on all SNRs, and on validation.

    With several `information.seeds` this is done as often: the rows are means, `mi_bits_spread` their deviation.

    Args:
        settings: of the probes.
        features: of each split, [slot, frame, dim], or hidden states, of which each layer is a slot.
        splits: the labels of these frames.
        seed: of the run.
        device: where the probes are trained.
        progress: where progress is shown.
        label: for the progress bar.

    Returns: Rows with a `slot`. Those of "rows" have an `snr_db`. "average" pools all SNRs, which is the mean over
        them, since each has the same frames. "validation" pools them too; a layer may be chosen by it.
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
    tables: Tables = {"rows": [], "average": [], "validation": []}
    for table, snr_db in sets:
        at_snr = {} if snr_db is None else {"snr_db": snr_db}
        for slot, of_slot in enumerate(zip(*(bounds[table, snr_db] for bounds in by_probe), strict=True)):
            tables[table].append({"slot": slot, **at_snr, **_mean(of_slot)})
    return tables


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
    rows = run.folder.read(RESULT, run.keys.information, needed_by, "information")["validation"]
    layers = [row for row in rows if row["representation"] == run.encoder_name]
    return int(max(layers, key=lambda row: row["mi_bits"])["layer"])


def _mean(bounds: Sequence[MutualInformation]) -> dict[str, Any]:
    """The same bound by several probes: the mean, and the standard deviation of the MI where there are several."""
    rows = [asdict(bound) for bound in bounds]
    if len(rows) == 1:
        return rows[0]
    means = {key: statistics.fmean(row[key] for row in rows) for key in ESTIMATED}
    return {**rows[0], **means, "mi_bits_spread": statistics.stdev(row["mi_bits"] for row in rows)}
