"""The linear probe that an aggregation of the layers is pre-trained with."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class AggregationProbe(nn.Module):
    """An aggregation and a linear classifier of its output, trained together by `training.fit`.

    Han et al. (2026), sections 3 and 3.1: minimising the cross-entropy of the phones maximises the lower bound on the
    mutual information of the aggregated features and the phones. The paper throws the classifier away afterwards; here
    an enhancer keeps it, to know where noise hides the phones (`enhancers.purpose`).
    """

    def __init__(self, aggregation: nn.Module, dim: int, classes: int) -> None:
        super().__init__()
        self.aggregation = aggregation
        self.linear = nn.Linear(dim, classes)

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy in nats of hidden states [layer, frame, dim] and labels [frame] without IGNORE."""
        features = self.aggregation(states[:, None].float())[0]
        return functional.cross_entropy(self.linear(features).float(), labels)
