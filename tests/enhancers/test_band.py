"""phonemi.enhancers.round_trip: both bands together are the recording again, the upper with the gain of its time."""

from __future__ import annotations

import numpy as np
import pytest

from phonemi.enhancers.round_trip import join_bands, to_16_khz

RATES = [17_000, 22_050, 44_100, 48_000, 192_000]


def noise(samples, channels=2):
    return np.random.default_rng(0).normal(0, 0.1, (channels, samples)).astype(np.float32)


def split(waveform, sample_rate):
    """Powers below 7 and above 9 kHz, [channel] each."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    frequency = np.fft.rfftfreq(waveform.shape[-1], 1 / sample_rate)
    return power[..., frequency < 7000].sum(-1), power[..., frequency > 9000].sum(-1)


@pytest.mark.parametrize("sample_rate", [4000, 8000, 16_000, *RATES])
@pytest.mark.parametrize("samples", [1, 5, 7001])
@pytest.mark.parametrize("upper_band", ["attenuate", "keep"])
def test_a_gain_of_one_gives_the_recording_back(sample_rate, samples, upper_band):
    noisy = noise(samples)
    lower = to_16_khz(noisy, sample_rate)
    joined = join_bands(noisy, lower, lower.copy(), np.ones((2, 1)), sample_rate, upper_band)
    assert joined.dtype == np.float32
    # Below 16 kHz only what lies at the very top is lost in the filters.
    np.testing.assert_allclose(joined, noisy, atol=1e-6 if sample_rate >= 16_000 else 0.2)


@pytest.mark.parametrize("sample_rate", RATES)
def test_the_upper_band_can_be_removed_or_kept_alone(sample_rate):
    noisy = noise(sample_rate // 2)
    lower = to_16_khz(noisy, sample_rate)
    removed = join_bands(noisy, lower, lower, np.ones((2, 51)), sample_rate, "remove")
    alone = join_bands(noisy, lower, 0 * lower, np.zeros((2, 51)), sample_rate, "keep")
    nothing = join_bands(noisy, lower, 0 * lower, np.zeros((2, 51)), sample_rate, "attenuate")
    below, above = split(noisy, sample_rate)
    for found, kept, lost in (
        (split(removed, sample_rate), below, above),
        (split(alone, sample_rate)[::-1], above, below),
    ):
        if sample_rate > 18_000:
            np.testing.assert_allclose(found[0], kept, rtol=1e-2)
            assert (found[1] < 1e-3 * lost).all()
    assert not nothing.any()


def test_the_gain_of_a_frame_is_heard_in_its_time():
    noisy = noise(48_000)
    lower = to_16_khz(noisy, 48_000)
    gain = np.zeros((2, 101))
    gain[0, 40:61] = 1  # of the first channel, from 0.4 to 0.6 s
    joined = join_bands(noisy, lower, 0 * lower, gain, 48_000, "attenuate")
    kept = join_bands(noisy, lower, 0 * lower, gain, 48_000, "keep")
    np.testing.assert_array_equal(joined[0, 19_200:28_801], kept[0, 19_200:28_801])
    assert not joined[1].any()
    assert not joined[0, : 39 * 480].any()
    assert not joined[0, 61 * 480 :].any()
    half = joined[0, 39 * 480 + 240] / kept[0, 39 * 480 + 240]
    assert half == pytest.approx(0.5, abs=1e-3)


def test_every_sample_of_the_end_comes_back():
    for samples in range(48_000, 48_013):
        noisy = np.ones((1, samples), np.float32)
        lower = to_16_khz(noisy, 192_000)
        removed = join_bands(noisy, lower, lower, np.ones((1, 26)), 192_000, "remove")
        assert removed.shape == noisy.shape
        assert removed[0, -1] > 0.3  # half of a step, and some ringing
