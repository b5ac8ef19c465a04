from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi.errors import DataError
from phonemi.metrics import intrusive
from phonemi.metrics.intrusive import INTRUSIVE_KEYS, pesq_wb, score_pair, si_sdr, stoi

SECOND = 16_000


def _speech(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """Harmonics of a gliding pitch in syllables of a fifth of a second: enough like speech for STOI and PESQ."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * SECOND)) / SECOND
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time)) / SECOND
    voice = sum(np.sin(k * phase) / k for k in range(1, 25))
    syllables = np.repeat(random.uniform(0.05, 1.0, int(seconds * 5) + 1), SECOND // 5)[: len(time)]
    return 0.1 * voice * syllables * (0.1 + np.abs(np.sin(2 * np.pi * 2.5 * time)))


def _noise(samples: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples)


@pytest.mark.parametrize("gain", [0.01, 0.5, 1.0, 3.0])
def test_si_sdr_of_clean_plus_orthogonal_noise_is_analytic(gain: float) -> None:
    clean, noise = _speech(0.5), _noise(SECOND // 2)
    noise -= (noise @ clean) / (clean @ clean) * clean
    expected = 10 * math.log10(clean @ clean / (gain**2 * (noise @ noise)))
    assert si_sdr(clean + gain * noise, clean).value == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_si_sdr_matches_torchmetrics_without_mean_removal() -> None:
    functional = pytest.importorskip("torchmetrics.functional.audio")
    torch = pytest.importorskip("torch")
    clean = _speech(0.5) + 0.02
    estimate = clean + 0.1 * _noise(len(clean))
    expected = functional.scale_invariant_signal_distortion_ratio(
        torch.from_numpy(estimate), torch.from_numpy(clean), zero_mean=False
    )
    assert si_sdr(estimate, clean).value == pytest.approx(expected.item(), abs=1e-6)


@given(st.floats(-140, 140), st.floats(-140, 140), st.booleans())
def test_si_sdr_ignores_level_and_sign(estimate_db: float, clean_db: float, flipped: bool) -> None:
    clean = _speech(0.1)
    estimate = clean + 0.05 * _noise(len(clean))
    gain = 10 ** (estimate_db / 20) * (-1 if flipped else 1)
    scaled = si_sdr(gain * estimate, 10 ** (clean_db / 20) * clean)
    assert scaled.value == pytest.approx(si_sdr(estimate, clean).value, abs=1e-6)


@pytest.mark.slow
def test_improvement_is_the_difference_of_both() -> None:
    clean = _speech(0.5)
    noise = _noise(len(clean))
    noise -= (noise @ clean) / (clean @ clean) * clean
    assert score_pair(clean + 0.1 * noise, clean + noise, clean)["si_sdri_db"].value == pytest.approx(20.0)
    assert score_pair(clean + noise, clean + noise, clean)["si_sdri_db"].value == 0.0


def test_perfect_estimate_has_no_si_sdr_but_the_others() -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    clean = _speech()
    scores = score_pair(0.3 * clean, clean + 0.01 * _noise(len(clean)), clean)
    assert scores["si_sdr_db"].reason == scores["si_sdri_db"].reason == "estimate equals reference"
    assert scores["stoi"].value == pytest.approx(1.0)
    assert scores["pesq_wb_lqo"].value == pytest.approx(4.64, abs=0.01)


def test_clean_input_has_no_improvement() -> None:
    clean = _speech(0.5)
    estimate = clean + 0.1 * _noise(len(clean))
    assert score_pair(estimate, clean, clean)["si_sdri_db"].reason == "noisy input equals reference"
    assert score_pair(estimate, 0 * clean, clean)["si_sdri_db"].reason == "noisy input silent"


def test_orthogonal_estimate_fails() -> None:
    assert si_sdr([0.0, 1.0], [1.0, 0.0]).reason == "estimate orthogonal to reference"


@pytest.mark.parametrize(
    ("estimate", "clean", "reason"),
    [
        (np.ones(SECOND), np.zeros(SECOND), "reference silent"),
        (np.zeros(SECOND), np.ones(SECOND), "estimate silent"),
        (np.full(SECOND, np.nan), np.ones(SECOND), "estimate not finite"),
        (np.ones(SECOND), np.full(SECOND, np.inf), "reference not finite"),
        (np.ones(0), np.ones(0), "reference silent"),
    ],
)
def test_content_that_cannot_be_scored_has_the_same_reason_in_every_metric(
    estimate: np.ndarray, clean: np.ndarray, reason: str
) -> None:
    noisy = np.ones(len(clean))
    assert {metric(estimate, clean).reason for metric in (si_sdr, stoi, pesq_wb)} == {reason}
    assert [score.reason for score in score_pair(estimate, noisy, clean).values()] == [reason] * 4


@pytest.mark.parametrize("samples", [1, 20, 399, 3999, 6300])
def test_stoi_of_short_audio_is_a_failure_not_a_number(samples: int) -> None:
    pytest.importorskip("pystoi")
    clean = _speech()[100 : 100 + samples]
    assert stoi(clean, clean).reason == "fewer than 30 frames of speech for STOI"


def test_stoi_of_a_click_in_silence_is_a_failure_not_a_number() -> None:
    pytest.importorskip("pystoi")
    click = np.zeros(2 * SECOND)
    click[SECOND] = 1.0
    assert stoi(_speech(), click).reason == "fewer than 30 frames of speech for STOI"


def test_stoi_is_plain_pystoi() -> None:
    pystoi = pytest.importorskip("pystoi")
    clean = _speech()
    estimate = clean + 0.05 * _noise(len(clean))
    assert stoi(estimate, clean).value == pytest.approx(pystoi.stoi(clean, estimate, SECOND), abs=1e-9)


@pytest.mark.slow
def test_pesq_is_wide_band_pesq() -> None:
    pesq = pytest.importorskip("pesq")
    clean = _speech()
    estimate = clean + 0.02 * _noise(len(clean))
    assert pesq_wb(estimate, clean).value == pytest.approx(pesq.pesq(SECOND, clean, estimate, "wb"), abs=1e-3)


def test_pesq_of_short_audio_fails() -> None:
    pytest.importorskip("pesq")
    assert pesq_wb(_speech()[:3999], _speech()[:3999]).reason == "shorter than 0.25 s for PESQ"


def test_pesq_of_speech_with_more_pauses_than_it_has_room_for_fails_instead_of_crashing() -> None:
    pytest.importorskip("pesq")
    burst = np.r_[_noise(5000), np.zeros(5000)]
    clean = np.tile(burst, 60)
    assert pesq_wb(clean + 0.01 * _noise(len(clean)), clean).reason == "more than 45 utterances for PESQ"


@pytest.mark.slow
def test_quiet_recordings_score_like_loud_ones() -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    clean = _speech()
    noisy = clean + 0.05 * _noise(len(clean))
    estimate = clean + 0.02 * _noise(len(clean))
    loud = score_pair(estimate, noisy, clean)
    quiet = score_pair(1e-9 * estimate, 1e-7 * noisy, 1e-8 * clean)
    assert tuple(loud) == INTRUSIVE_KEYS
    for key in INTRUSIVE_KEYS:
        assert quiet[key].value == pytest.approx(loud[key].value, abs=1e-3)


@pytest.mark.slow
def test_more_noise_is_worse_in_every_metric() -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    clean, noise = _speech(), _noise(2 * SECOND)
    little, much = (score_pair(clean + gain * noise, clean + noise, clean) for gain in (0.001, 0.01))
    assert all(little[key].value > much[key].value for key in INTRUSIVE_KEYS)


def test_metrics_leave_their_arguments_alone() -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    clean = _speech()
    estimate = clean + 0.01 * _noise(len(clean))
    before = estimate.copy(), clean.copy()
    score_pair(estimate, estimate, clean)
    np.testing.assert_array_equal(estimate, before[0])
    np.testing.assert_array_equal(clean, before[1])


def test_missing_packages_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    clean = _speech(0.5)
    scores = score_pair(clean + 0.1 * _noise(len(clean)), clean + _noise(len(clean)), clean)
    assert scores["pesq_wb_lqo"].reason == "pesq is not installed"
    assert scores["stoi"].reason == "pystoi is not installed"
    assert scores["si_sdr_db"].ok


@pytest.mark.parametrize("estimate", [np.ones(10), np.ones((1, 11)), np.float64(1.0)])
def test_shapes_that_differ_are_an_error(estimate: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"must both be \[sample\]"):
        si_sdr(estimate, np.ones(11))
    with pytest.raises(DataError):
        score_pair(np.ones(11), estimate, np.ones(11))


def test_utterances_are_counted_as_pesq_does() -> None:
    burst = np.r_[_noise(8000), np.zeros(8000)]
    assert intrusive._utterances(np.tile(burst, 7)) == 7
    assert intrusive._utterances(np.ones(SECOND)) == 1
