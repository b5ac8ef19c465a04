"""Train the enhancer of every system: RUN/rows/<system>/model (Tables 1 and 2 of Han et al. 2026).

The noisy mixtures are made once. As long as the encoder is frozen, their hidden states are computed once too and
shared by all systems; where the aggregation is frozen as well, so is the sequence that it makes of them, and training
never sees the encoder or its layers. Only a system that learns blocks of the encoder runs it in every step.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phonemi.aggregations import Aggregation, SingleLayer, WeightedSum
from phonemi.claims import share_of
from phonemi.config import Config
from phonemi.config.sections import Enhance
from phonemi.data.mixing import Mixture, Mixtures
from phonemi.data.speaker_tracks import SpeakerTracks
from phonemi.data.store import AudioStore
from phonemi.devices import count_processes
from phonemi.enhancers.base import EnhancerNetwork
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.pretrained import NETWORKS, build_network
from phonemi.enhancers.purpose import PhoneProbe
from phonemi.errors import ConfigError, DataError, MissingExtra, require_extra
from phonemi.files import read_json
from phonemi.information.phones_kept import PhoneJudge
from phonemi.interruption import Interruption
from phonemi.inversion.inverter import INVERTER, Inverter
from phonemi.inversion.inverter import MODEL_TYPE as INVERTER_TYPE
from phonemi.inversion.networks import GruInverter, build_inverter_network
from phonemi.metrics.intrusive import score_pair
from phonemi.metrics.score import Score
from phonemi.progress import Progress
from phonemi.representations.base import Representation
from phonemi.representations.feature_normalisation import FeatureNormalisation, Statistics, measure_statistics
from phonemi.representations.stored import ENCODER, hear_alike
from phonemi.signal import SSL_HOP
from phonemi.stages import aggregate, information
from phonemi.stages.data_splits import Split, draw_evenly
from phonemi.stages.run import ENCODER_MODEL, Run
from phonemi.stages.training_batches import (
    SPLITS,
    StoredInputs,
    TrainingBatches,
    fixed_mixtures,
    mixtures_by_draw,
    stored_states,
    stores_states,
)
from phonemi.stages.training_model import InversionPart, TrainingModel
from phonemi.systems import LAST_LAYER, System, find_system, numbered_name
from phonemi.tables import plural
from phonemi.training.forecast import Forecast, count_text
from phonemi.training.loop import fit
from phonemi.training.settings import fit_settings
from phonemi.training.state import move_to_device
from phonemi.weights.shipped import CONFIG_FILE, type_of
from phonemi.weights.training_record import TrainingRecord, find_training_record
from phonemi.workers import Workers

FIRST_LOOK_STEPS = 2000
INPUTS = ("", "+log1p", "+log1p+complex")
USUAL_STARTS = ("log1p", *(f"{kind}-linguistic{inputs}" for kind in ("ws", "dws") for inputs in INPUTS))
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
    to_train = [s for s in trained if not run.is_done(f"train: {s.name}", _result(s), keys[s.name])]
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
    if any(system.inverter is not None for system in to_train):
        speaker_tracks(run)
    if settings.phone_weight:
        PhoneJudge.load(settings.phone_judge)
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


def is_trained(run: Run, system: System) -> bool:
    """Whether the system's model is there and belongs to this configuration; of a cascade both models."""
    if system.cascade is not None:
        return all(is_trained(run, find_system(numbered_name(row, system.model))) for row in system.cascade)
    return run.folder.is_current(_result(system), run.keys.model(system))


def _result(system: System) -> str:
    return f"rows/{system.name}/result.json"


def load_model(folder: Path) -> Enhancer | Inverter:
    """The model of a system that was trained: where it does both, the enhancer."""
    is_inverter = type_of(folder / CONFIG_FILE) == INVERTER_TYPE
    return Inverter.from_pretrained(folder) if is_inverter else Enhancer.from_pretrained(folder)


def require_trained(run: Run, system: System) -> None:
    """Raise a DataError that names the command to run, unless the system's model is there."""
    if not is_trained(run, system):
        command = run.folder.command("train")
        raise DataError(f"row {system.name!r} is not trained with this configuration: run `{command}` first")


def train_system(
    run: Run, system: System, mixtures: dict[Split, list[Mixture]], forecast: Forecast | None = None
) -> None:
    """Train one system on the mixtures of the two splits and save it as an `Enhancer`, an `Inverter` or both."""
    settings = run.config.enhance
    representation: Representation | None = None
    if system.changes_encoder:
        representation = run.load_encoder()  # a copy of its own: it is going to change
    elif system.uses_encoder:
        representation = run.encoder
    if representation is not None and system.normalised_layers:
        with run.processes.first_ahead():
            statistics = clean_statistics(run, representation)
        representation = FeatureNormalisation(representation, system.normalised_layers).set_statistics(statistics)
        representation.to(run.device)
    if representation is not None and system.tuned_from_block is not None:
        representation.unfreeze(system.tuned_from_block, system.keeps_front_end)
        if settings.recompute_blocks:
            representation.recompute_blocks()
    # After the encoder is there, because loading one draws random numbers too.
    seed = system.seed(run.config.seed)
    torch.manual_seed(seed)
    network: EnhancerNetwork | None = None
    probe = None
    if settings.start is None:
        aggregation = None if representation is None else initial_aggregation(run, system)
        dim, hop = (0, SSL_HOP) if representation is None else (representation.dim, representation.hop)
        if system.network is not None:
            network = new_network(system, settings, dim, hop)
    else:
        aggregation, network, probe = load_start(settings.start, system, representation)
    tracks: dict[Split, SpeakerTracks | None] = dict.fromkeys(SPLITS)
    inversion = None
    if system.inverter is not None:
        tracks = dict(speaker_tracks(run))
        inversion = new_inversion_part(run, system, tracks["train"], aggregation)
    inputs: dict[Split, StoredInputs] = {}
    judge = PhoneJudge.load(settings.phone_judge) if settings.phone_weight else None
    if judge is not None:
        judge.encoder.to(run.device)
        judge.probe.to(run.device).requires_grad_(False)
    is_paired = settings.feature_reference == "paired"
    losses = settings.si_sdr_weight, settings.kept_noise_db, judge, settings.phone_weight, is_paired
    of_enhancer = None if network is None else aggregation
    if not stores_states(run, system):
        model = TrainingModel(network, of_enhancer, representation, *losses, inversion)
    else:
        needs_layers = system.learns_aggregation or inversion is not None
        learned, frozen = (of_enhancer, None) if needs_layers else (None, of_enhancer)
        model = TrainingModel(network, learned, None, *losses, inversion)
        if system.uses_encoder:
            inputs = {split: StoredInputs(stored_states(run, split), frozen, run.device) for split in SPLITS}
    folder = run.folder / "rows" / system.name
    validation_mixtures = mixtures_by_draw(run, "validation", mixtures)
    with Workers(score_pair, count_processes(), "scoring") as scoring:
        result = fit(
            model,
            batch_at=TrainingBatches(
                mixtures_by_draw(run, "train", mixtures),
                inputs.get("train"),
                settings.batch,
                seed,
                settings.shuffle,
                tracks["train"],
            ),
            loss=lambda model, batch: model(batch),
            settings=fit_settings(
                settings,
                checkpoint_every=settings.validate_every,
                seed=seed,
                higher_is_better=settings.select_on != "loss",
                learning_rate_of=_rate_of_encoder(settings) if system.learns_encoder else None,
            ),
            folder=folder / "checkpoints" / run.keys.model(system),
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
    if system.tuning != "linguistic" or system.learns_encoder:
        probe = None  # the features are no longer those that it was learned with
    elif settings.start is None:
        probe = aggregate.linguistic_probe(run, aggregate.KINDS[system.aggregation or ""], system.model)
    facts = {"row": system.name, settings.select_on: result.best_value, "best_step": result.best_step}
    is_ours = run.folder.writes
    if network is not None and is_ours:
        enhancer = Enhancer(representation, aggregation, network, system.name, probe)
        enhancer.save_pretrained(folder / "model", facts)
    if inversion is not None and representation is not None and tracks["train"] is not None and is_ours:
        typical = tracks["train"].typical()
        inverter = Inverter(representation, inversion.aggregation, inversion.network, typical, system.name)
        inverter.save_pretrained(folder / "model" / (INVERTER if network is not None else ""), facts)
    if system.learns_encoder and is_ours:
        _record_of_fine_tuning(run, system).save(folder / "model" / ENCODER)
    if system.uses_encoder and not system.changes_encoder:
        run.encoder.to(run.device)  # it may be a part of the model, and the next row needs it there
    run.folder.write(_result(system), {"key": run.keys.model(system), "label": system.label, **facts})


def speaker_tracks(run: Run) -> dict[Split, SpeakerTracks]:
    """What the articulators do in the speech, or in the recorded pairs, of the two splits.

    Raises:
        DataError: if no recording of a split says it.
    """
    tracks: dict[Split, SpeakerTracks] = {}
    for split in SPLITS:
        speech = run.data.enhancer_speech if split == "train" else run.data.speech[split]
        speech = run.data.pairs(split) or speech
        try:
            tracks[split] = SpeakerTracks(speech, tracks["train"].names if tracks else None)
        except DataError as error:
            raise DataError(f"{split} speech: {error}") from None
    return tracks


def new_inversion_part(
    run: Run, system: System, tracks: SpeakerTracks | None, aggregation: Aggregation | None
) -> InversionPart:
    """What a system recovers articulation with, untrained.

    Beside an enhancer it has an aggregation of its own, a weighted sum that is learned with it: what tells most of the
    articulators need not be what helps the enhancer. Alone it takes `aggregation`, that of the system.
    """
    settings = run.config.inversion
    assert tracks is not None
    assert aggregation is not None
    if system.network is not None:
        aggregation = aggregate.new_aggregation(run.config.aggregate, run.encoder, "ws").tune("acoustic")
    kind: dict[str, Any] = {"kind": system.inverter, "dim": run.encoder.dim, "variables": len(tracks.names)}
    kind["hop"] = run.encoder.hop
    if system.inverter == GruInverter.kind:
        kind |= {name: getattr(settings, name) for name in ("hidden", "heads", "dropout")}
    weight = 1.0 if system.network is None else settings.weight
    return InversionPart(aggregation, build_inverter_network(kind), weight, system.hears_clean)


def clean_statistics(run: Run, encoder: Representation) -> Statistics:
    """What the features of clean speech are like in each layer of the run's encoder: RUN/clean_statistics.json."""
    settings = run.config.enhance
    name = "pretraining" if settings.feature_reference == "pretraining" else "global"
    file, key = f"clean_statistics.{name}.json", run.keys.clean_statistics
    if not run.folder.is_current(file, key):
        speech = run.data.encoder_speech if name == "pretraining" else run.data.enhancer_speech
        store = AudioStore(draw_evenly(speech, settings.reference_utterances, run.config.seed))
        numbers = run.progress.over(range(len(store)), "clean statistics")
        statistics = measure_statistics(encoder, (store[number] for number in numbers))
        run.folder.write(file, {"key": key, **{part: values.tolist() for part, values in statistics._asdict().items()}})
    stored = read_json(run.folder / file)
    return Statistics(torch.tensor(stored["mean"]), torch.tensor(stored["std"]))


def _record_of_fine_tuning(run: Run, system: System) -> TrainingRecord:
    """On whose voices the encoder of a system has been trained: those of before, and those of its mixtures."""
    own = run.config.representation == "encoder"
    before = find_training_record(str(run.folder / ENCODER_MODEL) if own else run.config.representation)
    heard = run.data.pairs("train") or run.data.enhancer_speech
    speakers = {recording.speaker for recording in heard if recording.speaker is not None}
    return TrainingRecord(
        f"{before.method if before else 'its publishers'}, then fine-tuned for enhancement (row {system.name})",
        sum(recording.duration_s for recording in heard) / 3600,
        tuple(sorted(speakers.union(before.speakers if before else ()))),
        before is not None and before.all_speakers_known,
    )


def _rate_of_encoder(settings: Enhance) -> dict[str, float] | None:
    rate = settings.encoder_learning_rate
    return None if rate is None else {"representation.": rate}


def load_start(
    name: str, system: System, representation: Representation | None
) -> tuple[Aggregation | None, EnhancerNetwork, PhoneProbe | None]:
    """Aggregation, network and phone probe of a trained enhancer, for a system to go on from.

    Raises:
        ConfigError: if it is of another row, or its encoder is another one.
    """
    start = Enhancer.from_pretrained(name)
    spectrum = start.network.settings().get("log1p", True)  # what has no such setting always takes it
    kinds = None if start.aggregation is None else start.aggregation.kind, start.network.kind, spectrum
    if kinds != (system.aggregation, system.network, system.spectrum):
        usual = [find_system(row) for row in USUAL_STARTS]
        fitting = [known.name for known in usual if (known.aggregation, known.network, known.spectrum) == kinds]
        inputs = f"{'with' if spectrum else 'without'} the log1p spectrum"
        raise ConfigError(
            f"enhance.start: {name} ({kinds[0]}, {kinds[1]}, {inputs}) is no model of the row {system.base!r}"
            + (f": set enhance.rows=[{fitting[0]}]" if fitting else "")
        )
    if representation is not None and not hear_alike(start.representation, representation):
        raise ConfigError(f"enhance.start: {name} has another encoder than {representation.name}: set representation")
    if start.aggregation is not None and system.tuning is not None:
        start.aggregation.tune(system.tuning)
    start.train()
    return start.aggregation, start.network, start.phone_probe


def new_network(system: System, settings: Enhance, dim: int, hop: int = SSL_HOP) -> EnhancerNetwork:
    """An untrained network of the kind that the system names, on features of size `dim` every `hop` samples.

    It gets those settings of `enhance` that it takes; null leaves it its own default.

    Raises:
        ConfigError: if it cannot take features at this rate.
    """
    assert system.network is not None
    kind = NETWORKS[system.network]
    parameters = inspect.signature(kind).parameters
    given: dict[str, Any] = {"kind": system.network, "dim": dim, "log1p": system.spectrum}
    if "hop" in parameters:
        given["hop"] = hop
    elif hop != SSL_HOP:
        raise ConfigError(f"row {system.name!r}: its network takes a frame every {SSL_HOP} samples, not every {hop}")
    taken = {name: value for name, value in dict(settings).items() if name in parameters and value is not None}
    return build_network(given | taken)


def initial_aggregation(run: Run, system: System) -> Aggregation:
    """The aggregation that a system starts from; what it may learn requires gradients, the rest does not."""
    layers = run.encoder.layers
    if system.aggregation == "single_layer":
        layer = information.best_layer(run, f"row {system.name}") if system.layer is None else system.layer
        layer = layers - 1 if layer == LAST_LAYER else layer
        if layer >= layers:
            raise ConfigError(f"row {system.name!r}: the encoder has layers 0 to {layers - 1}")
        return SingleLayer(layers, layer)
    kind = aggregate.KINDS.get(system.aggregation or "", system.aggregation or "")
    if system.tuning == "acoustic":
        return aggregate.new_aggregation(run.config.aggregate, run.encoder, kind).tune("acoustic")
    aggregation = aggregate.linguistic_aggregation(run, kind, f"row {system.name}", system.model)
    if isinstance(aggregation, WeightedSum) and system.tuning == "hybrid":
        return aggregation.tune("hybrid", renormalise=run.config.aggregate.renormalise)
    return aggregation.tune(system.tuning or "linguistic")


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
