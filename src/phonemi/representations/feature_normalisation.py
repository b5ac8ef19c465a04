"""Feature normalisation (Yang and Kang 2023): noisy features get the statistics of clean ones, inside an encoder.

The idea is the paper's, what is not stated there is said in docs/fidelity.md: in each chosen layer, each feature of an
utterance is brought to the mean and the deviation over time that it has in clean speech, before the next block sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.errors import ModelError
from phonemi.files import read_json, write_json
from phonemi.representations.base import HiddenStates, Representation, check_lengths
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE
from phonemi.weights.tensors import load_weights, save_weights

MODEL_TYPE = "phonemi-feature-normalisation"
INNER_ENCODER = "encoder"  # folder of the encoder inside, in that of this one
EPS = 1e-5  # added to the deviation that features are divided by


class Statistics(NamedTuple):
    """Mean and deviation over time of each feature in each layer."""

    mean: Tensor  # [layer, dim], or [layer, batch, dim] where each item has its own
    std: Tensor


class CleanStatistics(nn.Module):
    """What the features of each normalised layer get: [layer, dim] both."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(layers, dim))
        self.register_buffer("std", torch.ones(layers, dim))


class FeatureNormalisation(Representation):
    """An encoder whose features in some layers are normalised, and as trainable as it is without.

    In each of the `normalised_layers`, with mean and deviation of an utterance over its frames, feature by feature,

        h' = (h - mean(h)) / (std(h) + 1e-5) * std_clean + mean_clean

    is what the layer gives and the next block reads. An utterance of a single frame stays as it is. The clean
    statistics are fixed: `set_statistics` takes those of a corpus of clean speech. `paired_with` puts those of the
    clean recordings of a batch in their place, which only training has.

    Args:
        encoder: the encoder, which becomes a part of this one.
        normalised_layers: which; 0 is the input of the first block.

    Raises:
        ModelError: for layers that it does not have, or an encoder that lets nobody between its layers.
    """

    def __init__(self, encoder: Representation, normalised_layers: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.normalised_layers = encoder, tuple(sorted(set(normalised_layers)))
        self.name, self.layers, self.dim, self.hop = encoder.name, encoder.layers, encoder.dim, encoder.hop
        unknown = [layer for layer in self.normalised_layers if not 0 <= layer < encoder.layers]
        if unknown or not self.normalised_layers:
            raise ModelError(
                f"{encoder.name} has layers 0 to {encoder.layers - 1}, of which at least one is normalised: "
                f"asked for {', '.join(map(str, unknown)) or 'none'}"
            )
        self.front_end = tuple(f"encoder.{module}" for module in encoder.front_end)
        self.mask_parameter = encoder.mask_parameter and f"encoder.{encoder.mask_parameter}"
        self.clean = CleanStatistics(len(self.normalised_layers), self.dim)
        self._paired: Statistics | None = None  # [normalised layer, batch, dim]
        self._rows: Tensor | slice = slice(None)  # items of the batch that are being encoded, all of one length
        self._is_off = False
        modules = encoder.layer_modules()
        for slot, layer in enumerate(self.normalised_layers):
            modules[layer].register_forward_hook(partial(self._align, slot))
        self.train(encoder.training)

    def set_statistics(self, statistics: Statistics) -> Self:
        """Take the clean statistics of all layers of the encoder, [layer, dim] each, from `measure_statistics`."""
        layers = list(self.normalised_layers)
        self.clean.load_state_dict({name: values[layers] for name, values in statistics._asdict().items()})
        return self

    @contextmanager
    def paired_with(self, clean: Tensor, lengths: Tensor | None) -> Iterator[None]:
        """Inside, each item gets the statistics of its own clean waveform, [batch, sample], of `lengths` samples."""
        counts = [clean.shape[1]] * len(clean) if lengths is None else lengths.tolist()
        self._is_off = True
        try:
            items = [item[None, :count] for item, count in zip(clean, counts, strict=True)]
            own = [_moments_of_layers(self.encoder, item) for item in items]
        finally:
            self._is_off = False
        layers = list(self.normalised_layers)
        self._paired = Statistics(*(torch.stack(values, 1)[layers] for values in zip(*own, strict=True)))
        try:
            yield
        finally:
            self._paired = None

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        """As `Representation.forward`. Items of equal length run together."""
        if lengths is None:
            encoded: HiddenStates = self.encoder(waveforms)
            return encoded
        lengths = check_lengths(waveforms, lengths, 1)
        frames = self.encoder.frames(waveforms.shape[1])
        states = waveforms.new_zeros(self.layers, len(waveforms), frames, self.dim)
        counts = torch.zeros_like(lengths)
        try:
            for length in sorted(set(lengths.tolist())):
                self._rows = rows = (lengths == length).nonzero()[:, 0]
                group = self.encoder(waveforms[rows, :length])
                padded = nn.functional.pad(group.states, (0, 0, 0, frames - group.states.shape[2]))
                states = states.index_copy(1, rows, padded.to(states))
                counts[rows] = group.lengths.to(counts)
        finally:
            self._rows = slice(None)
        return HiddenStates(states, counts)

    def frames(self, samples: int) -> int:
        return self.encoder.frames(samples)

    def block_of(self, name: str) -> int:
        return self.encoder.block_of(name.removeprefix("encoder."))

    def layer_modules(self) -> list[nn.Module]:
        return self.encoder.layer_modules()

    def unfreeze(self, from_block: int = 1, keep_front_end: bool = False) -> Self:
        super().unfreeze(from_block, keep_front_end)
        self.encoder.is_modified = True
        return self

    def settings(self) -> dict[str, Any]:
        own = {"name": self.name, "normalised_layers": list(self.normalised_layers)}
        return own | {"encoder": self.encoder.settings()}

    def save(self, folder: Path, options: dict[str, Any]) -> None:
        """Write config.json and model.safetensors; the encoder, with these options, is saved beside them."""
        save_weights(self.clean, folder / WEIGHTS_FILE)
        config = {"model_type": MODEL_TYPE, "normalised_layers": list(self.normalised_layers)}
        write_json(folder / CONFIG_FILE, config | {"encoder_options": options})

    @classmethod
    def load(cls, folder: Path, encoder: Representation) -> FeatureNormalisation:
        """Read what `save` wrote, around the encoder that was saved beside it."""
        config = read_json(folder / CONFIG_FILE)
        for option, value in config["encoder_options"].items():
            setattr(encoder, option, value)
        normalisation = cls(encoder, config["normalised_layers"])
        normalisation.name = str(folder)
        load_weights(normalisation.clean, folder / WEIGHTS_FILE)
        return normalisation

    def _align(self, slot: int, module: nn.Module, inputs: Any, output: Any) -> Any:
        """The output of a layer with the clean statistics; a forward hook."""
        features = _features_of(output)
        if self._is_off or features.shape[1] < 2:
            return output
        if self._paired is None:
            mean, std = self.clean.mean[slot], self.clean.std[slot]
        else:
            mean, std = (values[slot][self._rows][:, None] for values in self._paired)
        own = moments(features)
        aligned = (features - own.mean[:, None]) / (own.std[:, None] + EPS) * std + mean
        return (aligned.to(features.dtype), *output[1:]) if isinstance(output, tuple) else aligned.to(features.dtype)


def moments(features: Tensor) -> Statistics:
    """Mean and deviation over the frames, [batch, frame, dim] -> [batch, dim] each."""
    features = features.float()
    # The gradient of a root is infinite at 0, where a feature is constant.
    return Statistics(features.mean(1), (features.var(1, correction=0) + 1e-12).sqrt())


def measure_statistics(encoder: Representation, waveforms: Iterable[np.ndarray]) -> Statistics:
    """Mean and deviation of the features of all layers over the frames of all waveforms, [layer, dim] each.

    Args:
        encoder: without normalisation.
        waveforms: [sample] at 16 kHz.

    Raises:
        ModelError: if there is no waveform.
    """
    device = next(encoder.parameters()).device
    frames, total, squares = 0, torch.zeros(()), torch.zeros(())
    for waveform in waveforms:
        moments_of_layers = _moments_of_layers(encoder, torch.from_numpy(waveform)[None].to(device))
        mean, std = (values.double().cpu() for values in moments_of_layers)
        count = encoder.frames(len(waveform))
        frames, total, squares = frames + count, total + count * mean, squares + count * (std.square() + mean.square())
    if not frames:
        raise ModelError("clean statistics need at least one recording of clean speech")
    mean = total / frames
    return Statistics(mean.float(), (squares / frames - mean.square()).clamp_min(0).sqrt().float())


@torch.no_grad()
def _moments_of_layers(encoder: Representation, waveform: Tensor) -> Statistics:
    """Mean and deviation of one waveform, [1, sample], in all layers: [layer, dim] each."""
    modules = encoder.layer_modules()
    statistics = [Statistics(torch.zeros(()), torch.zeros(()))] * len(modules)

    def keep(layer: int, module: nn.Module, inputs: Any, output: Any) -> None:
        statistics[layer] = Statistics(*(values[0] for values in moments(_features_of(output))))

    handles = [module.register_forward_hook(partial(keep, layer)) for layer, module in enumerate(modules)]
    try:
        encoder(waveform)
    finally:
        for handle in handles:
            handle.remove()
    return Statistics(*(torch.stack(values) for values in zip(*statistics, strict=True)))


def _features_of(output: Any) -> Tensor:
    """The features among what a module of a layer gives, [batch, frame, dim]."""
    features: Tensor = output[0] if isinstance(output, tuple) else output
    return features
