"""An enhancer at work on a recording -> how much it took for speech `[frame]`, which layers it heard `[frame, layer]`.

Both are taken from the run that enhances, so that looking costs no second run of the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from phonemi.enhancers.enhancer import Enhancer
from phonemi.signal import HOP, SAMPLE_RATE

WINDOW_FRAMES = 11  # 0.11 s, about a phone
MOST_DB = 30.0  # beyond, an estimate says no more than "speech" or "noise"


@dataclass
class Observation:
    """What was seen of the first piece that an enhancer heard: its first audible channel.

    Attributes:
        local_snr_db: `estimated_snr_db` of each STFT frame (100 Hz), `[frame]`; None before anything was heard.
        layer_weights: share of each layer in each frame of the encoder, `[frame, layer]`; None without an encoder.
        frame_s: seconds from one frame of the encoder to the next.
    """

    local_snr_db: np.ndarray | None = None
    layer_weights: np.ndarray | None = None
    frame_s: float = 0.02

    @property
    def duration_s(self) -> float:
        """Length of the piece, to 10 ms; 0 if nothing was heard."""
        return 0.0 if self.local_snr_db is None else (len(self.local_snr_db) - 1) * HOP / SAMPLE_RATE


@contextmanager
def observing(enhancer: Enhancer) -> Iterator[Observation]:
    """Watch `enhancer` for the length of a `with` block; what it is given first there is what is seen.

    One block at a time: an enhancer that works in several threads would show whichever was first.
    """
    seen = Observation()

    def see_layers(aggregation: Any, inputs: tuple[Any, ...], fused: Tensor) -> None:
        if seen.layer_weights is None:
            weights = aggregation.weights(inputs[0][:, :1])
            seen.layer_weights = weights[0].detach().float().cpu().numpy()

    def see_mask(mask_enhancer: Any, inputs: tuple[Any, ...], mask: Tensor) -> None:
        if seen.local_snr_db is None:
            log1p, _, lengths = inputs
            frames = log1p.shape[1] if lengths is None else int(lengths[0])
            snr_db = estimated_snr_db(log1p[0, :frames].detach().float(), mask[0, :frames].detach().float())
            seen.local_snr_db = snr_db.cpu().numpy()

    hooks = [enhancer.mask_enhancer.register_forward_hook(see_mask)]
    if enhancer.aggregation is not None and enhancer.representation is not None:
        seen.frame_s = enhancer.representation.hop / SAMPLE_RATE
        hooks.append(enhancer.aggregation.register_forward_hook(see_layers))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def estimated_snr_db(log1p: Tensor, mask: Tensor) -> Tensor:
    """Local SNR as the mask sees it: the energy that it keeps in a frame against the energy that it removes.

    An estimate, since nobody knows the speech: noise that is kept counts as speech, speech that is removed as noise.
    The limit of the attenuation is not in it.

    Args:
        log1p: noisy log1p magnitude, `[frame, bin]`.
        mask: amplitude mask on it, `[frame, bin]` in 0 to 1.

    Returns:
        `[frame]` in -30 to 30 dB, energies averaged over 0.11 s; NaN in digital silence.

    >>> estimated_snr_db(torch.full((3, 257), 0.1), torch.full((3, 257), 0.5)).round(decimals=1)
    tensor([-0.4000, -0.4000, -0.4000])
    """
    kept = torch.expm1(mask * log1p)
    removed = torch.expm1(log1p) - kept
    energies = torch.stack([kept, removed]).double().square().sum(-1)[:, None]
    padded = functional.pad(energies, (WINDOW_FRAMES // 2, WINDOW_FRAMES // 2))
    speech, noise = functional.avg_pool1d(padded, WINDOW_FRAMES, 1)[:, 0]
    snr_db = (10 * torch.log10(speech.clamp_min(1e-12) / noise.clamp_min(1e-12))).clamp(-MOST_DB, MOST_DB)
    return snr_db.where(speech + noise > 1e-12, torch.nan).float()
