"""phonemi.enhancers.mask_enhancer against the recipe written a second time in numpy, and what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference_lstm import lstm, sigmoid
from sounds import noise

from phonemi import signal
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.errors import ModelError
from phonemi.recurrence import _run_packed, run_recurrent

HANN = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400), 56)


def tiny(dim=5, log1p=True, hop=320, layers=2, seed=0, level_db=None):
    """Small model whose weights are large enough for every part to show in the output."""
    torch.manual_seed(seed)
    model = MaskEnhancer(dim, log1p, hop, hidden=3, layers=layers, level_db=level_db).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


class FixedMask(MaskEnhancer):
    """A mask drawn at random for each frame and bin, whatever is heard."""

    def forward(self, log1p, features, lengths=None):
        return torch.rand(log1p.shape, generator=torch.Generator().manual_seed(0)).square()


# The recipe in numpy -------------------------------------------------------------------------------------------------


def stft(waveform):
    padded = np.pad(waveform.astype(np.float64), 256)
    frames = [padded[160 * k : 160 * k + 512] * HANN for k in range(1 + len(waveform) // 160)]
    return np.fft.rfft(frames)


def overlap_add(spectrum, samples):
    total, weight = np.zeros((2, 160 * len(spectrum) + 512))
    for k, frame in enumerate(np.fft.irfft(spectrum)):
        total[160 * k : 160 * k + 512] += frame * HANN
        weight[160 * k : 160 * k + 512] += HANN**2
    return (total / np.maximum(weight, 1e-10))[256 : 256 + samples]


def mask_of(model, log1p, features):
    """Features doubled, zeros appended, log1p after them; [frame, 257]."""
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    sequence = np.zeros((len(log1p), model.dim))
    doubled = np.repeat(features, 2, axis=0)[: len(log1p)]
    sequence[: len(doubled)] = doubled
    sequence = np.concatenate([sequence, log1p], axis=1)
    for layer in range(model.blstm.num_layers):
        both = []
        for suffix, direction in (("", 1), ("_reverse", -1)):
            names = [f"blstm.{kind}_l{layer}{suffix}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            both.append(lstm(sequence, [weights[name] for name in names], direction))
        sequence = np.concatenate(both, axis=1)
    return sigmoid(sequence @ weights["output.weight"].T + weights["output.bias"])


def test_forward_is_a_blstm_with_a_sigmoid_mask():
    model, waveform = tiny(layers=3), noise(1, 2100)
    features = torch.randn(1, signal.ssl_frames(2100), 5)
    with torch.no_grad():
        found = model(signal.log1p_spectrum(waveform), features)[0]
    expected = mask_of(model, np.log1p(np.abs(stft(waveform[0].numpy()))), features[0].numpy())
    assert found.shape == (14, 257)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.1


def test_loss_and_reconstruction_are_those_of_the_recipe():
    model = tiny(dim=5)
    lengths = torch.tensor([1900, 1210, 1120])
    valid = signal.valid_mask(lengths, 1900)
    noisy, clean = noise(3, 1900, seed=2) * valid, noise(3, 1900, seed=3) * valid
    features = torch.randn(3, 5, 5)
    with torch.no_grad():
        loss = model.loss(noisy, clean, features, lengths)
        enhanced = model.enhance(noisy, features, lengths)
    by_item = []
    for row, samples in enumerate(lengths.tolist()):
        spectrum, target = stft(noisy[row, :samples].numpy()), stft(clean[row, :samples].numpy())
        log1p = np.log1p(np.abs(spectrum))
        mask = mask_of(model, log1p, features[row].numpy())
        by_item.append(np.abs(mask * log1p - np.log1p(np.abs(target))).sum() / len(spectrum))
        masked = np.expm1(mask * log1p) * spectrum / (np.abs(spectrum) + 1e-10)
        # From here on reaches the window of the frame after the recipe's last one, which `enhance` adds.
        end = 160 * len(spectrum) - 200
        expected = overlap_add(masked, samples)[:end]
        np.testing.assert_allclose(enhanced[row, :end], expected, atol=1e-5)
    np.testing.assert_allclose(loss, np.mean(by_item), rtol=1e-5)


@pytest.mark.parametrize(
    ("dim", "log1p", "expected"),
    [(768, False, 5_387_009), (0, True, 4_340_481), (768, True, 5_913_345), (1024, False, 5_911_297)],
)
def test_parameter_counts(dim, log1p, expected):
    assert sum(parameter.numel() for parameter in MaskEnhancer(dim, log1p).parameters()) == expected


# What must always hold -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(samples=st.lists(st.integers(400, 2500), min_size=2, max_size=4), padding=st.integers(0, 700))
def test_batch_equals_single(samples, padding):
    model, lengths = tiny(dim=2), torch.tensor(samples)
    width = max(samples) + padding
    valid = signal.valid_mask(lengths, width)
    noisy, clean = noise(len(samples), width) * valid, noise(len(samples), width, seed=2) * valid
    features = torch.randn(len(samples), signal.ssl_frames(width), 2)
    features *= signal.valid_mask(signal.ssl_frames(lengths), features.shape[1])[..., None]
    with torch.no_grad():
        enhanced, loss = model.enhance(noisy, features, lengths), model.loss(noisy, clean, features, lengths)
        losses = []
        for row, n in enumerate(samples):
            alone = noisy[row : row + 1, :n], features[row : row + 1, : signal.ssl_frames(n)]
            torch.testing.assert_close(enhanced[row, :n], model.enhance(*alone)[0], atol=1e-5, rtol=0)
            losses.append(model.loss(alone[0], clean[row : row + 1, :n], alone[1]))
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    assert not enhanced[~valid].any()


@pytest.mark.parametrize("offset", [-40.0, 0.0, 40.0])
def test_never_louder_than_the_input_in_any_bin(offset, monkeypatch):
    model, noisy = tiny(dim=0), noise(2, 1500) * torch.tensor([[1.0], [1e-4]])
    model.output.bias.data += offset
    seen = []
    monkeypatch.setattr(signal, "istft", lambda spectrum, samples: seen.append(spectrum) or torch.zeros(2, samples))
    model.enhance(noisy, None)
    magnitude = signal.stft(torch.nn.functional.pad(noisy, (0, 320))).abs()
    assert (seen[0].abs() <= magnitude * (1 + 1e-5) + 1e-9).all()


@pytest.mark.parametrize("samples", [1, 159, 160, 1600, 1601, 1759])
def test_mask_of_one_is_the_identity_to_the_last_sample(samples):
    model, noisy = tiny(dim=0), noise(1, samples)
    model.output.bias.data += 1000
    torch.testing.assert_close(model.enhance(noisy, None), noisy, atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("samples", [16_000, 16_080, 16_159])
def test_the_end_does_not_click(samples):
    # The inverse STFT alone makes the last samples of 16 159 five times as loud as the rest.
    enhanced = FixedMask(0, True).enhance(noise(50, samples), None)
    level = enhanced[:, 4000:12_000].square().mean().sqrt()
    assert enhanced[:, -5:].square().mean().sqrt() < 1.3 * level


def test_silence_stays_silence():
    assert not tiny(dim=0).enhance(torch.zeros(2, 1000), None, torch.tensor([1000, 700])).any()


@pytest.mark.parametrize("gain", [1e-4, 30.0])
def test_with_a_level_the_loudness_of_a_recording_does_not_matter(gain):
    model = tiny(dim=0, level_db=-10.0)
    noisy, clean = noise(2, 1500), noise(2, 1500, seed=2)
    lengths = torch.tensor([1500, 1100])
    with torch.no_grad():
        torch.testing.assert_close(
            model.enhance(gain * noisy, None, lengths) / gain, model.enhance(noisy, None, lengths), atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(
            model.loss(gain * noisy, gain * clean, None, lengths), model.loss(noisy, clean, None, lengths)
        )


def test_a_level_is_that_of_the_valid_samples():
    plain, levelled = tiny(dim=0), tiny(dim=0, level_db=-20.0)
    levelled.load_state_dict(plain.state_dict())
    noisy = noise(1, 1500)
    at_level = noisy * 0.1 / noisy.square().mean().sqrt()
    padded = torch.nn.functional.pad(noisy, (0, 900))
    with torch.no_grad():
        expected = plain.enhance(at_level, None)
        found = levelled.enhance(padded, None, torch.tensor([1500]))[:, :1500]
    torch.testing.assert_close(found * (at_level / noisy).mean(), expected, atol=1e-5, rtol=1e-4)
    assert not levelled.enhance(torch.zeros(1, 1500), None).any()


def test_packed_as_on_a_gpu_it_is_the_same():
    model, lengths, sequence = tiny(), torch.tensor([7, 12, 9, 12]), noise(4, 12, 5 + signal.BINS)
    hidden = run_recurrent(model.blstm, sequence, lengths)
    torch.testing.assert_close(_run_packed(model.blstm, sequence, lengths), hidden, atol=1e-6, rtol=1e-5)
    assert not hidden[0, 7:].any()


def test_gradient_reaches_everything():
    model = tiny().train()
    features = torch.randn(2, 5, 5, requires_grad=True)
    model.loss(noise(2, 1900), noise(2, 1900, seed=2), features, torch.tensor([1900, 1800])).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())
    assert (features.grad.abs().amax(dim=(0, 2)) > 0).all()


def test_features_at_the_rate_of_the_stft_pass_as_they_are():
    slow, fast = tiny(hop=320), tiny(hop=160)
    log1p, features = signal.log1p_spectrum(noise(1, 1900)), torch.randn(1, 5, 5)
    doubled = torch.nn.functional.pad(features.repeat_interleave(2, dim=1), (0, 0, 0, 2))
    torch.testing.assert_close(fast(log1p, doubled), slow(log1p, features))


def test_settings_rebuild_it():
    model = tiny(dim=7, hop=160)
    assert MaskEnhancer(**model.settings()).settings() == model.settings()
    sizes = {"dim": 7, "log1p": True, "hop": 160, "hidden": 3, "layers": 2, "dropout": 0.1}
    assert model.settings() == {**sizes, "level_db": None, "attenuation_limit_db": None, "stft_pad": "zeros"}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ModelError, match="needs features"):
        MaskEnhancer(0)
    with pytest.raises(ModelError, match="every 640 samples"):
        MaskEnhancer(4, hop=640)
    with pytest.raises(ModelError, match="stft_pad is 'reflected': did you mean 'reflect'"):
        MaskEnhancer(4, stft_pad="reflected")
    log1p = signal.log1p_spectrum(noise(1, 1900))
    for model, features, found in ((tiny(), None, 0), (tiny(), torch.zeros(1, 5, 4), 4), (tiny(0), log1p, 257)):
        with pytest.raises(ModelError, match=rf"expects {model.dim} features a frame, got {found}"):
            model(log1p, features)
    with pytest.raises(ModelError, match="features have 18 frames of 10 ms but the STFT has 12"):
        tiny()(log1p, torch.zeros(1, 9, 5))


@pytest.mark.parametrize("level_db", [None, -10.0])
def test_a_loss_of_the_waveform_is_of_what_is_enhanced(level_db):
    model, lengths = tiny(dim=0, level_db=level_db), torch.tensor([4000, 3100])
    valid = signal.valid_mask(lengths, 4000)
    noisy, seen = noise(2, 4000) * valid, []
    with torch.no_grad():
        enhanced = model.enhance(noisy, None, lengths)
        plain = model.loss(noisy, noisy, None, lengths)
        more = model.loss(noisy, noisy, None, lengths, lambda waveforms: seen.append(waveforms) or torch.tensor(2.0))
    torch.testing.assert_close(seen[0], enhanced)
    assert (more - plain).item() == pytest.approx(2, abs=1e-4)


def test_no_bin_is_attenuated_beyond_the_limit():
    model, noisy = tiny(dim=0), noise(2, 1500)
    model.output.bias.data -= 1000  # a mask of 0
    assert not model.enhance(noisy, None).any()
    model.attenuation_limit_db = 20.0
    torch.testing.assert_close(model.enhance(noisy, None), 0.1 * noisy, atol=1e-6, rtol=0)
    assert not model.enhance(torch.zeros(1, 900), None).any()
    assert MaskEnhancer(**model.settings()).attenuation_limit_db == 20.0


def test_a_limit_leaves_what_is_attenuated_less_alone():
    model, noisy = tiny(dim=0), noise(1, 1500)
    plain = model.enhance(noisy, None)
    model.attenuation_limit_db = 300.0
    torch.testing.assert_close(model.enhance(noisy, None), plain)
    with pytest.raises(ModelError, match="-3 dB would amplify"):
        MaskEnhancer(0, True, attenuation_limit_db=-3)
