"""The protocol of a run in sentences, from its resolved configuration: it stands beside every table of the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from phonemi.config import Config, provenance
from phonemi.data.manifest import Recording
from phonemi.metrics.statistics import MIN_MODELS
from phonemi.metrics.words.recogniser import Recogniser
from phonemi.representations.base import Representation
from phonemi.results.evaluation import Comparison, EvaluationData
from phonemi.results.metrics import METRIC
from phonemi.stages.run import Run
from phonemi.stages.system_parts import new_network
from phonemi.stages.test_sets import named_recordings
from phonemi.tables import duration_text, plural, snr_text
from phonemi.weights.training_record import TrainingRecord, find_training_record

INVERTERS = {"gru": "bidirectional GRUs of {} with attention", "linear": "a linear inverter"}
"""Kind of inverter -> what it is, by the size of its first GRU."""


def describe_protocol(
    run: Run, data: EvaluationData, comparisons: Sequence[Comparison], recogniser: Recogniser | None
) -> dict[str, str]:
    """Topic -> a sentence on it, in the order of the work; topics that the run does not have are left out.

    Args:
        run: whose results they are.
        data: what the rows were evaluated on.
        comparisons: of the rows.
        recogniser: what heard the words; None: nothing did.
    """
    config, systems = run.config, run.systems
    uses_encoder = any(system.uses_encoder for system in systems) or config.evaluate.phone_bits
    topics = {
        "encoder": _encoder(run) if uses_encoder else "",
        "speech and noise": _speech_and_noise(run) if systems or config.evaluate.phone_bits else "",
        "MI": _information(config) if systems else "",
        "aggregations": _aggregations(config) if any(system.is_pretrained for system in systems) else "",
        "enhancers": _enhancers(run) if systems else "",
        "test": _test(config, data),
        "words": _words(recogniser),
        "statistics": describe_statistics(data, comparisons),
        "made with": _made_with(run),
    }
    return {topic: f"{text}." for topic, text in topics.items() if text}


def _encoder(run: Run) -> str:
    name = run.config.representation
    record = find_training_record(str(run.folder / "encoder/model") if name == "encoder" else name)
    trained = f"{record}; {_heard_before(run, record)}" if record else published_training(run.encoder)
    return f"{run.encoder_name}, {run.encoder.layers} hidden states of {run.encoder.dim}, {trained}"


def _heard_before(run: Run, record: TrainingRecord) -> str:
    """Whether those who are judged have trained the encoder."""
    recordings = named_recordings(run.config.evaluate, run.config.seed)
    own = run.data.speech[run.config.evaluate.split]
    judged = {recording.speaker for recording in (own if recordings is None else recordings)}
    if None in judged or not record.all_speakers_known:
        return "whether it has heard the test speakers is not known"
    return f"{len(judged & set(record.speakers)) or 'none'} of the test speakers among them"


def published_training(encoder: Representation) -> str:
    """What the configuration of a published model tells of its training."""
    published = getattr(getattr(encoder, "model", None), "config", None)
    heads = " ".join(getattr(published, "architectures", None) or ())
    if "ForCTC" in heads or "Whisper" in heads:
        method = "trained with transcripts"
    elif heads.endswith(("ForPreTraining", "Model")):
        method = "self-supervised"
    else:
        method = "trained in a way that its files do not tell"
    return f"{method}; whether it has heard the test speakers is not known here"


def _speech_and_noise(run: Run) -> str:
    data, parts = run.data, []
    for split in ("train", "validation", "test"):
        if speech := data.speech[split]:
            noise = data.noise.get(split, [])
            parts.append(f"{split} {_amount(speech)}, {plural(len(noise), 'recording')} of noise")
    babble = data.settings.babble_share
    return "; ".join(parts) + (f"; {100 * babble:.0f} % of the noise is babble" if babble else "")


def _amount(recordings: list[Recording]) -> str:
    speakers = len({recording.speaker for recording in recordings} - {None})
    unknown = sum(recording.speaker is None for recording in recordings)
    duration = duration_text(sum(recording.duration_s for recording in recordings))
    return f"{plural(len(recordings), 'utterance')} {_speakers(speakers, unknown)} ({duration})"


def _speakers(known: int, unknown: int) -> str:
    """Whose utterances these are, where of some the speaker is unknown.

    >>> _speakers(2, 0), _speakers(1, 3), _speakers(0, 3)
    ('of 2 speakers', 'of 1 speaker, unknown of 3', 'of unknown speakers')
    """
    if not known:
        return "of unknown speakers"
    return f"of {plural(known, 'speaker')}" + (f", unknown of {unknown}" if unknown else "")


def _information(config: Config) -> str:
    settings = config.information
    layers = f"{plural(settings.depth - 1, 'hidden layer')} of {settings.hidden}" if settings.depth > 1 else "linear"
    return (
        f"probes ({layers}), {plural(settings.epochs, 'epoch')} of batches of {settings.batch_frames} frames, Adam at "
        f"{settings.learning_rate:g}, {_precision(settings.precision)}, {plural(settings.seeds, 'probe')} for each "
        f"layer; {settings.copies} noisy {'copy' if settings.copies == 1 else 'copies'} of "
        f"{settings.train_utterances or 'all'} training utterances, {settings.test_utterances or 'all'} test "
        f"utterances at {_snrs(settings.snrs_db)}, {plural(settings.clips, 'noise clip')} each, the same at all SNRs"
    )


def _aggregations(config: Config) -> str:
    settings, data = config.aggregate, config.data
    holds_out = data.validation_share and data.noise_folds.validation
    chosen = "the checkpoint with the lowest validation cross-entropy" if holds_out else "the last checkpoint"
    return (
        f"{plural(settings.steps, 'update')} of {settings.batch_frames} frames, AdamW at {settings.learning_rate:g}; "
        f"{chosen}; another one for each model of a row"
    )


def _enhancers(run: Run) -> str:
    settings, data = run.config.enhance, run.config.data
    crop = f" of {settings.crop_s:g} s" if settings.crop_s else ""
    if data.train_pairs:
        drawn = "recorded pairs"
    else:
        drawn = f"{plural(settings.train_mixtures, 'mixture')}{crop} at {_snrs(settings.snrs_db)}"
    counts = {system.base: system.model for system in sorted(run.systems, key=lambda system: system.model)}
    usual = settings.seeds
    others = [f"{count} of {base}" for base, count in counts.items() if count != usual]
    models = f"{plural(usual, 'model')} of each row" + (f", {', '.join(others)}" if others else "")
    if settings.kept_noise_db is not None:
        drawn += f" (the target keeps the noise {settings.kept_noise_db:g} dB down)"
    losses = "; loss of the network" if settings.si_sdr_weight or settings.phone_weight else ""
    if settings.si_sdr_weight:
        losses += f", less {settings.si_sdr_weight:g} times SI-SDR in dB"
    if settings.artefact_weight > 1:
        losses += f" (artefacts weighed {settings.artefact_weight:g} times)"
    if settings.phone_weight:
        losses += f", plus {settings.phone_weight:g} times the nats of phones lost to {Path(settings.phone_judge).name}"
    best = "lowest loss" if settings.select_on == "loss" else f"best {METRIC[settings.select_on].title}"
    validated = "recorded pairs" if data.train_pairs else plural(settings.validation_mixtures, "validation mixture")
    if settings.redraw != "never":
        drawn += ", other ones in every epoch"
    rates = f"AdamW at {settings.learning_rate:g}"
    if settings.encoder_learning_rate is not None and any(system.learns_encoder for system in run.systems):
        rates += f", the encoder at {settings.encoder_learning_rate:g}"
    if settings.warmup_steps:
        rates += f", after {plural(settings.warmup_steps, 'update')} of warm-up"
    if settings.start is not None:
        models += f", going on from {Path(settings.start).name}"
        models += ", for recognition" if settings.purpose == "recognition" else ""
    networks = {
        new_network(system, settings, int(system.uses_encoder)).architecture(): None
        for system in run.systems
        if system.network is not None
    }
    kinds = dict.fromkeys(system.inverter for system in run.systems if system.inverter)
    networks |= {INVERTERS[kind].format(run.config.inversion.hidden): None for kind in kinds}
    if any(system.inverter and system.network for system in run.systems):
        losses += f"; where both are trained, the loss of the inverter times {run.config.inversion.weight:g} is added"
    return (
        f"{' and '.join(networks)}; "
        f"{plural(settings.steps, 'update')} of {settings.batch} of {drawn}, {rates} "
        f"({settings.schedule}), {_precision(settings.precision)}{losses}; {best} on {validated}, "
        f"looked at every {plural(settings.validate_every, 'update')}; {models}, seeds from {run.config.seed} on"
    )


def _test(config: Config, data: EvaluationData) -> str:
    source = config.evaluate.pairs or config.evaluate.recordings
    kind = "utterance" if source else "mixture"
    text = plural(data.utterances or 0, kind)
    text += f" {_speakers(data.speakers or 0, data.unknown_speakers or 0)}"
    if source:
        return text
    text += f" at {_snrs(data.snrs_db)}" if data.snrs_db else ""
    is_test = config.evaluate.split == "test"
    return text if is_test else f"{text}; of validation, on which something may have been chosen: this is no test"


def _words(recogniser: Recogniser | None) -> str:
    if recogniser is None:
        return ""
    settings = ", ".join(
        f"{key.replace('_', ' ')} {value}"
        for key, value in recogniser.settings.items()
        if value not in (None, "") and not isinstance(value, dict | list | tuple)
    )
    return f"{recogniser.name} ({settings}); Whisper's English normaliser"


def describe_statistics(data: EvaluationData, comparisons: Sequence[Comparison]) -> str:
    """What the intervals and tests of these comparisons are over, and how many of them there are."""
    most_models = max((comparison.models or 0 for comparison in comparisons), default=0)
    over = f"{data.intervals_over}{' and models' if most_models >= MIN_MODELS else ''}"
    tested = [comparison for comparison in comparisons if comparison.p_adjusted is not None]
    text = f"95 % intervals and tests over {over}, by Student's t"
    if 0 < most_models < MIN_MODELS:
        text += f"; what was trained here is not tested, for want of {MIN_MODELS} models of each row"
    endpoints = [comparison for comparison in comparisons if comparison.is_endpoint]
    for endpoint in endpoints:
        text += f"; endpoint: {METRIC[endpoint.metric].title} of {endpoint.row} against {endpoint.against}"
        text += " (not tested)" if endpoint.p_adjusted is None else ""
    others = sum(not comparison.is_endpoint for comparison in tested)
    differences = plural(others, "other difference" if endpoints else "difference")
    return text + (f"; p-values of {differences} by Holm's method" if others else "")


def _made_with(run: Run) -> str:
    facts = provenance()
    software = f"phonemi {facts['phonemi']}, commit {facts['commit']}; torch {facts['torch']}"
    return f"{software}; {facts['machine']}, {run.device}"


def _snrs(snrs_db: Iterable[float]) -> str:
    values = sorted(snrs_db)
    if len(values) > 10:
        return f"{snr_text(values[0])} to {snr_text(values[-1])} dB"
    return ", ".join(map(snr_text, values)) + " dB"


def _precision(precision: str) -> str:
    return "float32" if precision == "no" else precision
