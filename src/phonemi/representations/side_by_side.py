"""Two representations side by side, frame by frame: the cross-domain features of BSSE, made of any two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phonemi.errors import ModelError
from phonemi.files import write_json
from phonemi.representations.base import HiddenStates, Representation, at_50_hz, check_lengths
from phonemi.signal import SSL_HOP, ssl_frames, valid_mask
from phonemi.weights.shipped import CONFIG_FILE, SIDE_BY_SIDE

MODEL_TYPE = "phonemi-side-by-side"
PARTS = ("first", "second")


class SideBySide(Representation):
    """The features of two representations, joined: `mini+log1p`, `microsoft/wavlm-base-plus+openai/whisper-tiny.en`.

    Layer i has layer i of both, counted from the last one: what has fewer layers gives its lowest to those below, and
    the log1p spectrum, which has one, gives it to all. Where one has 50 frames a second, both have.

    Args:
        first, second: the representations, which become parts of this one.

    Raises:
        ModelError: if one of them is such a pair itself.
    """

    def __init__(self, first: Representation, second: Representation) -> None:
        super().__init__()
        if isinstance(first, SideBySide) or isinstance(second, SideBySide):
            raise ModelError("two representations stand side by side, not three")
        self.first, self.second = first, second
        self.name = f"{first.name}{SIDE_BY_SIDE}{second.name}"
        self.layers, self.dim = max(first.layers, second.layers), first.dim + second.dim
        self.hop = max(first.hop, second.hop)
        pairs = zip(PARTS, (first, second), strict=True)
        self.front_end = tuple(f"{part}.{module}" for part, encoder in pairs for module in encoder.front_end)

    def frames(self, samples: int) -> int:
        """Those that both have."""
        return min(self._frames_of(encoder, samples) for encoder in (self.first, self.second))

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        """As `Representation.forward`."""
        samples = waveforms.shape[1] if lengths is None else lengths
        parts = []
        for encoder in (self.first, self.second):
            hidden = encoder(waveforms, lengths)
            hidden = at_50_hz(hidden, encoder.hop, samples) if self.hop == SSL_HOP else hidden
            lowest = self.layers - encoder.layers
            parts.append([hidden.states[max(layer - lowest, 0)] for layer in range(self.layers)])
        frames = min(states[0].shape[1] for states in parts)
        joined = [torch.cat([one[:, :frames], other[:, :frames]], dim=-1) for one, other in zip(*parts, strict=True)]
        numbers = check_lengths(waveforms, lengths, 1).tolist()
        counts = torch.tensor([self.frames(number) for number in numbers], device=waveforms.device)
        return HiddenStates(torch.stack(joined) * valid_mask(counts, frames)[..., None], counts)

    def block_of(self, name: str) -> int:
        part, _, rest = name.partition(".")
        if part not in PARTS:
            return 0
        encoder: Representation = getattr(self, part)
        block = encoder.block_of(rest)
        return block and block + self.layers - encoder.layers

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "side_by_side": [self.first.settings(), self.second.settings()]}

    def save(self, folder: Path, parts: list[dict[str, Any]]) -> None:
        """Write config.json; `parts` says how each of the two is loaded: its name, or folder in here, and options."""
        write_json(folder / CONFIG_FILE, {"model_type": MODEL_TYPE, "parts": parts})

    def _frames_of(self, encoder: Representation, samples: int) -> int:
        return encoder.frames(samples) if encoder.hop == self.hop else ssl_frames(samples)  # as `at_50_hz` counts
