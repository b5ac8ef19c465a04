"""A user's waveform, numpy or torch, any rate -> float32 [channel, sample] at 16 kHz for the network, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from phonemi.enhancers.band import UpperBand, join_bands, to_16_khz
from phonemi.errors import AudioError, ConfigError, nearest
from phonemi.signal import SAMPLE_RATE

MOST_CHANNELS = 64
LOWEST_RATE, HIGHEST_RATE = 4000, 768_000  # Hz; a header that lies must not ask for gigabytes
LOUDEST = 1e15  # times full scale, as where files are read: the sum of squares of more overflows single precision
FAINTEST = 1e-10  # -200 dB, below the steps of 32-bit integers: nobody recorded that
# An offset of a tenth of the level changes what is enhanced at -40 dB; a smaller one is left, and with it every
# recording that has none (docs/enhance-rules.md).
OFFSET_SHARE = 0.1
SHORTEST_OFFSET_S = 0.1  # the mean of less than two periods of the lowest sound is no offset
SILENCE_S = 0.05  # more than a window and the filters of the resampling reach


@dataclass(frozen=True)
class Options:
    """What of the enhanced recording is wanted; see `Enhancer.enhance`.

    Raises:
        ConfigError: for a value that is out of its range.
    """

    mix: float = 1.0
    attenuation_limit_db: float | None = None
    upper_band: UpperBand = "attenuate"

    def __post_init__(self) -> None:
        if not 0 <= self.mix <= 1:
            raise ConfigError(f"a mix of {self.mix:g} is impossible: 0 leaves a recording as it is, 1 enhances it all")
        if self.attenuation_limit_db is not None and not self.attenuation_limit_db >= 0:
            raise ConfigError(f"an attenuation limit of {self.attenuation_limit_db:g} dB would amplify: 0 or more")
        if self.upper_band not in get_args(UpperBand):
            known = nearest(str(self.upper_band), get_args(UpperBand))
            raise ConfigError(f"upper_band is {self.upper_band!r}: {known}")


class Recording:
    """One recording on its way to 16 kHz and back.

    Args:
        waveform: numpy or torch, [sample] or [channel, sample]; floats, full scale 1.
        sample_rate: in Hz.

    Attributes:
        noisy: float32 [channel, sample], at the rate it has.
        inputs: channels that are not silent, at 16 kHz, without a constant offset, float32 [audible channel, sample].

    Raises:
        AudioError: for integers, another number of dimensions, [sample, channel], samples that are NaN, infinite or
            above 1e15, or an impossible rate.
    """

    def __init__(self, waveform: Any, sample_rate: int) -> None:
        self.waveform = waveform if isinstance(waveform, Tensor) else np.asarray(waveform)
        self.sample_rate = sample_rate
        _check(self.waveform, sample_rate)
        if isinstance(self.waveform, Tensor):
            channels = self.waveform.detach().float().cpu().numpy()
        else:
            with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is counted
                channels = self.waveform.astype(np.float32)
        _check_finite(channels)
        self.noisy = np.atleast_2d(channels)
        peaks = np.maximum(self.noisy.max(1, initial=0), -self.noisy.min(1, initial=0))
        self._audible = np.flatnonzero(peaks > FAINTEST)
        self._lower = to_16_khz(self.audible_noisy, sample_rate)
        self.inputs = self._lower - constant_offset(self._lower)[:, None]

    @property
    def audible_noisy(self) -> np.ndarray:
        """Channels that are not silent, as they came, [audible channel, sample]."""
        return self.noisy[self._audible]

    def enhanced(self, enhanced: np.ndarray, top_gain: np.ndarray, options: Options) -> Any:
        """What the network made of `inputs` -> a new waveform of the type, shape and rate of the recording.

        Args:
            enhanced: float32 [audible channel, sample] at 16 kHz.
            top_gain: [audible channel, frame], see `join_bands`.
            options: what is wanted of it.
        """
        result = np.zeros_like(self.noisy)
        if len(self._audible):
            noisy = self.audible_noisy
            joined = join_bands(noisy, self._lower, enhanced, top_gain, self.sample_rate, options.upper_band)
            joined[lasting_silence(noisy, self.sample_rate)] = 0
            result[self._audible] = joined
        if options.mix < 1:
            result = np.float32(options.mix) * result + np.float32(1 - options.mix) * self.noisy
        result = result.reshape(tuple(self.waveform.shape))
        if isinstance(self.waveform, Tensor):
            return torch.from_numpy(result).to(self.waveform.detach())
        return result.astype(self.waveform.dtype, copy=False)


def constant_offset(waveforms: np.ndarray) -> np.ndarray:
    """The mean where it is no sound, elsewhere 0: [..., sample] at 16 kHz -> float32 [...].

    >>> constant_offset(np.tile([0.5, 0.7], (2, 1000)) - [[0.0], [0.595]]).round(6)
    array([0.6, 0. ], dtype=float32)
    """
    if waveforms.shape[-1] < SHORTEST_OFFSET_S * SAMPLE_RATE:
        return np.zeros(waveforms.shape[:-1], np.float32)
    mean, rms = waveforms.mean(-1, dtype=np.float64), waveforms.std(-1, dtype=np.float64)
    return np.where(np.abs(mean) > OFFSET_SHARE * rms, mean, 0.0).astype(np.float32)


def lasting_silence(noisy: np.ndarray, sample_rate: int) -> np.ndarray:
    """True where all samples for 50 ms to both sides are exactly 0, [channel, sample] -> [channel, sample].

    At 16 kHz these are zeros without it; at other rates the filters leave rounding errors there, and so does an offset.

    >>> lasting_silence(np.array([[0, 0, 0, 0, 1.0]]), sample_rate=40)
    array([[ True,  True, False, False, False]])
    """
    reach = round(SILENCE_S * sample_rate)
    heard = np.pad(noisy != 0, ((0, 0), (reach + 1, reach)))
    count = np.cumsum(heard, axis=1, dtype=np.int32)
    return count[:, 2 * reach + 1 :] == count[:, : -2 * reach - 1]


def _check(waveform: np.ndarray | Tensor, sample_rate: int) -> None:
    """Raise AudioError for what cannot be meant as a recording."""
    is_float = waveform.is_floating_point() if isinstance(waveform, Tensor) else waveform.dtype.kind == "f"
    shape = list(waveform.shape)
    if not is_float:
        raise AudioError(
            f"expected floats with full scale 1, got {waveform.dtype}: divide integers by their full scale first, "
            "16-bit ones by 32768"
        )
    if len(shape) not in (1, 2):
        raise AudioError(f"expected [sample] or [channel, sample], got an array of shape {shape}")
    if len(shape) == 2 and shape[0] > max(shape[1], MOST_CHANNELS):
        raise AudioError(f"expected [channel, sample], got an array of shape {shape}: transpose it")
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise AudioError(f"a sample rate of {sample_rate} Hz: speech has {LOWEST_RATE} to {HIGHEST_RATE} Hz")


def _check_finite(channels: np.ndarray) -> None:
    usable = np.abs(channels) <= LOUDEST  # false for NaN
    if bad := channels.size - int(np.count_nonzero(usable)):
        sample = int(np.atleast_2d(usable).all(axis=0).argmin())
        where = f"sample {sample} of channel {usable[:, sample].argmin()}" if usable.ndim == 2 else f"sample {sample}"
        raise AudioError(
            f"{bad} of {channels.size} samples are NaN or infinite or above {LOUDEST:g}, the first is {where}"
        )
