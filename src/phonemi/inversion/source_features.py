"""What the voice does, from its sound: periodicity, aperiodicity and F0, 100 times a second.

Normalised autocorrelation as Boersma (1993, "Accurate short-term analysis of the fundamental frequency and the
harmonics-to-noise ratio of a sampled sound") computes it, with a path through the candidates that avoids jumps: what
Praat calls "To Pitch (ac)". Written here in numpy, because the libraries that have it are GPL (praat-parselmouth),
compile from C at install (pyworld), or bring what the package does without (librosa: numba; torchcrepe: torchaudio).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from phonemi.constants import SAMPLE_RATE
from phonemi.inversion.tracks import RATE_HZ, frames_in

LOWEST_HZ, HIGHEST_HZ = 60.0, 400.0
"""Range of F0: low male to high female voices. A child's may be higher."""

VOICED = 0.45
"""Periodicity from which a frame counts as voiced, as in Praat."""

_WINDOW = 3 * SAMPLE_RATE // int(LOWEST_HZ)  # three periods of the lowest voice
_SILENT_DB = -35.0  # frames that are this far below the loudest are silent
_CANDIDATES = 6
_OCTAVE_COST = 0.02  # for each octave down, so that of equal peaks the first one counts
_JUMP_COST = 0.35  # for each octave from frame to frame
_VOICING_COST = 0.14  # for each change between voiced and unvoiced
_CHUNK = 512  # frames at a time


class SourceFeatures(NamedTuple):
    """What the voice does in each frame, float32 `[frame]`.

    Attributes:
        periodicity: share of the energy that repeats with the period of the voice, 0..1; 0 in silence.
        aperiodicity: share of the energy that does not, 0..1; 0 in silence, so that the two sum to 1 in sound.
        f0_hz: NaN where the voice is silent or unvoiced.
    """

    periodicity: np.ndarray
    aperiodicity: np.ndarray
    f0_hz: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """PER, APER and F0, for `tracks.tracks_of`."""
        return {"PER": self.periodicity, "APER": self.aperiodicity, "F0": self.f0_hz}


def source_features(waveform: np.ndarray) -> SourceFeatures:
    """Periodicity, aperiodicity and F0 of each frame; frame t is centred on t / 100 s.

    Args:
        waveform: float `[sample]` at 16 kHz; a constant offset does not matter. Silence, and no samples at all, give
            0, 0 and NaN.

    >>> voice = np.sin(2 * np.pi * 120 * np.arange(8000) / 16000)
    >>> float(np.median(source_features(voice).f0_hz).round())
    120.0
    """
    waveform = np.asarray(waveform, dtype=np.float64)
    frames = frames_in(len(waveform) / SAMPLE_RATE)
    zeros = np.zeros(frames, dtype=np.float32)
    features = SourceFeatures(zeros, zeros.copy(), np.full(frames, np.nan, dtype=np.float32))
    loudest = np.abs(waveform - waveform.mean()).max() if frames else 0.0
    if loudest < 1e-5:  # one step of 16 bits is 3e-5
        return features
    strengths = np.zeros((frames, _CANDIDATES))
    periods = np.ones((frames, _CANDIDATES))
    sounding = np.zeros(frames, dtype=bool)
    padded = np.pad(waveform - waveform.mean(), _WINDOW)
    for begin in range(0, frames, _CHUNK):
        chunk = slice(begin, min(begin + _CHUNK, frames))
        centres = np.arange(chunk.start, chunk.stop) * SAMPLE_RATE // RATE_HZ + _WINDOW
        pieces = padded[centres[:, None] + np.arange(_WINDOW) - _WINDOW // 2]
        pieces = pieces - pieces.mean(axis=1, keepdims=True)
        sounding[chunk] = np.abs(pieces).max(axis=1) > loudest * 10 ** (_SILENT_DB / 20)
        strengths[chunk], periods[chunk] = _candidates(_autocorrelation(pieces))
    strengths[~sounding] = 0
    path = _best_path(strengths, SAMPLE_RATE / periods)
    frame = np.arange(frames)
    voiced = path < _CANDIDATES
    chosen = np.where(voiced, path, strengths.argmax(axis=1))
    features.periodicity[:] = np.clip(strengths[frame, chosen], 0, 1)
    features.aperiodicity[:] = np.where(sounding, 1 - features.periodicity, 0)
    features.f0_hz[voiced] = (SAMPLE_RATE / periods[frame, chosen])[voiced]
    return features


def _autocorrelation(pieces: np.ndarray) -> np.ndarray:
    """Of Hann windows of the pieces, over that of the window itself, so that a periodic sound has peaks of 1."""
    window = np.hanning(_WINDOW + 2)[1:-1]
    size = 1 << (2 * _WINDOW - 1).bit_length()
    lags = int(SAMPLE_RATE / LOWEST_HZ) + 2

    def correlate(signals: np.ndarray) -> np.ndarray:
        correlation = np.fft.irfft(np.abs(np.fft.rfft(signals, size)) ** 2)[..., :lags]
        return correlation / np.maximum(correlation[..., :1], 1e-20)

    result: np.ndarray = correlate(pieces * window) / correlate(window)
    return result


def _candidates(correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heights and places (in samples) of the highest peaks of each frame, between shortest and longest period."""
    shortest = int(SAMPLE_RATE / HIGHEST_HZ)
    before, at, after = correlation[:, shortest - 1 : -2], correlation[:, shortest:-1], correlation[:, shortest + 1 :]
    bend = before - 2 * at + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1), 0)
    is_peak = (at > before) & (at >= after)
    height = np.where(is_peak, at - 0.25 * (before - after) * shift, 0)
    lag = shortest + np.arange(at.shape[1]) + np.where(is_peak, shift, 0)
    cost = _OCTAVE_COST * np.log2(lag * LOWEST_HZ / SAMPLE_RATE + 1e-9)
    order = np.argsort(np.where(is_peak, cost - height, np.inf), axis=1)[:, :_CANDIDATES]
    heights, lags = np.take_along_axis(height, order, axis=1), np.take_along_axis(lag, order, axis=1)
    return np.minimum(heights, 1), lags


def _best_path(strengths: np.ndarray, f0_hz: np.ndarray) -> np.ndarray:
    """The candidate of each frame, `_CANDIDATES` for unvoiced, on the path of least cost (Viterbi)."""
    octaves = np.log2(f0_hz)
    gains = np.concatenate([strengths + _OCTAVE_COST * octaves, np.full((len(strengths), 1), np.nan)], axis=1)
    gains[:, :-1] = np.where(strengths > 0, gains[:, :-1], -np.inf)
    gains[:, -1] = VOICED + _OCTAVE_COST * np.log2(LOWEST_HZ * HIGHEST_HZ) / 2
    total = gains[0]
    sources = np.zeros(gains.shape, dtype=np.int64)
    cost = np.zeros((_CANDIDATES + 1, _CANDIDATES + 1))
    cost[-1, :-1] = cost[:-1, -1] = _VOICING_COST
    for frame in range(1, len(gains)):
        cost[:-1, :-1] = _JUMP_COST * np.abs(octaves[frame - 1][:, None] - octaves[frame])
        reached = total[:, None] - cost
        sources[frame] = reached.argmax(axis=0)
        total = reached.max(axis=0) + gains[frame]
    path = np.empty(len(gains), dtype=np.int64)
    path[-1] = total.argmax()
    for frame in range(len(gains) - 1, 0, -1):
        path[frame - 1] = sources[frame, path[frame]]
    return path
