"""F0, periodicity and aperiodicity of sounds whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from phonemi.inversion.source_features import source_features

RATE = 16_000


def voice(f0_hz: np.ndarray, harmonics: int = 20) -> np.ndarray:
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE
    orders = np.arange(1, harmonics + 1)[:, None]
    return 0.1 * (np.cos(orders * phase) / orders * (orders * f0_hz < 7000)).sum(axis=0)


@pytest.mark.parametrize("hz", [75.0, 110.0, 180.0, 260.0, 380.0])
def test_the_pitch_of_a_steady_voice(hz: float) -> None:
    features = source_features(voice(np.full(RATE, hz)))
    assert features.f0_hz.shape == (100,)
    np.testing.assert_allclose(features.f0_hz[5:-5], hz, rtol=0.005)
    assert (features.periodicity[5:-5] > 0.95).all()


def test_a_glide_is_followed() -> None:
    f0_hz = np.linspace(100, 220, 2 * RATE)
    features = source_features(voice(f0_hz))
    np.testing.assert_allclose(features.f0_hz[5:-5], f0_hz[:: RATE // 100][5:-5], rtol=0.02)


def test_noise_has_no_pitch_and_is_aperiodic() -> None:
    features = source_features(0.1 * np.random.default_rng(0).standard_normal(RATE))
    assert np.isnan(features.f0_hz).mean() > 0.95
    assert np.median(features.aperiodicity) > 0.6


def test_noise_in_a_voice_lowers_its_periodicity() -> None:
    clean = voice(np.full(RATE, 130.0))
    noise = np.random.default_rng(0).standard_normal(RATE)
    shares = []
    for snr_db in (20, 10, 0):
        scale = np.std(clean) / np.std(noise) * 10 ** (-snr_db / 20)
        features = source_features(clean + scale * noise)
        shares.append(np.median(features.periodicity))
    # The share of periodic energy, by definition of the autocorrelation at the period.
    np.testing.assert_allclose(shares, [100 / 101, 10 / 11, 0.5], atol=0.08)


@pytest.mark.parametrize("waveform", [np.zeros(RATE), np.full(RATE, 0.3), np.zeros(0), np.zeros(7)])
def test_silence_is_neither_periodic_nor_aperiodic(waveform: np.ndarray) -> None:
    features = source_features(waveform)
    assert np.isnan(features.f0_hz).all()
    assert not features.periodicity.any()
    assert not features.aperiodicity.any()


def test_level_and_offset_do_not_matter() -> None:
    waveform = voice(np.linspace(120, 150, RATE))
    features, louder = source_features(waveform), source_features(4 * waveform + 0.1)
    np.testing.assert_allclose(louder.f0_hz, features.f0_hz, rtol=1e-4)
    np.testing.assert_allclose(louder.periodicity, features.periodicity, atol=1e-4)


def test_silence_beside_a_voice_has_no_pitch() -> None:
    waveform = np.concatenate([np.zeros(RATE // 2), voice(np.full(RATE // 2, 150.0))])
    waveform += 1e-4 * np.random.default_rng(0).standard_normal(RATE)
    features = source_features(waveform)
    assert np.isnan(features.f0_hz[:45]).all()
    assert np.isfinite(features.f0_hz[55:95]).all()
    sums = features.periodicity + features.aperiodicity
    np.testing.assert_allclose(sums[55:95], 1, atol=1e-6)
    assert not sums[:45].any()
