"""Train the run's own encoder round by round, by masked prediction of units or by distillation: RUN/encoder/model.

The recipe of masked prediction is that of MelHuBERT (arXiv 2211.09944), after HuBERT. Log-mel features of the whole
corpus are computed once and held in memory as one stream of frames (`stages/crops.py`). A batch is a set of crops of
that stream; spans of them are masked, and the units of the masked frames are predicted. In distillation the crops may
be noisy, and the states of a teacher that hears the clean speech are predicted (DistilHuBERT, arXiv 2110.01900;
RobustDistiller, arXiv 2302.09437). A TERA learns to undo alterations (`stages/altered_frames.py`).
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.config import Encoder, Round
from phonemi.data.alignment import IGNORE, PHONES, frame_labels
from phonemi.data.manifest import Recording
from phonemi.data.store import AudioStore
from phonemi.devices import multiplies_bf16
from phonemi.errors import ConfigError, DataError
from phonemi.files import content_hash, remove_leftovers, replacing
from phonemi.progress import Progress
from phonemi.representations.base import Representation, at_50_hz
from phonemi.representations.mel_transformer import MelTransformer
from phonemi.representations.names import load_representation
from phonemi.representations.tera import Tera
from phonemi.signal import SSL_FIELD
from phonemi.stages.altered_frames import AlteredCrops, Reconstruction
from phonemi.stages.crops import Crops, Stream, as_integers
from phonemi.stages.run import ENCODER_MODEL, ENCODER_RESULT, Run
from phonemi.tables import duration_text, plural
from phonemi.training.forecast import Forecast, count_text
from phonemi.training.loop import fit, prefetched
from phonemi.training.settings import fit_settings
from phonemi.weights.training_record import TrainingRecord, find_training_record

KMEANS_FRAMES = 60_000  # enough for some hundred clusters; scipy's assignment step is the cost


def pretrain_encoder(run: Run) -> None:
    """Train the encoder, one round after the other; a finished round is not repeated, nor what another launch is at."""
    if run.config.representation != "encoder":
        run.say(f"pretrain: nothing to do, the representation is {run.config.representation}")
        return
    with run.processes.first_ahead():  # an error is said once, a file hashed once
        key = run.keys.encoder
    with run.claimed("pretrain"):
        if not run.is_done("pretrain:", ENCODER_RESULT, key):
            _pretrain(run, key)


def _pretrain(run: Run, key: str) -> None:
    settings = run.config.encoder
    with run.processes.first_ahead():
        run.processes.require_shares("encoder", settings.accumulate, settings.batch)
        teachers = _load_teachers(settings)  # first, since what can be missing should not be missed after hours
        recordings = run.data.encoder_speech
    with run.folder.timed("pretrain"):
        torch.manual_seed(run.config.seed)
        model = _new_encoder(settings)
        stream = _load_stream(settings, model, recordings, run.progress)
        seconds = len(stream.features) * 0.02
        run.say(f"pretrain: {plural(len(recordings), 'utterance')}, {duration_text(seconds)} of speech in memory")
        steps = [round_.steps for round_ in settings.rounds]
        work = f"{count_text(sum(steps))} updates in {plural(len(steps), 'round')}"
        advice = "fewer steps in encoder.rounds for a first look"
        forecast = Forecast(lambda text: run.say(f"pretrain: {text}"), work, advice)
        rounds = []
        for number, round_ in enumerate(settings.rounds, start=1):
            targets = stream.features
            if round_.teacher is not None:
                with run.processes.first_ahead():
                    targets = _teacher_states(run, round_, teachers[round_.teacher], stream, recordings)
            elif isinstance(model, MelTransformer):
                # On another processor the sums, and so the clusters, could be others.
                targets = run.processes.from_first(partial(_units, run, round_, stream, recordings, model))
            model = model if round_.continues else _new_encoder(settings, model)
            forecast.updates_after = sum(steps[number:])
            scores = _train(run, model, stream, targets, round_, number, forecast)
            rounds.append({"round": number, **round_.model_dump(), **scores})
        if not run.folder.writes:
            return
        model.save(run.folder / ENCODER_MODEL)
        taught = [find_training_record(name) for name in teachers]
        speakers = {recording.speaker for recording in recordings if recording.speaker is not None}
        TrainingRecord(
            _method(settings),
            seconds / 3600,
            tuple(sorted(speakers | run.data.encoder_speakers)),
            all(record is not None and record.all_speakers_known for record in taught),
        ).save(run.folder / ENCODER_MODEL)
        parameters = sum(p.numel() for p in model.parameters())
        facts = {"hours": seconds / 3600, "parameters": parameters, "rounds": rounds}
        run.folder.write(ENCODER_RESULT, {"key": key, **facts})


def _method(settings: Encoder) -> str:
    """How the encoder is trained, in words."""
    units = {round_.units for round_ in settings.rounds}
    if "frames" in units:
        return "reconstruction of altered log-mel frames (self-supervised)"
    noisy = f"; {100 * settings.noisy_share:.0f} % of the input noisy" if settings.noisy_share else ""
    methods = []
    if "phones" in units:
        methods.append(f"masked prediction of aligned phones (phone-supervised{noisy})")
    elif units != {"teacher"}:
        methods.append(f"masked prediction of k-means units (self-supervised{noisy})")
    if teachers := dict.fromkeys(Path(round_.teacher).name for round_ in settings.rounds if round_.teacher):
        methods.append(f"distillation of {' and '.join(teachers)} (it knows what the teacher was taught{noisy})")
    return ", then ".join(methods)


def _new_encoder(settings: Encoder, previous: MelTransformer | Tera | None = None) -> MelTransformer | Tera:
    """An untrained encoder; the features of its input are standardised as those of the round before."""
    kind = Tera if settings.rounds[0].units == "frames" else MelTransformer
    architecture = {field.name for field in fields(kind.config_type)}
    values = settings.model_dump(include=architecture) | {"model_type": kind.config_type.model_type}
    if kind is Tera:
        values["attention_dropout"] = settings.dropout
    model = kind.new(values, "encoder")
    if isinstance(model, MelTransformer) and isinstance(previous, MelTransformer):
        model.set_statistics(previous.mean, previous.std)
    return model


def _load_stream(
    settings: Encoder, model: MelTransformer | Tera, recordings: list[Recording], progress: Progress
) -> Stream:
    """Decode all recordings, compute their features and standardise them, once."""
    store = AudioStore(recordings)
    features: list[Tensor] = []
    samples: list[Tensor] | None = [] if settings.noisy_share > 0 or settings.speeds != (1.0, 1.0) else None
    waveforms = prefetched(store.__getitem__, range(len(recordings)))
    with torch.inference_mode():
        for array in progress.over(waveforms, "reading speech", len(recordings)):
            if len(array) < SSL_FIELD:
                raise DataError(
                    f"{recordings[len(features)].id} has {plural(len(array), 'sample')}, fewer than {SSL_FIELD}"
                )
            waveform = torch.from_numpy(array)
            frames = model.features(waveform[None])[0]
            if isinstance(model, Tera):  # two frames of 10 ms side by side
                frames = frames[: len(frames) // 2 * 2].view(-1, 2 * settings.mels)
            features.append(frames.half())
            if samples is not None:
                samples.append(as_integers(waveform))
    stream = Stream(features, samples)
    if len(stream.features) < 2 * settings.crop_frames:
        raise DataError(
            f"only {len(stream.features) * 0.02:.1f} s of speech to train the encoder on: add manifests to data.speech"
        )
    if isinstance(model, MelTransformer):  # the frames of a Tera are standardised by utterance
        stream.standardise(settings.mels)
        model.set_statistics(stream.mean, stream.std)
    return stream


def _load_teachers(settings: Encoder) -> dict[str, Representation]:
    """The encoder that each round of distillation learns from, by its name.

    Raises:
        ModelError: if one is not there.
        ConfigError: if one lacks a layer, or the own encoder has fewer.
    """
    teachers: dict[str, Representation] = {}
    for round_ in settings.rounds:
        if round_.teacher is None:
            continue
        if round_.teacher not in teachers:
            teachers[round_.teacher] = load_representation(round_.teacher)
        teacher = teachers[round_.teacher]
        if max(round_.layers) >= teacher.layers or len(round_.layers) >= settings.blocks:
            raise ConfigError(
                f"layers {list(round_.layers)} of {round_.teacher}: it has 0 to {teacher.layers - 1}, and the encoder "
                f"can predict {settings.blocks - 1} of them"
            )
    return teachers


def _units(run: Run, round_: Round, stream: Stream, recordings: list[Recording], model: MelTransformer) -> Tensor:
    """The unit of every frame, int64 [frame]; IGNORE where there is none."""
    if round_.units == "phones":
        parts = [
            np.full(frames, IGNORE) if recording.phones is None else frame_labels(recording.phones, frames)
            for recording, frames in zip(recordings, np.diff(stream.starts).tolist(), strict=True)
        ]
        units = torch.from_numpy(np.concatenate(parts))
        if (units == IGNORE).all():
            raise DataError("units are 'phones' but no recording has any: run `phonemi align` first")
        return units
    vectors = stream.features if round_.units == "mel" else _encode(run, stream, model, round_.layer)
    return cluster(vectors, round_.clusters, run.config.seed)


def _teacher_states(
    run: Run, round_: Round, teacher: Representation, stream: Stream, recordings: list[Recording]
) -> Tensor:
    """States of the teacher for the clean stream, layer-normalised, half precision [frame, layer, dim].

    They are on disk, since they are many.
    """
    shape = (len(stream.features), len(round_.layers), teacher.dim)
    version = run.keys.model_version(str(round_.teacher))
    name = content_hash("layer-normalised", version, round_.layers, run.data.version)
    path = run.folder / "cache" / "teacher" / f"{name}.float16"
    if not path.exists():
        remove_leftovers([path])
        store, teacher = AudioStore(recordings), teacher.to(run.device)
        waveforms = prefetched(store.__getitem__, range(len(recordings)))
        with replacing(path) as temporary, open(temporary, "wb") as file, torch.inference_mode():
            for waveform in run.progress.over(waveforms, "hearing the teacher", len(recordings)):
                hidden = teacher(torch.from_numpy(waveform)[None].to(run.device))
                hidden = at_50_hz(hidden, teacher.hop, len(waveform), teacher.first_centre)
                own = hidden.states[list(round_.layers), 0].transpose(0, 1)
                file.write(functional.layer_norm(own.float(), own.shape[-1:]).cpu().half().numpy().tobytes())
        teacher.cpu()  # the training needs the memory of the device
    return torch.from_numpy(np.memmap(path, np.float16, "c", shape=shape))


@torch.inference_mode()
def _encode(run: Run, stream: Stream, model: MelTransformer, layer: int) -> Tensor:
    """States of one layer for the whole stream, half precision [frame, dim]."""
    model = model.to(run.device).eval()
    out = torch.empty(len(stream.features), model.dim, dtype=torch.half)
    is_half = run.config.encoder.precision != "no" and multiplies_bf16(run.device)
    for first, last in run.progress.over(stream.batches(), f"encoding layer {layer}"):
        items = [stream.features[stream.starts[i] : stream.starts[i + 1]].float() for i in range(first, last)]
        lengths = torch.tensor([len(item) for item in items])
        padded = nn.utils.rnn.pad_sequence(items, batch_first=True)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=is_half):
            states = model.encode(padded.to(run.device), lengths.to(run.device)).states[layer]
        for row, index in enumerate(range(first, last)):
            out[stream.starts[index] : stream.starts[index + 1]] = states[row, : lengths[row]].half().cpu()
    return out


def cluster(vectors: Tensor, clusters: int, seed: int) -> Tensor:
    """k-means units of all vectors, [frame, dim] -> int64 [frame]; centroids from a drawn subset (scipy's kmeans2)."""
    from scipy.cluster.vq import kmeans2

    random = np.random.default_rng(seed)
    drawn = np.sort(random.permutation(len(vectors))[:KMEANS_FRAMES])
    subset = vectors[torch.from_numpy(drawn)].float().numpy()
    centroids, _ = kmeans2(subset, min(clusters, len(subset)), iter=15, minit="points", rng=random)
    centroids = torch.from_numpy(centroids).float()
    half_norm = centroids.square().sum(1) / 2
    return torch.cat([(half_norm - chunk.float() @ centroids.T).argmin(1) for chunk in vectors.split(65_536)])


class MaskedPrediction(nn.Module):
    """An encoder and a linear head over so many units: (features, mask, units) -> cross-entropy.

    The frames that are not masked have the weight `unmasked_weight`, beside the masked ones' 1 (HuBERT, eq. 3).
    """

    def __init__(self, encoder: MelTransformer, units: int, unmasked_weight: float = 0.0):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, units)
        self.unmasked_weight = unmasked_weight

    def forward(self, features: Tensor, mask: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, frame, bin], bool [batch, frame], int64 [batch, frame] -> loss in nats, accuracy of masked ones."""
        lengths = torch.full((len(features),), features.shape[1], device=features.device)
        states = self.encoder.encode(features.float(), lengths, mask=mask, collect=False).states[-1]
        loss, share = self._predict(states, units, mask & (units != IGNORE))
        if self.unmasked_weight:
            loss = loss + self.unmasked_weight * self._predict(states, units, ~mask & (units != IGNORE))[0]
        return loss, share

    def _predict(self, states: Tensor, units: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        logits, targets = self.head(states[frames]), units[frames]
        # A crop without any frame to predict must give 0, not 0 / 0.
        loss = functional.cross_entropy(logits.float(), targets, reduction="sum") / max(1, len(targets))
        return loss, (logits.argmax(-1) == targets).float().sum() / max(1, len(targets))


class Distillation(nn.Module):
    """An encoder whose last layers predict the states of a teacher, by a linear head each: -> mean squared error.

    The states of a teacher are layer-normalised, so that the error lies between 0 and about 1 to 4.
    """

    def __init__(self, encoder: MelTransformer, layers: int, dim: int):
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(nn.Linear(encoder.dim, dim) for _ in range(layers))

    def forward(self, features: Tensor, mask: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, frame, bin], a mask that is not used, [batch, frame, layer, dim] -> loss, cosine similarity."""
        own = self.encoder.encode(features.float()).states[-len(self.heads) :]
        predicted = torch.stack([head(state) for head, state in zip(self.heads, own, strict=True)], 2).float()
        states = states.float()
        return functional.mse_loss(predicted, states), functional.cosine_similarity(predicted, states, dim=-1).mean()


def _train(
    run: Run,
    model: MelTransformer | Tera,
    stream: Stream,
    targets: Tensor,
    round_: Round,
    number: int,
    forecast: Forecast,
) -> dict[str, float]:
    settings = run.config.encoder
    noise = run.data.noise_store("train") if settings.noisy_share > 0 else None
    crops = Crops(stream, targets, settings, run.config.seed, noise)
    batch_at = crops.batch
    task: MaskedPrediction | Distillation | Reconstruction
    schedule: dict[str, Any] = {"warmup_steps": max(1, round_.steps // 12), "schedule": "cosine", "betas": (0.9, 0.98)}
    if isinstance(model, Tera):
        task, agreement = Reconstruction(model), "validation_explained"
        batch_at = AlteredCrops(crops, settings.mels, round_).batch
        schedule = {"warmup_steps": max(1, round(0.07 * round_.steps)), "schedule": "linear", "gradient_clip": 5.0}
    elif round_.units == "teacher":
        task, agreement = Distillation(model, *targets.shape[1:]), "validation_similarity"
    else:
        classes = len(PHONES) if round_.units == "phones" else int(targets.max()) + 1
        task, agreement = MaskedPrediction(model, classes, settings.unmasked_weight), "validation_accuracy"
    fitting = fit_settings(
        round_,
        **schedule,
        eps=1e-6,
        weight_decay=0.01,
        validate_every=max(1, round_.steps // 4),
        checkpoint_every=max(1, min(500, round_.steps // 4)),
        precision=settings.precision,
        accumulate=settings.accumulate,
        seed=run.config.seed,
    )

    @torch.inference_mode()
    def validate(task: nn.Module) -> dict[str, float]:
        scores = [task(*(part.to(run.device) for part in batch_at(step, held_out=True))) for step in range(2)]
        loss, agreed = (torch.stack(values).mean().item() for values in zip(*scores, strict=True))
        return {"validation_loss": loss, agreement: agreed}

    result = fit(
        task,
        batch_at=batch_at,
        loss=lambda task, batch: task(*batch)[0],
        settings=fitting,
        folder=run.folder / f"encoder/{run.keys.encoder}/round{number}",
        label=f"round {number} ({round_.units})",
        validate=validate,
        tracker=run.tracker,
        progress=run.progress,
        device=run.device,
        forecast=forecast,
    )
    model.to("cpu").eval()
    last = next(row for row in reversed(result.history) if "validation_loss" in row)
    return {key: last[key] for key in ("validation_loss", agreement)}
