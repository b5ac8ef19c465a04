"""The enhancer network of BSSE (Hung et al. 2022, arXiv:2204.03339): log1p magnitudes by a bidirectional LSTM.

Spectrum, network, loss and reconstruction are those of the authors' code. The phase stays noisy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.enhancers.base import Enhancement, EnhancerNetwork, minimum_gain
from phonemi.errors import ModelError, nearest
from phonemi.recurrence import run_recurrent
from phonemi.signal import BINS as STFT_BINS
from phonemi.signal import HOP, SSL_HOP, is_tracing, match_frames, mirrored, ssl_frames, stft_frames, valid_mask

WINDOW = 400  # samples, 25 ms
BINS = WINDOW // 2 + 1
HIDDEN = 256
FLOOR = 1e-6  # added to every magnitude

Target = Literal["irm", "map"]
FeatureEnd = Literal["repeat", "zeros"]


class BsseEnhancer(EnhancerNetwork):
    """Linear layer of 256, two bidirectional LSTM layers of 256 whose directions are summed, linear layer, sigmoid.

    The spectrum has 201 bins: windows of 400 samples (Hamming, periodic), every 160, mirrored at the ends.

    Args:
        dim: size of the conditioning features; 0 when there are none.
        log1p: whether the noisy log1p spectrum is an input, before the features. Without features it must be.
        hop: samples between feature frames: 320 (each frame is used for two STFT frames) or 160.
        target: "irm": the output is a mask that the noisy log1p spectrum is multiplied by; "map": it is the enhanced
            log1p spectrum itself, which a sigmoid keeps below 1.
        feature_end: what stands in the STFT frames beyond the last frame of the features: that frame again ("repeat"),
            or zeros, as in S3PRL.
        attenuation_limit_db: the most that `denoise` takes off any bin; None, as in BSSE: no limit. The limit plays no
            part in training.

    >>> sum(parameter.numel() for parameter in BsseEnhancer(768, log1p=True).parameters())
    2929609
    """

    kind = "bsse"

    def __init__(
        self,
        dim: int,
        log1p: bool = False,
        hop: int = SSL_HOP,
        target: Target = "irm",
        feature_end: FeatureEnd = "repeat",
        attenuation_limit_db: float | None = None,
    ) -> None:
        super().__init__()
        if not dim and not log1p:
            raise ModelError("the BSSE network needs features (dim > 0), the log1p spectrum, or both")
        if hop not in (HOP, SSL_HOP):
            raise ModelError(f"features every {hop} samples cannot meet the STFT's hop of 160: only 160 and 320 can")
        for name, value, known in (("target", target, Target), ("feature_end", feature_end, FeatureEnd)):
            if value not in get_args(known):
                raise ModelError(f"{name} is {value!r}: {nearest(str(value), get_args(known))}")
        minimum_gain(attenuation_limit_db)  # raises for a limit below 0
        self.dim, self.log1p, self.hop, self.target, self.feature_end = dim, log1p, hop, target, feature_end
        self.attenuation_limit_db = attenuation_limit_db
        self.input = nn.Linear(dim + log1p * BINS, HIDDEN)
        self.blstm = nn.LSTM(HIDDEN, HIDDEN, 2, batch_first=True, bidirectional=True)
        self.output = nn.Linear(HIDDEN, BINS)
        for linear in (self.input, self.output):
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.register_buffer("window", torch.hamming_window(WINDOW), persistent=False)

    window: Tensor

    def settings(self) -> dict[str, Any]:
        return {
            name: getattr(self, name)
            for name in ("dim", "log1p", "hop", "target", "feature_end", "attenuation_limit_db")
        }

    def architecture(self) -> str:
        return f"BSSE's BLSTM ({self.target.upper()})"

    def description(self) -> str:
        inputs = [name for name, is_input in (("log1p spectrum", self.log1p), ("fused features", self.dim)) if is_input]
        return f"{self.architecture()} on {' and '.join(inputs)}"

    def forward(self, log1p: Tensor, features: Tensor | None, samples: Tensor) -> Tensor:
        """Predict the enhanced log1p magnitude, [batch, frame, 201]; arbitrary values beyond the end of an item.

        Args:
            log1p: noisy log1p magnitude, [batch, frame, 201].
            features: [batch, frame or half as many, dim], or None when dim is 0.
            samples: length of each item, [batch]. On the CPU, so that a GPU is not waited for.

        Raises:
            ModelError: for features of another size, or 5 frames or more away from the number of frames of `log1p`.
        """
        dim = 0 if features is None else features.shape[-1]
        if dim != self.dim:
            raise ModelError(f"the BSSE network expects {self.dim} features a frame, got {dim}")
        inputs = [log1p] if self.log1p else []
        if features is not None:
            inputs.append(self._on_stft_grid(features, log1p.shape[1], samples))
        hidden = run_recurrent(self.blstm, self.input(torch.cat(inputs, dim=-1)), stft_frames(samples))
        output: Tensor = torch.sigmoid(self.output(hidden[..., :HIDDEN] + hidden[..., HIDDEN:]))
        return output * log1p if self.target == "irm" else output

    def loss(
        self,
        noisy: Tensor,
        clean: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        waveform_loss: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """L1 distance of enhanced and clean log1p magnitudes, mean over the bins of all valid frames of the batch.

        Args:
            noisy, clean, features: see `denoise`.
            lengths: valid samples, [batch]; None: all. On the CPU, so that a GPU is not waited for.
            waveform_loss: see `EnhancerNetwork.loss`; none in BSSE.
        """
        lengths, spectrum, magnitude, valid, enhanced = self._analyse(noisy, features, lengths)
        clean_log1p = _magnitude(self._stft(clean, lengths)).log1p()
        distance = (enhanced - clean_log1p).abs().mean(-1)
        loss: Tensor = (distance * valid).sum() / valid.sum()
        if waveform_loss is not None:
            gains = _gains(enhanced, magnitude)
            loss = loss + waveform_loss(self._istft(spectrum * gains, valid, noisy.shape[-1], lengths))
        return loss

    def denoise(
        self,
        noisy: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        attenuation_limit_db: float | None = None,
    ) -> Enhancement:
        """Enhanced magnitude, noisy phase: (expm1(log1p) - 1e-6) X / (|X| + 1e-6).

        The diagnostics are the gains (after the limit), at most 1, at the frequencies of `signal.stft`.
        ModelError for a limit below 0.
        """
        limit_db = self.attenuation_limit_db if attenuation_limit_db is None else attenuation_limit_db
        lowest_gain = minimum_gain(limit_db)
        lengths, spectrum, magnitude, valid, enhanced = self._analyse(noisy, features, lengths)
        gains = _gains(enhanced, magnitude)
        if lowest_gain:
            gains = gains.clamp_min(lowest_gain)
        waveforms = self._istft(spectrum * gains, valid, noisy.shape[-1], lengths)
        shown = functional.interpolate(gains.clamp_max(1), STFT_BINS, mode="linear", align_corners=True)
        return Enhancement(waveforms, {"gains": shown})

    def _analyse(
        self, noisy: Tensor, features: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Lengths on the device, spectrum, magnitude, which frames are valid [batch, frame], enhanced log1p."""
        if lengths is None:
            lengths = torch.full((noisy.shape[0],), noisy.shape[1])
        device_lengths = lengths.to(noisy.device, non_blocking=True)
        spectrum = self._stft(noisy, device_lengths)
        magnitude = _magnitude(spectrum)
        enhanced = self(magnitude.log1p(), features, lengths).float()
        valid = valid_mask(stft_frames(device_lengths), spectrum.shape[1])
        return device_lengths, spectrum, magnitude, valid, enhanced

    def _on_stft_grid(self, features: Tensor, frames: int, samples: Tensor) -> Tensor:
        """Features at 100 Hz, [batch, frames, dim], of items of so many samples."""
        if self.hop == SSL_HOP:
            features = features.repeat_interleave(2, dim=1)
        given = features.shape[1]
        features = match_frames(features, frames)
        if self.feature_end == "zeros":
            return features
        count = 2 * ssl_frames(samples) if self.hop == SSL_HOP else stft_frames(samples)
        last = count.clamp(1, min(given, frames)).to(features.device, non_blocking=True)[:, None] - 1
        index = torch.arange(frames, device=features.device).minimum(last)
        return features.gather(1, index[..., None].expand(-1, -1, features.shape[2]))

    def _stft(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """[batch, sample] -> complex [batch, 1 + sample // 160, 201], mirrored at the ends of each item."""
        if is_tracing():
            raise ModelError("the network of BSSE cannot be exported: use a row with another network")
        windows = mirrored(waveforms.float(), lengths, WINDOW // 2).unfold(-1, WINDOW, HOP)
        spectrum: Tensor = torch.fft.rfft(windows * self.window)
        return spectrum

    def _istft(self, spectrum: Tensor, valid: Tensor, samples: int, lengths: Tensor) -> Tensor:
        """Inverse of `_stft` from the valid frames of each item, [batch, samples]; zero beyond `lengths`."""
        windows = torch.fft.irfft(spectrum, WINDOW) * self.window * valid[..., None]
        power = self.window.square() * valid[..., None]
        size = (1, (windows.shape[1] - 1) * HOP + WINDOW)

        def overlap_add(parts: Tensor) -> Tensor:
            added: Tensor = functional.fold(parts.transpose(1, 2), size, (1, WINDOW), stride=(1, HOP))
            return added.squeeze((1, 2))

        inside = slice(WINDOW // 2, WINDOW // 2 + samples)
        # No window falls below 0.08, so that only what lies beyond an item is divided by the floor.
        waveforms = overlap_add(windows)[:, inside] / overlap_add(power)[:, inside].clamp_min(1e-3)
        waveforms = functional.pad(waveforms, (0, samples - waveforms.shape[1]))
        return waveforms * valid_mask(lengths, samples)


def _magnitude(spectrum: Tensor) -> Tensor:
    return spectrum.abs() + FLOOR


def _gains(log1p: Tensor, magnitude: Tensor) -> Tensor:
    """Amplitude gains that make of a noisy magnitude the one whose log1p is given, all [batch, frame, 201]."""
    return (torch.expm1(log1p) - FLOOR).clamp_min(0) / magnitude
