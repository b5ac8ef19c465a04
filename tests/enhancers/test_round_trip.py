"""phonemi.enhancers.round_trip: what is refused, what counts as silence, and how a waveform comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phonemi.enhancers.options import EnhanceOptions
from phonemi.enhancers.round_trip import RoundTrip, constant_offset, lasting_silence
from phonemi.errors import AudioError, ConfigError


def noise(*shape):
    return np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)


def back(round_trip, mix=1.0):
    """What comes back from a network that changes nothing."""
    gain = np.ones((len(round_trip.inputs), 1))
    return round_trip.restore(round_trip.inputs, gain, EnhanceOptions(mix))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2e15])
def test_the_first_sample_that_is_not_finite_is_named(bad):
    waveform = noise(2, 700)
    waveform[1, 5:7] = bad
    with pytest.raises(
        AudioError, match=r"^2 of 1400 samples are NaN or infinite or above 1e\+15, the first is sample 5 of channel 1$"
    ):
        RoundTrip(waveform, 16_000)
    with pytest.raises(AudioError, match=r"^2 of 700 samples are .*, the first is sample 5$"):
        RoundTrip(torch.from_numpy(waveform[1]), 16_000)
    waveform[0, 9] = bad  # later, though in an earlier channel
    with pytest.raises(AudioError, match=r"^3 of 1400 samples are .*, the first is sample 5 of channel 1$"):
        RoundTrip(waveform, 16_000)


def test_what_is_too_loud_to_square_is_refused_as_in_files():
    with pytest.raises(AudioError, match=r"^1 of 100 samples are .*, the first is sample 7$"):
        RoundTrip(np.where(np.arange(100) == 7, -2e15, 0), 16_000)
    assert np.isfinite(back(RoundTrip(np.full(100, 9e14), 16_000))).all()


@pytest.mark.parametrize("sample_rate", [-1, 0, 3999, 768_001, 2**31])
def test_impossible_rates_are_refused(sample_rate):
    with pytest.raises(AudioError, match=f"a sample rate of {sample_rate} Hz"):
        RoundTrip(noise(100), sample_rate)


@pytest.mark.parametrize("options", [{"mix": -0.1}, {"mix": 1.1}, {"mix": np.nan}, {"attenuation_limit_db": -3}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match=r"impossible|would amplify"):
        EnhanceOptions(**options)
    with pytest.raises(ConfigError, match="upper_band is 'attenuated': did you mean 'attenuate'"):
        EnhanceOptions(upper_band="attenuated")


@pytest.mark.parametrize("faint", [0.0, 1e-45, 1e-40, 1e-11])
def test_below_200_db_there_is_silence(faint):
    waveform = noise(2, 500)
    waveform[0] = np.float32(faint)
    round_trip = RoundTrip(waveform, 16_000)
    assert round_trip.inputs.shape == (1, 500)
    enhanced = back(round_trip)
    assert not enhanced[0].any()
    np.testing.assert_allclose(enhanced[1], waveform[1], atol=1e-7)


def test_an_offset_is_not_heard_and_goes():
    waveform = noise(2, 4000).astype(np.float64)
    waveform -= waveform.mean(1, keepdims=True)
    waveform[1] += 0.4
    round_trip = RoundTrip(waveform, 16_000)
    expected = waveform - np.array([[0], [0.4]])
    np.testing.assert_allclose(round_trip.inputs, expected, atol=1e-6)
    np.testing.assert_allclose(back(round_trip), expected, atol=1e-6)
    np.testing.assert_array_equal(back(round_trip, mix=0), waveform.astype(np.float32))


@pytest.mark.parametrize(("share", "found"), [(0.0, False), (0.09, False), (-0.09, False), (0.11, True), (-3.0, True)])
def test_an_offset_is_more_than_a_tenth_of_the_level(share, found):
    waveform = noise(20_000).astype(np.float64)
    waveform += share * waveform.std() - waveform.mean()
    assert constant_offset(waveform) == pytest.approx(waveform.mean() if found else 0, abs=1e-6)


def test_short_sounds_and_nothing_have_no_offset():
    assert constant_offset(np.ones((2, 1599))).tolist() == [0, 0]
    assert constant_offset(np.ones((2, 1600))).tolist() == [1, 1]
    assert constant_offset(np.ones((2, 0))).tolist() == [0, 0]


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 48_000])
def test_silence_that_lasts_is_exact(sample_rate):
    waveform = 0.3 + noise(sample_rate)
    waveform[: sample_rate // 2] = 0
    enhanced = back(RoundTrip(waveform, sample_rate))
    edge = sample_rate // 2 - sample_rate // 20
    assert not enhanced[:edge].any()
    assert enhanced[edge:].any()


def test_silence_is_long():
    waveform = np.ones((2, 100), np.float32)
    waveform[0, 20:50] = waveform[1, :15] = waveform[1, 40:45] = 0
    found = lasting_silence(waveform, 100)  # 5 samples to both sides
    assert np.flatnonzero(found[0]).tolist() == list(range(25, 45))
    assert np.flatnonzero(found[1]).tolist() == list(range(10))
