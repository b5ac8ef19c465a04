"""Levels and sample rates of waveforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi import audio
from phonemi.errors import AudioError

RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)


def _tone(samples: int, sample_rate: int, frequency_hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(samples) / sample_rate)).astype(np.float32)


@given(
    samples=st.integers(0, 5_000), from_rate=st.sampled_from(RATES), to_rate=st.sampled_from(RATES), pair=st.booleans()
)
def test_length_after_resampling(samples: int, from_rate: int, to_rate: int, pair: bool) -> None:
    waveform = np.ones((2, samples) if pair else samples, dtype=np.float64)
    resampled = audio.resample(waveform, from_rate, to_rate)
    assert resampled.shape == (*waveform.shape[:-1], round(samples * to_rate / from_rate))
    assert resampled.dtype == np.float32
    np.testing.assert_array_equal(np.atleast_2d(resampled)[0], audio.resample(np.ones(samples), from_rate, to_rate))


@pytest.mark.parametrize("from_rate", RATES)
def test_a_tone_stays_where_it_was(from_rate: int) -> None:
    resampled = audio.resample(_tone(from_rate, from_rate), from_rate, 16_000)
    assert audio.level_db((resampled - _tone(16_000, 16_000))[500:-500]) < -80


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    assert audio.level_db(audio.resample(_tone(48_000, 48_000, 12_000), 48_000, 16_000)[500:-500]) < -90


@pytest.mark.parametrize("rate", [63, 1_000, 768_000, 2**32 - 1])
def test_unusual_rates(rate: int) -> None:
    waveform = np.ones(3_000, dtype=np.float32)
    assert len(audio.resample(waveform, rate, 16_000)) == round(3_000 * 16_000 / rate)


def test_a_rate_is_not_raised_beyond_reason() -> None:
    with pytest.raises(AudioError, match=r"a recording at 1 Hz cannot become one at 16000 Hz"):
        audio.resample(np.ones(20_000), 1, 16_000)


def test_level() -> None:
    assert audio.level_db(np.zeros(5)) == -np.inf
    assert audio.level_db(np.zeros(0)) == -np.inf
    assert audio.level_db(_tone(16_000, 16_000)) == pytest.approx(20 * np.log10(0.5) - 10 * np.log10(2), abs=1e-4)
