"""Pre-train the linguistic aggregations on noisy speech with phones: RUN/aggregations/{ws,dws}, for model 2 ws@2, ...

Han et al. (2026), sections 3 and 3.1: the aggregation and a linear probe minimise the cross-entropy of the phones,
which maximises the lower bound of the MI; then the aggregation is frozen. The probe is kept beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.aggregations import (
    Aggregation,
    DynamicWeightedSum,
    NormalisedWeightedSum,
    WeightedSum,
    load_aggregation,
    save_aggregation,
)
from phonemi.config.sections import Aggregate
from phonemi.constants import IGNORE
from phonemi.enhancers.purpose import PhoneProbe
from phonemi.errors import ConfigError
from phonemi.files import read_json
from phonemi.probes.aggregation_probe import AggregationProbe
from phonemi.representations.base import Representation
from phonemi.stages.data_splits import Split
from phonemi.stages.labelled_frames import LabelledFrames, count_classes, labelled_frames
from phonemi.stages.run import Run
from phonemi.systems import numbered_name, numbered_seed
from phonemi.training.loop import fit
from phonemi.training.settings import fit_settings
from phonemi.weights.tensors import load_weights, save_weights

FRAMES_AT_ONCE = 8192  # of validation
LOSS = "validation_cross_entropy_nats"  # what the checkpoint is chosen by, where speakers are held out
PROBE_FILE = "probe.safetensors"
KINDS = {"weighted_sum": "ws", "dynamic_weighted_sum": "dws"}  # what is pre-trained -> as the configuration calls it


def pretrain_aggregations(run: Run) -> None:
    """Pre-train every aggregation of the configuration that is not there yet: one for each model of the systems.

    Launches at once share them.
    """
    settings, splits = run.config.aggregate, dict[bool, dict[Split, LabelledFrames]]()
    with run.processes.first_ahead():  # an error is said once, a file hashed once
        key = run.keys.aggregations

    def pretrain(kind: str, model: int) -> None:
        name = numbered_name(kind, model)
        if run.is_done(f"aggregate: {name}", _result(name), key):
            return
        with run.processes.first_ahead():
            run.processes.require_shares("aggregate", settings.accumulate, settings.batch_frames, "batch_frames")
        with run.folder.timed("aggregate"):
            dynamic = kind == "dws" and run.data.has_dynamic_data
            if dynamic not in splits:
                with run.processes.first_ahead():
                    splits[dynamic] = labelled_frames(run, run.encoder, dynamic=dynamic)
            _pretrain(run, kind, model, splits[dynamic])

    pieces = {}
    for kind in settings.aggregations:
        learners = [s for s in run.systems if s.is_pretrained and KINDS[s.aggregation or ""] == kind]
        for model in range(1, 1 + max((system.model for system in learners), default=1)):
            pieces[f"aggregate.{numbered_name(kind, model)}"] = partial(pretrain, kind, model)
    run.share(pieces)


def new_aggregation(settings: Aggregate, encoder: Representation, kind: str) -> Aggregation:
    """An untrained "ws" (weighted sum), "dws" (dynamic weighted sum) or "normalised_weighted_sum" of the layers."""
    if kind == "ws":
        return WeightedSum(encoder.layers, normalise_layers=settings.normalise_layers)
    if kind == NormalisedWeightedSum.kind:
        return NormalisedWeightedSum(encoder.layers, encoder.dim, first_layer=settings.first_layer)
    options = settings.model_dump(include={"normalise_layers", "projection_bias", "projection_dim"})
    return DynamicWeightedSum(encoder.layers, encoder.dim, **options)


def linguistic_aggregation(run: Run, kind: str, needed_by: str, model: int = 1) -> Aggregation:
    """The pre-trained aggregation of this run, "ws" or "dws", that a model of a system starts from.

    Raises:
        ConfigError, DataError: if the configuration does not ask for it, or it has not been pre-trained with this one.
    """
    if kind not in run.config.aggregate.aggregations:
        raise ConfigError(f"{needed_by} needs the aggregation {kind!r}: add it to aggregate.aggregations")
    name = numbered_name(kind, model)
    run.folder.read(_result(name), run.keys.aggregations, needed_by, "aggregate")
    return load_aggregation(run.folder / "aggregations" / name, layers=run.encoder.layers, dim=run.encoder.dim)


def linguistic_probe(run: Run, kind: str, model: int = 1) -> PhoneProbe:
    """The phone probe that this aggregation was learned with.

    To it, phones can be told up to an entropy of its cross-entropy on held-out speech in noise, where there is any.
    """
    name = numbered_name(kind, model)
    entropy = read_json(run.folder / _result(name))[LOSS]
    entropies = {} if entropy is None else {"low_entropy_nats": entropy, "high_entropy_nats": entropy + 1}
    probe = PhoneProbe(run.encoder.dim, count_classes(run.config.information), **entropies)
    load_weights(probe.linear, run.folder / "aggregations" / name / PROBE_FILE)
    return probe


def _result(name: str) -> str:
    return f"aggregations/{name}/result.json"


def _pretrain(run: Run, kind: str, model_number: int, splits: Mapping[Split, LabelledFrames]) -> None:
    settings, name = run.config.aggregate, numbered_name(kind, model_number)
    seed = numbered_seed(run.config.seed, model_number)
    torch.manual_seed(seed)
    aggregation = new_aggregation(settings, run.encoder, kind)
    model = AggregationProbe(aggregation, run.encoder.dim, count_classes(run.config.information))
    states, phones = splits["train"].states.frames, splits["train"].labels.phones
    with_phone = np.flatnonzero(phones.numpy() != IGNORE)

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        frames = np.random.default_rng([seed, step]).choice(with_phone, settings.batch_frames)
        in_order = torch.from_numpy(np.sort(frames))  # of the file, which is memory-mapped
        return states.batch(in_order), phones[in_order]

    @torch.inference_mode()
    def validate(model: nn.Module) -> dict[str, float]:
        held_out, labels = splits["validation"].states.frames, splits["validation"].labels.phones
        every_seventh = torch.from_numpy(np.flatnonzero(labels.numpy() != IGNORE)[::7])
        total = 0.0
        for frames in every_seventh.split(FRAMES_AT_ONCE):
            batch = held_out.batch(frames).to(run.device)
            total += len(frames) * model(batch, labels[frames].to(run.device)).item()
        return {LOSS: total / len(every_seventh)}

    folder, quarter = run.folder / "aggregations" / name, max(1, settings.steps // 4)
    choice = {"select_on": LOSS, "higher_is_better": False} if run.data.holds_out else {}
    result = fit(
        model,
        batch_at=batch_at,
        loss=lambda model, batch: model(*batch),
        settings=fit_settings(
            settings, eps=1e-8, validate_every=quarter, checkpoint_every=quarter, seed=seed, **choice
        ),
        folder=folder / "checkpoints" / run.keys.aggregations,
        label=f"{name} (linguistic)",
        validate=validate if run.data.holds_out else None,
        tracker=run.tracker,
        progress=run.progress,
        device=run.device,
    )
    model.cpu()
    if run.folder.writes:
        save_aggregation(aggregation, folder)
        save_weights(model.linear, folder / PROBE_FILE)
    content = {"key": run.keys.aggregations, "kind": kind, "step": result.best_step, LOSS: result.best_value}
    run.folder.write(_result(name), content)
