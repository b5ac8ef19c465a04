"""Noisy and clean speech -> RUN/rows/<row>/model: one mask enhancer for each row of the table (Tables 1 and 2).

The noisy mixtures are made once, their hidden states encoded once and shared by all rows. Where the aggregation is
frozen, its fused features are computed once too: training then never sees the encoder or its layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.aggregations.base import Aggregation
from phonemi.aggregations.single_layer import SingleLayer
from phonemi.aggregations.weighted_sum import WeightedSum
from phonemi.config import Config
from phonemi.data.augmentation import Augmentation
from phonemi.data.mixing import DrawnMixtures, Mixture, generator
from phonemi.data.pairs import PairedRecordings
from phonemi.data.store import AudioStore
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.errors import ConfigError, DataError, MissingExtra, require_extra
from phonemi.files import write_json
from phonemi.interruption import Interruption
from phonemi.metrics.intrusive import score_pair
from phonemi.metrics.score import Score
from phonemi.signal import SSL_HOP
from phonemi.stages import aggregate, information
from phonemi.stages.hidden_states import Mixtures, States, cached_states
from phonemi.stages.run import Run
from phonemi.systems.system import Row, parse
from phonemi.training.loop import fit
from phonemi.training.settings import fit_settings
from phonemi.workers import Workers

SPLITS = ("train", "validation")
SCORED_BY = {"pesq_wb_lqo": "pesq", "stoi": "pystoi"}  # what validation selects on -> the package that it needs


def run(run: Run, only: str | None = None) -> None:
    """Train the rows of the configuration, or `only` one; rows are independent, resumable and skipped when done."""
    rows = [parse(only)] if only else run.rows
    todo = [row for row in rows if not is_done(run, row)]
    for row in rows:
        if row not in todo:
            run.say(f"train: {row.name} done already")
    if not todo:
        return
    _require_score(run.config.enhance.select_on)
    jobs = min(run.config.enhance.jobs, len(todo))
    with run.timed("train: mixtures and states"):
        mixtures = {split: enhancement_mixtures(run, split) for split in SPLITS}
        if any(row.kind != "log1p" for row in todo):
            if run.representation.hop != SSL_HOP:
                raise ConfigError(
                    f"{run.config.representation} has a frame every {run.representation.hop} samples; rows with an "
                    f"encoder need one with a frame every {SSL_HOP}"
                )
            for split in SPLITS:
                _states(run, mixtures[split], split)
        made = {split: _all_of(run, mixtures[split], split) for split in SPLITS if jobs == 1}
    with run.timed("train: rows"):
        if jobs > 1:
            _train_side_by_side(run, todo, jobs)
        else:
            for row in todo:
                train_row(run, row, made)


def is_done(run: Run, row: Row) -> bool:
    """Whether the row's model is there and belongs to this configuration."""
    return run.is_done(f"rows/{row.name}/result.json", row_key(run, row))


def _require_score(select_on: str) -> None:
    """Ask for the package of the score now, not at the first validation."""
    if select_on in SCORED_BY:
        try:
            require_extra(SCORED_BY[select_on], "eval")
        except MissingExtra as error:
            raise MissingExtra(f"{error}, or set enhance.select_on to another score") from None


def require_done(run: Run, row: Row) -> None:
    """Raise a DataError that names the command to run, unless the row's model is there."""
    if not is_done(run, row):
        command = f"phonemi train --run {run.folder}"
        raise DataError(f"row {row.name!r} is not trained with this configuration: run `{command}` first")


def row_key(run: Run, row: Row) -> str:
    """Hash of what a row's model depends on."""
    settings = run.config.enhance.for_key(exclude={"rows", "seeds", "jobs"})
    upstream = None if row.kind == "log1p" else run.encoder_key
    aggregation = None
    if row.kind in ("ws", "dws"):
        built = {"normalise_layers", "projection_bias", "projection_dim", "renormalise"}
        aggregation = run.config.aggregate.for_key(include=built)
    made_by = {
        "layer": information.result_key(run) if row.layer is None else None,
        "ws": aggregate.result_key(run) if row.tuning != "acoustic" else None,
        "dws": aggregate.result_key(run) if row.tuning != "acoustic" else None,
    }.get(row.kind)
    return run.key("train", row.name, settings, upstream, made_by, aggregation)


def enhancement_mixtures(run: Run, split: str) -> Mixtures:
    """Training or validation mixtures: speaker, utterance, crop, noise and SNR drawn for each.

    Validation mixtures are augmented too, so that a model is chosen for what it is used on. Pairs that the data has
    (VoiceBank-DEMAND) are taken instead, whole and as they are.

    Raises:
        ConfigError: if there is nothing to validate on.
    """
    settings = run.config.enhance
    pairs = run.pairs(split)
    if pairs:
        return PairedRecordings(pairs)
    if split == "validation" and not run.holds_out:
        raise ConfigError(
            "enhancers are chosen on held-out mixtures, and there are none: set data.validation_share and "
            "data.noise_folds.validation, or data.validation_pairs"
        )
    return DrawnMixtures(
        AudioStore(run.enhancer_speech if split == "train" else run.speech[split]),
        run.noise_store(split),
        size=settings.train_mixtures if split == "train" else settings.validation_mixtures,
        snrs_db=settings.snrs_db,
        seed=run.config.seed,
        epoch=0 if split == "train" else 1,
        crop_s=settings.crop_s,
        augmentation=Augmentation(**dict(settings.augment)),
    )


def _all_of(run: Run, mixtures: Mixtures, split: str) -> list[Mixture]:
    """Every mixture, made once and kept in memory."""
    return [mixtures[index] for index in run.progress.over(range(len(mixtures)), f"mixing {split}")]


class Conditioned(nn.Module):
    """An aggregation that still learns, before the mask enhancer."""

    def __init__(self, aggregation: Aggregation | None, mask_enhancer: MaskEnhancer, si_sdr_weight: float):
        super().__init__()
        self.aggregation = aggregation
        self.mask_enhancer = mask_enhancer
        self.si_sdr_weight = si_sdr_weight

    def forward(self, noisy: Tensor, clean: Tensor, lengths: list[int], inputs: Tensor | None) -> Tensor:
        """Loss of a batch; see `MaskEnhancer.loss`."""
        return self.mask_enhancer.loss(noisy, clean, self.features(inputs), torch.tensor(lengths), self.si_sdr_weight)

    def features(self, inputs: Tensor | None) -> Tensor | None:
        """Hidden states [layer, batch, frame, dim] or fused features [batch, frame, dim] -> the latter."""
        if inputs is None:
            return None
        return inputs.float() if self.aggregation is None else self.aggregation(inputs.float())


def train_row(run: Run, row: Row, mixtures: dict[str, list[Mixture]]) -> None:
    """Train one row on the mixtures of the two splits and save it as an Enhancer."""
    settings = run.config.enhance
    representation = None if row.kind == "log1p" else run.representation
    # After the encoder is there, because loading one draws random numbers too.
    seed = row.seed(run.config.seed)
    torch.manual_seed(seed)
    aggregation = None if representation is None else aggregation_of(run, row)
    mask_enhancer = MaskEnhancer(
        0 if representation is None else representation.dim,
        row.log1p,
        hidden=settings.hidden,
        layers=settings.layers,
        dropout=settings.dropout,
        level_db=settings.level_db,
        stft_pad=settings.stft_pad,
    )
    states = {} if representation is None else {split: _states(run, mixtures[split], split) for split in SPLITS}
    model = Conditioned(None if row.is_frozen else aggregation, mask_enhancer, settings.si_sdr_weight)
    inputs = {split: _Inputs(s, aggregation if row.is_frozen else None, run.device) for split, s in states.items()}
    with Workers(score_pair, run.processes, "scoring") as scoring:
        result = fit(
            model,
            batch_at=_Batches(mixtures["train"], inputs.get("train"), settings.batch, seed),
            loss=lambda model, batch: model(*batch),
            settings=fit_settings(settings, checkpoint_every=settings.validate_every, seed=seed),
            folder=run.folder / "rows" / row.name / "checkpoints" / row_key(run, row),
            label=row.name,
            validate=lambda _: _validate(run, model, mixtures["validation"], inputs.get("validation"), scoring),
            tracker=run.tracker,
            progress=run.progress,
            device=run.device,
        )
    model.cpu()
    enhancer = Enhancer(representation, aggregation, mask_enhancer, row.name)
    facts = {"row": row.name, settings.select_on: result.best_value, "best_step": result.best_step}
    enhancer.save_pretrained(run.folder / "rows" / row.name / "model", facts)
    write_json(run.folder / "rows" / row.name / "result.json", {"key": row_key(run, row), "label": row.label, **facts})


def aggregation_of(run: Run, row: Row) -> Aggregation:
    """The aggregation a row starts from, with what may learn set free."""
    layers = run.representation.layers
    if row.kind == "layer":
        layer = row.layer if row.layer is not None else information.best_layer(run, f"row {row.name}")
        if layer >= layers:
            raise ConfigError(f"row {row.name!r}: the encoder has layers 0 to {layers - 1}")
        return SingleLayer(layers, layer)
    if row.tuning == "acoustic":
        return aggregate.new_aggregation(run, row.kind).tune("acoustic")
    found = aggregate.linguistic(run, row.kind, f"row {row.name}")
    if isinstance(found, WeightedSum) and row.tuning == "hybrid":
        return found.tune("hybrid", renormalise=run.config.aggregate.renormalise)
    return found.tune(row.tuning or "linguistic")


def _states(run: Run, mixtures: Mixtures, split: str) -> States:
    parts = {"train_mixtures", "validation_mixtures", "snrs_db", "crop_s", "augment"}
    settings = run.config.enhance
    key = run.key("enhance", settings.model_dump(include=parts), split)
    # S3PRL, too, encodes what is validated and tested one by one.
    padded = settings.batch if settings.encoder_padding == "batch" and split == "train" else None
    return cached_states(run, run.representation, mixtures, f"enhance.{split}", key, padded_batch=padded)


class _Inputs:
    """What conditions the enhancer, by item: fused features where the aggregation is frozen, else hidden states."""

    def __init__(self, states: States, frozen: Aggregation | None, device: torch.device):
        self.states = states
        if frozen is not None:
            self.states = States(states.fused(frozen.eval(), device)[:, None], states.starts)
        self.is_fused = frozen is not None

    def __call__(self, indices: np.ndarray) -> Tensor:
        """[layer, batch, frame, dim], or [batch, frame, dim] when fused; zero beyond the item."""
        items = [self.states.values[self.states.starts[i] : self.states.starts[i + 1]] for i in indices]
        batch = nn.utils.rnn.pad_sequence(items, batch_first=True).permute(2, 0, 1, 3)
        return batch[0] if self.is_fused else batch


class _Batches:
    """Batches by step: a new order of all mixtures in each epoch, a function of (seed, step)."""

    def __init__(self, mixtures: list[Mixture], inputs: _Inputs | None, batch: int, seed: int):
        self.mixtures, self.inputs, self.batch, self.seed = mixtures, inputs, batch, seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor, list[int], Tensor | None]:
        """noisy, clean [batch, sample], lengths (a tensor would go to the GPU, and be waited for), inputs."""
        count = len(self.mixtures)
        per_epoch = -(-count // self.batch)
        epoch, position = divmod(step, per_epoch)
        order = generator(self.seed, "order", epoch).permutation(count)
        chosen = order[position * self.batch : (position + 1) * self.batch]
        items = [self.mixtures[index] for index in chosen]
        noisy = nn.utils.rnn.pad_sequence([torch.from_numpy(item.noisy) for item in items], batch_first=True)
        clean = nn.utils.rnn.pad_sequence([torch.from_numpy(item.clean) for item in items], batch_first=True)
        lengths = [len(item.noisy) for item in items]
        return noisy, clean, lengths, None if self.inputs is None else self.inputs(chosen)


def _validate(
    run: Run, model: Conditioned, mixtures: list[Mixture], inputs: _Inputs | None, scoring: Workers[dict[str, Score]]
) -> dict[str, float]:
    """Mean scores over the validation mixtures, each enhanced alone."""

    def triples() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for index, item in enumerate(mixtures):
            noisy = torch.from_numpy(item.noisy)[None].to(run.device)
            features = None if inputs is None else model.features(inputs(np.array([index])).to(run.device))
            estimate = model.mask_enhancer.enhance(noisy, features)[0].float().cpu().numpy()
            yield estimate, item.noisy, item.clean

    scores: dict[str, list[Score]] = {}
    for found in scoring.over(triples()):
        for key, score in found.items():
            scores.setdefault(key, []).append(score)
    values = {key: [score.value for score in found if score.ok] for key, found in scores.items()}
    chosen = run.config.enhance.select_on
    if not values[chosen]:
        raise ConfigError(f"enhance.select_on is {chosen!r}, which could not be computed: {scores[chosen][0].reason}")
    return {key: float(np.mean(found)) for key, found in values.items() if found}


def _train_side_by_side(run: Run, rows: list[Row], jobs: int) -> None:
    """Several rows at a time, each in a process with its share of the cores: an LSTM makes poor use of several."""
    with (
        Interruption(),
        Workers(_train_in_process, jobs, "training", "run it again with --set enhance.jobs=1") as training,
        run.progress.task("rows", len(rows)) as task,
    ):
        for _ in training.as_completed((run.folder, run.config, row.name) for row in rows):
            task.advance()


def _train_in_process(folder: Path, config: Config, name: str) -> None:
    run = Run(folder, config, save=False)
    train_row(run, parse(name), {split: _all_of(run, enhancement_mixtures(run, split), split) for split in SPLITS})
