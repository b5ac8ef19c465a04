"""Mixing: the SNR asked for is the SNR measured, and chance is a function of its key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi import audio
from phonemi.data.mixing import generator, mix_at_snr
from phonemi.errors import DataError


def _white(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


# --- the SNR rule


@given(
    samples=st.integers(1, 2_000),
    snr_db=st.floats(-30, 40),
    speech_level=st.floats(1e-4, 10),
    noise_level=st.floats(1e-6, 10),
    seed=st.integers(0, 99),
)
def test_the_snr_measured_is_the_snr_asked(
    samples: int, snr_db: float, speech_level: float, noise_level: float, seed: int
) -> None:
    speech, noise = speech_level * _white(samples, seed), noise_level * _white(samples, seed + 1)
    noisy, scaled = mix_at_snr(speech, noise, snr_db)
    assert noisy.dtype == scaled.dtype == np.float32
    assert noisy.shape == scaled.shape == (samples,)
    assert audio.level_db(speech) - audio.level_db(scaled) == pytest.approx(snr_db, abs=0.01)
    np.testing.assert_allclose(noisy, speech + scaled)


def test_gain_known_on_paper() -> None:
    # Powers 1 and 16: at 20 dB the noise must have power 0.01, a gain of 0.1 / 4. Nothing is clipped.
    noisy, scaled = mix_at_snr(np.array([1.0, -1.0, 1.0]), np.array([4.0, 4.0, -4.0]), 20)
    np.testing.assert_allclose(scaled, [0.1, 0.1, -0.1], rtol=1e-6)
    np.testing.assert_allclose(noisy, [1.1, -0.9, 0.9], rtol=1e-6)
    assert np.abs(mix_at_snr(np.ones(4), np.ones(4), -40)[0]).max() == pytest.approx(101)


def test_the_snr_does_not_depend_on_the_level_of_the_noise() -> None:
    speech, noise = _white(500), _white(500, 1)
    np.testing.assert_allclose(mix_at_snr(speech, noise, 3)[0], mix_at_snr(speech, 1e-3 * noise, 3)[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("speech", "noise", "snr_db", "message"),
    [
        (np.zeros(5), np.ones(5), 0, "the speech is silent"),
        (np.ones(5), np.zeros(5), 0, "the noise is silent"),
        (np.ones(5), np.ones(6), 0, r"speech \(5,\) and noise \(6,\) must both be"),
        (np.ones((2, 5)), np.ones((2, 5)), 0, "must both be"),
        (np.array([1.0, np.nan]), np.ones(2), 0, "NaN or infinite"),
        (np.ones(2), np.array([1.0, np.inf]), 0, "NaN or infinite"),
        (np.ones(2), np.ones(2), float("nan"), r"SNR \(nan dB\) must be finite"),
    ],
)
def test_what_cannot_be_mixed(speech: np.ndarray, noise: np.ndarray, snr_db: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        mix_at_snr(speech, noise, snr_db)


# --- chance


def test_generator_depends_on_every_part_of_its_key() -> None:
    keys = [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, "0"), (0, "a"), (0, "a", 1), (0, "a1"), (-1,), (2**70,)]
    drawn = [tuple(generator(*key).integers(0, 2**60, 2)) for key in keys]
    assert len(set(drawn)) == len(keys)
    assert drawn == [tuple(generator(*key).integers(0, 2**60, 2)) for key in keys]
    assert generator(np.int64(3), "x").random() == generator(3, "x").random()


def test_generator_is_the_same_on_every_machine() -> None:
    assert generator(1, "drawn", 0, 7).integers(0, 1_000_000, 3).tolist() == [335042, 425671, 684378]
