"""Dynamic weighted sum (DWS): weights that change from frame to frame. Equation (3) of Han et al. (2026)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.aggregations.base import Aggregation


class DynamicWeightedSum(Aggregation):
    """Self-attention over the layers of one frame, averaged over the queries.

    Equation (3), with H [layer, dim] the layers of a frame, Q = H Wq, K = H Wk, V = H and a bias b per layer:

        mean over layers of  softmax(Q K^T / sqrt(dim) + b) V

    It is a weighted sum too: with A the softmax, layer j weighs the mean of column j of A.

    The bias is added along the keys; along the queries it would cancel in the softmax. The bias of layer 0 is a
    parameter of its own, as in `WeightedSum`.

    Args:
        layers, dim, normalise_layers: see `Aggregation`.
        projection_bias: add a bias to queries and keys.
        projection_dim: size of queries and keys, by whose root scores are then divided; None: `dim`.

    There are 2 dim^2 + layers parameters, 1 179 661 for 13 layers of 768; `projection_bias` adds 2 dim.
    """

    kind = "dynamic_weighted_sum"
    front_parameters = ("front_bias",)

    def __init__(
        self,
        layers: int,
        dim: int,
        *,
        normalise_layers: bool = False,
        projection_bias: bool = False,
        projection_dim: int | None = None,
    ) -> None:
        super().__init__(layers, dim, normalise_layers=normalise_layers)
        self.query = nn.Linear(dim, projection_dim or dim, bias=projection_bias)
        self.key = nn.Linear(dim, projection_dim or dim, bias=projection_bias)
        self.front_bias = nn.Parameter(torch.zeros(1))
        self.block_bias = nn.Parameter(torch.zeros(layers - 1))
        for projection in (self.query, self.key):
            nn.init.xavier_uniform_(projection.weight)
            if projection_bias:
                nn.init.zeros_(projection.bias)

    def settings(self) -> dict[str, Any]:
        projections = {"projection_bias": self.query.bias is not None, "projection_dim": self.query.out_features}
        return super().settings() | {"dim": self.dim, **projections}

    def _layer_weights(self, states: Tensor) -> Tensor:
        # In float32 throughout: some channels of Base models are large, and so are the scores.
        states = states.float()
        if self.query.bias is None:
            # Q K^T = H (Wq Wk^T) H^T: the two weights are multiplied first, which saves one product over all frames.
            queries, keys = functional.linear(states, self.key.weight.T @ self.query.weight), states
        else:
            queries, keys = self.query(states), self.key(states)
        scores = torch.einsum("ibtd,jbtd->btij", queries, keys) / math.sqrt(self.query.out_features)
        bias = torch.cat((self.front_bias, self.block_bias))  # [layer], along the keys j
        # The mean over the queries i is taken before the product with V instead of after it: the same sum, and A V
        # [layer, dim] is never computed.
        return (scores + bias).softmax(-1).mean(-2)
