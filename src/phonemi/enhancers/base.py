"""What every enhancer network offers: noisy waveform and one sequence of features in, enhanced waveform out.

A network works on 16 kHz waveforms of any level. Other sample rates, the band above 8 kHz, constant offsets, channels
and long recordings are dealt with around it, by `Enhancer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from phonemi.errors import ModelError


class Enhancement(NamedTuple):
    """What a network returns for a batch.

    Attributes:
        enhanced: waveforms [batch, sample], zero beyond the length of each item.
        diagnostics: what else the network can show, by name. A network may add any tensors, for instance tract
            variables. The package uses these, where they are present:

            - "gains": amplitude gains of the STFT, [batch, frame, 257] in 0 to 1. The band above 8 kHz is scaled by the
              gains just below it. Without them, the ratio of the enhanced to the noisy spectrum is used.
            - "mask" and "log1p": a mask in 0 to 1 and the noisy log1p magnitude that it multiplies, [batch, frame, 257]
              each. `observation` estimates the local SNR from them.
    """

    enhanced: Tensor
    diagnostics: dict[str, Tensor]


class EnhancerNetwork(nn.Module, ABC):
    """What `Enhancer` needs of a network. `pretrained.NETWORKS` lists the kinds that can be saved and loaded.

    Attributes:
        kind: name in `pretrained.NETWORKS` and in the config.json of saved models.
        dim: size of the conditioning features; 0 when the network takes none.
        hop: samples between two frames of the features, 320 or 160.
        attenuation_limit_db: the most that the network takes off any frequency; None: no limit.
    """

    kind: ClassVar[str]
    dim: int
    hop: int
    attenuation_limit_db: float | None = None

    @abstractmethod
    def denoise(
        self,
        noisy: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        attenuation_limit_db: float | None = None,
    ) -> Enhancement:
        """Enhance a batch; the result is the same for an item alone and beside longer ones.

        Args:
            noisy: waveforms [batch, sample] at 16 kHz, zero beyond `lengths`; 400 samples or more.
            features: [batch, frame, dim], or None when dim is 0.
            lengths: valid samples, [batch]; None: all.
            attenuation_limit_db: replaces the network's own limit; infinite: no limit. A network without gains in its
                diagnostics may ignore it: `Enhancer` then adds a share of the noisy waveform.
        """

    @abstractmethod
    def loss(
        self,
        noisy: Tensor,
        clean: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        waveform_loss: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Training loss of a batch, a scalar; arguments as for `denoise`.

        Args:
            waveform_loss: adds to the loss of the network a scalar of the enhanced waveforms, [batch, sample] at the
                level of `noisy`, zero beyond `lengths`.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Constructor arguments, JSON-able, from which `pretrained.build_network` makes this network again."""

    def architecture(self) -> str:
        """What the network is made of, in a few words."""
        return type(self).__name__

    def description(self) -> str:
        """Its architecture and its inputs, for the model card."""
        return self.architecture()

    def enhance(self, noisy: Tensor, features: Tensor | None, lengths: Tensor | None = None) -> Tensor:
        """The waveforms of `denoise` alone, [batch, sample]."""
        return self.denoise(noisy, features, lengths).enhanced


def minimum_gain(attenuation_limit_db: float | None) -> float:
    """The amplitude gain that an attenuation limit leaves at least; 0 without a limit.

    >>> minimum_gain(20.0), minimum_gain(None)
    (0.1, 0.0)
    """
    if attenuation_limit_db is None:
        return 0.0
    if not attenuation_limit_db >= 0:
        raise ModelError(f"an attenuation limit of {attenuation_limit_db} dB would amplify: expected 0 or more")
    return 10 ** (-attenuation_limit_db / 20)
