"""The log1p spectrum as a representation of one layer: the baseline without a speech encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from phonemi.representations.base import HiddenStates, Representation, check_lengths
from phonemi.signal import BINS, HOP, log1p_spectrum, stft_frames, valid_mask


class Log1p(Representation):
    """log(1 + |STFT|), 257 values every 10 ms, as the only hidden state. It has no parameters."""

    name, layers, dim, hop = "log1p", 1, BINS, HOP

    def frames(self, samples: int) -> int:
        """1 + samples // 160."""
        return stft_frames(samples)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        """Compute the spectrum, [batch, sample] -> [1, batch, 1 + sample // 160, 257]; never in half precision."""
        lengths = check_lengths(waveforms, lengths, 1)
        with torch.autocast(waveforms.device.type, enabled=False):
            spectrum = log1p_spectrum(waveforms.float() * valid_mask(lengths, waveforms.shape[1]))
        counts = stft_frames(lengths)
        return HiddenStates((spectrum * valid_mask(counts, spectrum.shape[1])[..., None])[None], counts)

    def settings(self) -> dict[str, Any]:
        """Its name is all there is."""
        return {"name": self.name}
