"""Intrusive metrics, which compare an estimate with the clean speech: SI-SDR, its improvement, STOI, wide-band PESQ.

Waveforms are `[sample]` at 16 kHz; computations are in float64. An estimate that cannot be scored (silent, too short,
not finite, a package is missing) gets a failed `Score` with one of a few fixed reasons; only wrong shapes are errors.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from phonemi.constants import SAMPLE_RATE
from phonemi.errors import MissingExtra, require_extra
from phonemi.metrics.comparable import Waveform, comparable_pair
from phonemi.metrics.composite import Variant, composite
from phonemi.metrics.score import ESTIMATE_UNRELATED, Score
from phonemi.metrics.si_sdr import target_and_error_energy

INTRUSIVE_KEYS = ("si_sdr_db", "si_sdri_db", "stoi", "pesq_wb_lqo")

STOI_TOO_SHORT = "fewer than 30 frames of speech for STOI"
PESQ_TOO_SHORT = "shorter than 0.25 s for PESQ"

# A ratio beyond this is rounding: the residual is what float64 leaves of an exact copy of the reference.
_MAX_SI_SDR_DB = 280.0
_PESQ_WINDOW = 64  # samples


def _of_comparable(metric: Callable[[Waveform, Waveform], Score]) -> Callable[[ArrayLike, ArrayLike], Score]:
    """Make a metric of two waveforms [sample] that can be scored a metric of any two; other shapes are a DataError.

    Both are scaled to peaks between 0.5 and 1. No metric depends on the level of either signal, except for small
    constants inside it, which the scaling makes negligible. The gain is a power of two, so no sample is rounded.
    """

    @functools.wraps(metric)
    def checked(estimate: ArrayLike, clean: ArrayLike) -> Score:
        pair = comparable_pair(estimate, clean)
        if isinstance(pair, Score):
            return pair
        return metric(*map(_peak_near_one, pair))

    return checked


def _peak_near_one(waveform: Waveform) -> Waveform:
    scaled: Waveform = np.ldexp(waveform, -np.frexp(np.abs(waveform).max())[1])
    return scaled


@_of_comparable
def si_sdr(estimate: Waveform, clean: Waveform) -> Score:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), see `target_and_error_energy`.

    The mean is not removed and nothing is added to either energy, as in the evaluation of SUPERB's speech enhancement.

    >>> clean, noise = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0, 1.0])
    >>> round(si_sdr(3 * clean + 0.3 * noise, clean).value, 6)
    20.0
    """
    target_energy, residual_energy = target_and_error_energy(estimate, clean)
    if target_energy <= residual_energy * 10 ** (-_MAX_SI_SDR_DB / 10):
        return Score.failed(ESTIMATE_UNRELATED)
    if residual_energy <= target_energy * 10 ** (-_MAX_SI_SDR_DB / 10):
        return Score.failed("estimate equals reference")
    return Score(float(10 * np.log10(target_energy / residual_energy)))


@_of_comparable
def stoi(estimate: Waveform, clean: Waveform) -> Score:
    """Short-time objective intelligibility (Taal et al. 2011), not the extended one; at most 1."""
    try:
        pystoi = require_extra("pystoi", "eval")
    except MissingExtra:
        return Score.failed("pystoi is not installed")
    # 29 hops of 128 samples and a window of 256 at 10 kHz; with less, pystoi fails with errors that say nothing.
    if len(clean) < 0.3968 * SAMPLE_RATE:
        return Score.failed(STOI_TOO_SHORT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = float(pystoi.stoi(clean, estimate, SAMPLE_RATE, extended=False))
    # pystoi returns this number if there is too little speech left once silent frames are removed.
    if value == 1e-5:
        return Score.failed(STOI_TOO_SHORT)
    return Score.of(value)


@_of_comparable
def pesq_wb(estimate: Waveform, clean: Waveform) -> Score:
    """Wide-band PESQ as MOS-LQO (ITU-T P.862.2), from about 1.02 to 4.64."""
    try:
        pesq = require_extra("pesq", "eval")
    except MissingExtra:
        return Score.failed("pesq is not installed")
    if len(clean) < 0.25 * SAMPLE_RATE:
        return Score.failed(PESQ_TOO_SHORT)
    # The C code has memory for 50 utterances; it does not check, and more crash the process.
    if _utterances(clean) > 45:
        return Score.failed("more than 45 utterances for PESQ")
    try:
        value = float(pesq.pesq(SAMPLE_RATE, clean, estimate, "wb"))
    except pesq.BufferTooShortError:
        return Score.failed(PESQ_TOO_SHORT)
    except (pesq.PesqError, ValueError):
        return Score.failed("PESQ found no speech")
    return Score.of(value)


def score_pair(estimate: ArrayLike, noisy: ArrayLike, clean: ArrayLike, variant: Variant = False) -> dict[str, Score]:
    """All intrusive metrics of one utterance, under `INTRUSIVE_KEYS` and, of this variant, `composite_keys`.

    The improvement is SI-SDR of the estimate minus that of the noisy input: the column "SI-SDR" of SUPERB's tables.

    Waveforms of other shapes than [sample], all of one length, are a DataError.
    """
    before, after = si_sdr(noisy, clean), si_sdr(estimate, clean)
    if after.reason is not None:
        improvement = after
    elif before.reason is not None:
        improvement = Score.failed(before.reason.replace("estimate", "noisy input"))
    else:
        improvement = Score(after.value - before.value)
    pesq = pesq_wb(estimate, clean)
    scores = dict(zip(INTRUSIVE_KEYS, (after, improvement, stoi(estimate, clean), pesq), strict=True))
    return scores | (composite(estimate, clean, pesq, variant) if variant else {})


def _utterances(clean: Waveform) -> int:
    """Maximum number of utterances that PESQ's voice activity detector can find, over all levels of its threshold.

    It joins activity across pauses of up to 50 windows of 4 ms and drops utterances shorter than 50 windows.
    """
    windows = len(clean) // _PESQ_WINDOW
    power = np.square(clean[: windows * _PESQ_WINDOW]).reshape(windows, _PESQ_WINDOW).mean(1)
    maximum = 0
    for threshold_db in range(-40, 0, 2):
        active = np.flatnonzero(power > power.max() * 10 ** (threshold_db / 10))
        pauses = np.flatnonzero(np.diff(active) > 50)
        starts, ends = np.r_[active[:1], active[pauses + 1]], np.r_[active[pauses], active[-1:]]
        maximum = max(maximum, int(np.count_nonzero(ends - starts >= 45)))
    return maximum
