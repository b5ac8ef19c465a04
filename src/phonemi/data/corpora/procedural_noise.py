"""Procedural noise: clips of many families (hum, engine, siren, wind, ...) and babble, at 16 kHz and about -23 dB RMS.

Slopes, rates, pitches and densities are drawn for each clip, so that the clips of a family differ. Every clip has a
faint hiss, so that no part of it is digital silence.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.constants import SAMPLE_RATE
from phonemi.data.corpora.corpus import Listing
from phonemi.data.manifest import Recording
from phonemi.data.mixing import generator
from phonemi.errors import DataError

VERSION = 1  # of the clips: raise it when the same arguments give others
LEVEL_DB = -23.0
CLIP_S = 6.0  # length of the clips of `prepare_procedural_noise`
_HISS_DB = -35.0  # relative to the clip
MAX_PEAK = 0.95


def prepare_procedural_noise(folder: str | Path, *, clips: int = 10, seed: int = 0) -> Listing:
    """Write `clips` clips of 6 s of every family as FAMILY-NUMBER.flac, unless they are there, and list them.

    With 5 clips or more, a family is in every fold, 1 to 5, each time in other clips. The clips of a smaller number are
    the first of a larger one.

    Raises:
        DataError: if no clip is asked for.
    """
    if clips < 1:
        raise DataError(f"{clips} clips of each family: need 1 or more")
    folder, recordings = Path(folder) / f"version-{VERSION}-seed-{seed}", []
    samples = round(CLIP_S * SAMPLE_RATE)
    for index, (number, family) in enumerate(itertools.product(range(clips), FAMILIES)):
        path = folder / f"{family}-{number + 1}.flac"
        if not path.exists():
            rng = generator(seed, "procedural noise", family, number)
            audio.save(path, procedural_noise(family, samples, rng), SAMPLE_RATE)
        fold = (index % len(FAMILIES) + number) % 5 + 1
        name = f"procedural-{seed}-{path.stem}"
        recordings.append(
            Recording(id=name, path=os.path.abspath(path), sample_rate=SAMPLE_RATE, samples=samples, fold=fold)
        )
    return Listing(recordings, [])


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


def _slowly_varying(samples: int, rng: np.random.Generator, rate_hz: float) -> np.ndarray:
    """A random curve from 0 to 1 that turns about `rate_hz` times a second."""
    points = rng.uniform(size=max(4, round(rate_hz * samples / SAMPLE_RATE) + 3))
    curve: np.ndarray = np.interp(np.linspace(0, len(points) - 1, samples), np.arange(len(points)), points)
    return curve


def _harmonics(pitch_hz: np.ndarray, amplitudes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Harmonics 1, 2, ... of a pitch [sample] with these amplitudes; those above 7.5 kHz are left out."""
    phase = 2 * np.pi * (np.cumsum(pitch_hz) / SAMPLE_RATE + rng.uniform())
    orders = np.arange(1, len(amplitudes) + 1)
    waveform = np.zeros(len(pitch_hz))
    for order, amplitude in zip(orders, amplitudes, strict=True):
        if order * pitch_hz.max(initial=0) < 7500:
            waveform += amplitude * np.sin(order * phase + rng.uniform(0, 2 * np.pi))
    return waveform


def _rumble(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Traffic and buildings, and the hand on the microphone: noise below 30 to 90 Hz that swells."""
    limit_hz, slope = rng.uniform(30, 90), rng.uniform(3, 6)
    noise = _shaped(samples, rng, lambda hz: (1 + (hz / limit_hz) ** (2 * slope)) ** -0.5)
    return noise * (0.2 + _slowly_varying(samples, rng, rng.uniform(0.3, 3)))


def _wind(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Gusts at a microphone: noise that falls steeply from some 100 Hz on, and comes and goes."""
    slope, corner_hz = rng.uniform(2, 4), rng.uniform(60, 250)
    noise = _shaped(samples, rng, lambda hz: (1 + (hz / corner_hz) ** slope) ** -0.5)
    return noise * (0.03 + _slowly_varying(samples, rng, rng.uniform(0.5, 4)) ** rng.uniform(1.5, 3))


def _engine(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A motor: harmonics of 20 to 90 Hz, which drift with the load, and noise that pulses with them."""
    slow = _slowly_varying(samples, rng, rng.uniform(0.1, 0.6))
    pitch_hz = rng.uniform(20, 90) * 2 ** (rng.uniform(0.0, 0.6) * (slow - 0.5))
    orders = np.arange(1, int(rng.integers(20, 50)))
    tones = _harmonics(pitch_hz, orders ** -rng.uniform(0.5, 1.2) * rng.uniform(0.2, 1.0, len(orders)), rng)
    pulse = 1 + 0.8 * np.sin(2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE)
    exhaust = _coloured(samples, rng, 0.8, 1.6)
    motor: np.ndarray = tones / _rms(tones) + rng.uniform(0.2, 1.0) * pulse * exhaust / _rms(exhaust)
    return motor


def _air_conditioner(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Steady air with the tones of compressor and blades, which beat slowly."""
    air = _coloured(samples, rng, 0.8, 1.8)
    waveform, time_s = air / _rms(air), np.arange(samples) / SAMPLE_RATE
    for hz in rng.uniform(80, 2500, rng.integers(3, 8)):
        beat = 1 + rng.uniform(0, 0.8) * np.sin(2 * np.pi * rng.uniform(0.2, 3) * time_s + rng.uniform(0, 6.3))
        waveform = waveform + rng.uniform(0.1, 0.9) * beat * np.sin(2 * np.pi * hz * time_s)
    return waveform


def _horn(samples: int, rng: np.random.Generator) -> np.ndarray:
    """The horn of a car: two pitches with many harmonics, pressed for 0.2 to 2 s."""
    pitches_hz = rng.uniform(280, 420) * np.array([1.0, rng.choice([1.19, 1.26, 1.33])])
    brightness = rng.uniform(0.3, 0.9)

    def press(loudness: float) -> np.ndarray:
        length = int(rng.uniform(0.2, 2.0) * SAMPLE_RATE)
        rise = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 400)
        waveform = np.zeros(length)
        for hz in pitches_hz:
            waveform += _harmonics(np.full(length, hz), 1 / np.arange(1, 16) ** brightness, rng)
        return loudness * rise * waveform

    return _add_bursts(samples, rng, rng.uniform(0.3, 0.8), press)


def _jackhammer(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Blows at 12 to 30 Hz, each of which makes steel and stone ring, for a few seconds at a time."""
    rings_hz, decay_samples = rng.uniform(200, 3500, 4), rng.uniform(60, 300)
    step = SAMPLE_RATE / rng.uniform(12, 30)
    lag = np.arange(2000)
    blow = np.sin(2 * np.pi * np.outer(rings_hz, lag) / SAMPLE_RATE + rng.uniform(0, 6.3, (4, 1))).sum(0)
    waveform = np.zeros(samples + len(lag))
    for start in np.arange(0, samples, step):
        strike = blow * rng.uniform(0.7, 1.0) + 2 * rng.standard_normal(len(lag))
        at = min(int(start + rng.normal(0, 0.02 * step)), samples - 1)
        waveform[max(at, 0) : max(at, 0) + len(lag)] += strike * np.exp(-lag / decay_samples)
    return waveform[:samples] * (_slowly_varying(samples, rng, 0.5) > rng.uniform(0.0, 0.4))


def _alarm(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Beeps of one or two pure pitches between 0.6 and 3.5 kHz in a steady rhythm: alarm clocks, reversing lorries."""
    period, share = rng.uniform(0.15, 1.2) * SAMPLE_RATE, rng.uniform(0.3, 0.7)
    place = np.arange(samples) / period
    pitches_hz = rng.uniform(600, 3500, 2)
    pitch_hz = np.where(np.floor(place) % 2 < rng.integers(1, 3), pitches_hz[0], pitches_hz[1])
    tones = _harmonics(pitch_hz, np.array([1.0, rng.uniform(0, 0.5), rng.uniform(0, 0.3)]), rng)
    return tones * ((place % 1) < share)


def _music(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A melody over chords, plucked or held, in a drawn key and tempo."""
    root_hz, beat = rng.uniform(110, 220), rng.uniform(0.18, 0.6) * SAMPLE_RATE
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.uniform() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
    timbre = np.arange(1, 9) ** -rng.uniform(0.8, 2.5)
    decay_samples = rng.uniform(0.15, 3) * SAMPLE_RATE
    waveform, degree = np.zeros(samples), int(rng.integers(7, 14))
    for number, start in enumerate(np.arange(0, samples, beat).astype(int)):
        degree = int(np.clip(degree + rng.integers(-2, 3), 5, 16))
        chord = int(rng.integers(0, 6)) if number % 4 == 0 else None
        voices = [(degree, 1, 1.0)] + ([] if chord is None else [(chord + third, 4, 0.5) for third in (0, 2, 4)])
        for note, beats, loudness in voices:
            length = min(int(beats * beat), samples - start)
            hz = root_hz * 2 ** (note // 7 + scale[note % 7] / 12)
            fall = np.exp(-np.arange(length) / decay_samples) * np.minimum(1, np.arange(length) / 80)
            waveform[start : start + length] += loudness * fall * _harmonics(np.full(length, hz), timbre, rng)
    return waveform


def _cries(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Voiced calls without words, of children or animals: harmonics of a gliding pitch through two resonances."""
    pitch_hz, glide = rng.uniform(280, 650), rng.uniform(0.1, 0.7)
    resonances_hz = np.array([rng.uniform(800, 1600), rng.uniform(2000, 3500)])
    shortest_s = rng.uniform(0.1, 0.6)

    def call(loudness: float) -> np.ndarray:
        length = int(shortest_s * rng.uniform(1, 2.5) * SAMPLE_RATE)
        rise = np.sin(np.pi * np.arange(length) / length)
        hz = pitch_hz * 2 ** (glide * (rise - 0.5) + 0.03 * _slowly_varying(length, rng, 12))
        orders = np.arange(1, 20) * pitch_hz
        gains = (1 / (1 + ((orders - resonances_hz[:, None]) / 300) ** 2)).sum(0)
        rough = 1 + rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(30, 80) * np.arange(length) / SAMPLE_RATE)
        sound: np.ndarray = rise * rough * _harmonics(hz, gains, rng)
        return loudness * sound

    return _add_bursts(samples, rng, rng.uniform(0.6, 2.0), call)


def _clicks(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Single samples and scratches of up to 2 ms over the hiss of a line: bad contacts, lost packets, vinyl."""
    longest = int(rng.integers(1, 32))

    def click(loudness: float) -> np.ndarray:
        length = int(rng.integers(1, longest + 1))
        sound: np.ndarray = rng.standard_normal(length) * np.exp(-np.arange(length) / max(1, longest / 3))
        return loudness * sound

    return _over_noise(_add_bursts(samples, rng, rng.uniform(1, 30), click), rng)


def _bumps(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Knocks at the microphone or the table, over the noise of a room: thuds of 20 to 150 Hz with a short crack."""
    low_hz, high_hz = rng.uniform(20, 60), rng.uniform(60, 150)

    def bump(loudness: float) -> np.ndarray:
        lag = np.arange(int(0.25 * SAMPLE_RATE))
        thud = np.sin(2 * np.pi * rng.uniform(low_hz, high_hz) * lag / SAMPLE_RATE)
        thud *= np.exp(-lag / rng.uniform(300, 1200))
        return loudness * (thud + rng.uniform(0, 0.5) * rng.standard_normal(len(lag)) * np.exp(-lag / 40))

    return _over_noise(_add_bursts(samples, rng, rng.uniform(0.5, 4), bump), rng)


def _over_noise(bursts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sparse sounds with steady noise: alone, at the SNR of a mixture, they would be far louder than any speech."""
    noise = _coloured(len(bursts), rng, 0.5, 1.5)
    together = bursts + rng.uniform(0.15, 0.6) * (_rms(bursts) or 1.0) * noise / (_rms(noise) or 1.0)
    limit = 4 * (_rms(together) or 1.0)
    limited: np.ndarray = limit * np.tanh(together / limit)
    return limited


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
    "rumble": _rumble,
    "wind": _wind,
    "engine": _engine,
    "air-conditioner": _air_conditioner,
    "horn": _horn,
    "jackhammer": _jackhammer,
    "alarm": _alarm,
    "music": _music,
    "cries": _cries,
    "clicks": _clicks,
    "bumps": _bumps,
}
