"""An aggregation and a linear classifier of phones, trained together: what makes an aggregation linguistic."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class LinearProbe(nn.Module):
    """Cross-entropy of the phones, given the layers that an aggregation makes one sequence of (Han et al. 2026, eq. 1).

    Args:
        aggregation: hidden states [layer, batch, frame, dim] -> [batch, frame, dim].
        dim: size of a frame.
        classes: number of phones.
    """

    def __init__(self, aggregation: nn.Module, dim: int, classes: int) -> None:
        super().__init__()
        self.aggregation = aggregation
        self.linear = nn.Linear(dim, classes)

    def forward(self, hidden_states: Tensor, phones: Tensor) -> Tensor:
        """Hidden states [layer, 1, frame, dim] and phones int64 [frame] -> mean cross-entropy in nats, []."""
        logits = self.linear(self.aggregation(hidden_states.float())[0])
        return functional.cross_entropy(logits.float(), phones)
