"""Batches for training an enhancer: noisy and clean waveforms, and what is stored of the noisy ones' hidden states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.aggregations.base import Aggregation
from phonemi.config.sections import Enhance
from phonemi.data.mixing import DrawnMixtures, Mixture, Mixtures, PairedRecordings, generator
from phonemi.data.store import AudioStore
from phonemi.errors import ConfigError
from phonemi.stages.data_splits import DataSplits, Split
from phonemi.stages.hidden_states import StoredStates, pad_batch


class Batch(NamedTuple):
    """What a step of training sees."""

    noisy: Tensor  # [batch, sample], zero beyond the lengths
    clean: Tensor  # [batch, sample]
    lengths: list[int]  # samples; a tensor would go to the GPU, and be waited for
    inputs: Tensor | None  # stored hidden states or features, see `StoredInputs`


def enhancement_mixtures(settings: Enhance, data: DataSplits, split: Split) -> Mixtures:
    """Training or validation mixtures: speaker, utterance, crop, noise and SNR are drawn for each.

    Validation mixtures are augmented too, so that a model is chosen for what it is used on. Pairs that the data has
    (VoiceBank-DEMAND) are taken instead, whole and as they are.

    Raises:
        ConfigError: if there is nothing to validate on.
    """
    pairs = data.pairs(split)
    if pairs:
        return PairedRecordings(pairs)
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
        epoch=0 if is_training else 1,
        crop_s=settings.crop_s,
        augmentation=settings.augment,
    )


class StoredInputs:
    """Stored hidden states by mixture: all layers, or the sequence that a frozen aggregation makes of them.

    Args:
        states: of the mixtures.
        frozen: an aggregation that is applied once, here; None: it is still to be learned.
        device: where it is applied.
    """

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

    Args:
        mixtures: made already.
        inputs: of the same mixtures, where hidden states are stored.
        size: mixtures in a batch; the last one of an epoch may be smaller.
        seed: of the order.
    """

    def __init__(self, mixtures: list[Mixture], inputs: StoredInputs | None, size: int, seed: int) -> None:
        self.mixtures, self.inputs, self.size, self.seed = mixtures, inputs, size, seed

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        count = len(self.mixtures)
        epoch, position = divmod(step, -(-count // self.size))
        order = generator(self.seed, "order", epoch).permutation(count)
        indices = order[position * self.size : (position + 1) * self.size]
        items = [self.mixtures[index] for index in indices]
        noisy, lengths = pad_batch([item.noisy for item in items])
        clean, _ = pad_batch([item.clean for item in items])
        return Batch(noisy, clean, lengths.tolist(), None if self.inputs is None else self.inputs(indices))
