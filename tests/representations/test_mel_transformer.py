"""The mel transformer: frame grid, padding, masking, files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sounds import noise
from torch.nn import functional

from phonemi.config import Encoder
from phonemi.errors import ModelError
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig, levelled_log_mel
from phonemi.signal import log_mel

TINY = MelTransformerConfig(mels=20, dim=16, blocks=2, heads=2, feedforward=24, position_kernel=7)


@pytest.fixture(params=[0, 5], ids=["plain", "convolution"])
def model(request):
    torch.manual_seed(0)
    model = MelTransformer(replace(TINY, block_kernel=request.param)).eval()
    model.set_statistics(torch.linspace(-1, 1, 20), torch.linspace(1, 2, 20))
    return model


def test_the_configured_size():
    model = MelTransformer(MelTransformerConfig(**Encoder().model_dump(include=set(TINY.to_json()))))
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_788_224
    assert (model.layers, model.dim, model.hop) == (7, 256, 320)


@given(samples=st.integers(400, 20_000))
def test_frames(samples):
    model = MelTransformer(TINY)
    hidden = model(torch.zeros(1, samples))
    assert hidden.states.shape == (3, 1, (samples - 400) // 320 + 1, 16)
    assert int(hidden.lengths[0]) == model.frames(samples) == hidden.states.shape[2]
    assert hidden.states.isfinite().all()


@pytest.mark.slow
def test_features_are_standardised_log_mel_pairs(model):
    waveform = noise(1, 2000)
    rms = waveform.square().mean(1, keepdim=True).sqrt()
    mel = log_mel(waveform * 0.05 / rms, 20)
    frames = (mel - mel.mean() - model.mean) / model.std
    expected = torch.cat([frames[:, 0::2], frames[:, 1::2]], dim=-1)
    torch.testing.assert_close(model.features(waveform), expected)


@pytest.mark.slow
def test_features_do_not_know_the_level(model):
    waveform = noise(1, 4000)
    for gain in (1e-4, 0.5, 30):
        torch.testing.assert_close(model.features(gain * waveform), model.features(waveform), atol=1e-4, rtol=0)


def test_features_of_silence_are_finite(model):
    assert model.features(torch.zeros(1, 4000)).isfinite().all()


def test_batch_equals_single_whatever_lies_in_the_padding(model):
    waveforms, lengths = noise(3, 4000), torch.tensor([2345, 4000, 400])
    hidden = model(waveforms, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(waveforms[row : row + 1, :length]).states[:, 0]
        torch.testing.assert_close(hidden.states[:, row, : alone.shape[1]], alone, atol=1e-5, rtol=1e-4)
        assert int(hidden.lengths[row]) == alone.shape[1]
        assert not hidden.states[:, row, alone.shape[1] :].any()


def test_states_are_layer_normed(model):
    states = model(noise(2, 4000)).states
    torch.testing.assert_close(states, functional.layer_norm(states, (16,)), atol=1e-3, rtol=1e-3)


def test_collect_false_keeps_the_last_state(model):
    features = model.features(noise(2, 4000))
    torch.testing.assert_close(model.encode(features, collect=False).states, model.encode(features).states[-1:])


def test_masked_frames_are_hidden_from_the_encoder(model):
    features = model.features(noise(1, 4000))
    mask = torch.zeros(features.shape[:2], dtype=torch.bool)
    mask[0, 3:6] = True
    changed = features.clone()
    changed[mask] += 1
    assert not torch.allclose(model.encode(changed).states, model.encode(features).states)
    torch.testing.assert_close(model.encode(changed, mask=mask).states, model.encode(features, mask=mask).states)


def test_every_parameter_learns(model):
    features = model.features(noise(2, 4000))
    mask = torch.zeros(features.shape[:2], dtype=torch.bool)
    mask[:, ::2] = True
    states = model.train().encode(features, torch.tensor([12, 9]), mask=mask).states
    (states * torch.linspace(-1, 1, 16)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_bfloat16_training_gives_nearly_the_same_states(model):
    waveforms = noise(2, 4000)
    features, lengths = model.features(waveforms), torch.tensor([12, 9])
    expected = model.encode(features, lengths).states
    with torch.autocast("cpu", torch.bfloat16):
        assert model.features(waveforms).dtype == torch.float32
        torch.testing.assert_close(model.features(waveforms), features)
        trained = model.encode(features, lengths).states  # with gradients: plain products
        with torch.no_grad():
            fused = model.encode(features, lengths).states
    for states in (trained, fused):
        assert states.isfinite().all()
        assert (states - expected).abs().mean() < 0.02


@pytest.mark.parametrize("samples", [0, 399])
def test_too_short(model, samples):
    with pytest.raises(ModelError, match=f"{samples} samples"):
        model.features(torch.zeros(1, samples))
    with pytest.raises(ModelError, match=f"{samples} samples"):
        model(torch.zeros(2, 800), torch.tensor([samples, 800]))


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_save_and_load(model, tmp_path, half):
    model.save(tmp_path / "encoder", half=half)
    loaded = MelTransformer.load(tmp_path / "encoder")
    assert sorted(path.name for path in (tmp_path / "encoder").iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((tmp_path / "encoder" / "config.json").read_text())["model_type"] == "phonemi-mel-transformer"
    assert loaded.config == model.config
    assert not loaded.training
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close((loaded.mean, loaded.std), (model.mean, model.std), atol=0, rtol=0)
    tolerance = 0.02 if half else 0
    torch.testing.assert_close(loaded(noise(1, 2000)).states, model(noise(1, 2000)).states, atol=tolerance, rtol=0)


def test_half_is_half_the_size(model, tmp_path):
    model.save(tmp_path / "single")
    model.save(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "single")]
    assert sizes[0] < 0.65 * sizes[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feedforward": 32}, r"feedforward_input\.bias is \[24\], expected \[32\]"),
        ({"blocks": 3}, r"blocks\.2\.\S+ is missing"),
        ({"blocks": 1}, r"blocks\.1\.\S+ is unknown"),
        ({"heads": 3}, "multiple of heads 3"),
        ({"block_kernel": 4}, "position_kernel 7 odd, and block_kernel 4 odd or 0"),
        ({"colour": 1}, "unknown .*colour"),
        ({"model_type": "hubert"}, "model_type 'hubert'"),
    ],
)
def test_weights_that_do_not_fit(model, tmp_path, change, message):
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelError, match=message) as caught:
        MelTransformer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_broken(model, tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        MelTransformer.load(tmp_path)
    model.save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="cannot be read"):
        MelTransformer.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        MelTransformer.load(tmp_path)


def test_levelled_log_mel_has_zero_mean_over_valid_frames():
    mel, valid = levelled_log_mel(noise(2, 4000), torch.tensor([4000, 1500]), 20)
    assert valid.sum(1).tolist() == [24, 8]
    for item, kept in zip(mel, valid, strict=True):
        assert abs(float(item[kept].mean())) < 1e-4
