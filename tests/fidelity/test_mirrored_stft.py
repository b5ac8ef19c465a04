"""`enhance.stft_pad: reflect` against the recipe in numpy, each item transformed alone as librosa before 0.10 did."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sounds import noise

from phonemi import signal
from phonemi.enhancers.mask_enhancer import MaskEnhancer

HANN = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400), 56)
LENGTHS = [1900, 1210, 700]


def batch(seed):
    return noise(3, max(LENGTHS), seed=seed) * signal.valid_mask(torch.tensor(LENGTHS), max(LENGTHS))


def stft(waveform):
    padded = np.pad(waveform.astype(np.float64), 256, mode="reflect")
    return np.fft.rfft([padded[160 * k : 160 * k + 512] * HANN for k in range(1 + len(waveform) // 160)])


def overlap_add(spectrum, samples):
    total, weight = np.zeros((2, 160 * len(spectrum) + 512))
    for k, frame in enumerate(np.fft.irfft(spectrum)):
        total[160 * k : 160 * k + 512] += frame * HANN
        weight[160 * k : 160 * k + 512] += HANN**2
    return (total / np.maximum(weight, 1e-10))[256 : 256 + samples]


def test_each_item_is_mirrored_at_its_own_ends():
    noisy = batch(1)
    found = signal.stft(noisy, "reflect", torch.tensor(LENGTHS))
    assert found.shape == (3, 12, 257)
    for row, n in enumerate(LENGTHS):
        np.testing.assert_allclose(found[row, : 1 + n // 160], stft(noisy[row, :n].numpy()), atol=1e-5)
    alone = signal.stft(noisy[:1], "reflect")
    torch.testing.assert_close(alone, found[:1])
    assert (signal.stft(noisy[:1])[0, [0, 11]] - alone[0, [0, 11]]).abs().max() > 0.1
    torch.testing.assert_close(signal.stft(noisy[:1])[0, 2:9], alone[0, 2:9])  # only the ends differ


@pytest.mark.parametrize("samples", [1, 2, 3, 160, 257, 400])
def test_items_shorter_than_the_padding_are_mirrored_again_and_again(samples):
    waveform = noise(1, samples)
    found = signal.stft(waveform, "reflect")[0]
    np.testing.assert_allclose(found, stft(waveform[0].numpy()), atol=1e-5)


def test_loss_and_reconstruction():
    torch.manual_seed(0)
    model = MaskEnhancer(0, log1p=True, hidden=3, layers=1, stft_pad="reflect").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    noisy, clean, lengths = batch(2), batch(3), torch.tensor(LENGTHS)
    losses = []
    with torch.no_grad():
        loss, enhanced = model.loss(noisy, clean, None, lengths), model.enhance(noisy, None, lengths)
        for row, n in enumerate(LENGTHS):
            spectrum, target = stft(noisy[row, :n].numpy()), stft(clean[row, :n].numpy())
            log1p = np.log1p(np.abs(spectrum))
            mask = model(torch.from_numpy(log1p).float()[None], None)[0].double().numpy()
            losses.append(np.abs(mask * log1p - np.log1p(np.abs(target))).sum() / len(spectrum))
            masked = np.expm1(mask * log1p) * spectrum / (np.abs(spectrum) + 1e-10)
            end = 160 * len(spectrum) - 200  # from here on reaches the frame after the recipe's last one
            np.testing.assert_allclose(enhanced[row, :end], overlap_add(masked, n)[:end], atol=1e-5)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 160, 700, 1759])
def test_a_mask_of_one_is_the_identity_to_the_last_sample(samples):
    model, noisy = MaskEnhancer(0, log1p=True, hidden=3, layers=1, stft_pad="reflect").eval(), noise(2, samples)
    model.output.bias.data += 1000
    torch.testing.assert_close(model.enhance(noisy, None), noisy, atol=1e-6, rtol=0)
