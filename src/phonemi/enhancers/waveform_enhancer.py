"""A network in the waveform domain: the convolutional encoder and decoder of Demucs, guided at its bottleneck.

Défossez, Synnaeve and Adi (2020, arXiv:2006.12847): strided convolutions take the waveform apart, a bidirectional LSTM
runs over what is left, and transposed convolutions with skip connections put it together again, at four times the rate.
The conditioning features join before the LSTM, brought to its frames by linear interpolation. Loss: L1 of the waveform
and the multi-resolution STFT distance of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.enhancers.base import Enhancement, EnhancerNetwork, minimum_gain
from phonemi.errors import ModelError
from phonemi.signal import HOP, SSL_FIELD, SSL_HOP, valid_mask

RESOLUTIONS = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))  # samples: FFT, hop, window
STFT_WEIGHTS = 0.1, 0.1  # of spectral convergence and of the log magnitude
FLOOR = 1e-3  # added to the deviation that a waveform is divided by
ZEROS = 56  # of the interpolation filter on either side


class WaveformEnhancer(EnhancerNetwork):
    """Demucs, with what a speech encoder knows beside its bottleneck. Each item runs alone, to its own length.

    Args:
        dim: size of the conditioning features; 0 when there are none.
        log1p: must be False: the waveform is the input.
        hop: samples between feature frames, 320 or 160.
        channels: of the outermost convolution.
        depth: convolutions, each with a quarter of the frames of the one before.
        growth: how many times more channels each has.
        most_channels: at the bottleneck.
        kernel, stride: of the convolutions.
        resample: how many times more samples the network sees, 1, 2 or 4.
        lstm_layers: at the bottleneck.
        attenuation_limit_db: see `EnhancerNetwork`; kept by adding a share of the noisy recording.

    >>> WaveformEnhancer(0, channels=48, most_channels=768).padded_length(16_000)
    16213
    """

    kind = "waveform"

    def __init__(
        self,
        dim: int,
        log1p: bool = False,
        hop: int = SSL_HOP,
        channels: int = 32,
        depth: int = 5,
        growth: float = 2.0,
        most_channels: int = 256,
        kernel: int = 8,
        stride: int = 4,
        resample: int = 4,
        lstm_layers: int = 2,
        attenuation_limit_db: float | None = None,
    ) -> None:
        super().__init__()
        if log1p:
            raise ModelError("a waveform enhancer takes no spectrum: use a row without log1p")
        if hop not in (HOP, SSL_HOP):
            raise ModelError(f"features come every {hop} samples: only 160 and 320 can be used")
        if resample not in (1, 2, 4):
            raise ModelError(f"resample is {resample}: 1, 2 or 4")
        minimum_gain(attenuation_limit_db)  # raises for a limit below 0
        self.dim, self.hop, self.attenuation_limit_db = dim, hop, attenuation_limit_db
        self.channels, self.depth, self.growth, self.most_channels = channels, depth, growth, most_channels
        self.kernel, self.stride, self.resample, self.lstm_layers = kernel, stride, resample, lstm_layers
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        outer, width = 1, channels
        for level in range(depth):
            self.encoder.append(
                nn.Sequential(
                    nn.Conv1d(outer, width, kernel, stride), nn.ReLU(), nn.Conv1d(width, 2 * width, 1), nn.GLU(1)
                )
            )
            out = [nn.Conv1d(width, 2 * width, 1), nn.GLU(1), nn.ConvTranspose1d(width, outer, kernel, stride)]
            self.decoder.insert(0, nn.Sequential(*out, *([nn.ReLU()] if level else [])))
            outer, width = width, min(int(growth * width), most_channels)
        self.joined = nn.Linear(outer + dim, outer) if dim else nn.Identity()
        self.lstm = nn.LSTM(outer, outer, lstm_layers, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(2 * outer, outer)
        for convolution in self.modules():
            if isinstance(convolution, nn.Conv1d | nn.ConvTranspose1d):
                _rescale(convolution)

    def settings(self) -> dict[str, Any]:
        names = (
            "dim", "hop", "channels", "depth", "growth", "most_channels", "kernel", "stride", "resample",
            "lstm_layers", "attenuation_limit_db",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {"log1p": False}

    def architecture(self) -> str:
        return f"Demucs of depth {self.depth} from {self.channels} channels"

    def padded_length(self, samples: int) -> int:
        """The least number of samples, at least so many, that the decoder gives back whole."""
        length = math.ceil(samples * self.resample)
        for _ in range(self.depth):
            length = max(math.ceil((length - self.kernel) / self.stride) + 1, 1)
        for _ in range(self.depth):
            length = (length - 1) * self.stride + self.kernel
        return math.ceil(length / self.resample)

    def forward(self, noisy: Tensor, features: Tensor | None) -> Tensor:
        """Enhance waveforms of one length, [batch, sample], with features [batch, frame, dim], None when dim is 0.

        Raises:
            ModelError: for features of another size.
        """
        dim = 0 if features is None else features.shape[-1]
        if dim != self.dim:
            raise ModelError(f"the waveform enhancer expects {self.dim} features a frame, got {dim}")
        samples = noisy.shape[-1]
        scale = noisy.std(-1, correction=0, keepdim=True) + FLOOR
        hidden = functional.pad(noisy / scale, (0, self.padded_length(samples) - samples))[:, None]
        for _ in range(int(math.log2(self.resample))):
            hidden = upsample(hidden)
        skips = []
        for layer in self.encoder:
            hidden = layer(hidden)
            skips.append(hidden)
        frames = hidden.transpose(1, 2)
        if features is not None:
            frames = self.joined(torch.cat([frames, self._at_bottleneck(features, frames.shape[1])], dim=-1))
        hidden = self.projection(self.lstm(frames)[0]).transpose(1, 2)
        for layer, skip in zip(self.decoder, reversed(skips), strict=True):
            hidden = layer(hidden + skip[..., : hidden.shape[-1]])
        for _ in range(int(math.log2(self.resample))):
            hidden = downsample(hidden)
        enhanced: Tensor = hidden[:, 0, :samples] * scale
        return enhanced

    def loss(
        self,
        noisy: Tensor,
        clean: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        waveform_loss: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """L1 distance of the waveforms in units of the noisy level, and `stft_distance`, mean over the batch.

        Arguments as for `denoise`. In the units of the waveform, a twentieth of full scale in ordinary recordings, the
        first would be lost beside the second, which knows no phases: of three starts two then learned none.
        """
        lengths = torch.full((len(noisy),), noisy.shape[1]) if lengths is None else lengths
        enhanced = self.enhance(noisy, features, lengths).float()
        distance = enhanced.new_zeros(())
        for estimate, target, mixture, length in zip(enhanced, clean, noisy, lengths.tolist(), strict=True):
            level = mixture[:length].std(correction=0) + FLOOR  # phases must weigh in quiet recordings too
            distance = distance + (estimate - target)[:length].abs().mean() / level
            distance = distance + stft_distance(estimate[None, :length], target[None, :length])
        distance = distance / len(noisy)
        return distance if waveform_loss is None else distance + waveform_loss(enhanced)

    def denoise(
        self,
        noisy: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        attenuation_limit_db: float | None = None,
    ) -> Enhancement:
        """As `EnhancerNetwork.denoise`, without diagnostics. Items of one length run together."""
        if lengths is None:
            return Enhancement(self(noisy, features), {})
        enhanced = torch.zeros_like(noisy)
        for length in sorted(set(lengths.tolist())):
            rows = (lengths == length).nonzero()[:, 0].to(noisy.device)
            frames = None if features is None else features[rows, : self._frames(length, features.shape[1])]
            part = self(noisy[rows, :length], frames)
            enhanced = enhanced.index_copy(0, rows, functional.pad(part, (0, noisy.shape[1] - length)).to(enhanced))
        return Enhancement(enhanced * valid_mask(lengths.to(noisy.device), noisy.shape[1]), {})

    def _frames(self, samples: int, most: int) -> int:
        """Frames of the features of an item of so many samples."""
        frames = (samples - SSL_FIELD) // SSL_HOP + 1 if self.hop == SSL_HOP else samples // HOP + 1
        return min(max(frames, 1), most)

    def _at_bottleneck(self, features: Tensor, frames: int) -> Tensor:
        return functional.interpolate(features.transpose(1, 2), frames, mode="linear").transpose(1, 2)


def stft_distance(estimate: Tensor, clean: Tensor) -> Tensor:
    """Spectral convergence and L1 of the log magnitude, mean over `RESOLUTIONS`, [batch, sample] -> [].

    A recording shorter than half the longest window is padded with zeros.
    """
    total = estimate.new_zeros(())
    convergence_weight, magnitude_weight = STFT_WEIGHTS
    shortest = max(fft for fft, _, _ in RESOLUTIONS) // 2 + 1
    padding = (0, max(shortest - estimate.shape[-1], 0))
    pair = torch.cat([functional.pad(estimate, padding), functional.pad(clean, padding)])
    for fft, hop, width in RESOLUTIONS:
        window = torch.hann_window(width, device=estimate.device)
        power = torch.stft(pair, fft, hop, width, window, return_complex=True).abs().square()
        magnitude = power.clamp_min(1e-7).sqrt()
        ours, theirs = magnitude.chunk(2)
        convergence = torch.linalg.vector_norm(theirs - ours) / torch.linalg.vector_norm(theirs)
        distance = (theirs.log() - ours.log()).abs().mean()
        total = total + convergence_weight * convergence + magnitude_weight * distance
    return total / len(RESOLUTIONS)


@cache
def _half_sample_filter() -> np.ndarray:
    """Windowed sinc that interpolates half-way between samples, [2 * ZEROS]."""
    window = np.hanning(4 * ZEROS + 1)[1::2]
    position = np.pi * np.linspace(-ZEROS + 0.5, ZEROS - 0.5, 2 * ZEROS)
    return (np.sin(position) / position * window).astype(np.float32)


def _between(waveform: Tensor) -> Tensor:
    """Values half a sample after each one, [batch, 1, sample]."""
    kernel = torch.from_numpy(_half_sample_filter()).to(waveform)[None, None]
    return functional.conv1d(waveform, kernel, padding=ZEROS)[..., 1:]


def upsample(waveform: Tensor) -> Tensor:
    """Twice as many samples, [batch, 1, sample] -> [batch, 1, 2 * sample], by a windowed sinc."""
    return torch.stack([waveform, _between(waveform)], dim=-1).flatten(-2)


def downsample(waveform: Tensor) -> Tensor:
    """Half as many samples, of a low-passed waveform: [batch, 1, sample] -> [batch, 1, (sample + 1) // 2]."""
    even = functional.pad(waveform, (0, waveform.shape[-1] % 2))
    first, second = even[..., ::2], even[..., 1::2]
    kernel = torch.from_numpy(_half_sample_filter()).to(waveform)[None, None]
    before = functional.conv1d(second, kernel, padding=ZEROS)[..., :-1]
    return (first + before) / 2


def _rescale(convolution: nn.Conv1d | nn.ConvTranspose1d, reference: float = 0.1) -> None:
    """Bring fresh weights to a like deviation in all layers, as Demucs does."""
    scale = (convolution.weight.detach().std() / reference).sqrt()
    with torch.no_grad():
        convolution.weight /= scale
        if convolution.bias is not None:
            convolution.bias /= scale
