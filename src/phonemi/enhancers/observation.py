"""Watch an enhancer at work: which frames it took for speech, and which layers of the encoder it used.

Both are taken from the pass that enhances, so that watching costs no second run of the encoder.
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

from phonemi.enhancers.base import Enhancement
from phonemi.enhancers.enhancer import Enhancer
from phonemi.signal import HOP, SAMPLE_RATE, log1p_spectrum, stft_frames

WINDOW_FRAMES = 11  # 0.11 s, about a phone
MAX_SNR_DB = 30.0  # beyond it, an estimate says no more than "speech" or "noise"


@dataclass
class Observation:
    """What was observed in the first chunk that an enhancer was given: its first channel that is not silent."""

    local_snr_db: np.ndarray | None = None  # of each STFT frame (100 Hz); None before anything was enhanced
    layer_weights: np.ndarray | None = None  # shares, [frame of the encoder, layer]; None without an encoder
    frame_s: float = 0.02  # from one frame of the encoder to the next

    @property
    def duration_s(self) -> float:
        """Length of the chunk, to 10 ms; 0 before anything was enhanced."""
        return 0.0 if self.local_snr_db is None else (len(self.local_snr_db) - 1) * HOP / SAMPLE_RATE


@contextmanager
def observing(enhancer: Enhancer) -> Iterator[Observation]:
    """Watch `enhancer` for the length of a `with` block; the observation is of the first chunk enhanced in it.

    One block at a time. With an enhancer that works in several threads, the chunk of any thread may come first.
    """
    observation = Observation()

    def observe_network(noisy: Tensor, enhancement: Enhancement, lengths: Tensor | None) -> None:
        if observation.local_snr_db is None:
            frames = stft_frames(noisy.shape[1] if lengths is None else int(lengths[0]))
            mask, log1p = (enhancement.diagnostics.get(name) for name in ("mask", "log1p"))
            if mask is None or log1p is None:
                # The mask that would have made this waveform.
                log1p = log1p_spectrum(noisy[:1])
                mask = (log1p_spectrum(enhancement.enhanced[:1]) / log1p.clamp_min(1e-10)).clamp_max(1)
            snr_db = estimated_snr_db(log1p[0, :frames].detach().float(), mask[0, :frames].detach().float())
            observation.local_snr_db = snr_db.cpu().numpy()

    def observe_layers(aggregation: Any, inputs: tuple[Any, ...], features: Tensor) -> None:
        if observation.layer_weights is None:
            weights = aggregation.weights(inputs[0][:, :1])
            observation.layer_weights = weights[0].detach().float().cpu().numpy()

    hook = None
    if enhancer.aggregation is not None and enhancer.representation is not None:
        observation.frame_s = enhancer.representation.hop / SAMPLE_RATE
        hook = enhancer.aggregation.register_forward_hook(observe_layers)
    enhancer.observer = observe_network
    try:
        yield observation
    finally:
        enhancer.observer = None
        if hook is not None:
            hook.remove()


def estimated_snr_db(log1p: Tensor, mask: Tensor) -> Tensor:
    """Local SNR that a mask implies: the energy that it keeps of a frame against the energy that it removes.

    Noise that is kept counts as speech, and speech that is removed as noise. An attenuation limit plays no part.

    Returns:
        `[frame]` in -30 to 30 dB, from log1p magnitude and mask `[frame, bin]`; energies averaged over 0.11 s, NaN in
        digital silence.

    >>> estimated_snr_db(torch.full((3, 257), 0.1), torch.full((3, 257), 0.5)).round(decimals=1)
    tensor([-0.4000, -0.4000, -0.4000])
    """
    kept = torch.expm1(mask * log1p)
    removed = torch.expm1(log1p) - kept
    energies = torch.stack([kept, removed]).double().square().sum(-1)[:, None]
    padded = functional.pad(energies, (WINDOW_FRAMES // 2, WINDOW_FRAMES // 2))
    kept_energy, removed_energy = functional.avg_pool1d(padded, WINDOW_FRAMES, 1)[:, 0]
    snr_db = 10 * torch.log10(kept_energy.clamp_min(1e-12) / removed_energy.clamp_min(1e-12))
    is_sound = kept_energy + removed_energy > 1e-12
    return snr_db.clamp(-MAX_SNR_DB, MAX_SNR_DB).where(is_sound, torch.nan).float()
