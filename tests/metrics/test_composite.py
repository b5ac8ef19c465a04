"""CSIG, CBAK, COVL and segmental SNR.

The reference below is written from the definitions of the authors' program (Hu and Loizou 2008, composite.m), frame by
frame. The scores that are published for single noisy recordings of VoiceBank-DEMAND (`NOISY_TRACKS` of
`phonemi.stages.calibration`) are checked by `phonemi evaluate` where that test set is; its files are not here, so that
the frozen numbers at the end are of sounds that this test makes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_toeplitz, toeplitz

from phonemi.errors import DataError
from phonemi.metrics.composite import (
    COMPOSITE_KEYS,
    DIVIDED_KEYS,
    FRAME,
    HOP,
    OPINIONS,
    TOO_SHORT,
    Variant,
    composite,
    composite_keys,
)
from phonemi.metrics.intrusive import INTRUSIVE_KEYS, score_pair
from phonemi.metrics.score import FAULTS, Score
from phonemi.results.metrics import METRIC

SECOND = 16_000
CENTRES_HZ = [50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30, 1288.72]
CENTRES_HZ += [1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63]
WIDTHS_HZ = [70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823]
WIDTHS_HZ += [168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136]


def speech(seconds: float, seed: int) -> np.ndarray:
    """Harmonics of a gliding pitch through two moving resonances, in syllables with breath between them."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * SECOND)) / SECOND
    pitch_hz = random.uniform(90, 220) * (1 + 0.2 * np.sin(2 * np.pi * random.uniform(0.4, 1.5) * time))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SECOND
    formants = [500 + 250 * np.sin(2 * np.pi * 1.7 * time), 1600 + 600 * np.sin(2 * np.pi * 1.1 * time + seed)]
    voice = np.zeros_like(time)
    for harmonic in range(1, 40):
        frequency = harmonic * pitch_hz
        gain = sum(1 / (1 + ((frequency - formant) / 120) ** 2) for formant in formants) + 0.02
        voice += gain * np.sin(harmonic * phase) * (frequency < 7500)
    envelope = np.clip(np.sin(2 * np.pi * random.uniform(1.5, 3) * time + random.uniform(0, 6)), 0, 1)
    sound = voice * envelope + 0.003 * random.standard_normal(len(time))
    return 0.5 * sound / np.abs(sound).max()


def noise(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples)


def frames_of(signal: np.ndarray) -> list[np.ndarray]:
    frames, count = [], math.floor(len(signal) / HOP - FRAME / HOP)
    for index in range(count):
        frame = [
            signal[index * HOP + n - 1] * 0.5 * (1 - math.cos(2 * math.pi * n / (FRAME + 1)))
            for n in range(1, FRAME + 1)
        ]
        frames.append(np.array(frame))
    return frames


def lags_of(frame: np.ndarray) -> np.ndarray:
    return np.array([float(np.dot(frame[: len(frame) - k], frame[k:])) for k in range(17)])


def predictor_of(lags: np.ndarray) -> np.ndarray:
    return np.concatenate([[1.0], -solve_toeplitz(lags[:16], lags[1:])])


def reference_llr(estimate: np.ndarray, clean: np.ndarray) -> list[float]:
    distances = []
    for of_estimate, of_clean in zip(frames_of(estimate), frames_of(clean), strict=True):
        lags = lags_of(of_clean)
        matrix = toeplitz(lags)
        a, b = predictor_of(lags_of(of_estimate)), predictor_of(lags)
        distances.append(math.log((a @ matrix @ a) / (b @ matrix @ b)))
    return distances


def band_levels_db(frame: np.ndarray) -> list[float]:
    power = np.abs(np.fft.fft(frame, 1024)) ** 2
    levels = []
    for centre, width in zip(CENTRES_HZ, WIDTHS_HZ, strict=True):
        energy, middle, spread = 0.0, math.floor(centre / 8000 * 512), width / 8000 * 512
        for j in range(512):
            weight = math.exp(-11 * ((j - middle) / spread) ** 2 + math.log(70) - math.log(width))
            if weight > math.exp(-30 / (2 * 2.303)):
                energy += weight * power[j]
        levels.append(10 * math.log10(max(energy, 1e-10)))
    return levels


def peak_near(levels: list[float], band: int) -> float:
    slopes = [levels[k + 1] - levels[k] for k in range(24)]
    n = band
    if slopes[band] > 0:
        while n < 24 and slopes[n] > 0:
            n += 1
        return levels[n - 1]
    while n >= 0 and slopes[n] <= 0:
        n -= 1
    return levels[n + 1]


def reference_wss(estimate: np.ndarray, clean: np.ndarray, divisor: float) -> list[float]:
    distances = []
    for pair in zip(frames_of(clean / divisor), frames_of(estimate / divisor), strict=True):
        levels = [band_levels_db(frame) for frame in pair]
        total = weights = 0.0
        for band in range(24):
            weight, slopes = 0.0, []
            for of_signal in levels:
                near_top = 20 / (20 + max(of_signal) - of_signal[band])
                near_peak = 1 / (1 + peak_near(of_signal, band) - of_signal[band])
                weight += near_top * near_peak / 2
                slopes.append(of_signal[band + 1] - of_signal[band])
            total += weight * (slopes[0] - slopes[1]) ** 2
            weights += weight
        distances.append(total / weights)
    return distances


def reference_snrs_db(estimate: np.ndarray, clean: np.ndarray) -> list[float]:
    snrs_db, eps = [], 2.0**-52
    for of_estimate, of_clean in zip(frames_of(estimate), frames_of(clean), strict=True):
        signal_energy = sum(x * x for x in of_clean)
        noise_energy = sum((x - y) ** 2 for x, y in zip(of_clean, of_estimate, strict=True))
        snr_db = 10 * math.log10(signal_energy / (noise_energy + eps) + eps)
        snrs_db.append(min(max(snr_db, -10.0), 35.0))
    return snrs_db


def reference(estimate: np.ndarray, clean: np.ndarray, pesq: float, divisor: float = 1.0) -> list[float]:
    """CSIG, CBAK, COVL and SSNR."""

    def lowest(distances: list[float]) -> float:
        kept = math.floor(0.95 * len(distances) + 0.5)
        return sum(sorted(distances)[:kept]) / kept

    llr, wss = lowest(reference_llr(estimate, clean)), lowest(reference_wss(estimate, clean, divisor))
    snrs_db = reference_snrs_db(estimate, clean)
    ssnr_db = sum(snrs_db) / len(snrs_db)
    csig = 3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss
    cbak = 1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * ssnr_db
    covl = 1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss
    return [*(min(max(value, 1.0), 5.0) for value in (csig, cbak, covl)), ssnr_db]


def values(estimate: np.ndarray, clean: np.ndarray, pesq: float = 2.0, variant: Variant = True) -> list[float]:
    scores = composite(estimate, clean, Score(pesq), variant)
    assert all(score.ok for score in scores.values()), scores
    return [score.value for score in scores.values()]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("variant", [True, "divided"])
def test_scores_are_those_of_the_published_definitions(seed: int, variant: Variant) -> None:
    clean = speech(0.6, seed)
    estimate = 0.8 * clean + (0.002, 0.01, 0.05, 0.2)[seed] * noise(len(clean), seed)
    estimate[3000:4000] *= 0.01  # a gap, as a mask leaves it
    expected = reference(estimate, clean, 2.5, 32768 if variant == "divided" else 1)
    assert values(estimate, clean, 2.5, variant) == pytest.approx(expected, abs=1e-5)
    assert min(expected[:3]) < 5, "a score at its limit would hide the parts"


@pytest.mark.parametrize("frames", [1, 2, 10, 30])
def test_the_lowest_95_percent_of_a_few_frames_are_rounded_as_the_program_rounds(frames: int) -> None:
    clean = speech(1, 5)[: FRAME + frames * HOP + 7]
    estimate = clean + 0.1 * noise(len(clean), 1) * np.linspace(0, 1, len(clean))
    assert values(estimate, clean) == pytest.approx(reference(estimate, clean, 2.0), abs=1e-5)


def test_a_perfect_estimate_has_the_highest_scores() -> None:
    clean = speech(2, 0)
    assert values(clean, clean, 4.64) == [5.0, 5.0, 5.0, pytest.approx(35.0)]
    assert values(clean, clean, 4.64, "divided") == [5.0, 5.0, 5.0, pytest.approx(35.0)]


def test_the_divided_variant_flatters_and_has_keys_of_its_own() -> None:
    clean = speech(2, 1)
    estimate = clean + 0.03 * noise(len(clean), 1)
    plain, divided = values(estimate, clean), values(estimate, clean, variant="divided")
    assert all(1.0 < low < high < 5.0 for low, high in zip(plain[:3], divided[:3], strict=True))
    assert plain[3] == divided[3]
    assert composite_keys(False) == ()
    assert set(COMPOSITE_KEYS) & set(DIVIDED_KEYS) == {"ssnr_db"}
    assert tuple(composite(estimate, clean, Score(2.0), "divided")) == DIVIDED_KEYS


@given(st.floats(-60, 20), st.booleans())
@settings(deadline=None, max_examples=20)
def test_a_gain_changes_the_parts_that_depend_on_the_level_and_only_as_it_must(gain_db: float, flipped: bool) -> None:
    clean = speech(0.3, 2)
    estimate, gain = clean + 0.02 * noise(len(clean), 3), 10 ** (gain_db / 20)
    assert values(gain * estimate, gain * clean)[3] == pytest.approx(values(estimate, clean)[3], abs=1e-6)
    # Against an unscaled clean signal the SNR is that of the gain's error; a flipped estimate is another sound to it.
    scaled = values((-gain if flipped else gain) * clean, clean)
    error = 1 + gain if flipped else abs(1 - gain)
    expected_db = 35.0 if error < 1e-9 else min(max(-20 * math.log10(error), -10.0), 35.0)
    assert scaled[3] == pytest.approx(expected_db, abs=1e-3)


@given(st.integers(0, 10_000), st.floats(-3, 0), st.floats(1, 4.65))
@settings(deadline=None, max_examples=30)
def test_scores_stay_in_their_ranges_and_more_noise_is_never_better(seed: int, exponent: float, pesq: float) -> None:
    clean = speech(0.3, seed)
    disturbance = noise(len(clean), seed + 1)
    little, much = (values(clean + level * disturbance, clean, pesq) for level in (10**exponent, 3 * 10**exponent))
    assert all(1 <= value <= 5 for value in (*little[:3], *much[:3]))
    assert -10 <= much[3] <= little[3] <= 35


@pytest.mark.parametrize(
    ("estimate", "clean"),
    [
        (np.full(SECOND, 0.3), None),
        (None, np.full(SECOND, 0.3)),
        (np.full(SECOND, 0.3), np.full(SECOND, 0.1)),
        (np.eye(1, SECOND, 5000)[0], None),
        (None, np.eye(1, SECOND, 5000)[0]),
        (1e-30 * speech(1, 3), None),
        (1e6 * speech(1, 3), None),
        (np.r_[np.zeros(SECOND // 2), speech(0.5, 1)], np.r_[speech(0.5, 1), np.zeros(SECOND // 2)]),
        (np.sin(np.arange(SECOND) / 50), np.sin(np.arange(SECOND) / 50 + 1)),
    ],
)
def test_degenerate_sounds_have_finite_scores(estimate: np.ndarray | None, clean: np.ndarray | None) -> None:
    usual = speech(1, 4)
    scores = values(usual if estimate is None else estimate, usual if clean is None else clean)
    assert np.isfinite(scores).all()


def test_digital_silence_in_the_clean_speech_has_no_llr_and_a_silent_estimate_a_flat_spectrum() -> None:
    voice, pause = speech(1, 1), np.zeros(SECOND)
    clean = np.r_[voice, pause]
    estimate = clean + 0.01 * np.r_[noise(SECOND, 3), pause]
    hiss = np.r_[np.zeros(SECOND + FRAME), 1e-3 * noise(SECOND - FRAME, 2)]
    # What is put into the pause moves WSS, and not LLR: the two scores move by its coefficients alone.
    without, with_hiss = values(estimate, clean), values(estimate + hiss, clean)
    assert (without[0] - with_hiss[0]) / (without[2] - with_hiss[2]) == pytest.approx(9 / 7)
    muted, faint = voice.copy(), voice.copy()
    muted[6000:9000] = 0
    faint[6000:9000] = 1e-9 * noise(3000, 4)
    assert values(muted, voice)[0] == pytest.approx(values(faint, voice)[0], abs=0.05)


@pytest.mark.parametrize("samples", [1, FRAME, FRAME + HOP - 1])
def test_less_than_a_frame_and_a_hop_is_a_reason(samples: int) -> None:
    scores = composite(np.ones(samples), np.ones(samples), Score(2.0))
    assert {score.reason for score in scores.values()} == {TOO_SHORT}
    assert len(values(speech(1, 0)[: FRAME + HOP], speech(1, 0)[: FRAME + HOP])) == 4


def test_what_has_no_pesq_has_its_reason_and_still_a_segmental_snr() -> None:
    clean = speech(0.5, 0)
    scores = composite(clean + 0.1 * noise(len(clean), 0), clean, Score.failed("PESQ found no speech"))
    assert [scores[key].reason for key in OPINIONS] == ["PESQ found no speech"] * 3
    assert scores["ssnr_db"].ok


@pytest.mark.parametrize(
    ("estimate", "clean", "reason"),
    [
        (np.zeros(SECOND), np.ones(SECOND), "estimate silent"),
        (np.full(SECOND, np.nan), np.ones(SECOND), "estimate not finite"),
        (np.ones(SECOND), np.zeros(SECOND), "reference silent"),
        (np.ones(SECOND), np.full(SECOND, np.inf), "reference not finite"),
        (np.ones(SECOND), np.r_[np.zeros(SECOND - 50), np.ones(50)], "reference silent"),
    ],
)
def test_what_cannot_be_scored_has_the_reason_of_the_other_metrics(
    estimate: np.ndarray, clean: np.ndarray, reason: str
) -> None:
    scores = composite(estimate, clean, Score(2.0))
    assert {scores[key].reason for key in OPINIONS} == {reason}
    worst = {key: METRIC[key].value_of(scores[key]) for key in OPINIONS}
    assert worst == dict.fromkeys(OPINIONS, 1 if reason in FAULTS else None)


def test_a_silent_estimate_counts_as_the_worst_segmental_snr_though_its_own_is_zero() -> None:
    clean = speech(1, 0)
    assert values(1e-12 * clean, clean)[3] == pytest.approx(0, abs=1e-6)
    silent = composite(np.zeros(len(clean)), clean, Score.failed("estimate silent"))["ssnr_db"]
    assert METRIC["ssnr_db"].value_of(silent) == -10


def test_other_shapes_are_an_error_and_arguments_stay_as_they_are() -> None:
    with pytest.raises(DataError, match=r"must both be \[sample\]"):
        composite(np.ones(10), np.ones(11), Score(2.0))
    clean = speech(0.5, 0)
    estimate = clean + 0.01
    before = estimate.copy(), clean.copy()
    values(estimate, clean)
    np.testing.assert_array_equal((estimate, clean), before)


def test_a_long_recording_is_scored_in_parts_like_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = speech(2, 0)
    estimate = clean + 0.02 * noise(len(clean), 0)
    whole = values(estimate, clean)
    monkeypatch.setattr("phonemi.metrics.composite._BLOCK", 7)
    assert values(estimate, clean) == pytest.approx(whole, abs=1e-12)


def test_a_pair_has_them_where_they_are_asked_for_and_its_pesq_is_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(
        "phonemi.metrics.intrusive.pesq_wb", lambda estimate, clean: asked.append(estimate) or Score(2.5)
    )
    clean = speech(0.5, 0)
    estimate = clean + 0.02 * noise(len(clean), 0)
    assert tuple(score_pair(estimate, estimate, clean)) == INTRUSIVE_KEYS
    scores = score_pair(estimate, estimate, clean, True)
    assert tuple(scores) == (*INTRUSIVE_KEYS, *COMPOSITE_KEYS)
    assert scores["covl"].value == composite(estimate, clean, Score(2.5))["covl"].value
    assert len(asked) == 2


def test_frozen_scores() -> None:
    clean = speech(3, 11)
    measured = [
        values(clean + level * noise(len(clean), 12), clean, pesq) for level, pesq in ((0.003, 3.0), (0.03, 1.4))
    ]
    measured.append(values(clean + 0.03 * noise(len(clean), 12), clean, 1.4, "divided"))
    expected = [
        [3.850106, 3.488228, 3.439841, 8.686759],
        [1.762987, 2.006276, 1.57073, -1.697407],
        [1.897607, 2.110981, 1.675434, -1.697407],
    ]
    np.testing.assert_allclose(measured, expected, atol=2e-6)
