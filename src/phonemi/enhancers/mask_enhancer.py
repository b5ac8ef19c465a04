"""The enhancer network of SUPERB: a mask on the log1p spectrum, predicted by a bidirectional LSTM.

Model, loss and reconstruction are those of the recipe `enhancement_stft2` (S3PRL). The phase stays noisy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi import signal
from phonemi.enhancers.base import Enhancement, EnhancerNetwork, minimum_gain
from phonemi.errors import ModelError, nearest
from phonemi.recurrence import run_recurrent
from phonemi.tables import plural

TAIL_FRAMES = 2  # extra STFT frames needed to reconstruct the last samples of an item


class MaskEnhancer(EnhancerNetwork):
    """Sigmoid amplitude mask on the log1p magnitude of the STFT, from a bidirectional LSTM (BLSTM).

    Args:
        dim: size of the conditioning features; 0 when there are none.
        log1p: whether the noisy log1p spectrum (257 bins) is an input, after the features. Without features it must be.
        hop: samples between feature frames: 320 (each frame is used for two STFT frames) or 160.
        hidden: LSTM units in each direction.
        layers: LSTM layers.
        dropout: between the layers and before the output.
        level_db: RMS level in dB re full scale to which every noisy recording is brought before the STFT, and back
            afterwards, so that the level of a recording does not matter; None, as in the paper: no change.
        attenuation_limit_db: the most that `enhance` takes off any bin; None, as in the paper: no limit. The noise that
            remains masks distortions of the speech. The limit plays no part in training.
        stft_pad: what lies beyond the ends of a recording, see `signal.stft`.

    >>> sum(parameter.numel() for parameter in MaskEnhancer(768).parameters())
    5387009
    """

    kind = "mask"

    def __init__(
        self,
        dim: int,
        log1p: bool = False,
        hop: int = signal.SSL_HOP,
        hidden: int = 256,
        layers: int = 3,
        dropout: float = 0.1,
        level_db: float | None = None,
        attenuation_limit_db: float | None = None,
        stft_pad: signal.Pad = "zeros",
    ):
        super().__init__()
        if not dim and not log1p:
            raise ModelError("a mask enhancer needs features (dim > 0), the log1p spectrum, or both")
        if hop not in (signal.HOP, signal.SSL_HOP):
            raise ModelError(f"features every {hop} samples cannot meet the STFT's hop of 160: only 160 and 320 can")
        minimum_gain(attenuation_limit_db)  # raises for a limit below 0
        if stft_pad not in get_args(signal.Pad):
            raise ModelError(f"stft_pad is {stft_pad!r}: {nearest(str(stft_pad), get_args(signal.Pad))}")
        self.dim, self.log1p, self.hop, self.level_db = dim, log1p, hop, level_db
        self.attenuation_limit_db, self.stft_pad = attenuation_limit_db, stft_pad
        self.blstm = nn.LSTM(
            dim + log1p * signal.BINS,
            hidden,
            layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, signal.BINS)

    def settings(self) -> dict[str, Any]:
        own = ("dim", "log1p", "hop", "level_db", "attenuation_limit_db", "stft_pad")
        blstm = {"hidden": self.blstm.hidden_size, "layers": self.blstm.num_layers, "dropout": self.dropout.p}
        return {name: getattr(self, name) for name in own} | blstm

    def architecture(self) -> str:
        return f"BLSTM of {plural(self.blstm.num_layers, 'layer')} of {self.blstm.hidden_size}"

    def description(self) -> str:
        inputs = [name for name, is_input in (("fused features", self.dim), ("log1p spectrum", self.log1p)) if is_input]
        return f"{self.architecture()} on {' and '.join(inputs)}"

    def forward(self, log1p: Tensor, features: Tensor | None, lengths: Tensor | None = None) -> Tensor:
        """Predict the amplitude mask in (0, 1), [batch, frame, 257]; arbitrary values beyond `lengths`.

        Args:
            log1p: noisy log1p magnitude, [batch, frame, 257].
            features: [batch, frame or half as many, dim], or None when dim is 0.
            lengths: valid STFT frames of each item, [batch]; None: all. On the CPU, so that a GPU is not waited for.

        Raises:
            ModelError: for features of another size, or 5 frames or more away from the number of frames of `log1p`.
        """
        dim = 0 if features is None else features.shape[-1]
        if dim != self.dim:
            raise ModelError(f"the mask enhancer expects {self.dim} features a frame, got {dim}")
        inputs = []
        if features is not None:
            to_stft_grid = signal.repeat_to_stft if self.hop == signal.SSL_HOP else signal.match_frames
            inputs.append(to_stft_grid(features, log1p.shape[1]))
        if self.log1p:
            inputs.append(log1p)
        hidden = run_recurrent(self.blstm, torch.cat(inputs, dim=-1), lengths)
        mask: Tensor = torch.sigmoid(self.output(self.dropout(hidden)))
        return mask

    def loss(
        self,
        noisy: Tensor,
        clean: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        waveform_loss: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """L1 distance of masked and clean log1p magnitudes: sum over bins, mean over valid frames, mean over the batch.

        Args:
            noisy, clean, features: see `denoise`.
            lengths: valid samples, [batch]; None: all. On the CPU, so that a GPU is not waited for.
            waveform_loss: see `EnhancerNetwork.loss`; none in the recipe. Magnitudes alone do not tell the network that
                a bin with a wrong phase should be faint.
        """
        lengths, gain, spectrum, magnitude, noisy_log1p, mask = self._analyse(noisy, features, lengths)
        clean_log1p = signal.log1p_spectrum(gain * clean, self.stft_pad, lengths)
        # The frames of the recipe, without the tail.
        frames = signal.stft_frames(lengths)
        max_frames = noisy_log1p.shape[1] - TAIL_FRAMES
        distance = (mask[:, :max_frames] * noisy_log1p[:, :max_frames] - clean_log1p).abs().sum(-1)
        loss = ((distance * signal.valid_mask(frames, max_frames)).sum(1) / frames).mean()
        if waveform_loss is not None:
            samples = noisy.shape[-1]
            enhanced = signal.istft(signal.scale(spectrum, _stft_gains(mask, magnitude, noisy_log1p)), samples) / gain
            loss = loss + waveform_loss(enhanced * signal.valid_mask(lengths, samples))
        return loss

    def denoise(
        self,
        noisy: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        attenuation_limit_db: float | None = None,
    ) -> Enhancement:
        """Masked magnitude, noisy phase: expm1(M log1p|X|) X / (|X| + 1e-10), never louder than X in any bin.

        The diagnostics are the gains (after the limit), the mask (before it) and the log1p magnitude, each
        [batch, frame, 257] with `TAIL_FRAMES` more frames than the STFT of the noisy waveform. ModelError for a limit
        below 0.
        """
        limit_db = self.attenuation_limit_db if attenuation_limit_db is None else attenuation_limit_db
        min_gain = minimum_gain(limit_db)
        samples = noisy.shape[-1]
        lengths, gain, spectrum, magnitude, log1p, mask = self._analyse(noisy, features, lengths)
        stft_gains = _stft_gains(mask, magnitude, log1p).clamp_min(min_gain)
        enhanced = signal.istft(signal.scale(spectrum, stft_gains), samples) / gain
        enhanced = enhanced * signal.valid_mask(lengths, samples)
        return Enhancement(enhanced, {"gains": stft_gains, "mask": mask, "log1p": log1p})

    def _analyse(
        self, noisy: Tensor, features: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor | float, Tensor, Tensor, Tensor, Tensor]:
        """Lengths on the device, gain to `level_db`, spectrum at that level, its magnitude and log1p, and the mask.

        The spectrum has `TAIL_FRAMES` more frames, which overlap the last samples. Without them the inverse STFT would
        divide the last samples by the edge of one window, which makes a click, and the end of an item would differ from
        its end beside longer items, where these frames exist.
        """
        if lengths is None:
            lengths = torch.full((noisy.shape[0],), noisy.shape[1])
        device_lengths = lengths.to(noisy.device, non_blocking=True)
        gain: Tensor | float = 1.0
        if self.level_db is not None:
            rms = (noisy.float().square().sum(1, keepdim=True) / device_lengths[:, None]).sqrt()
            gain = torch.where(rms > 0, 10 ** (self.level_db / 20) / rms, torch.ones_like(rms))
        padded = functional.pad(gain * noisy, (0, TAIL_FRAMES * signal.HOP))
        spectrum = signal.stft(padded, self.stft_pad, device_lengths)
        magnitude = signal.magnitude(spectrum)
        log1p = magnitude.log1p()
        return device_lengths, gain, spectrum, magnitude, log1p, self._mask(log1p, features, lengths)

    def _mask(self, log1p: Tensor, features: Tensor | None, lengths: Tensor) -> Tensor:
        """The mask of each item, float32 [batch, frame + TAIL_FRAMES, 257]; its last valid frame is held to the end."""
        frames = signal.stft_frames(lengths)
        mask: Tensor = self(log1p[:, : log1p.shape[1] - TAIL_FRAMES], features, frames).float()
        last_frame = frames.to(log1p.device, non_blocking=True)[:, None] - 1
        nearest_valid = torch.arange(log1p.shape[1], device=log1p.device).minimum(last_frame)
        return mask.gather(1, nearest_valid[..., None].expand(-1, -1, mask.shape[2]))


def _stft_gains(mask: Tensor, magnitude: Tensor, log1p: Tensor) -> Tensor:
    """Amplitude gains that do to the magnitude what the mask does to its log1p, all [batch, frame, 257]."""
    return signal.expm1(mask * log1p) / (magnitude + 1e-10)
