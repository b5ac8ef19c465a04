"""One layer of the encoder, as it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from phonemi.aggregations.base import Aggregation
from phonemi.errors import ConfigError


class SingleLayer(Aggregation):
    """One layer as it is: the "layer 11" rows of Han et al. (2026), Table 1. It has no parameters to train.

    >>> SingleLayer(3, 1)(torch.arange(3.0).view(3, 1, 1, 1)).item()
    1.0
    """

    kind = "single_layer"

    def __init__(self, layers: int, layer: int, *, normalise_layers: bool = False) -> None:
        super().__init__(layers, normalise_layers=normalise_layers)
        if not 0 <= layer < layers:
            raise ConfigError(f"layer {layer} asked for, the encoder has {layers}: 0 (the front-end) to {layers - 1}")
        self.layer = layer

    def forward(self, states: Tensor) -> Tensor:
        """Return layer `layer` of `states`, `[batch, frame, dim]`."""
        return self._prepare(states)[self.layer]

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"layer": self.layer}

    def _layer_weights(self, states: Tensor) -> Tensor:
        return functional.one_hot(torch.tensor(self.layer, device=states.device), self.layers).float()
