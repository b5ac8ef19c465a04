"""Weighted sum (WS): one weight for each layer, the same in every frame. Equation (2) of Han et al. (2026)."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from phonemi.aggregations.base import Aggregation
from phonemi.constants import Tuning


class WeightedSum(Aggregation):
    """A weight per layer that does not depend on the frame.

    Equation (2), with h_i the hidden states of layer i and logits a_i as in S3PRL's Featurizer:

        sum over i of w_i h_i,    w = softmax(a)

    The logits start at 0, so that every layer weighs 1 / layers. The logit of layer 0 is a parameter of its own: in
    hybrid tuning the optimiser then holds it alone, and neither momentum nor weight decay can reach the others.

    Args:
        layers, normalise_layers: see `Aggregation`.
        renormalise: False replaces the softmax by exp(a) over a fixed sum, see `tune`.

    >>> WeightedSum(4).weights(torch.zeros(4, 1, 1, 8))
    tensor([[[0.2500, 0.2500, 0.2500, 0.2500]]], grad_fn=<ExpandBackward0>)
    """

    kind = "weighted_sum"
    front_parameters = ("front_logit",)
    log_partition: Tensor

    def __init__(self, layers: int, *, normalise_layers: bool = False, renormalise: bool = True) -> None:
        super().__init__(layers, normalise_layers=normalise_layers)
        self.renormalise = renormalise
        self.front_logit = nn.Parameter(torch.zeros(1))
        self.block_logits = nn.Parameter(torch.zeros(layers - 1))
        self.register_buffer("log_partition", torch.tensor(math.log(layers)))

    def tune(self, mode: Tuning, *, renormalise: bool = True) -> Self:
        """Choose what training may change, see `Aggregation.tune`.

        `renormalise` says what happens in hybrid tuning to the weights of layers 1 and up. True: the softmax still goes
        over all layers, so that they grow or shrink together and all weights add up to 1. False: they stay as they are;
        the weight of layer 0 is a free positive number, and the sum is no longer 1.
        """
        super().tune(mode)
        if mode == "hybrid" and not renormalise and self.renormalise:
            # The denominator of the softmax is fixed at its present value, which changes no weight.
            self.renormalise = False
            self.log_partition.copy_(self.logits().detach().logsumexp(0))
        return self

    def logits(self) -> Tensor:
        """Logits of all layers, `[layer]`."""
        return torch.cat((self.front_logit, self.block_logits))

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"renormalise": self.renormalise}

    def _layer_weights(self, states: Tensor) -> Tensor:
        logits = self.logits().float()
        return logits.softmax(0) if self.renormalise else (logits - self.log_partition).exp()
