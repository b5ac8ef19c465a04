"""Speech -> an encoder of our own: masked prediction of units, round by round (MelHuBERT, arXiv 2211.09944; HuBERT).

Log-mel features of the whole corpus are computed once and held in memory as one stream of frames. A batch is a set of
crops of that stream; spans of them are masked, and the units of the masked frames are predicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.config import Encoder, Round
from phonemi.data.alignment import IGNORE, PHONES, frame_labels
from phonemi.data.manifest import Recording
from phonemi.data.mixing import AudioStore
from phonemi.errors import DataError
from phonemi.files import write_json
from phonemi.models.mel_transformers import MelTransformer, MelTransformerConfig
from phonemi.signal import SSL_FIELD
from phonemi.stages.run import Run
from phonemi.training.loop import FitSettings, fit, prefetched

KMEANS_FRAMES = 60_000  # enough for some hundred clusters; scipy's assignment step is the cost
HELD_OUT_EVERY = 20  # one crop in twenty of the stream is validation


@dataclass
class Stream:
    """The corpus as one sequence of 20 ms frames.

    Attributes:
        features: [frame, 2 * mels] half precision, standardised.
        starts: first frame of each utterance, then the number of frames, [utterance + 1].
    """

    features: Tensor
    starts: list[int]

    def batches(self, frames: int = 6_000) -> list[tuple[int, int]]:
        """Whole utterances, about `frames` at a time, as [first, last) ranges of utterances."""
        ranges, first = [], 0
        for index in range(1, len(self.starts)):
            if self.starts[index] - self.starts[first] >= frames or index == len(self.starts) - 1:
                ranges.append((first, index))
                first = index
        return ranges


def run(run: Run) -> None:
    """Train RUN/encoder/model, one round after the other; a finished round is not repeated."""
    settings = run.config.encoder
    if run.config.representation != "encoder":
        run.say(f"pretrain: nothing to do, the representation is {run.config.representation}")
        return
    if run.is_done("encoder/result.json", run.encoder_key):
        run.say("pretrain: done already")
        return
    with run.timed("pretrain"):
        recordings = run.encoder_speech
        torch.manual_seed(run.config.seed)
        model = _fresh(settings)
        stream = _load_stream(run, model, recordings)
        seconds = len(stream.features) * 0.02
        run.say(f"pretrain: {len(recordings)} utterances, {seconds / 3600:.2f} h of speech in memory")
        rounds = []
        for number, round_ in enumerate(settings.rounds, start=1):
            label = f"round {number} ({round_.units})"
            units = _units(run, round_, stream, recordings, model)
            model = _fresh(settings, model)
            result = _train(run, model, stream, units, round_, f"encoder/{run.encoder_key}/round{number}", label)
            rounds.append({"round": number, **round_.model_dump(), **result})
        model.save(run.encoder_folder)
        parameters = sum(p.numel() for p in model.parameters())
        write_json(
            run.folder / "encoder" / "result.json",
            {"key": run.encoder_key, "hours": seconds / 3600, "parameters": parameters, "rounds": rounds},
        )


def _fresh(settings: Encoder, statistics_of: MelTransformer | None = None) -> MelTransformer:
    architecture = {
        name: getattr(settings, name) for name in MelTransformerConfig.__dataclass_fields__ if hasattr(settings, name)
    }
    model = MelTransformer(MelTransformerConfig(**architecture))
    if statistics_of is not None:
        model.set_statistics(statistics_of.mean, statistics_of.std)
    return model


def _load_stream(run: Run, model: MelTransformer, recordings: list[Recording]) -> Stream:
    """Decode, transform and standardise everything once."""
    store = AudioStore(recordings)
    features: list[Tensor] = []
    starts = [0]
    waveforms = prefetched(store.__getitem__, range(len(recordings)))
    with torch.inference_mode():
        for waveform in run.progress.over(waveforms, "reading speech", len(recordings)):
            if len(waveform) < SSL_FIELD:
                raise DataError(f"{recordings[len(features)].id} has {len(waveform)} samples, fewer than {SSL_FIELD}")
            features.append(model.features(torch.from_numpy(waveform)[None])[0].half())
            starts.append(starts[-1] + len(features[-1]))
    stream = Stream(torch.cat(features), starts)
    if len(stream.features) < 2 * run.config.encoder.crop_frames:
        raise DataError(
            f"only {len(stream.features) * 0.02:.1f} s of speech to train the encoder on: add manifests to data.speech"
        )
    mels = run.config.encoder.mels
    per_bin = stream.features.view(-1, mels)
    mean = torch.stack([chunk.float().sum(0) for chunk in per_bin.split(65_536)]).sum(0) / len(per_bin)
    square = torch.stack([(chunk.float() - mean).square().sum(0) for chunk in per_bin.split(65_536)]).sum(0)
    std = (square / len(per_bin)).sqrt().clamp_min(1e-3)
    model.set_statistics(mean, std)
    for chunk in per_bin.split(65_536):
        chunk.copy_((chunk.float() - mean) / std)
    return stream


def _units(run: Run, round_: Round, stream: Stream, recordings: list[Recording], model: MelTransformer) -> Tensor:
    """Targets of every frame, int64 [frame]; IGNORE where there is none."""
    if round_.units == "phones":
        parts = []
        for index, recording in enumerate(recordings):
            frames = stream.starts[index + 1] - stream.starts[index]
            if recording.phones is None:
                parts.append(np.full(frames, IGNORE))
            else:
                parts.append(frame_labels(recording.phones, frames))
        units = torch.from_numpy(np.concatenate(parts))
        if (units == IGNORE).all():
            raise DataError("units are 'phones' but no recording has any: run `phonemi align` first")
        return units
    vectors = stream.features if round_.units == "mel" else _encode(run, stream, model, round_.layer)
    return cluster(vectors, round_.clusters, run.config.seed)


@torch.inference_mode()
def _encode(run: Run, stream: Stream, model: MelTransformer, layer: int) -> Tensor:
    """States of one layer for the whole stream, half precision [frame, dim]."""
    model = model.to(run.device).eval()
    out = torch.empty(len(stream.features), model.dim, dtype=torch.half)
    for first, last in run.progress.over(stream.batches(), f"encoding layer {layer}"):
        items = [stream.features[stream.starts[i] : stream.starts[i + 1]].float() for i in range(first, last)]
        lengths = torch.tensor([len(item) for item in items])
        padded = nn.utils.rnn.pad_sequence(items, batch_first=True)
        states = model.encode(padded.to(run.device), lengths.to(run.device)).states[layer]
        for row, index in enumerate(range(first, last)):
            out[stream.starts[index] : stream.starts[index + 1]] = states[row, : lengths[row]].half().cpu()
    return out


def cluster(vectors: Tensor, clusters: int, seed: int) -> Tensor:
    """k-means units of all vectors, [frame, dim] -> int64 [frame]; centroids from a drawn subset (scipy's kmeans2)."""
    from scipy.cluster.vq import kmeans2

    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(vectors))[:KMEANS_FRAMES])
    subset = vectors[torch.from_numpy(chosen)].float().numpy()
    centroids, _ = kmeans2(subset, min(clusters, len(subset)), iter=15, minit="points", rng=random)
    centroids = torch.from_numpy(centroids).float()
    half_norm = centroids.square().sum(1) / 2
    return torch.cat([(half_norm - chunk.float() @ centroids.T).argmin(1) for chunk in vectors.split(65_536)])


class MaskedPrediction(nn.Module):
    """An encoder and a linear head over units: (features, mask, units) -> cross-entropy of the masked frames."""

    def __init__(self, encoder: MelTransformer, units: int):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, units)

    def forward(self, features: Tensor, mask: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, frame, bin], bool [batch, frame], int64 [batch, frame] -> loss in nats, share predicted right."""
        lengths = torch.full((len(features),), features.shape[1], device=features.device)
        states = self.encoder.encode(features.float(), lengths, mask=mask, collect=False).states[-1]
        wanted = mask & (units != IGNORE)
        logits, targets = self.head(states[wanted]), units[wanted]
        # A crop without any labelled masked frame must give 0, not 0 / 0.
        loss = functional.cross_entropy(logits.float(), targets, reduction="sum") / max(1, len(targets))
        return loss, (logits.argmax(-1) == targets).float().sum() / max(1, len(targets))


def _train(
    run: Run, model: MelTransformer, stream: Stream, units: Tensor, round_: Round, folder: str, label: str
) -> dict[str, float]:
    settings = run.config.encoder
    classes = len(PHONES) if round_.units == "phones" else int(units.max()) + 1
    task = MaskedPrediction(model, classes)
    crops = Crops(stream, units, settings, run.config.seed)
    fit_settings = FitSettings(
        steps=round_.steps,
        learning_rate=round_.learning_rate,
        warmup_steps=max(1, round_.steps // 12),
        schedule="cosine",
        eps=1e-6,
        weight_decay=0.01,
        betas=(0.9, 0.98),
        gradient_clip=1.0,
        validate_every=max(1, round_.steps // 4),
        checkpoint_every=max(1, min(500, round_.steps // 4)),
        log_every=50,
        precision=settings.precision,
        seed=run.config.seed,
    )

    @torch.inference_mode()
    def validate(task: nn.Module) -> dict[str, float]:
        scores = [task(*(part.to(run.device) for part in crops.batch(step, held_out=True))) for step in range(2)]
        loss, accuracy = (torch.stack(values).mean().item() for values in zip(*scores, strict=True))
        return {"validation_loss": loss, "validation_accuracy": accuracy}

    result = fit(
        task,
        batch_at=crops.batch,
        loss=lambda task, batch: task(*batch)[0],
        settings=fit_settings,
        folder=run.folder / folder,
        label=label,
        validate=validate,
        tracker=run.tracker,
        progress=run.progress,
        device=run.device,
    )
    model.to("cpu").eval()
    last = next(row for row in reversed(result.history) if "validation_loss" in row)
    return {key: last[key] for key in ("validation_loss", "validation_accuracy")}


@dataclass
class Crops:
    """Batches of crops with masks, each a function of its step alone.

    The stream is cut into blocks of two crops; one block in twenty is held out for validation.
    """

    stream: Stream
    units: Tensor
    settings: Encoder
    seed: int

    def batch(self, step: int, held_out: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """features [batch, frame, bin], mask bool [batch, frame], units int64 [batch, frame]."""
        random = np.random.default_rng([self.seed, step, int(held_out)])
        size = self.settings.crop_frames
        blocks = len(self.stream.features) // (2 * size)
        every = min(HELD_OUT_EVERY, max(2, blocks))
        chosen = random.integers(0, blocks, self.settings.batch)
        chosen = (
            chosen - chosen % every
            if held_out
            else np.where(chosen % every == 0, np.minimum(chosen + 1, blocks - 1), chosen)
        )
        offsets = np.zeros_like(chosen) if held_out else random.integers(0, size + 1, self.settings.batch)
        starts = chosen * 2 * size + offsets
        index = torch.from_numpy(starts[:, None] + np.arange(size))
        mask = span_mask((self.settings.batch, size), self.settings.mask_start, self.settings.mask_span, random)
        return self.stream.features[index], mask, self.units[index]


def span_mask(shape: tuple[int, int], start: float, span: int, random: np.random.Generator) -> Tensor:
    """Masked spans, bool [batch, frame]: each frame starts a span of `span` frames with probability `start`.

    >>> span_mask((4, 1000), 0.08, 10, np.random.default_rng(0)).float().mean().item() > 0.5
    True
    """
    begins = torch.from_numpy(random.random(shape) < start).float()[:, None]
    covered = functional.max_pool1d(functional.pad(begins, (span - 1, 0)), span, 1)[:, 0] > 0
    covered[:, 0] |= ~covered.any(1)  # no crop without a target
    return covered
