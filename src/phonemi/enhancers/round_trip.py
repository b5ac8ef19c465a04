"""Turn a user's waveform into inputs of the network, and the outputs into a waveform of the same kind.

Type, shape, sample rate, constant offset and silence are dealt with here, so that the network need not know of them.

Nor does it hear the band above 8 kHz, which is the recording minus its own round trip through 16 kHz. Both ways use the
same filters, so that with a gain of 1 everywhere the sum of both bands restores the recording, to rounding.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonemi import audio
from phonemi.enhancers.options import EnhanceOptions, UpperBand
from phonemi.errors import AudioError
from phonemi.signal import HOP, SAMPLE_RATE

MAX_CHANNELS = 64
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4000, 768_000  # Hz; a wrong header must not make us allocate gigabytes
MIN_PEAK = 1e-10  # -200 dB re full scale, below the steps of 32-bit integers; fainter channels count as silent
# An offset of a tenth of the RMS level changes the enhanced speech at -40 dB. Smaller ones are left alone, so that
# recordings without an offset pass unchanged (docs/enhance-rules.md).
MIN_OFFSET_SHARE = 0.1
MIN_OFFSET_DURATION_S = 0.1  # over less than two periods of the lowest sound, the mean is no offset
SILENCE_MARGIN_S = 0.05  # longer than the STFT window and the filters of the resampler


class RoundTrip:
    """Turns one waveform into inputs of the network, and the network's outputs back into a waveform of its kind.

    Arguments and errors are those of `Enhancer.enhance`.

    Attributes:
        noisy: float32 [channel, sample] at `sample_rate`.
        audible: `noisy` without silent channels, [audible channel, sample].
        inputs: `audible` at 16 kHz without constant offset, float32 [audible channel, sample].
    """

    def __init__(self, waveform: Any, sample_rate: int) -> None:
        self.waveform, self.sample_rate = waveform, sample_rate
        self.noisy = to_channels(waveform, sample_rate)
        peaks = np.maximum(self.noisy.max(1, initial=0), -self.noisy.min(1, initial=0))
        self._audible_channels = np.flatnonzero(peaks > MIN_PEAK)
        self.audible = self.noisy[self._audible_channels]
        self._audible_16_khz = to_16_khz(self.audible, sample_rate)
        self.inputs: np.ndarray = self._audible_16_khz - constant_offset(self._audible_16_khz)[:, None]

    def restore(self, outputs: np.ndarray, top_gain: np.ndarray, options: EnhanceOptions) -> Any:
        """Make a new waveform of the type, shape and rate of the original from the outputs of the network.

        Args:
            outputs: enhanced `inputs`, float32 [audible channel, sample] at 16 kHz.
            top_gain: [audible channel, frame], see `join_bands`.
            options: how to put it together.
        """
        result = np.zeros_like(self.noisy)
        if len(self.audible):
            enhanced = join_bands(
                self.audible, self._audible_16_khz, outputs, top_gain, self.sample_rate, options.upper_band
            )
            enhanced[lasting_silence(self.audible, self.sample_rate)] = 0
            result[self._audible_channels] = enhanced
        if options.mix < 1:
            result = np.float32(options.mix) * result + np.float32(1 - options.mix) * self.noisy
        return from_channels(result, self.waveform)


def to_channels(waveform: Any, sample_rate: int) -> np.ndarray:
    """A user's waveform as float32 [channel, sample]; errors are those of `Enhancer.enhance`."""
    if isinstance(waveform, str | Path):
        raise AudioError(f"{waveform} is the name of a file: `enhance_file` takes those")
    waveform = waveform if isinstance(waveform, Tensor) else np.asarray(waveform)
    _check(waveform, sample_rate)
    if isinstance(waveform, Tensor):
        channels = waveform.detach().float().cpu().numpy()
    else:
        with np.errstate(over="ignore"):  # values beyond float32 become infinite, and are refused below
            channels = waveform.astype(np.float32)
    audio.check_finite(channels)
    return np.atleast_2d(channels)


def from_channels(channels: np.ndarray, waveform: Any) -> Any:
    """[channel, sample] in the type and shape of a user's waveform; inverse of `to_channels`."""
    waveform = waveform if isinstance(waveform, Tensor) else np.asarray(waveform)
    result = channels.reshape(tuple(waveform.shape))
    if isinstance(waveform, Tensor):
        return torch.from_numpy(result).to(waveform.detach())
    return result.astype(waveform.dtype, copy=False)


def to_16_khz(channels: np.ndarray, sample_rate: int) -> np.ndarray:
    """Resample channels [channel, sample] of any rate to float32 [channel, sample] at 16 kHz.

    From a higher rate, the result may be one sample longer than that of `audio.resample`, so that the whole end of the
    recording can be restored.

    >>> to_16_khz(np.zeros((1, 48_001)), 48_000).shape
    (1, 16001)
    """
    if sample_rate > SAMPLE_RATE:
        channels = np.pad(channels, ((0, 0), (0, math.ceil(sample_rate / SAMPLE_RATE))))
    return audio.resample(channels, sample_rate, SAMPLE_RATE)


def join_bands(
    noisy: np.ndarray,
    noisy_16_khz: np.ndarray,
    enhanced_16_khz: np.ndarray,
    top_gain: np.ndarray,
    sample_rate: int,
    upper_band: UpperBand,
) -> np.ndarray:
    """Resample the enhanced speech to the rate of the recording and add the band above 8 kHz, as long as `noisy`.

    Args:
        noisy: float32 [channel, sample] at `sample_rate`.
        noisy_16_khz, enhanced_16_khz: what `to_16_khz` made of it, and the enhanced version of that.
        top_gain: amplitude gain just below 8 kHz in each STFT frame, [channel, frame]; 0 to 1.
        sample_rate: in Hz. At 16 kHz and below there is no upper band.
        upper_band: whether to multiply the upper band by `top_gain`, to remove it, or to keep it as it is.
    """
    samples = noisy.shape[1]
    enhanced = _from_16_khz(enhanced_16_khz, sample_rate, samples)
    if sample_rate <= SAMPLE_RATE or upper_band == "remove":
        return enhanced
    upper = noisy - _from_16_khz(noisy_16_khz, sample_rate, samples)
    if upper_band == "attenuate":
        # Linear interpolation between the centres of the frames, which is nearly what their windows overlap to.
        frame_position = np.arange(samples) * (SAMPLE_RATE / HOP / sample_rate)
        for channel, gain in zip(upper, top_gain, strict=True):
            channel *= np.interp(frame_position, np.arange(len(gain)), gain).astype(np.float32)
    joined: np.ndarray = enhanced + upper
    return joined


def _from_16_khz(channels: np.ndarray, sample_rate: int, samples: int) -> np.ndarray:
    """Resample [channel, sample at 16 kHz] to a new array [channel, samples]; zeros fill up what is missing."""
    resampled = audio.resample(channels, SAMPLE_RATE, sample_rate)[:, :samples]
    return np.pad(resampled, ((0, 0), (0, samples - resampled.shape[1])))


def constant_offset(waveforms: np.ndarray) -> np.ndarray:
    """The mean of waveforms where it is an offset and no sound, elsewhere 0: [..., sample] at 16 kHz -> float32 [...].

    >>> constant_offset(np.tile([0.5, 0.7], (2, 1000)) - [[0.0], [0.595]]).round(6)
    array([0.6, 0. ], dtype=float32)
    """
    if waveforms.shape[-1] < MIN_OFFSET_DURATION_S * SAMPLE_RATE:
        return np.zeros(waveforms.shape[:-1], np.float32)
    mean, rms = waveforms.mean(-1, dtype=np.float64), waveforms.std(-1, dtype=np.float64)
    return np.where(np.abs(mean) > MIN_OFFSET_SHARE * rms, mean, 0.0).astype(np.float32)


def lasting_silence(noisy: np.ndarray, sample_rate: int) -> np.ndarray:
    """True where all samples within 50 ms on both sides are exactly 0, [channel, sample] -> [channel, sample].

    At 16 kHz the network leaves zeros there by itself. At other rates the filters leave rounding errors, and so does
    the removal of an offset.

    >>> lasting_silence(np.array([[0, 0, 0, 0, 1.0]]), sample_rate=40)
    array([[ True,  True, False, False, False]])
    """
    margin = round(SILENCE_MARGIN_S * sample_rate)
    is_sound = np.pad(noisy != 0, ((0, 0), (margin + 1, margin)))
    # The number of nonzero samples before each position; it does not grow across a silent stretch.
    count = np.cumsum(is_sound, axis=1, dtype=np.int32)
    is_silent: np.ndarray = count[:, 2 * margin + 1 :] == count[:, : -2 * margin - 1]
    return is_silent


def _check(waveform: np.ndarray | Tensor, sample_rate: int) -> None:
    """Raise AudioError for an array or a rate that cannot be that of a recording."""
    is_float = waveform.is_floating_point() if isinstance(waveform, Tensor) else waveform.dtype.kind == "f"
    shape = list(waveform.shape)
    if not is_float:
        raise AudioError(
            f"expected floats with full scale 1, got {waveform.dtype}: divide integers by their full scale first, "
            "16-bit ones by 32768"
        )
    if len(shape) not in (1, 2):
        raise AudioError(f"expected [sample] or [channel, sample], got an array of shape {shape}")
    if len(shape) == 2 and shape[0] > max(shape[1], MAX_CHANNELS):
        raise AudioError(f"expected [channel, sample], got an array of shape {shape}: transpose it")
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"a sample rate of {sample_rate} Hz: speech has {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz")
