"""Procedural noise: clips of ten families (hum, fan, rain, siren, ...) and babble, at 16 kHz and about -23 dB RMS.

Slopes, rates, pitches and densities are drawn for each clip, so that the clips of a family differ. Every clip has a
faint hiss, so that no part of it is digital silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from phonemi.constants import SAMPLE_RATE

LEVEL_DB = -23.0
_HISS_DB = -35.0  # relative to the clip
MAX_PEAK = 0.95


def procedural_noise(family: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Make one clip of a family of `FAMILIES`.

    Returns:
        float32 `[samples]`, -23 dB RMS re full scale, less where a peak would exceed 0.95.
    """
    return _with_hiss_at_level(FAMILIES[family](samples, rng), rng)


def babble(voices: Sequence[np.ndarray], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Several people talking at once: each voice, `[sample]`, repeats from a random point, at a random level (+-3 dB).

    Returns:
        float32 `[samples]` at the level of `procedural_noise`.
    """
    together = np.zeros(samples)
    for voice in voices:
        start = rng.integers(len(voice))
        repeated = np.resize(np.roll(voice, -start), samples)
        together += repeated / _rms(voice) * 10 ** (rng.uniform(-3, 3) / 20)
    return _with_hiss_at_level(together, rng)


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def _with_hiss_at_level(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    scale = _rms(waveform) or 1.0
    waveform = waveform + rng.standard_normal(len(waveform)) * scale * 10 ** (_HISS_DB / 20)
    gain = min(10 ** (LEVEL_DB / 20) / _rms(waveform), float(MAX_PEAK / np.abs(waveform).max()))
    return (waveform * gain).astype(np.float32, copy=False)


def _shaped(samples: int, rng: np.random.Generator, amplitude: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Gaussian noise with a given spectrum; `amplitude` turns frequencies in Hz (at least 20) into amplitudes."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequencies_hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    noise: np.ndarray = np.fft.irfft(spectrum * amplitude(np.maximum(frequencies_hz, 20.0)), samples)
    return noise


def _coloured(samples: int, rng: np.random.Generator, lowest: float, highest: float) -> np.ndarray:
    """Noise with power falling as frequency to the minus slope; the slope is drawn between the two values."""
    slope = rng.uniform(lowest, highest)
    return _shaped(samples, rng, lambda hz: hz ** (-slope / 2))


def _speech_shaped(samples: int, rng: np.random.Generator) -> np.ndarray:
    """The long-term spectrum of speech: flat up to some 500 Hz, then falling by 9 dB an octave."""
    corner_hz = rng.uniform(350, 700)
    return _shaped(samples, rng, lambda hz: (1 + (hz / corner_hz) ** 2) ** -0.75 * hz / np.hypot(hz, 100))


def _hum(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum of 50 or 60 Hz with harmonics, the even ones stronger as in a transformer."""
    time_s = np.arange(samples) / SAMPLE_RATE
    mains_hz = rng.choice([50.0, 60.0]) * rng.uniform(0.998, 1.002)
    orders = np.arange(1, rng.integers(12, 40))
    amplitudes = orders ** -rng.uniform(0.4, 1.1) * rng.uniform(0.2, 1.0, len(orders)) * np.where(orders % 2, 0.5, 1.0)
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    waveform = np.zeros(samples)
    for order, amplitude, phase in zip(orders, amplitudes, phases, strict=True):
        waveform += amplitude * np.sin(2 * np.pi * mains_hz * order * time_s + phase)
    return waveform


def _add_bursts(
    samples: int, rng: np.random.Generator, rate_hz: float, burst: Callable[[float], np.ndarray]
) -> np.ndarray:
    """Bursts at random moments, `rate_hz` of them per second; `burst` makes one of a loudness between 0.2 and 1."""
    waveform = np.zeros(samples)
    for start in rng.integers(0, samples, max(1, rng.poisson(rate_hz * samples / SAMPLE_RATE))):
        sound = burst(rng.uniform(0.2, 1.0))[: samples - start]
        waveform[start : start + len(sound)] += sound
    return waveform


def _keyboard(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Typing: a click of a few milliseconds when a key goes down and a fainter one when it comes up."""
    decay_samples = rng.uniform(20, 80)
    release = int(rng.uniform(0.05, 0.12) * SAMPLE_RATE)
    fall = np.exp(-np.arange(800) / decay_samples)

    def key(loudness: float) -> np.ndarray:
        ring = np.sin(2 * np.pi * rng.uniform(1500, 5000) * np.arange(800) / SAMPLE_RATE)
        sound = np.zeros(release + 800)
        sound[:800] = (rng.standard_normal(800) + 2 * ring) * fall
        sound[release:] += 0.4 * rng.standard_normal(800) * fall
        return loudness * sound

    return _add_bursts(samples, rng, rng.uniform(5, 12), key)


def _fan(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Rushing air between 60 Hz and a drawn limit, swelling as the blades pass, over the motor's tone."""
    time_s = np.arange(samples) / SAMPLE_RATE
    limit_hz, blades_hz, motor_hz = rng.uniform(600, 2500), rng.uniform(6, 30), rng.uniform(90, 250)
    air = _shaped(samples, rng, lambda hz: (1 + (hz / limit_hz) ** 4) ** -0.5 * (hz / np.hypot(hz, 60)))
    swelling = 1 + rng.uniform(0.3, 0.8) * np.sin(2 * np.pi * blades_hz * time_s)
    tone = sum(np.sin(2 * np.pi * motor_hz * order * time_s) / order for order in (1, 2, 3))
    return air / _rms(air) * swelling + rng.uniform(0.05, 0.3) * tone


def _chirps(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Birds: short glides somewhere between 1.5 and 7 kHz, in groups."""
    repeats, gap = int(rng.integers(2, 6)), int(rng.uniform(0.08, 0.2) * SAMPLE_RATE)
    low_hz, high_hz = rng.uniform(1500, 3500), rng.uniform(3500, 7000)

    def song(loudness: float) -> np.ndarray:
        length = int(rng.uniform(0.04, 0.12) * SAMPLE_RATE)
        first_hz, last_hz = rng.uniform(low_hz, high_hz, 2)
        glide_hz = np.linspace(first_hz, last_hz, length)
        chirp = np.hanning(length) * np.sin(2 * np.pi * np.cumsum(glide_hz) / SAMPLE_RATE)
        sound = np.zeros(repeats * max(gap, length))
        for repeat in range(repeats):
            sound[repeat * gap : repeat * gap + length] += chirp
        return loudness * sound

    return _add_bursts(samples, rng, rng.uniform(1.5, 4), song)


def _rain(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Hundreds of drops a second, few of them loud, on a roof that rings at a drawn frequency."""
    drops = np.zeros(samples)
    moments = rng.integers(0, samples, max(1, rng.poisson(rng.uniform(150, 900) * samples / SAMPLE_RATE)))
    np.add.at(drops, moments, rng.exponential(1.0, len(moments)) * rng.choice([-1.0, 1.0], len(moments)))
    lag = np.arange(160)
    ring = np.exp(-lag / rng.uniform(8, 40)) * np.cos(2 * np.pi * rng.uniform(800, 4500) * lag / SAMPLE_RATE)
    wet = np.convolve(drops, ring)[:samples]
    return wet + rng.uniform(0.2, 0.6) * (_rms(wet) or 1.0) * rng.standard_normal(samples)


def _siren(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A tone with four harmonics that sweeps, or jumps between two pitches, at a drawn rate."""
    time_s = np.arange(samples) / SAMPLE_RATE
    cycle = np.sin(2 * np.pi * (rng.uniform(0.25, 4.0) * time_s + rng.uniform()))
    if rng.uniform() < 0.4:
        cycle = np.tanh(20 * cycle)
    pitch_hz = rng.uniform(500, 900) * 2 ** (rng.uniform(0.2, 0.5) * cycle)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE
    amplitudes = np.array([1.0, 0.5, 0.35, 0.2]) * rng.uniform(0.3, 1.0, 4)
    tones: np.ndarray = amplitudes @ np.sin(np.outer(np.arange(1, 5), phase))
    return tones


FAMILIES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "white": partial(_coloured, lowest=-0.2, highest=0.2),
    "pink": partial(_coloured, lowest=0.7, highest=1.2),
    "brown": partial(_coloured, lowest=1.7, highest=2.2),
    "speech-shaped": _speech_shaped,
    "hum": _hum,
    "keyboard": _keyboard,
    "fan": _fan,
    "chirps": _chirps,
    "rain": _rain,
    "siren": _siren,
}
