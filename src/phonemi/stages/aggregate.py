"""Noisy speech with phones -> RUN/aggregations/{ws,dws}: linguistic aggregations, pre-trained with a linear probe.

Sections 3 and 3.1 of the main paper: the aggregation and a linear probe minimise the cross-entropy of the phones, which
maximises the lower bound of the MI; the probe is thrown away and the aggregation frozen.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.aggregations.base import Aggregation
from phonemi.aggregations.dynamic_weighted_sum import DynamicWeightedSum
from phonemi.aggregations.storage import load_aggregation, save_aggregation
from phonemi.aggregations.weighted_sum import WeightedSum
from phonemi.data.alignment import IGNORE
from phonemi.errors import ConfigError
from phonemi.files import write_json
from phonemi.probes.aggregation_probe import AggregationProbe
from phonemi.probes.frames import FrameStates
from phonemi.stages.information import Material
from phonemi.stages.run import Run
from phonemi.training.loop import FitSettings, fit

VALIDATED_AT_ONCE = 8192  # frames


def run(run: Run) -> None:
    """Pre-train every aggregation of the configuration that is not there yet."""
    materials: dict[bool, Material] = {}
    for kind in run.config.aggregate.aggregations:
        if run.is_done(f"aggregations/{kind}/result.json", result_key(run)):
            run.say(f"aggregate: {kind} done already")
            continue
        with run.timed("aggregate"):
            dynamic = kind == "dws" and bool(run.config.data.dynamic_speech or run.config.data.dynamic_noise)
            if dynamic not in materials:
                materials[dynamic] = Material(run, run.representation, dynamic)
            _pretrain(run, kind, materials[dynamic])


def result_key(run: Run) -> str:
    """Hash of what an aggregation depends on."""
    settings = run.config.information
    material = settings.for_key(include={"snrs_db", "copies", "train_utterances", "silence", "stress", "label_at"})
    if settings.most_frames is not None:
        material["most_frames"] = settings.most_frames
    return run.key(
        "aggregate", run.config.aggregate.for_key(exclude={"aggregations", "renormalise"}), material, run.encoder_key
    )


def new_aggregation(run: Run, kind: str) -> Aggregation:
    """An untrained aggregation for the run's encoder, `"ws"` or `"dws"`."""
    settings, encoder = run.config.aggregate, run.representation
    if kind == "ws":
        return WeightedSum(encoder.layers, normalise_layers=settings.normalise_layers)
    return DynamicWeightedSum(
        encoder.layers,
        encoder.dim,
        normalise_layers=settings.normalise_layers,
        projection_bias=settings.projection_bias,
        projection_dim=settings.projection_dim,
    )


def linguistic(run: Run, kind: str, needed_by: str) -> Aggregation:
    """The pre-trained aggregation of this run.

    Raises:
        ConfigError: if the configuration does not ask for it.
        DataError: if it has not been pre-trained with this configuration.
        ModelError: if it was made for another encoder.
    """
    if kind not in run.config.aggregate.aggregations:
        raise ConfigError(f"{needed_by} needs the aggregation {kind!r}: add it to aggregate.aggregations")
    run.read(f"aggregations/{kind}/result.json", result_key(run), needed_by, "aggregate")
    representation = run.representation
    return load_aggregation(run.folder / "aggregations" / kind, layers=representation.layers, dim=representation.dim)


def _pretrain(run: Run, kind: str, material: Material) -> None:
    settings = run.config.aggregate
    torch.manual_seed(run.config.seed)
    aggregation = new_aggregation(run, kind)
    model = AggregationProbe(aggregation, run.representation.dim, material.classes)
    states, phones = FrameStates(material.states["train"].values), material.labels["train"].phones
    labelled = np.flatnonzero(phones.numpy() != IGNORE)

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        drawn = np.random.default_rng([run.config.seed, step]).choice(labelled, settings.batch_frames)
        chosen = torch.from_numpy(np.sort(drawn))  # in order of the file, which is memory-mapped
        return states.batch(chosen), phones[chosen]

    @torch.inference_mode()
    def validate(model: nn.Module) -> dict[str, float]:
        held_out = FrameStates(material.states["validation"].values)
        known = torch.from_numpy(np.flatnonzero(material.labels["validation"].phones.numpy() != IGNORE)[::7])
        phones, summed = material.labels["validation"].phones, 0.0
        for chosen in known.split(VALIDATED_AT_ONCE):
            batch = held_out.batch(chosen).to(run.device)
            summed += len(chosen) * model(batch, phones[chosen].to(run.device)).item()
        return {"validation_cross_entropy_nats": summed / len(known)}

    folder = run.folder / "aggregations" / kind
    result = fit(
        model,
        batch_at=batch_at,
        loss=lambda model, batch: model(*batch),
        settings=FitSettings(
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            eps=1e-8,
            validate_every=max(1, settings.steps // 4),
            checkpoint_every=max(1, settings.steps // 4),
            seed=run.config.seed,
        ),
        folder=folder / "checkpoints" / result_key(run),
        label=f"{kind} (linguistic)",
        validate=validate if run.holds_out else None,
        tracker=run.tracker,
        progress=run.progress,
        device=run.device,
    )
    save_aggregation(aggregation.cpu(), folder)
    reached = [row["validation_cross_entropy_nats"] for row in result.history if "validation_cross_entropy_nats" in row]
    write_json(
        folder / "result.json",
        {"key": result_key(run), "kind": kind, "validation_cross_entropy_nats": reached[-1] if reached else None},
    )
