"""Waveforms -> time-frequency frames and back: [batch, sample] -> [batch, frame, bin].

Pure tensors. Two frame grids meet in this package, and are stated here only:

    STFT grid, 100 Hz: frame k is centred at sample 160 k, there are 1 + samples // 160 frames.
    SSL grid, 50 Hz: frame t covers samples [320 t, 320 t + 400), centre 320 t + 200; (samples - 400) // 320 + 1 frames.
"""

from __future__ import annotations

import math
from typing import Literal, TypeVar

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


def frame_centres_s(frames: int, hop: int = SSL_HOP) -> Tensor:
    """Receptive-field centres of the SSL grid in seconds, [frame]: (hop t + 200) / 16000."""
    return (torch.arange(frames, dtype=torch.float64) * hop + SSL_FIELD / 2) / SAMPLE_RATE


def valid_mask(lengths: Tensor, frames: int) -> Tensor:
    """True where a frame belongs to the item, [batch] -> [batch, frames].

    >>> valid_mask(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]


def stft(waveform: Tensor, pad: Pad = "zeros", lengths: Tensor | None = None) -> Tensor:
    """Short-time Fourier transform of the SUPERB enhancement recipe (S3PRL `enhancement_stft2`).

    Periodic Hann window of 400 samples centred in 512, hop 160, signal centred in the frames.

    Args:
        waveform: [batch, sample], zero beyond `lengths`.
        pad: what is beyond the ends of an item: zeros (librosa from 0.10 on) or the item mirrored (before).
        lengths: samples of each item, [batch], where "reflect" mirrors it; None: all.

    Returns:
        Complex [batch, 1 + sample // 160, 257].
    """
    if pad == "reflect":
        waveform = _mirrored(waveform, lengths)
    window = torch.hann_window(WINDOW, device=waveform.device, dtype=waveform.dtype)
    spectrum = torch.stft(
        waveform, FFT, HOP, WINDOW, window=window, center=pad == "zeros", pad_mode="constant", return_complex=True
    )
    return spectrum.transpose(-1, -2)


def _mirrored(waveform: Tensor, lengths: Tensor | None) -> Tensor:
    """Half an FFT of each item mirrored at its two ends, zeros beyond, [batch, sample] -> [batch, sample + 512]."""
    if lengths is None:
        lengths = torch.full(waveform.shape[:1], waveform.shape[-1])
    lengths = lengths.to(waveform.device)[:, None]
    place = torch.arange(-FFT // 2, waveform.shape[-1] + FFT // 2, device=waveform.device)[None]
    period = (2 * lengths - 2).clamp_min(1)  # there and back
    there = place.remainder(period)
    return waveform.gather(1, torch.minimum(there, period - there)) * (place < lengths + FFT // 2)


def istft(spectrum: Tensor, samples: int) -> Tensor:
    """Inverse of `stft`, complex [batch, frame, 257] -> [batch, samples].

    Unlike the recipe, the last samples % 160 samples are reconstructed too instead of being left at zero.
    """
    window = torch.hann_window(WINDOW, device=spectrum.device, dtype=spectrum.real.dtype)
    return torch.istft(spectrum.transpose(-1, -2), FFT, HOP, WINDOW, window=window, center=True, length=samples)


def log1p_spectrum(waveform: Tensor, pad: Pad = "zeros", lengths: Tensor | None = None) -> Tensor:
    """log(1 + |STFT|), [batch, sample] -> [batch, 1 + sample // 160, 257], non-negative; arguments as for `stft`."""
    return stft(waveform, pad, lengths).abs().log1p()


def mel_filterbank(mels: int, fft: int = FFT, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Triangular HTK-mel filters from 0 Hz to Nyquist without area normalisation, [fft // 2 + 1, mels] in [0, 1]."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges_hz = 700 * (10 ** (torch.linspace(0, top, mels + 2, dtype=torch.float64) / 2595) - 1)
    bins_hz = torch.linspace(0, sample_rate / 2, fft // 2 + 1, dtype=torch.float64)
    rising = (bins_hz[:, None] - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz[:, None]) / (edges_hz[2:] - edges_hz[1:-1])
    return torch.minimum(rising, falling).clamp_min(0).float()


def log_mel(waveform: Tensor, mels: int = 80) -> Tensor:
    """Natural-log mel power on the half-frames of the SSL grid.

    Frame k covers samples [160 k - 80, 160 k + 320), so that frames 2t and 2t + 1 together are centred at 320 t + 200,
    exactly where frame t of HuBERT, WavLM and wav2vec2 is.

    Shape:
        [batch, sample] -> [batch, 2 * ssl_frames(sample), mels]
    """
    frames = 2 * ssl_frames(waveform.shape[-1])
    if frames == 0:
        return waveform.new_zeros(*waveform.shape[:-1], 0, mels)
    padded = functional.pad(waveform, (HOP // 2, HOP // 2))
    window = torch.hann_window(WINDOW, device=waveform.device, dtype=waveform.dtype)
    power = torch.fft.rfft(padded.unfold(-1, WINDOW, HOP)[..., :frames, :] * window, n=FFT).abs().square()
    return (power @ mel_filterbank(mels).to(power)).add(1e-6).log()


def repeat_to_stft(features: Tensor, frames: int) -> Tensor:
    """SSL grid -> STFT grid as S3PRL does it: every frame twice, then zero frames appended or the end cut.

    Shape:
        [batch, frame, dim] -> [batch, frames, dim]

    Raises:
        ModelError: if the doubled sequence is 5 frames or more away from `frames`.
    """
    return match_frames(features.repeat_interleave(2, dim=1), frames)


def match_frames(features: Tensor, frames: int) -> Tensor:
    """Append zero frames or cut the end, [batch, frame, dim] -> [batch, frames, dim]; 5 frames or more is an error."""
    missing = frames - features.shape[1]
    if abs(missing) >= 5:
        raise ModelError(
            f"features have {features.shape[1]} frames of 10 ms but the STFT has {frames}: "
            "they were made from another signal or at another frame rate"
        )
    return functional.pad(features, (0, 0, 0, missing))


def to_ssl_grid(features: Tensor, frames: int) -> Tensor:
    """STFT grid -> SSL grid, [..., frame, dim] -> [..., frames, dim].

    Takes frame 2t + 1, centred at sample 320 t + 160: of all STFT frames the nearest to the receptive-field centre
    320 t + 200.
    """
    return features[..., 1 : 2 * frames : 2, :]


def local_snr_db(clean: Tensor, noisy: Tensor, window_s: float = 0.1) -> Tensor:
    """SNR around each frame of the STFT grid, [sample], [sample] -> [1 + sample // 160] dB in [-60, 60].

    Energies are averaged over `window_s` seconds. The floor of both keeps digital silence finite.
    """
    width = 2 * (round(window_s * SAMPLE_RATE) // 2) + 1
    power = torch.stack([clean, noisy - clean]).double().square()[:, None]
    # Zeros on the right so that the frame at the very end exists; both energies are diluted alike.
    power = functional.pad(power, (width // 2, width // 2 + HOP))
    speech, noise = functional.avg_pool1d(power, width, HOP)[:, 0] + 1e-12
    return (10 * torch.log10(speech / noise)).clamp(-60, 60)[: stft_frames(clean.shape[-1])].float()
