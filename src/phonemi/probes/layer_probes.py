"""A probe for every layer of an encoder, all trained at the same time: features to logits of the labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.constants import IGNORE
from phonemi.devices import multiplies_bf16
from phonemi.probes.frames import Features, FrameStates, has_label

BATCHES_PER_REPORT = 10
Progress = Callable[[int, int, float], None]


class LayerProbes(nn.Module):
    """Independent classifiers, one per slot, computed as batched matrix products.

    A slot is a layer of an encoder, or any other representation of the same frames. Slot s computes what
    `nn.Sequential(Linear, ReLU, Dropout, ..., Linear)` would, with weights of its own; only the arithmetic is shared.

    All slots start from the same weights. Two slots then do not differ because of their starts, which move the MI by
    some 0.02 bits, and the result of a slot does not depend on the slots beside it.

    With depth=3 this is the probe of the analysis (Han et al. 2026, section 2.2: "3-layer MLP with ReLU and dropout";
    the widths dim-512-512-classes and the rate 0.1 are ours), with depth=1 a linear one.

    Dropout drops the same units of a frame in every slot, which removes one more difference between slots and makes a
    training step on a CPU a fifth faster.

    Args:
        slots, dim, classes: number of probes, of features per frame, and of labels.
        hidden, depth: units per hidden layer, and linear layers, at least 1.
        dropout: share of hidden units dropped in training, in [0, 1).
        generator: draws the initial weights; None: torch's global one.
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
            bound = inputs**-0.5  # nn.Linear draws weights and biases from this interval
            for parameters, shape in ((self.kernels, (inputs, outputs)), (self.biases, (1, outputs))):
                initial = torch.empty(shape).uniform_(-bound, bound, generator=generator)
                parameters.append(nn.Parameter(initial.repeat(slots, 1, 1)))

    def forward(self, features: Tensor) -> Tensor:
        """Classify every frame of every slot, `[slot, frame, dim]` -> logits `[slot, frame, class]`."""
        hidden = features
        last = len(self.kernels) - 1
        for depth, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, kernel)
            if depth < last:
                hidden = hidden.relu()
                if self.training and self.dropout > 0:
                    # One mask [1, frame, unit] for all slots; the units that stay make up for those that are dropped.
                    mask = torch.empty_like(hidden[:1], requires_grad=False).bernoulli_(1 - self.dropout)
                    hidden = hidden * mask.div_(1 - self.dropout)
        return hidden

    def slot(self, index: int) -> nn.Sequential:
        """Copy one probe into ordinary modules, `[frame, dim]` -> `[frame, class]`.

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


def train_probes(
    features: Features,
    labels: Tensor,
    *,
    classes: int,
    generator: torch.Generator,
    hidden: int = 512,
    depth: int = 3,
    dropout: float = 0.1,
    epochs: int = 15,
    batch_frames: int = 4096,
    learning_rate: float = 1e-3,
    device: str | torch.device = "cpu",
    bf16: bool = False,
    progress: Progress | None = None,
) -> LayerProbes:
    """Train one probe per slot with Adam, all on the same shuffled batches of frames, for a fixed number of epochs.

    The loss is the sum over slots of the mean cross-entropy of each, so that the probes do not influence each other.

    Args:
        features: `[slot, frame, dim]` or hidden states. They may stay in half precision on another device: a batch at a
            time is moved to `device`.
        labels: `[frame]`, IGNORE for frames to leave out.
        generator: (CPU) decides initial weights, order of the frames and dropout. The global generator is not changed.
        classes, hidden, depth, dropout: see `LayerProbes`.
        batch_frames: largest number of frames per step; an epoch is cut into batches of equal size, give or take one.
        bf16: compute products in bfloat16 by autocast, on devices that do; weights, loss and optimiser stay in float32.
        progress: called every ten batches with (batches done, batches in total, mean cross-entropy in nats).

    Returns:
        The probes, on `device` and in evaluation mode.

    Raises:
        DataError: if no frame has a label, or a label is not in 0 to classes - 1.
    """
    device = torch.device(device)
    bf16 = bf16 and multiplies_bf16(device)
    labelled = torch.from_numpy(np.flatnonzero(has_label(labels.cpu().numpy(), classes)))
    slots, _, dim = features.shape
    batches = math.ceil(len(labelled) / batch_frames)
    # Dropout can only draw from the global generator: it is seeded here and put back afterwards.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        probes = LayerProbes(slots, dim, classes, hidden=hidden, depth=depth, dropout=dropout).to(device).train()
        optimiser = torch.optim.Adam(probes.parameters(), lr=learning_rate, fused=True)
        for epoch in range(epochs):
            order = labelled[torch.randperm(len(labelled), generator=generator)]
            for number, frames in enumerate(torch.tensor_split(order, batches), start=1):
                batch, targets = _batch(features, labels, frames, device, bf16)
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    logits = probes(batch)
                loss = _cross_entropy_nats(logits, targets).mean(1).sum()
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                done = epoch * batches + number
                if progress is not None and (done % BATCHES_PER_REPORT == 0 or done == epochs * batches):
                    progress(done, epochs * batches, loss.item() / slots)  # .item() waits for the device
    return probes.eval()


@torch.inference_mode()
def evaluate_probes(
    probes: LayerProbes, features: Features, labels: Tensor, *, batch_frames: int = 16_384
) -> tuple[Tensor, Tensor]:
    """Compute how well each probe predicts the label of each frame, in float32 on its device.

    Returns:
        Cross-entropy in nats, and whether the most probable label is right: `[slot, frame]` both, on the CPU. They are
        0 and False where the label is IGNORE.
    """
    device = next(probes.parameters()).device
    losses, correct = [], []
    for frames in torch.split(torch.arange(len(labels)), batch_frames):
        batch, targets = _batch(features, labels, frames, device, bf16=False)
        logits = probes(batch)
        losses.append(_cross_entropy_nats(logits, targets).cpu())
        correct.append((logits.argmax(-1) == targets).cpu())
    return torch.cat(losses, 1), torch.cat(correct, 1)


def _batch(
    features: Features, labels: Tensor, frames: Tensor, device: torch.device, bf16: bool
) -> tuple[Tensor, Tensor]:
    """Features [slot, batch, dim] and labels [batch] of the frames of these numbers, on `device`."""
    if isinstance(features, FrameStates):
        batch = features.batch(frames)
    else:
        batch = features.index_select(1, frames.to(features.device))
    batch = batch.to(device, torch.bfloat16 if bf16 else torch.float32).contiguous()
    return batch, labels[frames.to(labels.device)].to(device)


def _cross_entropy_nats(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute -log q(label) of each frame, float32 `[slot, frame]`; 0 where the label is IGNORE."""
    targets = labels.expand(len(logits), -1)
    losses = functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), reduction="none", ignore_index=IGNORE
    )
    return losses.view_as(targets)
