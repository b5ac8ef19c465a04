"""Short-time Fourier transform, mel spectrum and the two frame grids of the package; tensors in, tensors out.

    STFT grid, 100 Hz: frame k is centred at sample 160 k; there are 1 + samples // 160 frames.
    SSL grid, 50 Hz: frame t covers samples [320 t, 320 t + 400) and is centred at 320 t + 200; there are
        (samples - 400) // 320 + 1 frames. It is that of self-supervised (SSL) encoders such as WavLM.

A spectrum is complex, [batch, frame, 257]. Only while `torch.jit` traces a network, for instance to export it to ONNX,
which knows no complex numbers, it is a real tensor [batch, frame, 514]: 257 real parts, then 257 imaginary parts.
Networks that use `magnitude` and `scale` work with both.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from phonemi.constants import SAMPLE_RATE as SAMPLE_RATE
from phonemi.errors import ModelError

FFT = 512
BINS = FFT // 2 + 1
WINDOW = 400  # 25 ms
HOP = 160  # 10 ms
SSL_HOP = 320  # 20 ms
SSL_FIELD = 400  # receptive field of the convolutional front-end of HuBERT, WavLM and wav2vec2

Count = TypeVar("Count", int, Tensor)
Pad = Literal["zeros", "reflect"]


def stft_frames(samples: Count) -> Count:
    """Frames of the STFT grid: 1 + samples // 160.

    >>> stft_frames(16_000)
    101
    """
    return samples // HOP + 1


def ssl_frames(samples: Count) -> Count:
    """Frames of the SSL grid: (samples - 400) // 320 + 1, and 0 below 400 samples.

    >>> ssl_frames(16_000), ssl_frames(400), ssl_frames(399)
    (49, 1, 0)
    """
    frames = (samples - SSL_FIELD) // SSL_HOP + 1
    return frames.clamp_min(0) if isinstance(frames, Tensor) else max(frames, 0)


def valid_mask(lengths: Tensor, frames: int) -> Tensor:
    """True where a frame belongs to the item, [batch] -> [batch, frames].

    >>> valid_mask(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]


def is_tracing() -> bool:
    """Whether `torch.jit` is tracing a network, which must then do without complex numbers and `unfold`."""
    jit: Any = torch.jit  # where the annotations of torch do not list this function
    return bool(jit.is_tracing())


def pad_to(waveform: Tensor, samples: int) -> Tensor:
    """Append zeros to waveforms [batch, sample] that have fewer than `samples` samples."""
    # A tensor instead of max(): a trace then records how the number depends on the length.
    missing: Any = torch.as_tensor(samples - waveform.shape[-1]).clamp_min(0)
    return functional.pad(waveform, (0, missing))


def stft(waveform: Tensor, pad: Pad = "zeros", lengths: Tensor | None = None) -> Tensor:
    """Short-time Fourier transform of the SUPERB enhancement recipe (S3PRL `enhancement_stft2`).

    Periodic Hann window of 400 samples centred in 512, hop 160, signal centred in the frames: [batch, sample] ->
    [batch, 1 + sample // 160, 257]. Beyond the ends of an item lie zeros (librosa from 0.10 on) or, with "reflect", its
    mirror image (before). An item has `lengths` samples, None: all; what follows them must be zero.
    """
    if pad == "reflect":
        waveform = mirrored(waveform, lengths, FFT // 2)
    if is_tracing():
        # A frame is 512 samples, of which its window covers the 400 in the middle.
        margin = (FFT - WINDOW) // 2
        if pad == "zeros":
            return _real_spectrum(functional.pad(waveform, (WINDOW // 2, WINDOW // 2)))
        return _real_spectrum(waveform[:, margin:-margin])
    window = torch.hann_window(WINDOW, device=waveform.device, dtype=waveform.dtype)
    spectrum = torch.stft(
        waveform, FFT, HOP, WINDOW, window=window, center=pad == "zeros", pad_mode="constant", return_complex=True
    )
    return spectrum.transpose(-1, -2)


def istft(spectrum: Tensor, samples: int) -> Tensor:
    """Inverse of `stft`, [batch, frame, 257] -> [batch, samples].

    The recipe leaves the last samples % 160 samples at zero; here they are reconstructed too.
    """
    if is_tracing():
        return _real_inverse(spectrum, samples)
    window = torch.hann_window(WINDOW, device=spectrum.device, dtype=spectrum.real.dtype)
    return torch.istft(spectrum.transpose(-1, -2), FFT, HOP, WINDOW, window=window, center=True, length=samples)


def magnitude(spectrum: Tensor) -> Tensor:
    """Magnitude of a spectrum, [batch, frame, 257]."""
    if spectrum.is_complex():
        return spectrum.abs()
    return (spectrum[..., :BINS].square() + spectrum[..., BINS:].square()).sqrt()


def scale(spectrum: Tensor, gains: Tensor) -> Tensor:
    """A spectrum times real gains [batch, frame, 257]."""
    return spectrum * (gains if spectrum.is_complex() else torch.cat([gains, gains], dim=-1))


def expm1(values: Tensor) -> Tensor:
    """exp(x) - 1, precise near 0; in a trace not so precise, because ONNX has no operator for it."""
    return values.exp() - 1 if is_tracing() else torch.expm1(values)


def log1p_spectrum(waveform: Tensor, pad: Pad = "zeros", lengths: Tensor | None = None) -> Tensor:
    """log(1 + |STFT|), [batch, sample] -> [batch, 1 + sample // 160, 257], non-negative; arguments as for `stft`."""
    return magnitude(stft(waveform, pad, lengths)).log1p()


@cache
def mel_filterbank(mels: int, bins: int = BINS) -> np.ndarray:
    """Triangular HTK-mel filters from 0 to 8000 Hz without area normalisation, [bins, mels] in [0, 1]."""
    highest_mel = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, highest_mel, mels + 2) / 2595) - 1)
    bins_hz = np.linspace(0, SAMPLE_RATE / 2, bins)[:, None]
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    return np.minimum(rising, falling).clip(0).astype(np.float32)


def log_mel(waveform: Tensor, mels: int = 80) -> Tensor:
    """Natural-log mel power on the half-frames of the SSL grid.

    Frame k covers samples [160 k - 80, 160 k + 320), so that frames 2t and 2t + 1 together are centred at 320 t + 200,
    exactly where frame t of HuBERT, WavLM and wav2vec2 is: [batch, sample] -> [batch, 2 * ssl_frames(sample), mels].
    """
    frames = 2 * ssl_frames(waveform.shape[-1])
    if frames == 0:
        return waveform.new_zeros(*waveform.shape[:-1], 0, mels)
    padded = functional.pad(waveform, (HOP // 2, HOP // 2))
    if is_tracing():
        spectrum = _real_spectrum(padded)[:, :frames]
    else:
        window = torch.hann_window(WINDOW, device=waveform.device, dtype=waveform.dtype)
        spectrum = torch.fft.rfft(padded.unfold(-1, WINDOW, HOP)[..., :frames, :] * window, n=FFT)
    power = magnitude(spectrum).square()
    return (power @ torch.from_numpy(mel_filterbank(mels)).to(power)).add(1e-6).log()


def repeat_to_stft(features: Tensor, frames: int) -> Tensor:
    """Bring features of the SSL grid to the STFT grid as S3PRL does: every frame twice, then `match_frames`."""
    return match_frames(features.repeat_interleave(2, dim=1), frames)


def match_frames(features: Tensor, frames: int) -> Tensor:
    """Append zero frames or cut the end, [batch, frame, dim] -> [batch, frames, dim].

    Raises:
        ModelError: if the sequence is 5 frames or more away from `frames`.
    """
    missing = frames - features.shape[1]
    if abs(missing) >= 5:
        raise ModelError(
            f"features have {features.shape[1]} frames of 10 ms but the STFT has {frames}: "
            "they were made from another signal or at another frame rate"
        )
    return functional.pad(features, (0, 0, 0, missing))


def to_ssl_grid(features: Tensor, frames: int, first_centre: int = 0) -> Tensor:
    """Bring features with a frame every 160 samples to the SSL grid, [..., frame, dim] -> [..., frames, dim].

    The centre of frame t of the SSL grid is sample 320 t + 200. On the STFT grid, where the `first_centre` is 0, frame
    2t + 1 is nearest to it; where it is 200, frame 2t is there.
    """
    return features[..., round((SSL_FIELD // 2 - first_centre) / HOP) : 2 * frames : 2, :]


def mirrored(waveform: Tensor, lengths: Tensor | None, margin: int) -> Tensor:
    """Add `margin` samples of each item mirrored at its two ends, [batch, sample] -> [batch, sample + 2 * margin].

    Zeros follow. An item has `lengths` samples, [batch]; None: all.
    """
    if lengths is None:
        lengths = torch.full((waveform.shape[0],), waveform.shape[1])
    lengths = lengths.to(waveform.device)[:, None]
    position = torch.arange(-margin, waveform.shape[-1] + margin, device=waveform.device)[None]
    # Mirrored again and again at both ends, an item repeats after its way forth and back.
    period = (2 * lengths - 2).clamp_min(1)
    phase = position.remainder(period)
    return waveform.gather(1, torch.minimum(phase, period - phase)) * (position < lengths + margin)


def local_snr_db(clean: Tensor, noisy: Tensor, window_s: float = 0.1) -> Tensor:
    """SNR in a window around each frame of the STFT grid, [sample], [sample] -> [1 + sample // 160] dB in [-60, 60]."""
    width = 2 * (round(window_s * SAMPLE_RATE) // 2) + 1
    power = torch.stack([clean, noisy - clean]).double().square()[:, None]
    # Zeros on the right so that the frame at the very end exists; the floor of 1e-12 keeps digital silence finite.
    power = functional.pad(power, (width // 2, width // 2 + HOP))
    speech, noise = functional.avg_pool1d(power, width, HOP)[:, 0] + 1e-12
    return (10 * torch.log10(speech / noise)).clamp(-60, 60)[: stft_frames(clean.shape[-1])].float()


@cache
def _real_filters() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windowed cosines and sines [514, 1, 400] that analyse and synthesise a frame, and the squared window [1, 1, 400].

    The 514 are the real parts of the 257 bins, then their imaginary parts.
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    margin = (FFT - WINDOW) // 2
    analysis = np.fft.rfft(np.pad(np.diag(window), ((0, 0), (margin, margin))))
    synthesis = np.fft.irfft(np.concatenate([np.eye(BINS), 1j * np.eye(BINS)]), FFT)[:, margin:-margin] * window
    parts = np.concatenate([analysis.real, analysis.imag], axis=1).T
    filters = parts[:, None], synthesis[:, None], np.square(window)[None, None]
    return tuple(values.astype(np.float32) for values in filters)  # type: ignore[return-value]


def _real_spectrum(padded: Tensor) -> Tensor:
    """Spectra of all windows of 400 samples that fit, [batch, sample] -> real [batch, frame, 514]."""
    analysis = torch.from_numpy(_real_filters()[0])
    return functional.conv1d(padded[:, None], analysis, stride=HOP).transpose(1, 2)


def _real_inverse(spectrum: Tensor, samples: int) -> Tensor:
    """Add up windowed frames where they overlap and divide by the sum of the squared windows: -> [batch, samples]."""
    _, synthesis, squared_window = (torch.from_numpy(values) for values in _real_filters())
    frames = spectrum.transpose(1, 2)
    waveform = functional.conv_transpose1d(frames, synthesis, stride=HOP)
    power = functional.conv_transpose1d(torch.ones_like(frames[:1, :1]), squared_window, stride=HOP)
    inside = slice(WINDOW // 2, WINDOW // 2 + samples)
    return waveform[:, 0, inside] / power[:, 0, inside]
