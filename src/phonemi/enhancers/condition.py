"""Noisy and enhanced [channel, sample] -> what a listener should know of the recording: clipped, narrow-band, clean."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from phonemi.errors import PhonemiWarning
from phonemi.signal import FFT, SAMPLE_RATE

SHORTEST_S = 1.0  # less tells nothing of a spectrum or of noise
NARROW_HZ, NARROW_SHARE = 4500.0, 1e-5  # a telephone's 4 kHz and its filter's slope; speech has -20 to -40 dB there
NARROW_RATE = 10_000  # below this rate there is no room for more
CLEAN_SHARE = 1e-3  # taken off at an SNR of about 25 dB (docs/enhance-rules.md)
CLIPPED_PAIRS, CLIPPED_PEAK = 10, 0.01  # two samples in a row at the very peak happen once by chance

CLIPPED = "clipped: its peaks are cut off, and stay so"
NARROW = "narrow-band: it has nothing above 4 kHz, though its sample rate has room for more; what is missing stays so"
CLEAN = "clean already: less than 0.1 % of its power was taken off; it may be better left as it is"


@dataclass
class Condition:
    """What is noticed of one recording; pieces of a long one are added, and the warnings asked for at the end."""

    samples: int = 0  # at 16 kHz, channels that are not silent
    clipped: bool = False
    narrow_power: float = 0.0  # of all frequencies, and of those above `NARROW_HZ`
    upper_power: float = 0.0
    heard_power: float = 0.0  # of what was enhanced, and of what was taken off
    taken_power: float = 0.0

    def add(self, noisy: np.ndarray, lower: np.ndarray, enhanced: np.ndarray, sample_rate: int) -> None:
        """Add a recording, or a piece of one.

        Args:
            noisy: [channel, sample] at `sample_rate`.
            lower: the same at 16 kHz, without offset.
            enhanced: what became of `lower`.
            sample_rate: in Hz.
        """
        self.samples += lower.size
        self.clipped = self.clipped or any(is_clipped(channel) for channel in noisy)
        self.heard_power += float(np.square(lower).sum(dtype=np.float64))
        self.taken_power += float(np.square(lower - enhanced).sum(dtype=np.float64))
        if sample_rate >= NARROW_RATE:
            power = _spectrum(lower)
            self.narrow_power += float(power.sum())
            self.upper_power += float(power[round(NARROW_HZ * FFT / SAMPLE_RATE) :].sum())

    def __add__(self, other: Condition) -> Condition:
        """What is noticed of two pieces of one recording together."""
        return Condition(
            self.samples + other.samples,
            self.clipped or other.clipped,
            self.narrow_power + other.narrow_power,
            self.upper_power + other.upper_power,
            self.heard_power + other.heard_power,
            self.taken_power + other.taken_power,
        )

    def texts(self) -> list[str]:
        """One sentence for each thing noticed."""
        long_enough = self.samples >= SHORTEST_S * SAMPLE_RATE
        noticed = {
            CLIPPED: self.clipped,
            NARROW: long_enough and self.upper_power < NARROW_SHARE * self.narrow_power,
            CLEAN: long_enough and self.taken_power < CLEAN_SHARE * self.heard_power,
        }
        return [text for text, found in noticed.items() if found]

    def warn(self) -> None:
        """Say it as Python warnings, which name the line that called the caller."""
        for text in self.texts():
            warnings.warn(text, PhonemiWarning, stacklevel=3)


def is_clipped(channel: np.ndarray) -> bool:
    """Whether a waveform [sample] stays at its highest or lowest value again and again.

    >>> speech = 0.5 * np.sin(np.arange(1000) ** 1.1)
    >>> is_clipped(speech), is_clipped(speech.clip(-0.4, 0.4))
    (False, True)
    """
    highest, lowest = channel.max(), channel.min()
    if max(highest, -lowest) < CLIPPED_PEAK:
        return False  # so faint that neighbours are equal in 16 bits
    at_peak = (channel == highest) | (channel == lowest)
    return int(np.count_nonzero(at_peak[1:] & at_peak[:-1])) >= CLIPPED_PAIRS


def _spectrum(channels: np.ndarray) -> np.ndarray:
    """Power of each bin, summed over channels and windows side by side, [channel, sample] -> [257]."""
    frames = channels[:, : channels.shape[1] // FFT * FFT].reshape(-1, FFT)
    spectrum = np.fft.rfft(frames * np.hanning(FFT).astype(np.float32))
    return np.square(np.abs(spectrum)).sum(0)
