"""A noisy recording to try things with, made on the spot: synthetic speech in synthetic rain."""

from __future__ import annotations

import numpy as np

from phonemi.constants import SAMPLE_RATE
from phonemi.data.corpora.espeak import Espeak
from phonemi.data.corpora.procedural_noise import MAX_PEAK, procedural_noise
from phonemi.data.corpora.synthetic import SPEAKERS, speak
from phonemi.data.mixing import generator, mix_at_snr
from phonemi.errors import DataError, MissingExtra

SENTENCES = ("good morning, this is the teacher", "please bring the yellow basket near the window")
SNR_DB = 5.0
# First three formants of five vowels of men (father, heed, whoed, head, hawed; Peterson and Barney 1952).
_VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))


def noisy_sample(seed: int = 0) -> np.ndarray:
    """Two sentences in rain at 5 dB; where espeak-ng is not installed or does not load, syllables without words.

    Returns:
        float32 `[sample]` at 16 kHz, with a peak of at most 0.95.
    """
    rng = generator(seed, "sample")
    try:
        espeak = Espeak()
        speech = np.concatenate([speak(espeak, sentence, SPEAKERS[0], rng)[0] for sentence in SENTENCES])
    except (MissingExtra, DataError):
        speech = syllables(16, rng)
    noisy, _ = mix_at_snr(speech, procedural_noise("rain", len(speech), rng), SNR_DB)
    scaled: np.ndarray = noisy * np.float32(min(1.0, MAX_PEAK / np.abs(noisy).max()))
    return scaled


def syllables(count: int, rng: np.random.Generator) -> np.ndarray:
    """Syllables of a hiss and a vowel each, in groups of four with falling pitch; needs no synthesiser.

    Returns:
        float32 `[sample]` at 16 kHz, with a peak of 0.5.
    """
    pieces = [np.zeros(SAMPLE_RATE // 5)]
    for syllable in range(count):
        samples = int(rng.uniform(0.06, 0.1) * SAMPLE_RATE)
        # Differences of noise: louder the higher the frequency, as in an s.
        pieces.append(0.06 * np.diff(rng.standard_normal(samples + 1)) * np.hanning(samples))
        samples = int(rng.uniform(0.14, 0.24) * SAMPLE_RATE)
        pitch_hz = (140 - 12 * (syllable % 4)) * np.linspace(1.05, 0.95, samples)
        formants_hz = np.array(_VOWELS_HZ[rng.integers(len(_VOWELS_HZ))])
        phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE
        orders = np.arange(1, 30)
        distances = (orders * pitch_hz.mean() - formants_hz[:, None]) / 90
        gains = (np.array([[1.0], [0.5], [0.25]]) / (1 + distances**2)).sum(axis=0)
        pieces.append(np.hanning(samples) ** 0.5 * (gains @ np.sin(orders[:, None] * phase)))
        if syllable % 4 == 3:
            pieces.append(np.zeros(SAMPLE_RATE // 4))
    waveform = np.concatenate(pieces).astype(np.float32)
    return waveform * np.float32(0.5 / np.abs(waveform).max())
