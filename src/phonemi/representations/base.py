"""What every speech encoder offers: hidden states of all layers, and a choice of the blocks that training changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from phonemi.errors import ModelError
from phonemi.signal import SSL_HOP, ssl_frames, to_ssl_grid, valid_mask


class HiddenStates(NamedTuple):
    """The hidden states of a batch; frames beyond the end of an item are zero."""

    states: Tensor  # [layer, batch, frame, dim]
    lengths: Tensor  # [batch], number of frames of each item


class Representation(nn.Module, ABC):
    """A speech encoder. It is frozen when `load_representation` returns it; `unfreeze` lets training change it.

    Hidden state 0 is the output of the front-end, hidden state i the output of transformer block i. Blocks are
    therefore counted from 1, and number 0 stands for the front-end.

    Attributes:
        name: the name that `load_representation` was called with.
        layers: number of hidden states, one more than there are blocks.
        dim: features per frame.
        hop: samples at 16 kHz from one frame to the next, 320 (50 Hz) or 160 (100 Hz).
        is_modified: True once `unfreeze` was called. The weights may then differ from those that `name` loads, so they
            have to be saved with the model that uses them.
        mask_parameter: name of the parameter that stands for a masked frame in pre-training, if there is one.
            `forward` masks nothing and never uses it, so `unfreeze` leaves it frozen.
    """

    name: str
    layers: int
    dim: int
    hop: int
    is_modified: bool = False
    mask_parameter: str | None = None
    __call__: Callable[..., HiddenStates]

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Number of frames that `samples` samples give."""

    @abstractmethod
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        """Compute the hidden states of a batch. An item gives the same states alone and beside longer ones.

        Args:
            waveforms: [batch, sample] at 16 kHz in [-1, 1].
            lengths: [batch], number of samples of each item; None: all of them.

        Raises:
            ModelError: if an item is too short for a single frame, or the shapes do not fit.
        """

    def padded(self, waveforms: Tensor, lengths: Tensor) -> HiddenStates:
        """Compute hidden states as S3PRL does in a zero-padded batch, where they may depend on the padding."""
        return self(waveforms, lengths)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """JSON-able settings, `name` among them, from which `load_representation` builds the encoder anew.

        The weights are apart: `load_state_dict` restores them.
        """

    def block_of(self, name: str) -> int:
        """Number of the transformer block that a parameter or module belongs to; 0 for the front-end.

        Args:
            name: as in `named_parameters` or `named_modules`.
        """
        return 0

    @property
    def trainable_from(self) -> int | None:
        """The lowest block with a parameter that requires a gradient, 0 for the front-end; None if all is frozen."""
        trainable = (name for name, parameter in self.named_parameters() if parameter.requires_grad)
        return min(map(self.block_of, trainable), default=None)

    def freeze(self) -> Self:
        """Let training change nothing: no parameter requires a gradient, and nothing is dropped out."""
        self.requires_grad_(False)
        return self.train(self.training)

    def unfreeze(self, from_block: int = 1) -> Self:
        """Let training change the blocks from number `from_block` on, and nothing below them.

        A LayerNorm after the last block belongs to that block. No gradients are computed below `from_block`, so that
        training the last blocks costs little more than running the others.

        Args:
            from_block: 1 for all transformer blocks, 0 for the front-end too.

        Raises:
            ModelError: if there is no such block, or the representation has no parameters at all.
        """
        if not list(self.parameters()):
            raise ModelError(f"{self.name} has no parameters: there is nothing to train")
        if not 0 <= from_block < self.layers:
            raise ModelError(
                f"{self.name} has no block {from_block}: its blocks are 1 to {self.layers - 1}, and 0 is the front-end"
            )
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(self.block_of(name) >= from_block and name != self.mask_parameter)
        self.is_modified = True
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch those parts to training mode that are trained; frozen parts stay in evaluation mode.

        An encoder may therefore be part of any model: `model.train()` lets it drop out only where it learns.
        """
        first = self.trainable_from
        super().train(mode and first == 0)
        if mode and first:
            self.training = True
            for name, module in self.named_modules():
                if self.block_of(name) >= first:
                    module.training = True
        return self


def check_lengths(waveforms: Tensor, lengths: Tensor | None, shortest: int) -> Tensor:
    """Check the shapes of a batch and return the lengths of its items.

    Args:
        waveforms: [batch, sample].
        lengths: [batch], number of samples of each item; None: all of them.
        shortest: samples that one frame takes.

    Returns:
        [batch], int64, on the device of the waveforms.

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
    """Bring hidden states to 50 frames a second, the rate at which phones are labelled and layers are compared.

    Args:
        hidden: states [layer, batch, frame, dim].
        hop: of the representation, 320 (nothing to do) or 160 (every second frame is taken, see `signal.to_ssl_grid`).
        samples: number of samples of every item, one number or [batch].

    Returns:
        States of (samples - 400) // 320 + 1 frames.
    """
    if hop == SSL_HOP:
        return hidden
    lengths = ssl_frames(torch.as_tensor(samples, device=hidden.states.device)).expand(hidden.states.shape[1])
    states = to_ssl_grid(hidden.states, int(lengths.max()))
    return HiddenStates(states * valid_mask(lengths, states.shape[2])[..., None], lengths)
