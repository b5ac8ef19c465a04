"""What every aggregation offers: a weighted sum of the layers, its weights, and a choice of what training changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.constants import TUNINGS, Tuning
from phonemi.errors import ConfigError, ModelError, nearest
from phonemi.signal import valid_mask


class Aggregation(nn.Module, ABC):
    """A weighted sum of the layers of an encoder, with weights that may differ from frame to frame.

    Weights are not negative, and add up to 1 (with one exception, see `WeightedSum.tune`).

    Args:
        layers: number of hidden states of the encoder, 13 for a Base model (layer 0 is the front-end).
        dim: features per frame; None if any number will do.
        normalise_layers: pass each layer through a LayerNorm without parameters first. The layers of Base models are
            normalised already; those of Large models differ in scale by orders of magnitude and need it.
    """

    kind: ClassVar[str]  # what `settings()` and the registry in `AGGREGATIONS` call this class
    front_parameters: ClassVar[tuple[str, ...]] = ()  # names of those that weigh layer 0, and nothing else
    __call__: Callable[..., Tensor]

    def __init__(self, layers: int, dim: int | None = None, *, normalise_layers: bool = False) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"an aggregation needs at least 1 layer, got {layers}")
        self.layers = layers
        self.dim = dim
        self.normalise_layers = normalise_layers

    def forward(self, states: Tensor) -> Tensor:
        """Sum the layers, `[layer, batch, frame, dim]` -> `[batch, frame, dim]`, in the precision of `states`.

        Raises:
            ModelError: if `states` has another number of layers or features than this aggregation was made for.
        """
        states = self._prepare(states)
        # Not under autocast: in half precision the weights lose more than the time it saves here is worth.
        with torch.autocast(states.device.type, enabled=False):
            weights = self._layer_weights(states).to(states.dtype)
            if weights.dim() == 1:
                return (weights @ states.flatten(1)).view(states.shape[1:])
            return torch.einsum("btl,lbtd->btd", weights, states)

    def weights(self, states: Tensor) -> Tensor:
        """Compute the weight of each layer in each frame, `[batch, frame, layer]`, float32."""
        states = self._prepare(states)
        with torch.autocast(states.device.type, enabled=False):
            weights = self._layer_weights(states)
        return weights.expand(*states.shape[1:3], self.layers)

    def mean_weights(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Average the weights over all frames, or the first `lengths` of each item, `[layer]`."""
        weights = self.weights(states)
        if lengths is None:
            return weights.mean((0, 1))
        return weights[valid_mask(lengths.to(weights.device), weights.shape[1])].mean(0)

    def tune(self, mode: Tuning) -> Self:
        """Choose what training may change (Han et al. 2026): sets `requires_grad` and returns self.

        "acoustic": everything. A new aggregation is like this, and pre-training on phones starts from it too.
        "linguistic": nothing; the aggregation stays what pre-training made it.
        "hybrid": only what weighs layer 0, the front-end.

        Raises:
            ConfigError: for any other word.
        """
        if mode not in TUNINGS:
            raise ConfigError(f"unknown tuning {mode!r}: {nearest(mode, TUNINGS)}")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(mode == "acoustic" or (mode == "hybrid" and name in self.front_parameters))
        return self

    @property
    def is_frozen(self) -> bool:
        """True if training may change no parameter, as after `tune("linguistic")`."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def settings(self) -> dict[str, Any]:
        """JSON-able settings from which `storage.build_aggregation` builds it anew, without its weights."""
        return {"kind": self.kind, "layers": self.layers, "normalise_layers": self.normalise_layers}

    def check_fits(self, layers: int | None, dim: int | None = None) -> None:
        """Raise ModelError unless the hidden states of an encoder fit; None is not compared."""
        for quantity, ours, encoder in (("layers", self.layers, layers), ("features per frame", self.dim, dim)):
            if None not in (ours, encoder) and ours != encoder:
                raise ModelError(
                    f"the aggregation was made for {ours} {quantity}, the encoder has {encoder}: "
                    f"use the encoder it was trained with, or train an aggregation for this one"
                )

    def _prepare(self, states: Tensor) -> Tensor:
        if states.dim() != 4:
            raise ModelError(f"expected hidden states [layer, batch, frame, dim], got shape {list(states.shape)}")
        self.check_fits(states.shape[0], states.shape[3])
        return functional.layer_norm(states.float(), (int(states.shape[3]),)) if self.normalise_layers else states

    @abstractmethod
    def _layer_weights(self, states: Tensor) -> Tensor:
        """Float32 weights: `[layer]` if they are the same for every frame, else `[batch, frame, layer]`."""
