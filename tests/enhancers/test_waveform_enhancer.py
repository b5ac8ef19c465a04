"""phonemi.enhancers.waveform_enhancer: Demucs written a second time, its loss, its resampling, and what must hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_lstm import lstm, sigmoid
from sounds import noise

from phonemi import signal
from phonemi.enhancers.pretrained import build_network
from phonemi.enhancers.waveform_enhancer import (
    FLOOR,
    RESOLUTIONS,
    WaveformEnhancer,
    downsample,
    stft_distance,
    upsample,
)
from phonemi.errors import ConfigError, ModelError
from phonemi.systems import find_system


def new_network(dim=5, seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"channels": 3, "depth": 2, "most_channels": 5, "lstm_layers": 1, "resample": 1}
    return WaveformEnhancer(dim, **(sizes | options)).eval()


# Demucs in numpy ------------------------------------------------------------------------------------------------------


def convolve(waveform, weight, bias, stride):
    """[channel, sample] -> [out, frame]."""
    width = weight.shape[2]
    starts = range(0, waveform.shape[1] - width + 1, stride)
    return np.stack([np.einsum("oik,ik->o", weight, waveform[:, s : s + width]) + bias for s in starts], axis=1)


def transposed(frames, weight, bias, stride):
    """[in, frame] -> [channel, sample]."""
    width = weight.shape[2]
    total = np.zeros((weight.shape[1], (frames.shape[1] - 1) * stride + width))
    for number, frame in enumerate(frames.T):
        total[:, number * stride : number * stride + width] += np.einsum("i,iok->ok", frame, weight)
    return total + bias[:, None]


def gated(values):
    half = len(values) // 2
    return values[:half] * sigmoid(values[half:])


def enhanced(model, noisy, features):
    """What a network of depth 2 with one LSTM layer makes of one waveform."""
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def parameters(part):
        return weights[f"{part}.weight"], weights[f"{part}.bias"]

    scale = noisy.std() + 1e-3
    hidden = np.pad(noisy / scale, (0, model.padded_length(len(noisy)) - len(noisy)))[None]
    skips = []
    for level in range(2):
        hidden = np.maximum(convolve(hidden, *parameters(f"encoder.{level}.0"), 4), 0)
        hidden = gated(convolve(hidden, *parameters(f"encoder.{level}.2"), 1))
        skips.append(hidden)
    frames = hidden.T
    if features is not None:
        # As torch's linear interpolation without aligned corners.
        place = ((np.arange(len(frames)) + 0.5) * len(features) / len(frames) - 0.5).clip(0, len(features) - 1)
        low = np.minimum(np.floor(place).astype(int), len(features) - 1)
        high = np.minimum(low + 1, len(features) - 1)
        at = features[low] + (place - low)[:, None] * (features[high] - features[low])
        frames = np.concatenate([frames, at], axis=1) @ weights["joined.weight"].T + weights["joined.bias"]
    both = []
    for suffix, direction in (("", 1), ("_reverse", -1)):
        names = [f"lstm.{kind}_l0{suffix}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        both.append(lstm(frames, [weights[name] for name in names], direction))
    hidden = (np.concatenate(both, axis=1) @ weights["projection.weight"].T + weights["projection.bias"]).T
    for level in range(2):
        hidden = hidden + skips[1 - level][:, : hidden.shape[1]]
        hidden = gated(convolve(hidden, *parameters(f"decoder.{level}.0"), 1))
        hidden = transposed(hidden, *parameters(f"decoder.{level}.2"), 4)
        hidden = np.maximum(hidden, 0) if level == 0 else hidden
    return hidden[0, : len(noisy)] * scale


# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 5])
def test_it_is_demucs_with_the_features_before_its_lstm(dim):
    model, noisy = new_network(dim), 0.3 * noise(1, 1000)
    features = torch.randn(1, 2, dim) if dim else None
    expected = enhanced(model, noisy[0].double().numpy(), None if features is None else features[0].double().numpy())
    with torch.no_grad():
        np.testing.assert_allclose(model.enhance(noisy, features)[0].numpy(), expected, atol=1e-5)


def test_the_loss_is_l1_and_the_distance_of_spectra():
    pair = 0.1 * noise(2, 4000).double().numpy()
    expected = 0.0
    for fft, hop, width in RESOLUTIONS:
        window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width), (fft - width) // 2)
        padded = np.pad(pair, ((0, 0), (fft // 2, fft // 2)), mode="reflect")
        frames = [padded[:, hop * k : hop * k + fft] * window for k in range(1 + 4000 // hop)]
        ours, theirs = np.sqrt(np.maximum(np.abs(np.fft.rfft(np.stack(frames), axis=-1)) ** 2, 1e-7)).transpose(1, 0, 2)
        convergence = np.linalg.norm(theirs - ours) / np.linalg.norm(theirs)
        expected += 0.1 * convergence + 0.1 * np.abs(np.log(theirs) - np.log(ours)).mean()
    ours, theirs = torch.from_numpy(pair).float()[:, None]
    assert stft_distance(ours, theirs).item() == pytest.approx(expected / 3, rel=1e-4)
    model, clean = new_network(0), 0.1 * noise(1, 4000, seed=3)
    with torch.no_grad():
        estimate = model.enhance(ours, None)
        distance = (estimate - clean).abs().mean() / (ours.std(correction=0) + FLOOR) + stft_distance(estimate, clean)
        assert model.loss(ours, clean, None).item() == pytest.approx(distance.item(), rel=1e-5)


def test_twice_the_rate_and_back():
    def tone(samples, rate):
        return torch.sin(2 * torch.pi * 440 * torch.arange(samples) / rate)[None, None]

    doubled = upsample(tone(8000, 16_000))
    assert doubled.shape == (1, 1, 16_000)
    torch.testing.assert_close(doubled[..., 500:-500], tone(16_000, 32_000)[..., 500:-500], atol=1e-3, rtol=0)
    torch.testing.assert_close(downsample(doubled)[..., 500:-500], tone(8000, 16_000)[..., 500:-500], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("resample", "depth"), [(1, 3), (2, 2), (4, 5)])
def test_every_length_comes_back_whole(resample, depth):
    model = new_network(0, resample=resample, depth=depth)
    for samples in (400, 401, 1234, 5000):
        assert samples <= model.padded_length(samples) < samples + 4**depth
        with torch.no_grad():
            assert model.enhance(0.1 * noise(1, samples), None).shape == (1, samples)


@pytest.mark.parametrize("hop", [320, 160])
def test_an_item_is_the_same_alone_and_beside_longer_ones(hop):
    model, lengths = new_network(hop=hop, resample=2), torch.tensor([1930, 400, 2750, 400])
    noisy = 0.1 * noise(4, 2750) * signal.valid_mask(lengths, 2750)
    frames = signal.ssl_frames(lengths) if hop == 320 else signal.stft_frames(lengths)
    features = torch.randn(4, int(frames.max()), 5)
    with torch.no_grad():
        together = model.enhance(noisy, features, lengths)
        for item, (length, count) in enumerate(zip(lengths.tolist(), frames.tolist(), strict=True)):
            alone = model.enhance(noisy[item : item + 1, :length], features[item : item + 1, :count])
            torch.testing.assert_close(together[item, :length], alone[0], atol=1e-6, rtol=1e-4)
            assert not together[item, length:].any()


def test_it_follows_the_level_and_gradients_reach_everything():
    model = new_network().train()
    noisy, features = 0.5 * noise(2, 3000), torch.randn(2, 9, 5, requires_grad=True)
    with torch.no_grad():
        louder = model.enhance(10 * noisy, features) / 10
        torch.testing.assert_close(louder, model.enhance(noisy, features), atol=5e-3, rtol=0.05)
    lengths = torch.tensor([3000, 2000])
    model.loss(noisy, 0.1 * noise(2, 3000, seed=3), features, lengths, lambda e: e.square().mean()).backward()
    assert all(value.grad is not None and value.grad.any() for value in model.parameters())
    assert features.grad.any()


def test_silence_and_too_short_a_recording_are_finite():
    model = new_network(0)
    with torch.no_grad():
        assert torch.isfinite(model.enhance(torch.zeros(1, 400), None)).all()
    assert torch.isfinite(model.loss(0.1 * noise(1, 400), torch.zeros(1, 400), None))


def test_settings_rebuild_it_and_what_does_not_fit_is_refused():
    model = new_network(7, hop=160, growth=1.5, attenuation_limit_db=20.0)
    again = build_network({"kind": "waveform", **model.settings()})
    assert again.settings() == model.settings()
    again.load_state_dict(model.state_dict())
    for arguments, words in (
        ({"dim": 3, "log1p": True}, "a row without log1p"),
        ({"dim": 3, "hop": 640}, "every 640 samples"),
        ({"dim": 3, "resample": 3}, "resample is 3"),
    ):
        with pytest.raises(ModelError, match=words):
            WaveformEnhancer(**arguments)
    with pytest.raises(ModelError, match="expects 5 features"):
        new_network().enhance(noise(1, 1600), None)


def test_a_row_without_the_spectrum_can_be_in_the_waveform():
    system = find_system("ws-acoustic+waveform+tuned-entire@2")
    assert (system.network, system.tuned_from_block, system.model) == ("waveform", 0, 2)
    assert system.compared_with[0] == "ws-acoustic+waveform"
    assert find_system("ws-linguistic+waveform").compared_with[0] == "ws-linguistic"
    for name in ("ws-acoustic+log1p+waveform", "bsse-ws+waveform", "log1p+waveform"):
        with pytest.raises(ConfigError, match="unknown row"):
            find_system(name)
