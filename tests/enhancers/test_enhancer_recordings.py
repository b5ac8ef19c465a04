"""Enhancer.enhance and enhance_batch on generated recordings: level, silence, alignment, batches, threads."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from phonemi import signal
from phonemi.aggregations import WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.errors import AudioError, PhonemiWarning
from phonemi.inference.condition import CLEAN, CLIPPED, NARROW, Condition
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig

RATES = st.sampled_from([4000, 8000, 11_025, 16_000, 44_100, 48_000, 96_000, 192_000]) | st.integers(4000, 192_000)


class OwnFrameOnly(MaskEnhancer):
    """A mask that follows the level of every bin, and hears no other frame."""

    def forward(self, log1p, features, lengths=None):
        return torch.sigmoid(3 * (log1p - 1.5))


def levelled():
    """With an encoder; weights so large that everything shows in the output."""
    torch.manual_seed(0)
    config = MelTransformerConfig(mels=8, dim=16, blocks=1, heads=2, feedforward=8, position_kernel=3)
    mask_enhancer = MaskEnhancer(16, True, hidden=4, layers=1, level_db=-6.0)
    for parameter in mask_enhancer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return Enhancer(MelTransformer(config).requires_grad_(False), WeightedSum(2), mask_enhancer)


def masked(bias):
    """A mask of one (bias 1000) or none (bias -1000)."""
    mask_enhancer = MaskEnhancer(0, True, hidden=1, layers=1, level_db=-6.0)
    mask_enhancer.output.bias.data += bias
    return Enhancer(None, None, mask_enhancer)


MODEL = levelled()


def noise(*shape, seed=1):
    """Noise whose loudness changes: no frame is like another."""
    loudness = 0.1 + np.sin(np.linspace(0, 9, shape[-1])) ** 2
    return (0.1 * loudness * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def difference_db(found, expected):
    return 10 * np.log10(np.mean(np.square(found - expected)) / np.mean(np.square(expected)) + 1e-20)


# Level ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(gain_db=st.floats(-60, 40), sample_rate=st.sampled_from([8000, 16_000, 44_100]), seed=st.integers(0, 9))
def test_the_output_follows_the_level_of_the_input(gain_db, sample_rate, seed):
    waveform, gain = noise(2, 6000, seed=seed), 10 ** (gain_db / 20)
    found, expected = MODEL.enhance(np.float32(gain) * waveform, sample_rate), MODEL.enhance(waveform, sample_rate)
    assert difference_db(found / gain, expected) < -80
    assert difference_db(expected, waveform) > -30


# Odd input -----------------------------------------------------------------------------------------------------------


@given(offset=st.floats(0.05, 0.9), sign=st.sampled_from([-1, 1]), sample_rate=st.sampled_from([8000, 16_000, 44_100]))
def test_an_offset_changes_nothing(offset, sign, sample_rate):
    waveform = noise(sample_rate)
    waveform -= waveform.mean()
    found = MODEL.enhance(waveform + np.float32(sign * offset), sample_rate)
    inner = slice(sample_rate // 10, -sample_rate // 10)  # an offset begins and ends with a step
    assert difference_db(found[inner], MODEL.enhance(waveform, sample_rate)[inner]) < -35
    assert abs(found[inner].mean()) < 0.01 * offset


@given(
    sample_rate=RATES,
    samples=st.integers(1, 3) | st.integers(1, 4000),
    scale=st.sampled_from([1e-44, 1e-38, 1e-12, 1e-9, 1.0, 1e4, 1e14]),
    clip=st.sampled_from([0.01, 1.0, 1e9]),
)
def test_odd_input_gives_finite_output(sample_rate, samples, scale, clip):
    waveform = np.float32(scale) * (20 * noise(1, samples)).clip(-clip, clip)
    enhanced = MODEL.enhance(waveform, sample_rate)
    assert enhanced.shape == waveform.shape
    assert np.isfinite(enhanced).all()
    assert np.abs(enhanced).max() <= 4 * np.abs(waveform).max()


@pytest.mark.slow
@given(sample_rate=RATES, duration_s=st.floats(1, 3), upper_band=st.sampled_from(["attenuate", "remove", "keep"]))
def test_length_and_time_are_kept_to_the_sample(sample_rate, duration_s, upper_band):
    waveform = noise(int(duration_s * sample_rate))
    enhanced = MODEL.enhance(waveform, sample_rate, upper_band=upper_band)
    assert enhanced.shape == waveform.shape
    size = 2 ** (2 * len(waveform) - 1).bit_length()
    spectra = np.fft.rfft(enhanced, size) * np.fft.rfft(waveform, size).conj()
    assert np.argmax(np.fft.irfft(spectra, size)) == 0


# Options -------------------------------------------------------------------------------------------------------------


def test_mix_is_a_sum_of_both():
    waveform = noise(2, 6000) + np.float32(0.05)
    enhanced = MODEL.enhance(waveform, 22_050)
    np.testing.assert_array_equal(MODEL.enhance(waveform, 22_050, mix=0), waveform)
    np.testing.assert_array_equal(MODEL.enhance(waveform, 22_050, mix=1), enhanced)
    quarter = MODEL.enhance(waveform, 22_050, mix=0.25)
    np.testing.assert_allclose(quarter, 0.25 * enhanced + 0.75 * waveform, atol=1e-7)


def test_a_limit_stands_in_for_that_of_the_model():
    waveform, enhancer = noise(16_000), masked(-1000)
    np.testing.assert_allclose(enhancer.enhance(waveform, 16_000, attenuation_limit_db=20.0), 0.1 * waveform, atol=1e-6)
    assert not enhancer.enhance(waveform, 16_000).any()
    enhancer.mask_enhancer.attenuation_limit_db = 6.0
    np.testing.assert_allclose(enhancer.enhance(waveform, 16_000), 10 ** (-6 / 20) * waveform, atol=1e-6)
    assert not enhancer.enhance(waveform, 16_000, attenuation_limit_db=float("inf")).any()
    # At any rate the limit holds for the upper band too.
    found = enhancer.enhance(waveform, 48_000, attenuation_limit_db=20.0)
    np.testing.assert_allclose(found, 0.1 * waveform, atol=1e-6)


@pytest.mark.filterwarnings("ignore:clean already")
def test_the_upper_band_follows_the_mask():
    waveform = noise(48_000)
    np.testing.assert_allclose(masked(1000).enhance(waveform, 48_000), waveform, atol=1e-5)
    assert np.abs(masked(-1000).enhance(waveform, 48_000)).max() < 1e-6
    kept = masked(-1000).enhance(waveform, 48_000, upper_band="keep")
    removed = masked(1000).enhance(waveform, 48_000, upper_band="remove")
    np.testing.assert_allclose(kept + removed, waveform, atol=1e-5)
    assert 0.6 < np.mean(kept**2) / np.mean(waveform**2) < 0.7  # two thirds of 24 kHz


# Batches and threads -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(
    shapes=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4000)), min_size=1, max_size=4),
    sample_rate=st.sampled_from([8000, 16_000, 44_100]),
    silent=st.integers(0, 3),
    upper_band=st.sampled_from(["attenuate", "keep"]),
)
def test_a_batch_is_as_one_by_one(shapes, sample_rate, silent, upper_band):
    recordings = [noise(*((n,) if not c else (c, n)), seed=n) for c, n in shapes]
    for recording in recordings[silent : silent + 1]:
        recording.reshape(-1, recording.shape[-1])[0] = 0
    options = {"mix": 0.9, "attenuation_limit_db": 30.0, "upper_band": upper_band}
    together = MODEL.enhance_batch(recordings, sample_rate, **options)
    for found, recording in zip(together, recordings, strict=True):
        np.testing.assert_allclose(found, MODEL.enhance(recording, sample_rate, **options), atol=1e-5)


def test_a_batch_is_one_pass(monkeypatch):
    passes = []
    forward = MaskEnhancer.forward
    monkeypatch.setattr(
        MaskEnhancer, "forward", lambda self, *rest: passes.append(len(rest[0])) or forward(self, *rest)
    )
    batch = [noise(2, 3000), np.zeros(500), torch.from_numpy(noise(2000)), np.zeros((2, 0))]
    enhanced = MODEL.enhance_batch(batch, 16_000)
    assert passes == [3]
    assert [type(waveform) for waveform in enhanced] == [type(waveform) for waveform in batch]
    assert [waveform.shape for waveform in enhanced] == [waveform.shape for waveform in batch]
    assert MODEL.enhance_batch([], 16_000) == []


def test_what_is_wrong_in_a_batch_is_named():
    with pytest.raises(AudioError, match=r"^recording 1 of the batch: 1 of 9 samples are NaN"):
        MODEL.enhance_batch([noise(9), np.where(np.arange(9) == 4, np.nan, 0)], 16_000)


def test_threads_share_an_enhancer(monkeypatch):
    jobs = [
        {
            "waveform": noise(5000 + 300 * seed, seed=seed),
            "sample_rate": rate,
            "attenuation_limit_db": limit,
            "mix": mix,
        }
        for seed, (rate, limit, mix) in enumerate(
            [(16_000, 3, 1), (44_100, None, 1), (16_000, 30, 0.5), (8000, 9, 1)] * 3
        )
    ]
    alone = [MODEL.enhance(**job) for job in jobs]

    def refuse(self, name, value):
        raise AssertionError(f"{name} is set while enhancing")

    monkeypatch.setattr(nn.Module, "__setattr__", refuse)
    with ThreadPoolExecutor(2) as pool:
        for found, expected in zip(pool.map(lambda job: MODEL.enhance(**job), jobs), alone, strict=True):
            np.testing.assert_array_equal(found, expected)


# Warnings ------------------------------------------------------------------------------------------------------------


def warned(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert {warning.category for warning in caught} <= {PhonemiWarning}
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


def telephone(samples=32_000):
    spectrum = np.fft.rfft(noise(samples))
    spectrum[samples // 4 :] = 0
    return np.fft.irfft(spectrum, samples)


def test_warnings_name_what_is_odd():
    assert warned(lambda: MODEL.enhance(noise(32_000), 16_000)) == []
    assert warned(lambda: MODEL.enhance(noise(32_000).clip(-0.1, 0.1), 16_000)) == [CLIPPED]
    assert warned(lambda: MODEL.enhance(telephone(), 16_000)) == [NARROW]
    assert warned(lambda: MODEL.enhance_batch([noise(32_000), telephone()], 16_000)) == [NARROW]
    assert warned(lambda: masked(1000).enhance(noise(32_000), 16_000)) == [CLEAN]
    assert warned(lambda: MODEL.enhance(np.zeros(32_000), 16_000)) == []


def test_conditions_of_chunks_add_up_and_warn_of_nothing():
    first, second = np.split(telephone(), 2)
    chunks = []
    assert warned(lambda: chunks.extend(MODEL.enhance_chunks([first, second, noise(20_000)], 16_000))) == []
    assert [chunk.condition.texts() for chunk in chunks] == [[NARROW], [NARROW], []]
    assert sum((chunk.condition for chunk in chunks[:2]), Condition()).texts() == [NARROW]
    np.testing.assert_allclose(chunks[0].waveform, MODEL.enhance(first, 16_000), atol=1e-5)


def test_gains_come_with_the_waveform():
    model = OwnFrameOnly(0, True, hidden=1, layers=1, level_db=-6.0)
    noisy = torch.from_numpy(noise(2, 5000))
    enhanced, diagnostics = model.denoise(noisy, None)
    gains = diagnostics["gains"]
    spectrum = signal.stft(nn.functional.pad(noisy, (0, 320)))
    torch.testing.assert_close(signal.istft(spectrum * gains, 5000), enhanced)
    assert 0 <= gains.min() < 0.2 < 0.8 < gains.max() <= 1
