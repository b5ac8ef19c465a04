"""Weighted sum of layers that each pass through a LayerNorm of their own: BSSE (Hung et al. 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from phonemi.aggregations.base import Aggregation
from phonemi.errors import ConfigError


class NormalisedWeightedSum(Aggregation):
    """A weight per layer, and a LayerNorm with a gain and a bias per feature before it.

        sum over i of w_i LN_i(h_i),    w = softmax(a)

    with h_i the hidden states of layer i. The logits start at 1, so that every layer weighs the same.

    Args:
        layers: number of hidden states of the encoder.
        dim: features per frame.
        first_layer: the layers below this one have no weight and no norm. In the code of BSSE HuBERT and wav2vec2 begin
            at 1, the output of the first block.
        normalise_layers: as for `Aggregation`; a LayerNorm after another changes nothing but eps.

    >>> NormalisedWeightedSum(3, 8, first_layer=1).weights(torch.zeros(3, 1, 1, 8))
    tensor([[[0.0000, 0.5000, 0.5000]]], grad_fn=<ExpandBackward0>)
    """

    kind = "normalised_weighted_sum"

    def __init__(self, layers: int, dim: int, *, first_layer: int = 0, normalise_layers: bool = False) -> None:
        super().__init__(layers, dim, normalise_layers=normalise_layers)
        if not 0 <= first_layer < layers:
            raise ConfigError(f"first_layer is {first_layer}: the encoder has layers 0 to {layers - 1}")
        self.first_layer = first_layer
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers - first_layer))
        self.logits = nn.Parameter(torch.ones(layers - first_layer))

    def forward(self, states: Tensor) -> Tensor:
        """Sum the normalised layers, `[layer, batch, frame, dim]` -> `[batch, frame, dim]`, float32."""
        states = self._prepare(states)[self.first_layer :]
        with torch.autocast(states.device.type, enabled=False):
            weights = self.logits.float().softmax(0)
            normalised = torch.stack([norm(layer.float()) for norm, layer in zip(self.norms, states, strict=True)])
            return torch.einsum("l,lbtd->btd", weights, normalised)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"dim": self.dim, "first_layer": self.first_layer}

    def _layer_weights(self, states: Tensor) -> Tensor:
        return nn.functional.pad(self.logits.float().softmax(0), (self.first_layer, 0))
