"""What every speech encoder offers: hidden states of all layers, and a choice of the blocks that training changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from phonemi.errors import ModelError
from phonemi.signal import SSL_HOP, ssl_frames, to_ssl_grid, valid_mask
from phonemi.tables import plural


class HiddenStates(NamedTuple):
    """The hidden states of a batch; frames beyond the end of an item are zero."""

    states: Tensor  # [layer, batch, frame, dim]
    lengths: Tensor  # [batch], number of frames of each item


class Representation(nn.Module, ABC):
    """A speech encoder. It is frozen when `load_representation` returns it; `unfreeze` lets training change it.

    Hidden state 0 is the output of the front-end, hidden state i the output of transformer block i. Blocks are
    therefore counted from 1, and number 0 stands for the front-end.
    """

    name: str  # that `load_representation` was called with
    layers: int  # number of hidden states, one more than there are blocks
    dim: int  # features per frame
    hop: int  # samples at 16 kHz from one frame to the next, 320 (50 Hz) or 160 (100 Hz)
    first_centre: int = 0  # sample at the centre of frame 0, where `hop` is 160: 0 or 200
    # Since `unfreeze` was called, the weights may differ from those of `name`: a model must be saved with them.
    is_modified: bool = False
    # Name of what stands for a masked frame in pre-training. `forward` never uses it: `unfreeze` leaves it frozen.
    mask_parameter: str | None = None
    front_end: tuple[str, ...] = ()  # names of the modules that make frames of a waveform, those with parameters
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
        """JSON-able settings from which `load_representation` builds the encoder anew, without its weights."""

    def block_of(self, name: str) -> int:
        """Number of the transformer block that the parameter or module `name` belongs to; 0 for the front-end."""
        return 0

    def layer_modules(self) -> list[nn.Module]:
        """The modules whose outputs are the hidden states of all layers, before any normalisation of what is returned.

        An output is a tensor [batch, frame, dim], or a tuple that begins with it.

        Raises:
            ModelError: if the encoder does not run by such modules.
        """
        raise ModelError(f"{self.name} lets nobody between its layers: they cannot be normalised or recomputed")

    def recompute_blocks(self) -> Self:
        """Keep of each block only its input until the gradient is computed: less memory, a third more time.

        Results do not change. Raises a ModelError as `layer_modules`.
        """
        for module in self.layer_modules()[1:]:
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)
        return self

    @property
    def trainable_from(self) -> int | None:
        """The lowest block with a parameter that requires a gradient, 0 for the front-end; None if all is frozen."""
        trainable = (name for name, parameter in self.named_parameters() if parameter.requires_grad)
        return min(map(self.block_of, trainable), default=None)

    def freeze(self) -> Self:
        """Let training change nothing: no parameter requires a gradient, and nothing is dropped out."""
        self.requires_grad_(False)
        return self.train(self.training)

    def unfreeze(self, from_block: int = 1, keep_front_end: bool = False) -> Self:
        """Let training change the blocks from number `from_block` on; 0 is all that comes before them.

        A LayerNorm after the last block belongs to that block. No gradients are computed below `from_block`, so that
        training the last blocks costs little more than running the others. With 0 everything is trained, which BSSE
        calls entire fine-tuning (EF), or, with `keep_front_end`, all but the modules in `front_end` (the convolutions
        on the waveform of HuBERT and its kin, the first linear layer of `mini`): partial fine-tuning (PF).

        Raises:
            ModelError: if there is no such block, or the representation has no parameters at all.
        """
        if not list(self.parameters()):
            raise ModelError(f"{self.name} has no parameters: there is nothing to train")
        if not 0 <= from_block < self.layers:
            raise ModelError(
                f"{self.name} has no block {from_block}: its blocks are 1 to {self.layers - 1}, and 0 is the front-end"
            )
        frozen = tuple(f"{module}." for module in self.front_end) if keep_front_end else ()
        for name, parameter in self.named_parameters():
            learns = self.block_of(name) >= from_block and name != self.mask_parameter
            parameter.requires_grad_(learns and not name.startswith(frozen))
        self.is_modified = True
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch those parts to training mode that are trained; frozen parts stay in evaluation mode.

        An encoder may therefore be part of any model: `model.train()` lets it drop out only where it learns.
        """
        first = self.trainable_from
        super().train(mode and first == 0)
        for name in self.front_end:
            module = self.get_submodule(name)
            module.train(mode and any(parameter.requires_grad for parameter in module.parameters()))
        if mode and first:
            self.training = True
            for name, module in self.named_modules():
                if self.block_of(name) >= first:
                    module.training = True
        return self


def check_lengths(waveforms: Tensor, lengths: Tensor | None, shortest: int) -> Tensor:
    """Check a batch [batch, sample] and return the lengths of its items, int64 [batch] on the same device.

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
            f"a waveform of {plural(int(lengths.min()), 'sample')} is too short: one frame takes {shortest} at 16 kHz"
        )
    return lengths


def at_50_hz(hidden: HiddenStates, hop: int, samples: int | Tensor, first_centre: int = 0) -> HiddenStates:
    """Bring hidden states of a `hop` of 160 or 320 to 50 frames a second, where phones are labelled.

    There are then (samples - 400) // 320 + 1 frames, with `samples` the length of every item, one number or [batch].
    The `first_centre` is that of the encoder.
    """
    if hop == SSL_HOP:
        return hidden
    lengths = ssl_frames(torch.as_tensor(samples, device=hidden.states.device)).expand(hidden.states.shape[1])
    states = to_ssl_grid(hidden.states, int(lengths.max()), first_centre)
    return HiddenStates(states * valid_mask(lengths, states.shape[2])[..., None], lengths)
