"""What a system is made of: its parts before training, and the model that is saved of them after it."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field
from typing import Any

import torch

from phonemi.aggregations import Aggregation, SingleLayer, WeightedSum
from phonemi.config.sections import Enhance
from phonemi.data.speaker_tracks import SpeakerTracks
from phonemi.data.store import AudioStore
from phonemi.enhancers.base import EnhancerNetwork
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.pretrained import NETWORKS, build_network
from phonemi.enhancers.purpose import PhoneProbe
from phonemi.errors import ConfigError, DataError
from phonemi.files import read_json
from phonemi.inversion.inverter import INVERTER, Inverter
from phonemi.inversion.networks import GruInverter, build_inverter_network
from phonemi.representations.base import Representation
from phonemi.representations.feature_normalisation import FeatureNormalisation, Statistics, measure_statistics
from phonemi.representations.stored import ENCODER, hear_alike
from phonemi.signal import SSL_HOP
from phonemi.stages import aggregate, information
from phonemi.stages.data_splits import Split, draw_evenly
from phonemi.stages.run import ENCODER_MODEL, Run
from phonemi.stages.training_batches import SPLITS
from phonemi.stages.training_model import InversionPart
from phonemi.systems import LAST_LAYER, System, find_system
from phonemi.weights.training_record import TrainingRecord, find_training_record

INPUTS = ("", "+log1p", "+log1p+complex")
USUAL_STARTS = ("log1p", *(f"{kind}-linguistic{inputs}" for kind in ("ws", "dws") for inputs in INPUTS))


@dataclass
class SystemParts:
    """The parts of a system that are trained, and those that they need; what a system lacks is None."""

    representation: Representation | None
    aggregation: Aggregation | None  # of the network or, without one, of what recovers articulation
    network: EnhancerNetwork | None
    phone_probe: PhoneProbe | None = None  # that a model to go on from has had
    other_network: EnhancerNetwork | None = None  # for the other purpose, of a model to go on from
    inversion: InversionPart | None = None
    tracks: dict[Split, SpeakerTracks | None] = field(default_factory=lambda: dict.fromkeys(SPLITS))


def new_parts(run: Run, system: System) -> SystemParts:
    """The parts of a system as its training begins; the generator of torch is seeded for this model.

    Raises:
        ConfigError, DataError, ModelError: for a layer, a network or a start that do not fit, or what is not there yet.
    """
    settings = run.config.enhance
    representation = _encoder_of(run, system)
    # After the encoder is there, because loading one draws random numbers too.
    torch.manual_seed(system.seed(run.config.seed))
    if settings.start is None:
        aggregation = None if representation is None else initial_aggregation(run, system)
        dim, hop = (0, SSL_HOP) if representation is None else (representation.dim, representation.hop)
        network = None if system.network is None else new_network(system, settings, dim, hop)
        parts = SystemParts(representation, aggregation, network)
    else:
        start = load_start(settings.start, system, representation)
        parts = SystemParts(representation, start.aggregation, start.network, start.phone_probe)
        if settings.purpose == "recognition":
            parts.network = start.recognition_network or copy.deepcopy(start.network)
            parts.other_network = start.network
        elif not (system.learns_aggregation or system.learns_encoder):
            parts.other_network = start.recognition_network
    if system.inverter is not None:
        parts.tracks |= speaker_tracks(run)
        parts.inversion = new_inversion_part(run, system, parts.tracks["train"], parts.aggregation)
    return parts


def save_parts(run: Run, system: System, parts: SystemParts, facts: dict[str, Any]) -> None:
    """Save the trained parts as an `Enhancer`, an `Inverter` or both: RUN/rows/<system>/model.

    Args:
        run: whose model it is.
        system: what it is of.
        parts: on the CPU.
        facts: about the training, for the cards.
    """
    folder, probe = run.folder.model(system.name), parts.phone_probe
    if system.tuning != "linguistic" or system.learns_encoder or parts.other_network is not None:
        probe = None  # the features are no longer those that it was learned with, or there is a network for recognition
    elif run.config.enhance.start is None:
        probe = aggregate.linguistic_probe(run, aggregate.KINDS[system.aggregation or ""], system.model)
    if parts.network is not None:
        listening, recognition = parts.network, parts.other_network
        if run.config.enhance.purpose == "recognition" and parts.other_network is not None:
            listening, recognition = parts.other_network, parts.network
        enhancer = Enhancer(parts.representation, parts.aggregation, listening, system.name, probe, recognition)
        enhancer.save_pretrained(folder, facts)
    tracks = parts.tracks["train"]
    if parts.inversion is not None and parts.representation is not None and tracks is not None:
        inverter = Inverter(
            parts.representation, parts.inversion.aggregation, parts.inversion.network, tracks.typical(), system.name
        )
        inverter.save_pretrained(folder / (INVERTER if parts.network is not None else ""), facts)
    if system.learns_encoder:
        _record_of_fine_tuning(run, system).save(folder / ENCODER)


def _encoder_of(run: Run, system: System) -> Representation | None:
    """That of the run or, where the system changes it, a copy of its own."""
    if not system.changes_encoder:
        return run.encoder if system.uses_encoder else None
    representation: Representation = run.load_encoder()
    if system.normalised_layers:
        with run.processes.first_ahead():
            statistics = clean_statistics(run, representation)
        representation = FeatureNormalisation(representation, system.normalised_layers).set_statistics(statistics)
        representation.to(run.device)
    if system.tuned_from_block is not None:
        representation.unfreeze(system.tuned_from_block, system.keeps_front_end)
        if run.config.enhance.recompute_blocks:
            representation.recompute_blocks()
    return representation


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


def load_start(name: str, system: System, representation: Representation | None) -> Enhancer:
    """A trained enhancer for a system to go on from, in training mode.

    Raises:
        ConfigError: if it is of another row, or its encoder is another one.
    """
    start = Enhancer.from_pretrained(name)
    spectrum = start.network.settings().get("log1p", True)  # what has no such setting always takes it
    kinds = None if start.aggregation is None else start.aggregation.kind, start.network.kind, spectrum
    if kinds != (system.aggregation, system.network, system.spectrum):
        usual = [find_system(row) for row in USUAL_STARTS]
        fitting = [row.name for row in usual if (row.aggregation, row.network, row.spectrum) == kinds]
        inputs = f"{'with' if spectrum else 'without'} the log1p spectrum"
        raise ConfigError(
            f"enhance.start: {name} ({kinds[0]}, {kinds[1]}, {inputs}) is no model of the row {system.base!r}"
            + (f": set enhance.rows=[{fitting[0]}]" if fitting else "")
        )
    if representation is not None and not hear_alike(start.representation, representation):
        raise ConfigError(f"enhance.start: {name} has another encoder than {representation.name}: set representation")
    if start.aggregation is not None and system.tuning is not None:
        start.aggregation.tune(system.tuning)
    return start.train()


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
    recordings = run.data.pairs("train") or run.data.enhancer_speech
    speakers = {recording.speaker for recording in recordings if recording.speaker is not None}
    return TrainingRecord(
        f"{before.method if before else 'its publishers'}, then fine-tuned for enhancement (row {system.name})",
        sum(recording.duration_s for recording in recordings) / 3600,
        tuple(sorted(speakers.union(before.speakers if before else ()))),
        before is not None and before.all_speakers_known,
    )
