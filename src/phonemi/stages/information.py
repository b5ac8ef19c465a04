"""Noisy speech with phones -> RUN/information.json: MI by layer and SNR, beside log1p (Fig. 1 of the main paper)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from phonemi.data.alignment import IGNORE, inventory
from phonemi.data.manifest import Recording, speaker_of
from phonemi.data.mixing import PlannedMixtures, generator
from phonemi.data.store import AudioStore
from phonemi.errors import ConfigError, DataError
from phonemi.information.mutual_information import EvaluationSet, bits, entropy_nats, measure
from phonemi.representations.base import Representation
from phonemi.representations.log1p import Log1p
from phonemi.signal import SAMPLE_RATE, ssl_frames
from phonemi.stages.hidden_states import Kept, States, cached_states, labels_of
from phonemi.stages.run import Run
from phonemi.systems.system import numbered_seed

RESULT = "information.json"
AVERAGE = "average"  # all SNRs pooled: the same frames at each, so it is the mean over SNRs
PROBE = {"depth", "hidden", "dropout", "epochs", "learning_rate", "batch_frames"}  # settings of `train_probes`
JUDGED = ("mi_bits", "mi_nats", "cross_entropy_bits", "accuracy", "mi_bits_low", "mi_bits_high")  # by a probe
VALIDATION = "validation"  # pooled too, other speakers and noises: what a layer may be chosen by


def run(run: Run) -> None:
    """Measure every layer of the encoder and the log1p spectrum at every SNR."""
    key = result_key(run)
    if run.is_done(RESULT, key):
        run.say("information: done already")
        return
    with run.timed("information"):
        rows = []
        for representation, name in ((run.representation, run.representation_name), (Log1p(), "log1p")):
            material = Material(run, representation)
            run.say(f"information: {name}, {material.describe()}")
            for row in material.measure({split: states.by_layer for split, states in material.states.items()}, name):
                rows.append({"representation": name, "layer": row.pop("slot"), **row})
        run.write(RESULT, {"key": key, **_protocol(run, material), **_by_split(rows)})


def result_key(run: Run) -> str:
    """Hash of what the result depends on."""
    return run.key("information", run.config.information, run.encoder_key)


def best_layer(run: Run, needed_by: str) -> int:
    """The layer of the encoder with the highest MI on validation speakers and noises; never the test set.

    Raises:
        ConfigError: if none are held out.
        DataError: if the analysis has not been run with this configuration.
    """
    if not run.holds_out:
        raise ConfigError(
            f"{needed_by} chooses a layer on held-out data, and there is none: set data.validation_share and "
            "data.noise_folds.validation, or name the layer, as in layer-9"
        )
    rows = run.read(RESULT, result_key(run), needed_by, "information")["validation"]
    own = [row for row in rows if row["representation"] == run.representation_name]
    return max(own, key=lambda row: row["mi_bits"])["layer"]


class Material:
    """What probes are trained and judged on: states, labels and who spoke, by split; validation only if held out."""

    def __init__(self, run: Run, representation: Representation, dynamic: bool = False):
        """Encode what is not in RUN/cache yet; with `dynamic`, the training part is what dws is pre-trained on."""
        self.run = run
        settings = run.config.information
        self.classes = len(inventory(settings.stress))
        key = run.key(
            "information", settings.model_dump(include={"snrs_db", "copies", "train_utterances", "test_utterances"})
        )
        name = representation.name if representation.name == "log1p" else "encoder"
        self.states: dict[str, States] = {}
        self.mixtures: dict[str, PlannedMixtures] = {}
        kept: dict[str, Kept | None] = {}
        for split in ("train", "validation", "test") if run.holds_out else ("train", "test"):
            mixtures = planned(run, split, dynamic)
            part = "dynamic" if dynamic and split == "train" else split
            share = 1.0 if settings.most_frames is None else settings.most_frames / frames_of(mixtures)
            # What is judged has the same labels at every SNR; what is learned from, as many places as there can be.
            of_each: Literal["utterance", "copy"] = "copy" if split == "train" else "utterance"
            kept[split] = Kept(share, of_each, run.config.seed) if share < 1 else None
            self.mixtures[split] = mixtures
            self.states[split] = cached_states(
                run, representation, mixtures, f"information.{name}.{part}", f"{key} {part}", kept[split]
            )
        self.labels = {
            split: labels_of(mixtures, settings.label_at, settings.silence, settings.stress, kept[split])
            for split, mixtures in self.mixtures.items()
        }
        for split, labels in self.labels.items():
            if bool((labels.phones == IGNORE).all()):
                raise DataError(f"no frame of the {split} split has a phone that is known: expected ARPAbet")

    def measure(self, features: Mapping[str, Tensor], label: str) -> list[dict[str, Any]]:
        """Train one probe per slot and judge them on every SNR of the test split, on all pooled, and on validation.

        With several `information.seeds` this is done as often: the rows are means, `mi_bits_spread` their deviation.

        Args:
            features: of each split, [slot, frame, dim].
            label: for the progress bar.
        """
        settings = self.run.config.information
        labels, utterances, speakers, snrs_db = self.labels["test"]
        sets: dict[Any, EvaluationSet] = {}
        for snr_db in settings.snrs_db:
            frames = np.flatnonzero(snrs_db == snr_db)
            sets[snr_db] = EvaluationSet(features["test"], labels, utterances, speakers, frames)
        sets[AVERAGE] = EvaluationSet(features["test"], labels, utterances, speakers)
        if VALIDATION in features:
            sets[VALIDATION] = EvaluationSet(features[VALIDATION], *self.labels[VALIDATION][:3])
        found: list[list[dict[str, Any]]] = []
        with self.run.progress.task(f"probes of {label}") as task:

            def show(done: int, total: int, loss: float) -> None:
                task.total = total * settings.seeds
                task.advance(len(found) * total + done - task.completed, f"cross-entropy {bits(loss):.3f} bits")

            for number in range(1, settings.seeds + 1):
                rows = measure(
                    features["train"],
                    self.labels["train"].phones,
                    sets,
                    classes=self.classes,
                    seed=numbered_seed(self.run.config.seed, number),
                    device=self.run.device,
                    bf16=settings.precision == "bf16",
                    progress=show,
                    **settings.model_dump(include=PROBE),
                )
                found.append(rows)
        return [_mean(same) for same in zip(*found, strict=True)]

    def describe(self) -> str:
        """Sizes of the splits, for the person watching."""
        parts = []
        for split, mixtures in self.mixtures.items():
            speakers = self.labels[split].speakers
            frames = self.states[split].starts[-1]
            of = f" of {frames_of(mixtures) * 0.02 / 3600:.2f}" if self.run.config.information.most_frames else ""
            hours = f"{frames * 0.02 / 3600:.2f}{of} h"
            parts.append(f"{split} {len(mixtures)} mixtures of {len(np.unique(speakers))} speakers ({hours})")
        return ", ".join(parts)


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The same row by several probes -> their mean, and the standard deviation of their MI."""
    if len(rows) == 1:
        return rows[0]
    means = {key: statistics.fmean(row[key] for row in rows) for key in JUDGED}
    return {**rows[0], **means, "mi_bits_spread": statistics.stdev(row["mi_bits"] for row in rows)}


def frames_of(mixtures: PlannedMixtures) -> int:
    """About how many frames the utterances of a split have at all their SNRs, from the manifest alone."""
    each = sum(ssl_frames(round(recording.duration_s * SAMPLE_RATE)) for recording in mixtures.speech.recordings)
    return each * len(mixtures) // len(mixtures.speech.recordings)


def planned(run: Run, split: str, dynamic: bool = False) -> PlannedMixtures:
    """The noisy utterances of a split: `copies` drawn SNRs for training, every SNR for testing."""
    dynamic = dynamic and split == "train"
    settings = run.config.information
    limit = {"train": settings.train_utterances, "validation": None, "test": settings.test_utterances}[split]
    labelled = [
        recording
        for recording in (run.dynamic_speech if dynamic else run.speech[split])
        if recording.phones is not None
    ]
    if not labelled:
        raise DataError(
            f"no recording of the {split} split has phones: run `phonemi align` on the manifests of data.speech"
        )
    return PlannedMixtures(
        AudioStore(evenly(labelled, limit, run.config.seed)),
        run.dynamic_noise_store() if dynamic else run.noise_store(split),
        snrs_db=settings.snrs_db,
        seed=run.config.seed,
        per_utterance=settings.copies if split == "train" else None,
    )


def evenly(recordings: Sequence[Recording], limit: int | None, seed: int) -> list[Recording]:
    """At most `limit` recordings, one of each speaker before a second of any; the order of the manifest is kept."""
    if limit is None or limit >= len(recordings):
        return list(recordings)
    by_speaker: dict[str, list[int]] = {}
    for index in generator(seed, "evenly").permutation(len(recordings)):
        by_speaker.setdefault(speaker_of(recordings[index]), []).append(int(index))
    turns = sorted((turn, index) for own in by_speaker.values() for turn, index in enumerate(own))
    return [recordings[index] for index in sorted(index for _, index in turns[:limit])]


def _protocol(run: Run, material: Material) -> dict[str, Any]:
    return {
        "unit": "bits",
        "classes": material.classes,
        "snrs_db": run.config.information.snrs_db,
        "protocol": {
            **run.config.information.model_dump(mode="json"),
            "data": material.describe(),
            "train_entropy_bits": bits(entropy_nats(material.labels["train"].phones, material.classes)),
        },
    }


def _by_split(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows per SNR, their average, and those of the validation split, apart."""
    named = {AVERAGE: "average", VALIDATION: "validation"}
    found: dict[str, list[dict[str, Any]]] = {"rows": [], "average": [], "validation": []}
    for row in rows:
        place = named.get(row["snr_db"], "rows")
        found[place].append(row if place == "rows" else {key: value for key, value in row.items() if key != "snr_db"})
    return found
