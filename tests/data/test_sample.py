"""The sample recording: the same each time, speech with and without a synthesiser."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from phonemi.constants import SAMPLE_RATE
from phonemi.data.sample import noisy_sample, syllables


def test_syllables_have_pauses_and_the_pitch_of_a_voice() -> None:
    waveform = syllables(8, np.random.default_rng(0))
    assert 2 < len(waveform) / SAMPLE_RATE < 5
    assert np.abs(waveform).max() == pytest.approx(0.5)
    assert not waveform[: SAMPLE_RATE // 5].any()
    spectrum = np.abs(np.fft.rfft(waveform)) ** 2
    frequencies_hz = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    assert spectrum[(frequencies_hz > 90) & (frequencies_hz < 4000)].sum() > 0.9 * spectrum.sum()


def test_there_is_a_sample_without_a_synthesiser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    sample = noisy_sample()
    assert sample.dtype == np.float32
    assert 4 < len(sample) / SAMPLE_RATE < 10
    assert 0.1 < np.abs(sample).max() <= 0.951
    np.testing.assert_array_equal(sample, noisy_sample())


@pytest.mark.slow
def test_sentences_are_spoken_where_there_is_a_synthesiser(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader", reason="espeakng_loader is not installed: pip install 'phonemi[synth]'")
    spoken = noisy_sample()
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert len(spoken) != len(noisy_sample())
    assert 4 < len(spoken) / SAMPLE_RATE < 10
