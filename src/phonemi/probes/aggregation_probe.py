"""The linear probe that an aggregation of the layers is pre-trained with."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class AggregationProbe(nn.Module):
    """An aggregation and a linear classifier of its output, trained together by `training.fit`.

    Han et al. (2026), section 3: minimising the cross-entropy of the phones maximises the lower bound on the mutual
    information of the aggregated features and the phones. The classifier is thrown away afterwards.

    Args:
        aggregation: turns hidden states [layer, batch, frame, dim] into [batch, frame, dim].
        dim: features per frame.
        classes: number of labels.
    """

    def __init__(self, aggregation: nn.Module, dim: int, classes: int) -> None:
        super().__init__()
        self.aggregation = aggregation
        self.linear = nn.Linear(dim, classes)

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean cross-entropy in nats.

        Args:
            states: hidden states [layer, frame, dim], of any precision.
            labels: [frame], all of them known.
        """
        features = self.aggregation(states[:, None].float())[0]
        return functional.cross_entropy(self.linear(features).float(), labels)
