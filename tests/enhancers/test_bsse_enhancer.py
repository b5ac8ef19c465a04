"""phonemi.enhancers.bsse_enhancer against BSSE's network written a second time in numpy, and what must always hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference_lstm import lstm, sigmoid
from sounds import noise

from phonemi import signal
from phonemi.enhancers.bsse_enhancer import BsseEnhancer
from phonemi.errors import ModelError

HAMMING = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)


def new_network(dim=5, log1p=True, seed=0, **options):
    torch.manual_seed(seed)
    return BsseEnhancer(dim, log1p, **options).eval()


# BSSE in numpy --------------------------------------------------------------------------------------------------------


def stft(waveform):
    padded = np.pad(np.asarray(waveform, dtype=np.float64), 200, mode="reflect")
    return np.fft.rfft([padded[160 * k : 160 * k + 400] * HAMMING for k in range(1 + len(waveform) // 160)])


def istft(spectrum, samples):
    total, weight = np.zeros((2, 160 * len(spectrum) + 400))
    for k, frame in enumerate(np.fft.irfft(spectrum, 400)):
        total[160 * k : 160 * k + 400] += frame * HAMMING
        weight[160 * k : 160 * k + 400] += HAMMING**2
    return (total / np.maximum(weight, 1e-10))[200 : 200 + samples]


def enhanced_log1p(model, waveform, features):
    """What the network makes of one waveform, [frame, 201]."""
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    log1p = np.log1p(np.abs(stft(waveform)) + 1e-6)
    parts = [log1p] if model.log1p else []
    if features is not None:
        doubled = list(np.repeat(np.asarray(features, dtype=np.float64), 2, axis=0))
        while len(doubled) < len(log1p):
            doubled.append(doubled[-1])
        parts.append(np.array(doubled[: len(log1p)]))
    sequence = np.concatenate(parts, axis=1) @ weights["input.weight"].T + weights["input.bias"]
    for layer in range(2):
        both = []
        for suffix, direction in (("", 1), ("_reverse", -1)):
            names = [f"blstm.{kind}_l{layer}{suffix}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            both.append(lstm(sequence, [weights[name] for name in names], direction))
        sequence = np.concatenate(both, axis=1)
    output = sigmoid((sequence[:, :256] + sequence[:, 256:]) @ weights["output.weight"].T + weights["output.bias"])
    return output * log1p if model.target == "irm" else output


# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["irm", "map"])
@pytest.mark.parametrize(("dim", "log1p"), [(5, True), (5, False), (0, True)])
def test_it_is_the_network_of_the_paper(dim, log1p, target):
    model, samples = new_network(dim, log1p, target=target), 1930
    noisy, clean = 0.3 * noise(1, samples), 0.3 * noise(1, samples, seed=3)
    features = torch.randn(1, 5, dim) if dim else None
    expected = enhanced_log1p(model, noisy[0], None if features is None else features[0])
    loss = np.abs(expected - np.log1p(np.abs(stft(clean[0])) + 1e-6)).mean()
    spectrum = stft(noisy[0])
    magnitude = np.expm1(expected) - 1e-6
    waveform = istft(magnitude * spectrum / (np.abs(spectrum) + 1e-6), samples)
    with torch.no_grad():
        assert model.loss(noisy, clean, features).item() == pytest.approx(loss, abs=1e-5)
        np.testing.assert_allclose(model.enhance(noisy, features)[0].numpy(), waveform, atol=1e-5)


def test_sizes_are_those_of_the_code():
    sizes = {(0, True): 2_733_001, (768, False): 2_878_153, (768, True): 2_929_609, (1024, True): 2_995_145}
    for (dim, log1p), expected in sizes.items():
        assert sum(parameter.numel() for parameter in BsseEnhancer(dim, log1p).parameters()) == expected


@pytest.mark.parametrize("hop", [320, 160])
def test_an_item_is_the_same_alone_and_beside_longer_ones(hop):
    model, lengths = new_network(hop=hop), torch.tensor([1930, 400, 2750])
    noisy = noise(3, 2750) * signal.valid_mask(lengths, 2750)
    frames = signal.ssl_frames(lengths) if hop == 320 else signal.stft_frames(lengths)
    features = torch.randn(3, int(frames.max()), 5)
    clean = noise(3, 2750, seed=7) * signal.valid_mask(lengths, 2750)
    with torch.no_grad():
        together = model.enhance(noisy, features, lengths)
        losses = []
        for item, (length, count) in enumerate(zip(lengths.tolist(), frames.tolist(), strict=True)):
            own = noisy[item : item + 1, :length], features[item : item + 1, :count]
            torch.testing.assert_close(together[item, :length], model.enhance(*own)[0], atol=1e-6, rtol=1e-4)
            assert not together[item, length:].any()
            losses.append(model.loss(own[0], clean[item : item + 1, :length], own[1]).item() * (1 + length // 160))
        loss = model.loss(noisy, clean, features, lengths).item()
    assert loss == pytest.approx(sum(losses) / int(signal.stft_frames(lengths).sum()), rel=1e-5)


def test_frames_beyond_the_features_repeat_the_last_or_are_zero():
    model, features = new_network(3, False), torch.ones(1, 2, 3)
    samples = torch.tensor([800])
    assert model._on_stft_grid(features, 6, samples)[0, :, 0].tolist() == [1, 1, 1, 1, 1, 1]
    model.feature_end = "zeros"
    assert model._on_stft_grid(features, 6, samples)[0, :, 0].tolist() == [1, 1, 1, 1, 0, 0]


def test_map_cannot_exceed_what_a_sigmoid_can():
    loud = 100 * noise(1, 1600)
    with torch.no_grad():
        enhanced = new_network(0, target="map").enhance(loud, None)[0]
    assert np.abs(stft(enhanced.numpy())).max() < math.e - 1 < np.abs(stft(loud[0].numpy())).max()


def test_a_limit_is_kept_and_silence_stays_silent():
    model, noisy = new_network(0), noise(1, 3200)
    gains = model.denoise(noisy, None, attenuation_limit_db=6.0).diagnostics["gains"]
    assert gains.min() >= 10 ** (-6 / 20) - 1e-6 > model.denoise(noisy, None).diagnostics["gains"].min()
    assert not model.enhance(torch.zeros(1, 3200), None).any()


def test_gradient_reaches_everything():
    model = new_network().train()
    features = torch.randn(2, 5, 5, requires_grad=True)
    clean = noise(2, 1900, seed=2)

    def waveform_loss(enhanced):
        return (enhanced - clean).square().mean()

    model.loss(noise(2, 1900), clean, features, torch.tensor([1900, 1800]), waveform_loss).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())
    assert (features.grad.abs().amax(dim=(0, 2)) > 0).all()


def test_settings_rebuild_it_and_what_does_not_fit_is_refused():
    model = new_network(7, hop=160, target="map", feature_end="zeros", attenuation_limit_db=20.0)
    assert BsseEnhancer(**model.settings()).settings() == model.settings()
    for arguments, words in (
        ({"dim": 0}, "needs features"),
        ({"dim": 3, "hop": 640}, "every 640 samples"),
        ({"dim": 3, "target": "irn"}, "target is 'irn'"),
        ({"dim": 3, "feature_end": "last"}, "feature_end is 'last'"),
        ({"dim": 3, "attenuation_limit_db": -1.0}, "-1"),
    ):
        with pytest.raises(ModelError, match=words):
            BsseEnhancer(**arguments)
    with pytest.raises(ModelError, match="expects 5 features"):
        new_network().enhance(noise(1, 1600), None)
    with pytest.raises(ModelError, match="frames of 10 ms"):
        new_network().enhance(noise(1, 16000), torch.randn(1, 5, 5))
