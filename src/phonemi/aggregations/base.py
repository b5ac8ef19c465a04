"""What every aggregation offers: hidden states [layer, batch, frame, dim] -> one sequence [batch, frame, dim]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonemi.errors import ConfigError, ModelError, nearest
from phonemi.signal import valid_mask

Tuning = Literal["acoustic", "linguistic", "hybrid"]


TUNINGS: tuple[str, ...] = ("acoustic", "linguistic", "hybrid")


class Aggregation(nn.Module, ABC):
    """What every aggregation offers: a weighting of the layers, the same sum of layers, and what of it may be trained.

    Args:
        layers: number of hidden states of the encoder, 13 for a Base model (the front-end is layer 0).
        dim: features per frame; None where any number will do.
        normalise_layers: pass each layer through a LayerNorm without parameters first. Base models have normalised
            layers already; the Large ones, whose layers differ in scale by orders of magnitude, need it.
    """

    kind = ""

    def __init__(self, layers: int, dim: int | None = None, *, normalise_layers: bool = False) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"an aggregation needs at least 1 layer, got {layers}")
        self.layers = layers
        self.dim = dim
        self.normalise_layers = normalise_layers

    def forward(self, states: Tensor) -> Tensor:
        """Sum the layers with their weights.

        Args:
            states: `[layer, batch, frame, dim]`.

        Returns:
            `[batch, frame, dim]`, in the precision of `states`.

        Raises:
            ModelError: if `states` has another number of layers or features than this aggregation was made for.
        """
        states = self._prepare(states)
        # Half precision costs the weights more than it saves time here, so mixed precision stops at this door.
        with torch.autocast(states.device.type, enabled=False):
            weights = self._layer_weights(states).to(states.dtype)
            if weights.dim() == 1:
                return (weights @ states.flatten(1)).view(states.shape[1:])
            return torch.einsum("btl,lbtd->btd", weights, states)

    def weights(self, states: Tensor) -> Tensor:
        """Weight of each layer in each frame: `[batch, frame, layer]`, float32, at least 0, adding up to 1."""
        states = self._prepare(states)
        with torch.autocast(states.device.type, enabled=False):
            weights = self._layer_weights(states)
        return weights.expand(*states.shape[1:3], self.layers)

    def mean_weights(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Weights averaged over all frames, `[layer]`; with `lengths` `[batch]` only over frames before the padding."""
        weights = self.weights(states)
        if lengths is None:
            return weights.mean((0, 1))
        return weights[valid_mask(lengths.to(weights.device), weights.shape[1])].mean(0)

    def tune(self, mode: Tuning) -> Self:
        """Choose what training may change: sets `requires_grad` and returns self.

        "acoustic": everything, as a new aggregation is. (Pre-training on phones starts from here too.)
        "linguistic": nothing; the aggregation stays what pre-training made it.
        "hybrid": only the logit (WeightedSum) or bias (DynamicWeightedSum) of layer 0, the front-end.

        Raises:
            ConfigError: for any other word.
        """
        if mode not in TUNINGS:
            raise ConfigError(f"unknown tuning {mode!r}: {nearest(mode, TUNINGS)}")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(mode == "acoustic" or (mode == "hybrid" and name.startswith("front_")))
        return self

    @property
    def is_frozen(self) -> bool:
        """True if no parameter may change, as after `tune("linguistic")`."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def settings(self) -> dict[str, Any]:
        """What `build_aggregation` needs to make this module again, as JSON; the weights are apart."""
        return {"kind": self.kind, "layers": self.layers, "normalise_layers": self.normalise_layers}

    def check_fits(self, layers: int | None, dim: int | None = None) -> None:
        """Compare with the encoder that is to feed this aggregation; None is not compared.

        Raises:
            ModelError: naming both numbers, if they differ.
        """
        for what, own, encoder in (("layers", self.layers, layers), ("features per frame", self.dim, dim)):
            if None not in (own, encoder) and own != encoder:
                raise ModelError(
                    f"the aggregation was made for {own} {what}, the encoder has {encoder}: "
                    f"use the encoder it was trained with, or train an aggregation for this one"
                )

    def _prepare(self, states: Tensor) -> Tensor:
        if states.dim() != 4:
            raise ModelError(f"expected hidden states [layer, batch, frame, dim], got shape {list(states.shape)}")
        self.check_fits(states.shape[0], states.shape[3])
        return F.layer_norm(states.float(), (int(states.shape[3]),)) if self.normalise_layers else states

    @abstractmethod
    def _layer_weights(self, states: Tensor) -> Tensor:
        """`[layer]` if the same for every frame, else `[batch, frame, layer]`; float32."""
