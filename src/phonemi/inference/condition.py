"""What a listener should know about a recording: it is clipped, narrow-band, or clean already."""

from __future__ import annotations

import warnings
from dataclasses import astuple, dataclass
from operator import add

import numpy as np

from phonemi.constants import SAMPLE_RATE
from phonemi.errors import PhonemiWarning

WINDOW = 512  # samples of the spectrum
MIN_DURATION_S = 1.0  # a shorter recording says too little about its spectrum and its noise
# Telephone speech ends at 4 kHz, and the slope of its filter at 4.5 kHz. Other speech has -40 to -20 dB of its power
# above that frequency.
NARROW_BAND_HZ, MAX_NARROW_BAND_SHARE = 4500.0, 1e-5
MIN_WIDE_BAND_RATE = 10_000  # Hz; at lower sample rates every recording is narrow-band
MAX_CLEAN_SHARE = 1e-3  # of the power, removed at an SNR of about 25 dB (docs/enhance-rules.md)
# Two successive samples at the very peak happen once by chance, but not ten times.
MIN_CLIPPED_PAIRS, MIN_CLIPPED_PEAK = 10, 0.01

CLIPPED = "clipped: its peaks were cut off, which enhancement does not repair"
NARROW = "narrow-band: it has nothing above 4 kHz although its sample rate allows more; enhancement does not restore it"
CLEAN = "clean already: enhancement removed less than 0.1 % of its power; the original may be the better choice"
TOLD = "left as it is, or nearly so: its phones can be told"


@dataclass(frozen=True)
class Condition:
    """What was measured on a recording. The conditions of its chunks add up to that of the whole."""

    samples: int = 0  # at 16 kHz, of all channels that are not silent
    clipped_channels: int = 0  # in each chunk anew
    total_power: float = 0.0  # over all frequencies; 0 at sample rates below 10 kHz
    upper_power: float = 0.0  # above 4.5 kHz; 0 at sample rates below 10 kHz
    noisy_power: float = 0.0  # of the input of the network
    removed_power: float = 0.0  # of the difference between that and its output
    samples_mixed_back: int = 0  # those of `samples` that a phone probe may have left as they are

    def __add__(self, other: Condition) -> Condition:
        return Condition(*map(add, astuple(self), astuple(other)))

    def texts(self) -> list[str]:
        """One sentence for each thing that a listener should know."""
        is_long_enough = self.samples >= MIN_DURATION_S * SAMPLE_RATE
        texts = []
        if self.clipped_channels:
            texts.append(CLIPPED)
        if is_long_enough and self.upper_power < MAX_NARROW_BAND_SHARE * self.total_power:
            texts.append(NARROW)
        if is_long_enough and self.removed_power < MAX_CLEAN_SHARE * self.noisy_power:
            texts.append(TOLD if self.samples_mixed_back else CLEAN)
        return texts


def warn(texts: list[str]) -> None:
    """Issue Python warnings that name the line which called the caller of this function."""
    for text in texts:
        warnings.warn(text, PhonemiWarning, stacklevel=3)


def examine(
    noisy: np.ndarray,
    network_input: np.ndarray,
    network_output: np.ndarray,
    sample_rate: int,
    mixes_back: bool = False,
) -> Condition:
    """Measure the condition of a recording or a chunk of one.

    Args:
        noisy: channels that are not silent, [channel, sample] at `sample_rate`.
        network_input, network_output: the same at 16 kHz, without constant offset, and what the network made of it.
        sample_rate: in Hz.
        mixes_back: whether the recording was mixed back where its phones can be told.
    """
    total_power = upper_power = 0.0
    if sample_rate >= MIN_WIDE_BAND_RATE:
        power = _power_spectrum(network_input)
        total_power = float(power.sum())
        upper_power = float(power[round(NARROW_BAND_HZ * WINDOW / SAMPLE_RATE) :].sum())
    return Condition(
        network_input.size,
        sum(map(is_clipped, noisy)),
        total_power,
        upper_power,
        float(np.square(network_input).sum(dtype=np.float64)),
        float(np.square(network_input - network_output).sum(dtype=np.float64)),
        mixes_back * network_input.size,
    )


def is_clipped(channel: np.ndarray) -> bool:
    """Whether a waveform [sample] stays at its highest or lowest value again and again.

    >>> speech = 0.5 * np.sin(np.arange(1000) ** 1.1)
    >>> is_clipped(speech), is_clipped(speech.clip(-0.4, 0.4))
    (False, True)
    """
    highest, lowest = channel.max(), channel.min()
    if max(highest, -lowest) < MIN_CLIPPED_PEAK:
        return False  # so faint that neighbouring samples are equal in 16 bits
    is_at_peak = (channel == highest) | (channel == lowest)
    return int(np.count_nonzero(is_at_peak[1:] & is_at_peak[:-1])) >= MIN_CLIPPED_PAIRS


def _power_spectrum(channels: np.ndarray) -> np.ndarray:
    """Power of each bin, summed over channels and over windows side by side, [channel, sample] -> [257]."""
    frames = channels[:, : channels.shape[1] // WINDOW * WINDOW].reshape(-1, WINDOW)
    spectrum = np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32))
    power: np.ndarray = np.square(np.abs(spectrum)).sum(0)
    return power
