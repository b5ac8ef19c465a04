"""What every representation offers: waveforms [batch, sample] -> hidden states [layer, batch, frame, dim]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from phonemi.errors import ModelError
from phonemi.signal import SSL_HOP, ssl_frames, to_ssl_grid, valid_mask


class HiddenStates(NamedTuple):
    """Every layer's view of a batch; frames beyond an item's length are zero."""

    states: Tensor  # [layer, batch, frame, dim]
    lengths: Tensor  # [batch] frames


class Representation(nn.Module, ABC):
    """What every representation offers.

    Attributes:
        name: what `load_representation` was asked for.
        layers: hidden states returned: the input of the first block, then the output of every block.
        dim: size of a frame.
        hop: samples at 16 kHz between frames, 320 (50 Hz) or 160 (100 Hz).
    """

    name: str
    layers: int
    dim: int
    hop: int

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Frames that `samples` samples give."""

    @abstractmethod
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        """Hidden states of a batch, the same for an item alone and beside longer ones.

        Args:
            waveforms: [batch, sample] at 16 kHz in [-1, 1].
            lengths: [batch] samples that belong to each item; None: all of them.

        Raises:
            ModelError: if an item is too short for a single frame, or the shapes do not fit.
        """

    def padded(self, waveforms: Tensor, lengths: Tensor) -> HiddenStates:
        """Hidden states as S3PRL computes them in a zero-padded batch; as `forward` where padding changes nothing."""
        return self(waveforms, lengths)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `load_representation` rebuilds this representation from, weights apart; JSON-able, with its `name`."""

    def train(self, mode: bool = True) -> Self:
        """Follow the owner into training mode only when there is something to train: frozen means no dropout."""
        return super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))


def checked_lengths(waveforms: Tensor, lengths: Tensor | None, shortest: int) -> Tensor:
    """Lengths in samples, [batch] int64 on the waveforms' device.

    Raises:
        ModelError: if the shapes do not fit, or an item is shorter than `shortest` samples.
    """
    if waveforms.dim() != 2:
        raise ModelError(f"waveforms must be [batch, sample], found {list(waveforms.shape)}")
    batch, samples = waveforms.shape
    if lengths is None:
        lengths = torch.full((batch,), samples)
    lengths = lengths.to(waveforms.device, torch.int64)
    if lengths.shape != (batch,) or (batch and int(lengths.max()) > samples):
        raise ModelError(f"lengths {lengths.tolist()} do not fit waveforms of shape {list(waveforms.shape)}")
    if batch and int(lengths.min()) < shortest:
        raise ModelError(
            f"a waveform of {int(lengths.min())} samples is too short: one frame takes {shortest} samples at 16 kHz"
        )
    return lengths


def at_50_hz(hidden: HiddenStates, hop: int, samples: int | Tensor) -> HiddenStates:
    """Bring hidden states to the SSL grid, on which phones are labelled and layers are compared.

    Args:
        hidden: states [layer, batch, frame, dim].
        hop: of the representation, 320 (nothing to do) or 160 (every second frame, see `signal.to_ssl_grid`).
        samples: samples of every item, one number or [batch].

    Returns:
        States of (samples - 400) // 320 + 1 frames.
    """
    if hop == SSL_HOP:
        return hidden
    lengths = ssl_frames(torch.as_tensor(samples, device=hidden.states.device)).expand(hidden.states.shape[1])
    states = to_ssl_grid(hidden.states, int(lengths.max()))
    return HiddenStates(states * valid_mask(lengths, states.shape[2])[..., None], lengths)
