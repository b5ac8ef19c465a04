"""Train the enhancer of every system: RUN/rows/<system>/model (Tables 1 and 2 of Han et al. 2026).

The noisy mixtures are made once. As long as the encoder is frozen, their hidden states are computed once too and
shared by all systems; where the aggregation is frozen as well, so is the sequence that it makes of them, and training
never sees the encoder or its layers. Only a system that learns blocks of the encoder runs it in every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from phonemi.claims import share_of
from phonemi.config import Config
from phonemi.config.sections import Enhance
from phonemi.data.mixing import Mixture, Mixtures
from phonemi.data.speaker_tracks import SpeakerTracks
from phonemi.devices import count_processes
from phonemi.errors import ConfigError, MissingExtra, require_extra
from phonemi.information.phones_kept import PhoneJudge
from phonemi.interruption import Interruption
from phonemi.metrics.intrusive import score_pair
from phonemi.metrics.score import Score
from phonemi.progress import Progress
from phonemi.stages.data_splits import Split
from phonemi.stages.run import Run
from phonemi.stages.system_parts import SystemParts, load_start, new_parts, save_parts, speaker_tracks
from phonemi.stages.trained_models import is_trained, result_file
from phonemi.stages.training_batches import (
    SPLITS,
    StoredInputs,
    TrainingBatches,
    fixed_mixtures,
    mixtures_by_draw,
    stored_states,
    stores_states,
)
from phonemi.stages.training_model import TrainingModel
from phonemi.systems import System, find_system
from phonemi.tables import plural
from phonemi.training.forecast import Forecast, count_text
from phonemi.training.loop import fit
from phonemi.training.settings import fit_settings
from phonemi.training.state import move_to_device
from phonemi.workers import Workers

FIRST_LOOK_STEPS = 2000
PACKAGES = {"pesq_wb_lqo": "pesq", "stoi": "pystoi"}  # score that validation selects on -> the package that it needs


def train_systems(run: Run, only: str | None = None, shard: tuple[int, int] | None = None) -> None:
    """Train the systems of the configuration, or `only` one; they are independent, resumable and skipped when done.

    What another process trains is left to it, and taken over if it does not come to an end. Of n launches, shard (i, n)
    trains every n-th system.
    """
    processes, settings = run.processes, run.config.enhance
    with processes.first_ahead():  # an error is said once, a file hashed once
        systems = [find_system(only)] if only else [run.systems[index] for index in share_of(len(run.systems), shard)]
        trained = [system for system in systems if system.cascade is None]
        keys = {system.name: run.keys.model(system) for system in trained}
    to_train = [s for s in trained if not run.is_done(f"train: {s.name}", result_file(s), keys[s.name])]
    if not to_train:
        return
    with processes.first_ahead():
        processes.require_shares("enhance", settings.accumulate, settings.batch)
        _require_all_there_is(run, to_train)
    jobs = min(settings.jobs, len(to_train))
    if jobs > 1 and processes.count > 1:
        run.say(f"train: one row after the other, each by all {processes.count} processes; enhance.jobs is left aside")
        jobs = 1
    with run.folder.timed("train: mixtures and states"):
        with processes.first_ahead():
            if any(stores_states(run, system) for system in to_train):
                for split in SPLITS:
                    stored_states(run, split)
        mixtures = fixed_mixtures(run) if jobs == 1 else {}
    with run.folder.timed("train: rows"):
        if jobs > 1:
            _train_side_by_side(run, to_train, jobs)
            mixtures = fixed_mixtures(run) if not all(_is_trained(run, system) for system in to_train) else {}
        else:
            forecast = _forecast(run, run.progress, len(to_train))
            for left, system in zip(reversed(range(len(to_train))), to_train, strict=True):
                forecast.updates_after = left * settings.steps
                _share(run, [system], mixtures, forecast, wait=False)
        # What another process was at, perhaps until it was killed.
        _share(run, [system for system in to_train if not _is_trained(run, system)], mixtures)


def _require_all_there_is(run: Run, to_train: list[System]) -> None:
    """Ask now for what the training of these systems needs, and not at the first validation or after hours."""
    settings = run.config.enhance
    if settings.select_on in PACKAGES:
        try:
            require_extra(PACKAGES[settings.select_on], "eval")
        except MissingExtra as error:
            raise MissingExtra(f"{error}, or set enhance.select_on to another score") from None
    for system in to_train:
        if system.network is None and settings.select_on != "loss":
            raise ConfigError(f"row {system.name!r} makes no enhanced speech to score: set enhance.select_on=loss")
        if system.inverter is not None and settings.start is not None:
            raise ConfigError(f"row {system.name!r}: what inverts begins anew: set enhance.start=null")
        if settings.purpose == "recognition" and (system.learns_aggregation or system.learns_encoder):
            raise ConfigError(f"row {system.name!r}: its two networks share features, so that these cannot be learned")
    if any(system.inverter is not None for system in to_train):
        speaker_tracks(run)
    if settings.phone_weight:
        PhoneJudge.load(settings.phone_judge)
    if settings.artefact_weight > 1 and not settings.si_sdr_weight:
        raise ConfigError("enhance.artefact_weight weighs a part of the SI-SDR in the loss: set enhance.si_sdr_weight")
    if settings.purpose == "recognition" and settings.start is None:
        raise ConfigError("a network for recognition goes on from one for listening: set enhance.start")
    if settings.start is not None:
        for system in to_train:
            load_start(settings.start, system, run.encoder if system.uses_encoder else None)


def _share(
    run: Run,
    systems: list[System],
    mixtures: dict[Split, list[Mixture]],
    forecast: Forecast | None = None,
    wait: bool = True,
) -> None:
    """Train with other launches what is not trained yet."""

    def train(system: System) -> None:
        if not _is_trained(run, system):
            train_system(run, system, mixtures, forecast)

    run.share({f"row.{system.name}": partial(train, system) for system in systems}, wait)


def _is_trained(run: Run, system: System) -> bool:
    """What process 0 sees, so that all processes do the same."""
    return run.processes.from_first(lambda: is_trained(run, system))


def _forecast(run: Run, progress: Progress, rows: int, jobs: int = 1) -> Forecast:
    """What is said before a long training of so many rows."""
    steps, papers = run.config.enhance.steps, Enhance.model_fields["steps"].default
    work = f"{count_text(steps)} updates" + (f" of each of {plural(rows, 'row')}" if rows > 1 else "")
    work += ", the paper's number" if steps == papers else ""
    advice = f"--set enhance.steps={FIRST_LOOK_STEPS} for a first look" if steps > FIRST_LOOK_STEPS else ""
    return Forecast(lambda text: progress.say(f"train: {text}"), work, advice, jobs)


def train_system(
    run: Run, system: System, mixtures: dict[Split, list[Mixture]], forecast: Forecast | None = None
) -> None:
    """Train one system on the mixtures of the two splits and save its model."""
    settings, key = run.config.enhance, run.keys.model(system)
    parts = new_parts(run, system)
    model, inputs = _training_model(run, system, parts)
    tracks, validation_mixtures = parts.tracks, mixtures_by_draw(run, "validation", mixtures)
    with Workers(score_pair, count_processes(), "scoring") as scoring:
        result = fit(
            model,
            batch_at=TrainingBatches(
                mixtures_by_draw(run, "train", mixtures),
                inputs.get("train"),
                settings.batch,
                system.seed(run.config.seed),
                settings.shuffle,
                tracks["train"],
            ),
            loss=lambda model, batch: model(batch),
            settings=fit_settings(
                settings,
                checkpoint_every=settings.validate_every,
                seed=system.seed(run.config.seed),
                higher_is_better=settings.select_on != "loss",
                learning_rate_of=_rate_of_encoder(settings) if system.learns_encoder else None,
            ),
            folder=run.folder / "rows" / system.name / "checkpoints" / key,
            label=system.name,
            # The generator of torch is a function of the step here.
            validate=lambda _: _validate(
                run,
                model,
                validation_mixtures(int(torch.randint(2**31, ()))),
                inputs.get("validation"),
                scoring,
                tracks["validation"],
            ),
            tracker=run.tracker,
            progress=run.progress,
            device=run.device,
            forecast=forecast,
        )
    model.cpu()
    facts = {"row": system.name, settings.select_on: result.best_value, "best_step": result.best_step}
    if run.folder.writes:
        save_parts(run, system, parts, facts)
    if system.uses_encoder and not system.changes_encoder:
        run.encoder.to(run.device)  # it may be a part of the model, and the next row needs it there
    run.folder.write(result_file(system), {"key": key, "label": system.label, **facts})


def _training_model(run: Run, system: System, parts: SystemParts) -> tuple[TrainingModel, dict[Split, StoredInputs]]:
    """What of a system runs in every step, and the stored inputs of the two splits, if it has any."""
    settings = run.config.enhance
    judge = PhoneJudge.load(settings.phone_judge) if settings.phone_weight else None
    if judge is not None:
        judge.encoder.to(run.device)
        judge.probe.to(run.device).requires_grad_(False)
    is_paired = settings.feature_reference == "paired"
    losses = (
        settings.si_sdr_weight,
        settings.artefact_weight,
        settings.kept_noise_db,
        judge,
        settings.phone_weight,
        is_paired,
    )
    of_enhancer = None if parts.network is None else parts.aggregation
    if not stores_states(run, system):
        return TrainingModel(parts.network, of_enhancer, parts.representation, *losses, parts.inversion), {}
    needs_layers = system.learns_aggregation or parts.inversion is not None
    learned, frozen = (of_enhancer, None) if needs_layers else (None, of_enhancer)
    inputs: dict[Split, StoredInputs] = {}
    if system.uses_encoder:
        inputs = {split: StoredInputs(stored_states(run, split), frozen, run.device) for split in SPLITS}
    return TrainingModel(parts.network, learned, None, *losses, parts.inversion), inputs


def _rate_of_encoder(settings: Enhance) -> dict[str, float] | None:
    rate = settings.encoder_learning_rate
    return None if rate is None else {"representation.": rate}


def _validate(
    run: Run,
    model: TrainingModel,
    mixtures: Mixtures,
    inputs: StoredInputs | None,
    scoring: Workers[dict[str, Score]],
    tracks: SpeakerTracks | None = None,
) -> dict[str, float]:
    """Mean scores over the validation mixtures, each enhanced alone, or their mean loss."""
    settings = run.config.enhance
    if settings.select_on == "loss":
        batches = TrainingBatches(lambda _: mixtures, inputs, 1, run.config.seed, shuffle=False, tracks=tracks)
        losses = [float(model(move_to_device(batches(index), run.device))) for index in range(len(mixtures))]
        return {"loss": float(np.mean(losses))}

    network = model.network
    assert network is not None

    def enhanced_pairs() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for index in range(len(mixtures)):
            item = mixtures[index]
            noisy = torch.from_numpy(item.noisy)[None].to(run.device)
            stored = None if inputs is None else inputs(np.array([index])).to(run.device)
            features = model.features(noisy, [len(item.noisy)], stored)
            yield network.enhance(noisy, features)[0].float().cpu().numpy(), item.noisy, item.clean

    scores = list(scoring.over(enhanced_pairs()))
    values = {key: [of_pair[key].value for of_pair in scores if of_pair[key].ok] for key in scores[0]}
    if not values[select_on := settings.select_on]:
        reason = scores[0][select_on].reason
        raise ConfigError(f"enhance.select_on is {select_on!r}, which could not be computed: {reason}")
    return {key: float(np.mean(of_key)) for key, of_key in values.items() if of_key}


def _train_side_by_side(run: Run, systems: list[System], jobs: int) -> None:
    """Several systems at a time, each in a process with its share of the cores: an LSTM makes poor use of several."""
    with (
        Interruption(),
        Workers(_train_in_process, jobs, "training", "run it again with --set enhance.jobs=1") as training,
        run.progress.task("rows", len(systems)) as task,
    ):
        announced = [len(systems) if run.progress.is_enabled else 0, *[0] * (len(systems) - 1)]
        arguments = zip(systems, announced, strict=True)
        for _ in training.as_completed((run.folder.path, run.config, system.name, rows) for system, rows in arguments):
            task.advance()


def _train_in_process(folder: Path, config: Config, name: str, announced_rows: int) -> None:
    """Train one row; one process announces how long all of them take."""
    run = Run(folder, config, save=False)
    forecast = None
    if announced_rows:
        forecast = _forecast(run, Progress(), announced_rows, min(config.enhance.jobs, announced_rows))
        forecast.updates_after = (announced_rows - 1) * config.enhance.steps
    _share(run, [find_system(name)], fixed_mixtures(run), forecast, wait=False)
