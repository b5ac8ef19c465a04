"""What a step of training sees: mixtures, stored hidden states of them, and batches by step."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.aggregations import Aggregation
from phonemi.config.sections import Enhance
from phonemi.data.mixing import CroppedPairs, DrawnMixtures, Mixture, Mixtures, PairedRecordings, generator
from phonemi.data.speaker_tracks import SpeakerTracks
from phonemi.data.store import AudioStore
from phonemi.errors import ConfigError
from phonemi.signal import SSL_HOP
from phonemi.stages.data_splits import DataSplits, Split
from phonemi.stages.hidden_states import StoredStates, pad_batch
from phonemi.stages.run import Run
from phonemi.systems import System

SPLITS = ("train", "validation")
REDRAWN = 10**10  # more than there are draws at validations: no redrawn mixture is one of another draw


class Batch(NamedTuple):
    """What a step of training sees."""

    noisy: Tensor  # [batch, sample], zero beyond the lengths
    clean: Tensor  # [batch, sample]
    lengths: list[int]  # samples; a tensor would go to the GPU, and be waited for
    inputs: Tensor | None  # stored hidden states or features, see `StoredInputs`
    tracks: Tensor | None = None  # normalised, [batch, frame of 10 ms, variable]; NaN where unknown


def enhancement_mixtures(settings: Enhance, data: DataSplits, split: Split) -> Mixtures:
    """Training or validation mixtures: speaker, utterance, crop, noise and SNR are drawn for each.

    Validation mixtures are augmented too, so that a model is chosen for what it is used on. Pairs that the data has
    (VoiceBank-DEMAND) are taken instead, whole as they are, or in crops with a gain.
    """
    augmentation = settings.augment if split == "train" or settings.augment.validation else None
    if pairs := data.pairs(split):
        if settings.crop_s is None or not settings.crop_pairs:
            return PairedRecordings(pairs)
        return CroppedPairs(pairs, crop_s=settings.crop_s, seed=data.seed, augmentation=augmentation)
    if split == "validation" and not data.holds_out:
        raise ConfigError(
            "enhancers are chosen on held-out mixtures, and there are none: set data.validation_share and "
            "data.noise_folds.validation, or data.validation_pairs"
        )
    is_training = split == "train"
    return DrawnMixtures(
        AudioStore(data.enhancer_speech if is_training else data.speech[split]),
        data.noise_store(split),
        size=settings.train_mixtures if is_training else settings.validation_mixtures,
        snrs_db=settings.snrs_db,
        seed=data.seed,
        epoch=1 if not is_training else 0 if settings.draw == 1 else settings.draw,
        crop_s=settings.crop_s,
        augmentation=augmentation,
    )


def fixed_mixtures(run: Run) -> dict[Split, list[Mixture]]:
    """Every mixture of the splits that are not drawn anew, made once and kept in memory."""
    fixed: dict[Split, list[Mixture]] = {}
    for split in SPLITS:
        if not is_redrawn(run.config.enhance, split):
            mixtures = enhancement_mixtures(run.config.enhance, run.data, split)
            fixed[split] = [mixtures[index] for index in run.progress.over(range(len(mixtures)), f"mixing {split}")]
    return fixed


def is_redrawn(settings: Enhance, split: Split) -> bool:
    """Whether the mixtures of a split are other ones in every epoch, or at every validation."""
    return settings.redraw == "always" or (settings.redraw == "training" and split == "train")


def mixtures_by_draw(run: Run, split: Split, fixed: dict[Split, list[Mixture]]) -> Callable[[int], Mixtures]:
    """Number of an epoch or a validation -> its mixtures: always those that are made already, or others each time."""
    if split in fixed:
        return lambda _: fixed[split]
    first = enhancement_mixtures(run.config.enhance, run.data, split)
    if isinstance(first, PairedRecordings):
        return lambda _: first  # whole recordings are the same in every draw

    def mixtures_of(draw: int) -> Mixtures:
        mixtures: Any = copy(first)
        mixtures.epoch = REDRAWN * (1 + mixtures.epoch) + draw
        return mixtures  # type: ignore[no-any-return]

    return mixtures_of


def stores_states(run: Run, system: System) -> bool:
    """Whether a system is trained on stored hidden states, which are those of the run's encoder, 50 times a second."""
    if not system.uses_encoder or system.changes_encoder or run.config.enhance.redraw != "never":
        return False
    if system.hears_clean:  # what is stored is of noisy mixtures
        return False
    return run.encoder.hop == SSL_HOP


def stored_states(run: Run, split: Split) -> StoredStates:
    """Hidden states of the noisy mixtures of a split, by the frozen encoder; from disk where they are there.

    S3PRL encodes the training speech in padded batches, and one by one what is validated and tested.
    """
    settings = run.config.enhance
    padded_batch = settings.batch if settings.encoder_padding == "batch" and split == "train" else None
    drawn = enhancement_mixtures(settings, run.data, split)
    return run.states.states(run.encoder, drawn, f"enhance.{split}", run.keys.states(split), padded_batch=padded_batch)


class StoredInputs:
    """Stored hidden states by mixture: all layers, or the sequence that a frozen aggregation makes of them, once."""

    def __init__(self, states: StoredStates, frozen: Aggregation | None, device: torch.device | str = "cpu") -> None:
        self.states, self.is_aggregated = states, frozen is not None
        if frozen is not None:
            self.states = StoredStates(states.aggregated(frozen.eval(), device)[:, None], states.starts)

    def __call__(self, indices: np.ndarray) -> Tensor:
        """Hidden states [layer, batch, frame, dim], or features [batch, frame, dim]; zero beyond each mixture."""
        items = [self.states.of(int(index)) for index in indices]
        batch = nn.utils.rnn.pad_sequence(items, batch_first=True).permute(2, 0, 1, 3)
        return batch[0] if self.is_aggregated else batch


class TrainingBatches:
    """Batches by step: a new order of all mixtures in each epoch, a function of (seed, step) alone.

    A batch has `size` mixtures, the last one of an epoch perhaps fewer, and their `inputs` where there are any.

    Args:
        mixtures: of an epoch, by its number; there are always as many.
        inputs: their stored inputs, if there are any.
        size: mixtures of a batch.
        seed: of the order.
        shuffle: False: the order of the first epoch is that of all.
        tracks: of the articulators, if an inverter learns.
    """

    def __init__(
        self,
        mixtures: Callable[[int], Mixtures],
        inputs: StoredInputs | None,
        size: int,
        seed: int,
        shuffle: bool = True,
        tracks: SpeakerTracks | None = None,
    ) -> None:
        self.mixtures, self.inputs, self.size, self.seed, self.shuffle = mixtures, inputs, size, seed, shuffle
        self.tracks = tracks
        self.count = len(mixtures(0))

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        epoch, position = divmod(step, -(-self.count // self.size))
        order = generator(self.seed, "order", epoch if self.shuffle else 0).permutation(self.count)
        indices = order[position * self.size : (position + 1) * self.size]
        mixtures = self.mixtures(epoch)
        items = [mixtures[int(index)] for index in indices]
        noisy, lengths = pad_batch([item.noisy for item in items])
        clean, _ = pad_batch([item.clean for item in items])
        inputs = None if self.inputs is None else self.inputs(indices)
        return Batch(noisy, clean, lengths.tolist(), inputs, self._tracks_of(items))

    def _tracks_of(self, items: list[Mixture]) -> Tensor | None:
        if self.tracks is None:
            return None
        parts = [self.tracks.part(item.utterance_id, item.start, len(item.clean)) for item in items]
        return nn.utils.rnn.pad_sequence([torch.from_numpy(part) for part in parts], True, float("nan"))
