"""A network of our own: a complex mask on a compressed spectrum, 50 times a second, made for a CPU.

Its frames are those of the speech encoder: frame t of the STFT is centred where frame t of the features is, so that
what the encoder knows of a sound meets the spectrum of the same sound. In between it is a dual-path network (Luo et al.
2020) on bands, of the kind of FastEnhancer and GTCRN: an LSTM along time, shared by all bands, then a perceptron across
the bands. Loss and compression are those of FastEnhancer, after MP-SENet (Lu et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.enhancers.base import Enhancement, EnhancerNetwork, minimum_gain
from phonemi.errors import ModelError
from phonemi.signal import SSL_FIELD, SSL_HOP, is_tracing, ssl_frames, valid_mask
from phonemi.tables import plural

WINDOW = 2 * SSL_HOP  # samples, 40 ms
BINS = 320  # of 25 Hz; the highest, at 8 kHz, is left out
COMPRESSION = 0.3  # exponent of the magnitude
FINE, COARSE = 80, 40  # bands of 100 and 200 Hz
LEAD = WINDOW // 2 + SSL_HOP - SSL_FIELD // 2  # samples before the recording: the first frame is that before frame 0
WEIGHTS = {"magnitude": 0.3, "complex": 0.2, "consistency": 0.3, "waveform": 0.2}


class ComplexMaskEnhancer(EnhancerNetwork):
    """Complex mask on the spectrum of 40-ms windows, every 20 ms; the phase is enhanced too.

    Args:
        dim: size of the conditioning features; 0 when there are none.
        log1p: must be True: the noisy spectrum is always an input.
        channels: features of a band.
        blocks: of an LSTM along time and a perceptron across bands.
        guide: features of a band that are made of the conditioning features.
        level_db: RMS level in dB re full scale to which every recording is brought, and back afterwards; None: none.
        attenuation_limit_db: see `EnhancerNetwork`; kept by adding a share of the noisy recording.

    >>> sum(parameter.numel() for parameter in ComplexMaskEnhancer(256).parameters()) // 1000
    261
    """

    kind = "complex"
    hop = SSL_HOP

    def __init__(
        self,
        dim: int,
        log1p: bool = True,
        channels: int = 48,
        blocks: int = 3,
        guide: int = 16,
        level_db: float | None = 0.0,
        attenuation_limit_db: float | None = None,
    ) -> None:
        super().__init__()
        if not log1p:
            raise ModelError("a complex mask needs the noisy spectrum")
        minimum_gain(attenuation_limit_db)  # raises for a limit below 0
        self.dim, self.level_db, self.attenuation_limit_db = dim, level_db, attenuation_limit_db
        self.channels, self.guide = channels, guide if dim else 0
        self.fine = nn.Linear(2 * 8, channels)  # 8 bins, every 4
        self.coarse = nn.Linear(2 * channels, channels)
        self.bands = nn.Parameter(torch.zeros(COARSE, channels))
        if dim:
            self.from_features = nn.Linear(dim, COARSE * guide)
            self.joined = nn.Linear(channels + guide, channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.to_fine = nn.Linear(channels, 2 * channels)
        self.skip = nn.Linear(2 * channels, channels)
        self.mask = nn.Linear(channels, 2 * BINS // FINE)
        with torch.no_grad():  # at first nothing is changed
            self.mask.weight.mul_(0.1)
            self.mask.bias.copy_(torch.tensor([1.0, 0.0]).repeat(BINS // FINE))
        self.register_buffer("window", torch.hann_window(WINDOW).sqrt(), persistent=False)

    window: Tensor

    def settings(self) -> dict[str, Any]:
        own = {"dim": self.dim, "channels": self.channels, "blocks": len(self.blocks)}
        levels = {"level_db": self.level_db, "attenuation_limit_db": self.attenuation_limit_db}
        return own | levels | ({"guide": self.guide} if self.dim else {})

    def architecture(self) -> str:
        return f"complex mask of {plural(len(self.blocks), 'dual-path block')} of {plural(self.channels, 'channel')}"

    def description(self) -> str:
        return f"{self.architecture()} on {'spectrum and fused features' if self.dim else 'spectrum'}"

    def forward(self, spectrum: Tensor, features: Tensor | None) -> Tensor:
        """Compressed noisy spectrum, complex [batch, frame, 320], and features [batch, frame, dim] -> complex mask.

        In a trace both are real, [batch, frame, 320, 2], as everywhere below.
        """
        dim = 0 if features is None else features.shape[-1]
        if dim != self.dim:
            raise ModelError(f"the complex mask expects {self.dim} features a frame, got {dim}")
        quads = _split(functional.pad(_parts(spectrum), (0, 0, 2, 2)), 2, FINE + 1, BINS // FINE)
        patches = torch.cat([quads[:, :, :-1], quads[:, :, 1:]], 3).transpose(-1, -2).flatten(-2)
        fine = functional.silu(self.fine(patches))
        hidden = self.coarse(_split(fine, 2, COARSE, 2).flatten(-2)) + self.bands
        if features is not None:
            guide = _split(self.from_features(features), 2, COARSE, self.guide)
            hidden = self.joined(torch.cat([functional.silu(hidden), functional.silu(guide)], -1))
        for block in self.blocks:
            hidden = block(hidden)
        upper = _split(self.to_fine(hidden), 3, 2, self.channels).flatten(2, 3)
        upper = functional.silu(self.skip(torch.cat([upper, fine], -1)))
        mask = _split(self.mask(upper), 3, BINS // FINE, 2).flatten(2, 3)
        return torch.view_as_complex(mask.float().contiguous()) if spectrum.is_complex() else mask

    def loss(
        self,
        noisy: Tensor,
        clean: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        waveform_loss: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Squared distances of compressed magnitudes and spectra, inconsistency, and L1 distance of waveforms.

        Inconsistency is the distance between the masked spectrum and that of its waveform. Arguments as for
        `MaskEnhancer.loss`.
        """
        counted = torch.full((len(noisy),), noisy.shape[1]) if lengths is None else lengths
        valid = valid_mask(counted.to(noisy.device), noisy.shape[1])
        gain = self._gain(noisy, valid)
        noisy, clean = gain * noisy * valid, gain * clean * valid
        masked, enhanced = self._enhance(noisy, features)
        target, again = (compress(self.analyse(waveform)) for waveform in (clean, enhanced * valid))
        frames = valid_mask(_frames(counted).to(noisy.device), masked.shape[1])[..., None]
        count = frames.sum() * BINS

        def distance(first: Tensor, second: Tensor) -> Tensor:
            difference = torch.view_as_real(first - second) if first.is_complex() else (first - second)[..., None]
            return (difference.square().sum(-1) * frames).sum() / count

        loss = (
            WEIGHTS["magnitude"] * distance(_magnitude(masked), _magnitude(target))
            + WEIGHTS["complex"] * distance(masked, target)
            + WEIGHTS["consistency"] * distance(masked, again)
            + WEIGHTS["waveform"] * ((enhanced - clean).abs() * valid).sum() / valid.sum()
        )
        return loss if waveform_loss is None else loss + waveform_loss(enhanced / gain * valid)

    def denoise(
        self,
        noisy: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        attenuation_limit_db: float | None = None,
    ) -> Enhancement:
        if lengths is None:
            gain = self._gain(noisy, torch.ones_like(noisy))
            return Enhancement(self._enhance(gain * noisy, features)[1] / gain, {})
        valid = valid_mask(lengths.to(noisy.device), noisy.shape[1])
        gain = self._gain(noisy, valid)
        enhanced = torch.zeros_like(noisy)
        for length in sorted(set(lengths.tolist())):  # the LSTM of an item must not begin in its padding
            items = (lengths == length).nonzero()[:, 0].to(noisy.device)
            own = None if features is None else features[items, : ssl_frames(length)]
            enhanced[items, :length] = self._enhance((gain * noisy)[items, :length], own)[1].to(noisy.dtype)
        return Enhancement(enhanced / gain * valid, {})

    def _enhance(self, noisy: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Waveforms [batch, sample] -> compressed masked spectra [batch, frame, 320] and waveforms."""
        spectrum = compress(self.analyse(noisy))
        if features is not None:
            features = _on_frames(features, spectrum.shape[1])
        masked = _product(spectrum, self(spectrum, features))
        return masked, self.synthesise(expand(masked), noisy.shape[1])

    def analyse(self, waveforms: Tensor) -> Tensor:
        """[batch, sample] -> complex [batch, frame, 320]; frame t + 1 is centred at sample 320 t + 200."""
        samples = torch.as_tensor(waveforms.shape[1])  # not an integer: a trace records how the frames depend on it
        missing: Any = SSL_HOP * (_frames(samples) + 1) - LEAD - samples
        if is_tracing():
            kernels = _fourier(self.window)[:, None]
            parts = functional.conv1d(functional.pad(waveforms, (LEAD, missing))[:, None], kernels, stride=SSL_HOP)
            return _split(parts, 1, 2, BINS).permute(0, 3, 2, 1)
        padded = functional.pad(waveforms.float(), (LEAD, int(missing)))
        spectrum: Tensor = torch.fft.rfft(padded.unfold(-1, WINDOW, SSL_HOP) * self.window)
        return spectrum[..., :BINS]

    def synthesise(self, spectrum: Tensor, samples: int) -> Tensor:
        """Inverse of `analyse`: complex [batch, frame, 320] -> [batch, samples]."""
        if is_tracing():
            kernels = _fourier(self.window / WINDOW * 2)
            kernels = torch.cat([kernels[:1] / 2, kernels[1:]])[:, None]  # bin 0 has no mirror image
            parts = spectrum.permute(0, 3, 2, 1).flatten(1, 2)
            joined: Tensor = functional.conv_transpose1d(parts, kernels, stride=SSL_HOP)
            return joined[:, 0, LEAD:][:, :samples]
        frames = torch.fft.irfft(functional.pad(spectrum, (0, 1)), WINDOW) * self.window
        summed: Tensor = frames[:, 1:, :SSL_HOP] + frames[:, :-1, SSL_HOP:]
        return summed.flatten(1)[:, LEAD - SSL_HOP :][:, :samples]

    def _gain(self, noisy: Tensor, valid: Tensor) -> Tensor:
        """What brings each item to `level_db`, [batch, 1]."""
        rms = ((noisy.float() * valid).square().sum(1, keepdim=True) / valid.sum(1, keepdim=True)).sqrt()
        if self.level_db is None:
            return torch.ones_like(rms)
        return torch.where(rms > 0, 10 ** (self.level_db / 20) / rms.clamp_min(1e-12), torch.ones_like(rms))


class Block(nn.Module):
    """An LSTM along time, both ways, then a perceptron across bands: [batch, frame, band, channel] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.time_norm, self.band_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.lstm = nn.LSTM(channels, channels // 2, batch_first=True, bidirectional=True)
        self.time_output = nn.Linear(channels, channels)
        self.mix = nn.Sequential(nn.Linear(COARSE, 2 * COARSE), nn.SiLU(), nn.Linear(2 * COARSE, COARSE))
        self.band_output = nn.Linear(channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        along_time = self.time_norm(hidden).transpose(1, 2).flatten(0, 1)
        update = self.time_output(self.lstm(along_time)[0])
        hidden = hidden + _split(update, 0, -1, COARSE).transpose(1, 2)
        across_bands = self.mix(self.band_norm(hidden).transpose(2, 3)).transpose(2, 3)
        summed: Tensor = hidden + self.band_output(across_bands)
        return summed


def compress(spectrum: Tensor) -> Tensor:
    """Raise the magnitude to the power of 0.3; the phase stays."""
    return _scale(spectrum, _magnitude(spectrum) ** (COMPRESSION - 1))


def expand(spectrum: Tensor) -> Tensor:
    """Inverse of `compress`."""
    return _scale(spectrum, _magnitude(spectrum) ** (1 / COMPRESSION - 1))


def _fourier(window: Tensor) -> Tensor:
    """Rows that make real and imaginary parts of the bins from the samples of a window, [2 * 320, 640]."""
    angles = 2 * torch.pi / WINDOW * torch.outer(torch.arange(BINS), torch.arange(WINDOW)).to(window)
    return torch.cat([angles.cos(), -angles.sin()]) * window


def _split(values: Tensor, dim: int, *sizes: int) -> Tensor:
    """`values.unflatten(dim, sizes)`, which a trace would freeze at the size of its example."""
    return values.reshape(*values.shape[:dim], *sizes, *values.shape[dim + 1 :])


def _parts(spectrum: Tensor) -> Tensor:
    """Real and imaginary parts, [..., 2]."""
    return torch.view_as_real(spectrum) if spectrum.is_complex() else spectrum


def _scale(spectrum: Tensor, gains: Tensor) -> Tensor:
    return spectrum * (gains if spectrum.is_complex() else gains[..., None])


def _product(first: Tensor, second: Tensor) -> Tensor:
    if first.is_complex():
        return first * second
    (real, imaginary), (other_real, other_imaginary) = first.unbind(-1), second.unbind(-1)
    parts = real * other_real - imaginary * other_imaginary, real * other_imaginary + imaginary * other_real
    return torch.stack(parts, -1)


def _magnitude(spectrum: Tensor) -> Tensor:
    """With a floor, so that the gradient of silence is finite."""
    return (_parts(spectrum).square().sum(-1) + 1e-9).sqrt()


def _frames(samples: Tensor) -> Tensor:
    """So many frames that two of them cover every sample."""
    return (samples - 1 + LEAD - SSL_HOP) // SSL_HOP + 2


def _on_frames(features: Tensor, frames: int) -> Tensor:
    """Features [batch, frame, dim], whose frame t belongs to frame t + 1 of the STFT; the first and last are held."""
    missing = 2 if is_tracing() else max(0, frames - 1 - features.shape[1])  # at most 2 of an encoder of this grid
    before, after = features[:, :1], features[:, -1:].expand(-1, missing, -1)
    return torch.cat([before, features, after], 1)[:, :frames]
