"""Weights for each layer that change from frame to frame: equation (3) of the paper."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonemi.aggregations.base import Aggregation


class DynamicWeightedSum(Aggregation):
    """Weights that change from frame to frame, by attention over the layers of one frame: eq. (3).

    For the layers H `[layer, dim]` of a frame, Q = H Wq and K = H Wk, the paper writes
    mean over i of (softmax(Q K^T / sqrt(dim) + b) H)_i. The mean may be taken first: with A the softmax,
    alpha_j = mean over i of A_ij and the result is sum over j of alpha_j H_j, a weighted sum again, and A H is never
    formed. Nor are Q and K: Q K^T = H (Wq Wk^T) H^T costs one product over the frames instead of two.
    b is added along the keys (along the queries it would cancel in the softmax) and split as in `WeightedSum`.

    Parameters: 2 dim^2 + layers, 1 179 661 for 13 x 768; `projection_bias` adds 2 dim. With a `projection_dim`, queries
    and keys have that size, and scores are divided by its root.
    """

    kind = "dynamic_weighted_sum"

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
        # Some channels of Base models are large, and so are scores: float32 throughout.
        states = states.float()
        if self.query.bias is None:
            queries, keys = F.linear(states, self.key.weight.T @ self.query.weight), states
        else:
            queries, keys = self.query(states), self.key(states)
        scores = torch.einsum("ibtd,jbtd->btij", queries, keys) / math.sqrt(self.query.out_features)
        bias = torch.cat((self.front_bias, self.block_bias))
        return (scores + bias).softmax(-1).mean(-2)
