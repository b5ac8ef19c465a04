"""Mixing: the SNR asked for is the SNR measured, chance is a function of its key, pieces of noise are never silent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phonemi import audio
from phonemi.data.mixing import generator, mix_at_snr, noise_segment
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
@settings(max_examples=100, deadline=None)
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


# --- pieces of noise


@given(clip=st.integers(1, 3_000), samples=st.integers(1, 3_000), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_segment_has_the_length_asked_and_samples_of_the_clip(clip: int, samples: int, seed: int) -> None:
    waveform = 1 + np.arange(clip, dtype=np.float32)
    segment = noise_segment(waveform, samples, generator(seed))
    assert segment.shape == (samples,)
    steps = np.diff(segment)
    assert set(np.unique(steps)) <= {1.0, float(1 - clip)}, "neighbours in the clip, or its end and its start"


def test_starts_cover_the_clip() -> None:
    starts = {int(noise_segment(1 + np.arange(20.0), 16, generator(seed))[0]) for seed in range(200)}
    assert starts == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("padding", [0.0, 1e-6])
def test_zero_padding_of_a_clip_is_never_used(padding: float) -> None:
    # ESC-50 pads short sounds to 5 s; mixing a tile of zeros would ask for an infinite gain.
    clip = np.full(80_000, padding, dtype=np.float32)
    clip[30_000:34_000] = _white(4_000)
    for seed in range(20):
        segment = noise_segment(clip, 16_000, generator(seed))
        assert audio.level_db(segment) == pytest.approx(audio.level_db(clip[30_000:34_000]), abs=0.5)


def test_a_pause_in_a_clip_is_drawn_again() -> None:
    clip = np.zeros(50_000, dtype=np.float32)
    clip[:8_000], clip[-8_000:] = _white(8_000), _white(8_000, 1)
    for seed in range(50):
        assert noise_segment(clip, 4_000, generator(seed)).any()


def test_one_click_in_a_long_pause_is_found() -> None:
    clip = np.zeros(800_000, dtype=np.float32)
    clip[[0, 410_000, -1]] = 0.5, 1.0, 0.5
    found = [noise_segment(clip, 160, generator(seed)) for seed in range(20)]
    assert all(segment.max() >= 0.5 for segment in found)
    assert len({int(segment.argmax()) for segment in found}) > 5, "the click is not always at the same place"


@pytest.mark.parametrize("clip", [np.zeros(100), np.zeros(0), np.full(9, np.nan), np.array([1.0, np.inf])])
def test_a_clip_without_noise(clip: np.ndarray) -> None:
    with pytest.raises(DataError, match=f"a noise clip of {len(clip)} samples is silent or not finite"):
        noise_segment(clip, 10, generator(0))
