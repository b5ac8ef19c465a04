"""Composite measures CSIG, CBAK and COVL of Hu and Loizou (2008), and the segmental SNR that is one of their parts.

They predict the ratings of listeners (ITU-T P.835) of speech, background and the whole, each 1 to 5, from PESQ and
three distances of short frames, with the coefficients for wide-band PESQ that every table on VoiceBank-DEMAND uses:

    CSIG = 3.093 - 1.029 LLR + 0.603 PESQ - 0.009 WSS
    CBAK = 1.634 + 0.478 PESQ - 0.007 WSS + 0.063 SSNR
    COVL = 1.594 + 0.805 PESQ - 0.512 LLR - 0.007 WSS

Frames have 480 samples (30 ms) and begin every 120, times a Hann window. What counts as the definition is the authors'
program, composite.m, with what it does beside the papers: the last whole frame is left out; LLR and WSS are means of
the lowest 95 % of the frames; LLR has no upper limit; a rising slope's peak in WSS is the band below it. Two things
differ, where its numbers are rounding errors: frames that are digital silence in the clean speech have no LLR, and a
silent frame of the estimate has a flat spectrum.

All but LLR depend on the level: nothing is scaled here, and full scale is 1. A well-known Python version of the program
divides the waveforms by 32768 once more before WSS, whose floor then hides the quiet bands: on VoiceBank-DEMAND its
CSIG, CBAK and COVL are about 0.1 higher. Those have keys of their own, to stand beside tables that were made with it.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phonemi.constants import SAMPLE_RATE
from phonemi.metrics.comparable import Waveform, comparable_pair
from phonemi.metrics.score import Score

Variant = Literal[False, True, "divided"]
SSNR_KEY = "ssnr_db"
OPINIONS = ("csig", "cbak", "covl")
COMPOSITE_KEYS = (*OPINIONS, SSNR_KEY)
DIVIDED_KEYS = (*(f"{key}_divided" for key in OPINIONS), SSNR_KEY)

FRAME = 480  # samples, 30 ms
HOP = 120
TOO_SHORT = "shorter than 38 ms for frames of speech"  # of one frame and a hop
SSNR_RANGE_DB = (-10.0, 35.0)
LPC_ORDER = 16
KEPT = 19, 20  # share of the frames that a mean of distances keeps, as a fraction

_FFT = 1024
_BLOCK = 2000  # frames whose spectra are in memory at a time: a minute
_ENERGY_FLOOR = 1e-10
_ROUNDING = 1e-12  # of the energy of a frame: what is left of it by a predictor below this is rounding
# Hz; the lowest is 50 of 70.
_CENTRES_HZ = (
    50.0, 120.0, 190.0, 260.0, 330.0, 400.0, 470.0, 540.0, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30,
    1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63,
)  # fmt: skip
_WIDTHS_HZ = (
    70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423,
    153.823, 168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136,
)  # fmt: skip


def composite_keys(variant: Variant) -> tuple[str, ...]:
    """Keys of the scores of a variant, the value of `evaluate.composite`; none if they are not asked for."""
    if variant is False:
        return ()
    return DIVIDED_KEYS if variant == "divided" else COMPOSITE_KEYS


def composite(estimate: ArrayLike, clean: ArrayLike, pesq: Score, variant: Variant = True) -> dict[str, Score]:
    """CSIG, CBAK, COVL (1 to 5) and segmental SNR in dB (-10 to 35) of one utterance, under `composite_keys`.

    Args:
        estimate: `[sample]` at 16 kHz, full scale 1.
        clean: the same.
        pesq: wide-band PESQ (MOS-LQO) of the two. What has none has no CSIG, CBAK or COVL, for the same reason.
        variant: "divided" divides both waveforms by 32768 before WSS.

    Raises:
        DataError: if the shapes are others.
    """
    keys = composite_keys(variant)
    pair = comparable_pair(estimate, clean)
    if isinstance(pair, Score):
        return dict.fromkeys(keys, pair)
    if len(pair[0]) < FRAME + HOP:
        return dict.fromkeys(keys, Score.failed(TOO_SHORT))
    llrs, slopes, snrs_db = _distances(*pair, 1 / 32768 if variant == "divided" else 1.0)
    scores = dict.fromkeys(keys, pesq)
    scores[SSNR_KEY] = Score.of(float(snrs_db.mean()))
    if pesq.ok and not len(llrs):
        scores |= dict.fromkeys(keys[:-1], Score.failed("reference silent"))
    elif pesq.ok:
        llr, wss, ssnr_db = _mean_of_lowest(llrs), _mean_of_lowest(slopes), scores[SSNR_KEY].value
        opinions = (
            3.093 - 1.029 * llr + 0.603 * pesq.value - 0.009 * wss,
            1.634 + 0.478 * pesq.value - 0.007 * wss + 0.063 * ssnr_db,
            1.594 + 0.805 * pesq.value - 0.512 * llr - 0.007 * wss,
        )
        scores |= {key: Score(min(max(value, 1.0), 5.0)) for key, value in zip(keys, opinions, strict=False)}
    return scores


def _distances(estimate: Waveform, clean: Waveform, gain: float) -> tuple[Waveform, Waveform, Waveform]:
    """LLR `[frame with clean speech]`, WSS `[frame]` and SNR in dB `[frame]`; `gain` is applied before WSS."""
    window = 0.5 * (1 - np.cos(2 * math.pi * np.arange(1, FRAME + 1) / (FRAME + 1)))
    count = (len(clean) - FRAME) // HOP
    framed = [np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP] for signal in (estimate, clean)]
    parts = []
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        of_estimate, of_clean = (frames[start:end] * window for frames in framed)
        powers = [np.square(np.abs(np.fft.rfft(frames, _FFT))) for frames in (of_estimate, of_clean)]
        parts.append((_llr(*powers), _wss(powers[0], powers[1], gain), _snr_db(of_estimate, of_clean)))
    llrs, slopes, snrs_db = (np.concatenate(part) for part in zip(*parts, strict=True))
    return llrs, slopes, snrs_db


def _mean_of_lowest(distances: Waveform) -> float:
    """Mean of the lowest 95 % of the frames; half a frame is a whole one."""
    share, of = KEPT
    return float(np.sort(distances)[: (2 * share * len(distances) + of) // (2 * of)].mean())


def _snr_db(estimate: Waveform, clean: Waveform) -> Waveform:
    """SNR of each frame `[frame, sample]` in dB, limited to -10 to 35."""
    rounding = np.finfo(np.float64).eps  # in the program; a silent frame of clean speech is at -10 dB by it
    signal, noise = np.square(clean).sum(1), np.square(clean - estimate).sum(1)
    snrs_db: Waveform = np.clip(10 * np.log10(signal / (noise + rounding) + rounding), *SSNR_RANGE_DB)
    return snrs_db


def _llr(estimate: Waveform, clean: Waveform) -> Waveform:
    """Log-likelihood ratio of the frames of power spectra `[frame, bin]` in which there is clean speech.

    With R the autocorrelation of the clean frame, and a the linear predictors of order 16, [1, a_1, ..., a_16]:

        LLR = log((a_estimate' R a_estimate) / (a_clean' R a_clean)) >= 0
    """
    is_speech = clean.any(1)
    lags = [np.fft.irfft(power[is_speech], _FFT)[:, : LPC_ORDER + 1] for power in (estimate, clean)]
    matrices = lags[1][:, np.abs(np.subtract.outer(np.arange(LPC_ORDER + 1), np.arange(LPC_ORDER + 1)))]
    of_estimate, of_clean = (
        np.maximum(((matrices @ predictor[..., None])[..., 0] * predictor).sum(1), _ROUNDING * lags[1][:, 0])
        for predictor in map(_predictors, lags)
    )
    ratios: Waveform = np.log(of_estimate / of_clean)
    return ratios


def _predictors(lags: Waveform) -> Waveform:
    """Levinson-Durbin recursion: autocorrelation `[frame, 17]` -> prediction error filters `[frame, 17]`.

    A frame that is predicted to rounding gets no further coefficients.
    """
    filters = np.zeros_like(lags)
    filters[:, 0] = 1
    error = lags[:, 0].copy()
    for order in range(1, lags.shape[1]):
        correlation = (filters[:, :order] * lags[:, order:0:-1]).sum(1)
        is_left = error > _ROUNDING * lags[:, 0]
        reflection = -np.divide(correlation, error, out=np.zeros_like(error), where=is_left)
        filters[:, : order + 1] += reflection[:, None] * filters[:, order::-1]
        error *= 1 - np.square(reflection)
    return filters


def _wss(estimate: Waveform, clean: Waveform, gain: float) -> Waveform:
    """Weighted spectral slope distance (Klatt 1982) of the frames of power spectra `[frame, bin]`.

    It is the mean square difference of the slopes between neighbours of 25 bands in dB, each weighted by how near its
    band is to the highest one and to the nearest peak, in the mean over both signals.
    """
    slopes, weights = [], []
    for power in (estimate, clean):
        energies = power[:, : _FFT // 2] @ _critical_bands().T * gain**2
        levels_db = 10 * np.log10(np.maximum(energies, _ENERGY_FLOOR))
        slope, bands = np.diff(levels_db), levels_db[:, :-1]
        below_top = levels_db.max(1, keepdims=True) - bands
        below_peak = _peaks(bands, slope > 0) - bands
        slopes.append(slope)
        weights.append(20 / (20 + below_top) / (1 + below_peak))
    weight = (weights[0] + weights[1]) / 2
    distances: Waveform = (weight * np.square(slopes[1] - slopes[0])).sum(1) / weight.sum(1)
    return distances


def _peaks(levels_db: Waveform, is_rising: NDArray[np.bool_]) -> Waveform:
    """The nearest peak of each band, `[frame, band]`: up the slope, to the last band whose slope has its sign.

    Of a rising slope that is one below the peak itself; so it is in the program.
    """
    peaks = levels_db.copy()
    for band in range(peaks.shape[1] - 2, -1, -1):
        goes_on = is_rising[:, band] & is_rising[:, band + 1]
        peaks[:, band] = np.where(goes_on, peaks[:, band + 1], peaks[:, band])
    for band in range(1, peaks.shape[1]):
        goes_on = ~is_rising[:, band] & ~is_rising[:, band - 1]
        peaks[:, band] = np.where(goes_on, peaks[:, band - 1], peaks[:, band])
    return peaks


@cache
def _critical_bands() -> Waveform:
    """Gaussian filters of 25 critical bands over the lower half of the spectrum, `[band, bin]`."""
    bins_of_hz = _FFT / SAMPLE_RATE
    centres, widths = np.floor(np.array(_CENTRES_HZ) * bins_of_hz), np.array(_WIDTHS_HZ) * bins_of_hz
    distance = (np.arange(_FFT // 2) - centres[:, None]) / widths[:, None]
    filters: Waveform = np.exp(-11 * np.square(distance)) * (widths[0] / widths)[:, None]
    filters[filters <= math.exp(-30 / (2 * 2.303))] = 0  # 30 dB down
    return filters
