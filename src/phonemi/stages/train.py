"""Noisy and clean speech -> RUN/rows/<row>/model: one mask enhancer for each row of the table (Tables 1 and 2).

The noisy mixtures are made once, their hidden states encoded once and shared by all rows. Where the aggregation is
frozen, its fused features are computed once too: training then never sees the encoder or its layers.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.config import Config
from phonemi.data.mixing import AudioStore, DrawnMixtures, generator
from phonemi.errors import ConfigError
from phonemi.files import write_json
from phonemi.metrics.intrusive import score_pair
from phonemi.metrics.score import Score
from phonemi.models.aggregation import Aggregation, SingleLayer
from phonemi.models.enhancer import Enhancer
from phonemi.models.mask_enhancer import MaskEnhancer
from phonemi.progress import Progress
from phonemi.stages import aggregate, information
from phonemi.stages.rows import Row, parse
from phonemi.stages.run import Run
from phonemi.stages.states import States, cached_states
from phonemi.training.loop import FitSettings, fit


def run(run: Run, only: str | None = None) -> None:
    """Train the rows of the configuration, or `only` one; rows are independent, resumable and skipped when done."""
    rows = [parse(name) for name in ((only,) if only else run.config.enhance.rows)]
    todo = [row for row in rows if not is_done(run, row)]
    for row in rows:
        if row not in todo:
            run.say(f"train: {row.name} done already")
    if not todo:
        return
    with run.timed("train: mixtures and states"):
        mixtures = {split: enhancement_mixtures(run, split) for split in ("train", "validation")}
        if any(row.kind != "log1p" for row in todo):
            for split, made in mixtures.items():
                _states(run, made, split)
    with run.timed("train: rows"):
        jobs = min(run.config.enhance.jobs, len(todo))
        if jobs == 1:
            for row in todo:
                train_row(run, row, mixtures)
        else:
            _train_side_by_side(run, todo, jobs)


def is_done(run: Run, row: Row) -> bool:
    """Whether the row's model is there and belongs to this configuration."""
    return run.is_done(f"rows/{row.name}/result.json", row_key(run, row))


def row_key(run: Run, row: Row) -> str:
    """Hash of what a row's model depends on."""
    settings = run.config.enhance.model_dump(mode="json", exclude={"rows", "jobs"})
    upstream = None if row.kind == "log1p" else run.encoder_key
    made_by = {
        "layer": information.result_key(run) if row.layer is None else None,
        "ws": aggregate.result_key(run) if row.tuning != "acoustic" else None,
        "dws": aggregate.result_key(run) if row.tuning != "acoustic" else None,
    }.get(row.kind)
    return run.key("train", row.name, settings, upstream, made_by)


@dataclass
class Pairs:
    """A set of mixtures in memory: noisy and clean waveforms of one length each set.

    Attributes:
        noisy, clean: float32 [item, sample], zero beyond `lengths`.
        lengths: samples of each item.
    """

    noisy: Tensor
    clean: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, mixtures: DrawnMixtures, progress: Progress, label: str) -> Pairs:
        """Make every mixture once."""
        noisy, clean = [], []
        for index in progress.over(range(len(mixtures)), label):
            item = mixtures[index]
            noisy.append(torch.from_numpy(item.noisy))
            clean.append(torch.from_numpy(item.clean))
        pad = nn.utils.rnn.pad_sequence
        return cls(pad(noisy, batch_first=True), pad(clean, batch_first=True), torch.tensor([len(n) for n in noisy]))


def enhancement_mixtures(run: Run, split: str) -> DrawnMixtures:
    """Training or validation mixtures: speaker, utterance, crop, noise and SNR drawn for each."""
    settings = run.config.enhance
    return DrawnMixtures(
        AudioStore(run.speech[split]),
        run.noise_store(split),
        size=settings.train_mixtures if split == "train" else settings.validation_mixtures,
        snrs_db=settings.snrs_db,
        seed=run.config.seed,
        epoch=0 if split == "train" else 1,
        crop_s=settings.crop_s,
    )


class Conditioned(nn.Module):
    """An aggregation that still learns, before the mask enhancer."""

    def __init__(self, aggregation: Aggregation | None, mask_enhancer: MaskEnhancer):
        super().__init__()
        self.aggregation = aggregation
        self.mask_enhancer = mask_enhancer

    def forward(self, noisy: Tensor, clean: Tensor, lengths: Tensor, inputs: Tensor | None) -> Tensor:
        """Loss of a batch; see `MaskEnhancer.loss`."""
        return self.mask_enhancer.loss(noisy, clean, self.features(inputs), lengths)

    def features(self, inputs: Tensor | None) -> Tensor | None:
        """Hidden states [layer, batch, frame, dim] or fused features [batch, frame, dim] -> the latter."""
        if inputs is None:
            return None
        return inputs.float() if self.aggregation is None else self.aggregation(inputs.float())


def train_row(run: Run, row: Row, mixtures: dict[str, DrawnMixtures]) -> None:
    """Train one row and save it as an Enhancer."""
    settings = run.config.enhance
    pairs = {split: Pairs.of(made, run.progress, f"mixing {split}") for split, made in mixtures.items()}
    torch.manual_seed(run.config.seed)
    aggregation = None if row.kind == "log1p" else aggregation_of(run, row)
    dim = 0 if aggregation is None else run.representation.dim
    hop = run.representation.hop if aggregation is not None else 320
    mask_enhancer = MaskEnhancer(dim, row.log1p, hop, settings.hidden, settings.layers, settings.dropout)
    states = {} if aggregation is None else {split: _states(run, made, split) for split, made in mixtures.items()}
    model = Conditioned(None if row.is_frozen else aggregation, mask_enhancer)
    inputs = {split: _Inputs(s, aggregation if row.is_frozen else None) for split, s in states.items()}
    result = fit(
        model,
        batch_at=_Batches(pairs["train"], inputs.get("train"), settings.batch, run.config.seed),
        loss=lambda model, batch: model(*batch),
        settings=FitSettings(
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            validate_every=settings.validate_every,
            checkpoint_every=settings.validate_every,
            select_on=settings.select_on,
            precision=settings.precision,
            seed=run.config.seed,
        ),
        folder=run.folder / "rows" / row.name / "checkpoints" / row_key(run, row),
        label=row.name,
        validate=lambda _: _validate(run, model, pairs["validation"], inputs.get("validation")),
        tracker=run.tracker,
        progress=run.progress,
        device=run.device,
    )
    model.cpu()
    enhancer = Enhancer(run.representation if aggregation is not None else None, aggregation, mask_enhancer, row.name)
    facts = {"row": row.name, settings.select_on: result.best_value, "best_step": result.best_step}
    enhancer.save_pretrained(run.folder / "rows" / row.name / "model", facts)
    write_json(run.folder / "rows" / row.name / "result.json", {"key": row_key(run, row), "label": row.label, **facts})


def aggregation_of(run: Run, row: Row) -> Aggregation:
    """The aggregation a row starts from, with what may learn set free."""
    layers, dim = run.representation.layers, run.representation.dim
    if row.kind == "layer":
        layer = row.layer if row.layer is not None else information.best_layer(run, f"row {row.name}")
        if layer >= layers:
            raise ConfigError(f"row {row.name!r}: the encoder has layers 0 to {layers - 1}")
        return SingleLayer(layers, layer)
    if row.tuning == "acoustic":
        return aggregate.new_aggregation(row.kind, layers, dim).tune("acoustic")
    return aggregate.linguistic(run, row.kind, f"row {row.name}").tune(row.tuning or "linguistic")


def _states(run: Run, mixtures: DrawnMixtures, split: str) -> States:
    settings = run.config.enhance.model_dump(include={"train_mixtures", "validation_mixtures", "snrs_db", "crop_s"})
    return cached_states(run, run.representation, mixtures, f"enhance.{split}", run.key("enhance", settings, split))


class _Inputs:
    """What conditions the enhancer, by item: fused features where the aggregation is frozen, else hidden states."""

    def __init__(self, states: States, frozen: Aggregation | None):
        self.states = states
        if frozen is not None:
            self.states = States(states.fused(frozen.eval())[:, None], states.starts)
        self.is_fused = frozen is not None

    def __call__(self, indices: np.ndarray) -> Tensor:
        """[layer, batch, frame, dim], or [batch, frame, dim] when fused; zero beyond the item."""
        items = [self.states.values[self.states.starts[i] : self.states.starts[i + 1]] for i in indices]
        batch = nn.utils.rnn.pad_sequence(items, batch_first=True).permute(2, 0, 1, 3)
        return batch[0] if self.is_fused else batch


class _Batches:
    """Batches by step: a new order of all mixtures in each epoch, a function of (seed, step)."""

    def __init__(self, pairs: Pairs, inputs: _Inputs | None, batch: int, seed: int):
        self.pairs, self.inputs, self.batch, self.seed = pairs, inputs, batch, seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """noisy, clean [batch, sample], lengths [batch], inputs."""
        count = len(self.pairs.noisy)
        per_epoch = -(-count // self.batch)
        epoch, position = divmod(step, per_epoch)
        order = generator(self.seed, "order", epoch).permutation(count)
        chosen = order[position * self.batch : (position + 1) * self.batch]
        lengths = self.pairs.lengths[chosen]
        samples = int(lengths.max())
        noisy, clean = self.pairs.noisy[chosen, :samples], self.pairs.clean[chosen, :samples]
        return noisy, clean, lengths, None if self.inputs is None else self.inputs(chosen)


def _validate(run: Run, model: Conditioned, pairs: Pairs, inputs: _Inputs | None) -> dict[str, float]:
    """Mean scores over the validation mixtures, each enhanced alone."""
    scores: dict[str, list[Score]] = {}
    for index in range(len(pairs.noisy)):
        samples = int(pairs.lengths[index])
        noisy = pairs.noisy[index : index + 1, :samples]
        features = None if inputs is None else model.features(inputs(np.array([index])).to(run.device))
        estimate = model.mask_enhancer.enhance(noisy.to(run.device), features)[0].float().cpu().numpy()
        for key, score in score_pair(estimate, noisy[0].numpy(), pairs.clean[index, :samples].numpy()).items():
            scores.setdefault(key, []).append(score)
    values = {key: [score.value for score in found if score.ok] for key, found in scores.items()}
    chosen = run.config.enhance.select_on
    if not values[chosen]:
        raise ConfigError(f"enhance.select_on is {chosen!r}, which could not be computed: {scores[chosen][0].reason}")
    return {key: float(np.mean(found)) for key, found in values.items() if found}


def _train_side_by_side(run: Run, rows: list[Row], jobs: int) -> None:
    """Several rows at a time, each in a process with its share of the cores: an LSTM makes poor use of several."""
    threads = max(1, torch.get_num_threads() // jobs)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        started = [pool.submit(_train_in_process, run.folder, run.config, row.name, threads) for row in rows]
        try:
            for finished in run.progress.over(concurrent.futures.as_completed(started), "rows", len(rows)):
                finished.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()  # SIGTERM: the loop writes its checkpoint and ends
            raise


def _train_in_process(folder: Path, config: Config, name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    alone = config.model_copy(update={"enhance": config.enhance.model_copy(update={"jobs": 1})})
    worker = Run(folder, alone, save=False)
    mixtures = {split: enhancement_mixtures(worker, split) for split in ("train", "validation")}
    train_row(worker, parse(name), mixtures)
