"""Frames of 10 ms that Mockingjay and TERA read: log-mel power or Kaldi's filter bank, standardised by utterance.

They are those of S3PRL: `upstream/baseline/preprocessor.py` with torchaudio's transforms, and
`upstream/baseline/extracter.py` with torchaudio's port of Kaldi's `compute-fbank-feats`, without dither.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from phonemi.signal import FFT, HOP, SAMPLE_RATE, WINDOW, mel_filterbank

LEVEL_DB = -25.0  # re full scale, to which waveforms are brought before the log-mel spectrum
MEL_FLOOR = 1e-10
FBANK_FLOOR = float(torch.finfo(torch.float32).eps)
LOWEST_HZ = 20.0  # lower end of Kaldi's first filter
PREEMPHASIS = 0.97


def mel_frames(waveform: Tensor, mels: int, padding: int = 0) -> Tensor:
    """log(mel power + 1e-10) of a waveform at -25 dB, [sample] -> [1 + (sample + padding) // 160, mels].

    Frame k is centred at sample 160 k, with a periodic Hann window of 400 samples; the waveform and the zeros behind
    it, `padding` of them and more than 200 samples in all, are mirrored at both ends. Triangular HTK-mel filters
    without area normalisation, 0 to 8000 Hz.
    """
    rms = waveform.square().mean().clamp_min(1e-24).sqrt()  # the gradient of a root at 0 is infinite
    levelled = functional.pad(waveform * (10 ** (LEVEL_DB / 20) / (rms + 1e-10)), (0, padding))
    window = torch.hann_window(WINDOW, device=waveform.device)
    spectrum = torch.stft(levelled, WINDOW, HOP, window=window, pad_mode="reflect", return_complex=True)
    filters = torch.from_numpy(mel_filterbank(mels, WINDOW // 2 + 1)).to(waveform)
    return (spectrum.abs().square().T @ filters + MEL_FLOOR).log()


def fbank_frames(waveform: Tensor, mels: int) -> Tensor:
    """Kaldi's filter bank with its first and second deltas, [sample] -> [(sample - 400) // 160 + 1, 3 * mels].

    Frame k covers samples [160 k, 160 k + 400): less its mean, pre-emphasised, times Povey's window.
    """
    frames = waveform.unfold(0, WINDOW, HOP)
    frames = frames - frames.mean(1, keepdim=True)
    before = functional.pad(frames[:, :-1], (1, 0))
    before[:, 0] = frames[:, 0]
    window = torch.hann_window(WINDOW, periodic=False, device=waveform.device) ** 0.85
    power = torch.fft.rfft((frames - PREEMPHASIS * before) * window, n=FFT).abs().square()
    logarithm = (power @ torch.from_numpy(_kaldi_filterbank(mels)).to(waveform)).clamp_min(FBANK_FLOOR).log()
    first = deltas(logarithm)
    return torch.cat([logarithm, first, deltas(first)], dim=1)


def deltas(frames: Tensor) -> Tensor:
    """Slope of the regression line through 5 frames, sum of n (x[t + n] - x[t - n]) / 10 for n = 1, 2, [frame, bin].

    >>> deltas(torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]]))[2]
    tensor([1.])
    """
    index = torch.arange(len(frames), device=frames.device)
    last = len(frames) - 1  # the ends are repeated
    steps = [n * (frames[(index + n).clamp_max(last)] - frames[(index - n).clamp_min(0)]) for n in (1, 2)]
    return torch.stack(steps).sum(0) / 10


def standardise(frames: Tensor) -> Tensor:
    """Bring every bin to zero mean and unit variance (unbiased, std + 1e-10) over the utterance, [frame, bin].

    A bin that never changes, as in digital silence, is 0.
    """
    # Less their first value, bins that never change are exactly 0 in any precision; 1e-10 would not hide a rounding.
    frames = frames - frames[:1]
    if len(frames) == 1:
        return frames  # the variance of one value is not defined
    return (frames - frames.mean(0)) / (frames.std(0) + 1e-10)


@cache
def _kaldi_filterbank(mels: int) -> np.ndarray:
    """Filters that are triangles on the mel scale, from 20 to 8000 Hz, [257, mels]; the bin at 8000 Hz has no part."""

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127 * np.log1p(np.asarray(hz) / 700)

    edges = np.linspace(mel(LOWEST_HZ), mel(SAMPLE_RATE / 2), mels + 2)
    bins = mel(np.arange(FFT // 2) * SAMPLE_RATE / FFT)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.pad(np.minimum(rising, falling).clip(0), ((0, 1), (0, 0))).astype(np.float32)
