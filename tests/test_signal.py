"""Frame grids and transforms whose answers are known on paper."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phonemi import signal
from phonemi.errors import ModelError


@given(samples=st.integers(1, 5_000), seed=st.integers(0, 99))
def test_istft_undoes_stft(samples, seed):
    waveform = torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))
    spectrum = signal.stft(waveform)
    assert spectrum.shape == (2, 1 + samples // 160, 257)
    assert torch.allclose(signal.istft(spectrum, samples), waveform, atol=1e-5)


def test_a_tone_peaks_in_its_bin():
    seconds = torch.arange(16_000) / 16_000
    tone = torch.sin(2 * torch.pi * 1_000 * seconds)[None]
    assert signal.log1p_spectrum(tone)[0, 50].argmax() == 1_000 * 512 // 16_000


def test_stft_agrees_with_a_transform_written_out():
    waveform = torch.randn(1, 2_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(waveform, (256, 256))[0]
    hann = 0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(400, dtype=torch.float64) / 400)
    k = 5
    frame = padded[160 * k + 56 : 160 * k + 456] * hann
    bins = torch.arange(257, dtype=torch.float64)[:, None]
    angle = -2 * torch.pi * bins * torch.arange(56, 456, dtype=torch.float64) / 512
    expected = (torch.complex(angle.cos(), angle.sin()) * frame).sum(-1)
    assert torch.allclose(signal.stft(waveform)[0, k], expected, atol=1e-9)


@given(samples=st.integers(400, 50_000))
def test_doubled_ssl_frames_are_one_to_three_short_of_the_stft(samples):
    features = torch.ones(1, signal.ssl_frames(samples), 3)
    frames = signal.stft_frames(samples)
    assert frames - 2 * features.shape[1] in (1, 2, 3)
    repeated = signal.repeat_to_stft(features, frames)
    assert repeated.shape == (1, frames, 3)
    assert repeated.sum() == 2 * features.sum()


def test_repeat_doubles_each_frame_in_place():
    features = torch.tensor([[[1.0], [2.0]]])
    assert signal.repeat_to_stft(features, 6).flatten().tolist() == [1, 1, 2, 2, 0, 0]
    assert signal.repeat_to_stft(features, 3).flatten().tolist() == [1, 1, 2]


def test_features_of_another_signal_are_refused():
    with pytest.raises(ModelError, match=r"20 frames of 10 ms but the STFT has 30"):
        signal.repeat_to_stft(torch.ones(1, 10, 2), 30)


@given(samples=st.integers(0, 20_000))
def test_mel_frames_are_two_to_an_ssl_frame(samples):
    assert signal.log_mel(torch.zeros(1, samples), 8).shape == (1, 2 * signal.ssl_frames(samples), 8)


def test_mel_frame_pair_is_centred_on_the_receptive_field():
    t = 10
    impulse = torch.zeros(1, 16_000)
    impulse[0, 320 * t + 200] = 1.0
    energy = signal.log_mel(impulse, 8).exp().sub(1e-6).sum(-1)[0]
    pair = energy[0::2] + energy[1::2]
    assert pair.argmax() == t
    assert torch.isclose(energy[2 * t], energy[2 * t + 1], rtol=1e-4)


def test_mel_filters_cover_every_bin_but_the_ends():
    bank = signal.mel_filterbank(40)
    assert bank.shape == (257, 40)
    assert bank.min() >= 0
    assert bank.max() <= 1
    assert (bank[2:-1].sum(1) > 0).all()


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 20.0])
def test_local_snr_of_stationary_signals_is_the_snr(snr_db):
    random = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 32_000, generator=random)
    noisy = clean + noise * 10 ** (-snr_db / 20)
    local = signal.local_snr_db(clean, noisy, window_s=0.5)
    assert local.shape == (201,)
    assert abs(local.mean() - snr_db) < 0.5


def test_to_ssl_grid_takes_the_frame_nearest_the_field_centre():
    centres = torch.arange(101.0)[:, None] * 160
    taken = signal.to_ssl_grid(centres, signal.ssl_frames(16_000)).flatten()
    assert taken.tolist() == [320 * t + 160 for t in range(49)]


def test_frames_and_valid_mask():
    assert signal.ssl_frames(torch.tensor([399, 400, 720])).tolist() == [0, 1, 2]
