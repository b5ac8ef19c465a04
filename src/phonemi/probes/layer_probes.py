"""Features `[slot, frame, dim]` -> class logits `[slot, frame, class]`: one probe a slot (a layer), all at once."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class LayerProbes(nn.Module):
    """As many separate classifiers as there are slots, computed as batched products.

    Slot s is what `nn.Sequential(Linear, ReLU, Dropout, ..., Linear)` would be, with its own weights; only the
    arithmetic is shared. A slot is a layer of an encoder, or any other representation of the same frames.

    All slots start from the same draw: what differs between two of them is then not their starts (which move the MI by
    some 0.02 bits), and what a slot gives does not depend on which others are beside it.

    depth=3 is the probe of the analysis (main paper sec. 2.2, "3-layer MLP with ReLU and dropout"; the widths
    dim-512-512-classes and the rate 0.1 are ours), depth=1 the linear probe that aggregations are pre-trained with.

    Dropout drops the same units of the same frame in every slot. To each probe that is ordinary dropout; between
    slots it removes a source of difference, and it saves drawing the mask once a slot, a fifth of a step on a CPU.

    Args:
        slots: number of probes.
        dim: features per frame.
        classes: number of labels.
        hidden: units per hidden layer.
        depth: linear layers, at least 1.
        dropout: share of hidden units dropped in training, in [0, 1).
        generator: draws the initial weights; the global one if None.
    """

    def __init__(
        self,
        slots: int,
        dim: int,
        classes: int,
        *,
        hidden: int = 512,
        depth: int = 3,
        dropout: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        sizes = [dim] + [hidden] * (depth - 1) + [classes]
        self.kernels = nn.ParameterList()
        self.biases = nn.ParameterList()
        for inputs, outputs in pairwise(sizes):
            bound = inputs**-0.5  # the interval nn.Linear draws both weight and bias from
            for parameters, shape in ((self.kernels, (inputs, outputs)), (self.biases, (1, outputs))):
                initial = torch.empty(shape).uniform_(-bound, bound, generator=generator)
                parameters.append(nn.Parameter(initial.repeat(slots, 1, 1)))

    def forward(self, features: Tensor) -> Tensor:
        """Classify every frame of every slot.

        Args:
            features: `[slot, frame, dim]`.

        Returns:
            Logits `[slot, frame, class]`.
        """
        hidden = features
        last = len(self.kernels) - 1
        for depth, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, kernel)
            if depth < last:
                hidden = hidden.relu()
                if self.training and self.dropout > 0:
                    kept = torch.empty_like(hidden[:1], requires_grad=False).bernoulli_(1 - self.dropout)
                    hidden = hidden * kept.div_(1 - self.dropout)
        return hidden

    def slot(self, index: int) -> nn.Sequential:
        """Copy of one probe as ordinary modules: `[frame, dim]` -> `[frame, class]`.

        >>> LayerProbes(2, 4, 3, hidden=8, depth=2, dropout=0.5).slot(1)
        Sequential(
          (0): Linear(in_features=4, out_features=8, bias=True)
          (1): ReLU()
          (2): Dropout(p=0.5, inplace=False)
          (3): Linear(in_features=8, out_features=3, bias=True)
        )
        """
        modules: list[nn.Module] = []
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            if modules:
                modules += [nn.ReLU(), nn.Dropout(self.dropout)]
            linear = nn.Linear(kernel.shape[1], kernel.shape[2], device=kernel.device, dtype=kernel.dtype)
            with torch.no_grad():
                linear.weight.copy_(kernel[index].T)
                linear.bias.copy_(bias[index, 0])
            modules.append(linear)
        return nn.Sequential(*modules).train(self.training)
