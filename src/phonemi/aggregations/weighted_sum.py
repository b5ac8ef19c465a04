"""One weight for each layer, the same in every frame: equation (2) of the paper."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from phonemi.aggregations.base import Aggregation, Tuning


class WeightedSum(Aggregation):
    """One weight a layer, the same for all frames: eq. (2), with the softmax over logits of S3PRL's Featurizer.

    Logits begin at 0, so that all layers weigh 1 / layers. The logit of layer 0 is a parameter of its own: hybrid
    tuning then hands the optimiser exactly what may move, and neither momentum nor weight decay reaches the rest.

    >>> WeightedSum(4).weights(torch.zeros(4, 1, 1, 8))
    tensor([[[0.2500, 0.2500, 0.2500, 0.2500]]], grad_fn=<ExpandBackward0>)
    """

    kind = "weighted_sum"
    log_partition: Tensor

    def __init__(self, layers: int, *, normalise_layers: bool = False, renormalise: bool = True) -> None:
        super().__init__(layers, normalise_layers=normalise_layers)
        self.renormalise = renormalise
        self.front_logit = nn.Parameter(torch.zeros(1))
        self.block_logits = nn.Parameter(torch.zeros(layers - 1))
        self.register_buffer("log_partition", torch.tensor(math.log(layers)))

    def tune(self, mode: Tuning, *, renormalise: bool = True) -> Self:
        """As for every aggregation; `renormalise=False` holds the weights of layers 1 and up still in hybrid tuning.

        Hybrid tuning can be read in two ways. Renormalised (default): the softmax goes over all layers, the other
        weights shrink or grow together and all still add up to 1. Not renormalised: the weight of layer 0 is a free
        positive number beside the others' fixed ones, and their sum is no longer 1.
        """
        super().tune(mode)
        if mode == "hybrid" and not renormalise and self.renormalise:
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
