"""Another network than the mask enhancer, plugged in where users load, enhance, watch and save enhancers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from phonemi.aggregations import WeightedSum
from phonemi.enhancers import pretrained
from phonemi.enhancers.base import Enhancement, EnhancerNetwork
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.enhancers.observation import observing
from phonemi.enhancers.pretrained import build_network
from phonemi.errors import ConfigError, ModelError
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.signal import valid_mask


class WaveformFilter(EnhancerNetwork):
    """One convolution over the waveform, whose gain follows the largest feature: it has no STFT and no mask."""

    kind = "waveform"

    def __init__(self, dim: int, taps: int = 5) -> None:
        super().__init__()
        self.dim, self.hop = dim, 320
        self.filter = nn.Conv1d(1, 1, taps, padding="same", bias=False)

    def settings(self):
        return {"dim": self.dim, "taps": self.filter.kernel_size[0]}

    def denoise(self, noisy, features, lengths=None, attenuation_limit_db=None):
        enhanced = self.filter(noisy[:, None])[:, 0]
        diagnostics = {}
        if features is not None:
            diagnostics["tract_variables"] = features[..., :2]
            enhanced = enhanced * features.abs().amax((1, 2)).sigmoid()[:, None]
        if lengths is not None:
            enhanced = enhanced * valid_mask(lengths, noisy.shape[1])
        return Enhancement(enhanced, diagnostics)

    def loss(self, noisy, clean, features, lengths=None):
        return (self.enhance(noisy, features, lengths) - clean).abs().mean()


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(pretrained.NETWORKS, WaveformFilter.kind, WaveformFilter)


def gain_of(value):
    """An enhancer that multiplies every sample by `value`."""
    network = WaveformFilter(0, taps=1)
    network.filter.weight.data.fill_(value)
    return Enhancer(None, None, network)


def with_encoder():
    torch.manual_seed(0)
    config = MelTransformerConfig(mels=8, dim=16, blocks=1, heads=2, feedforward=8, position_kernel=3)
    return Enhancer(MelTransformer(config), WeightedSum(2), WaveformFilter(16), "filter")


def noise(*shape):
    return np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize("make", [with_encoder, lambda: gain_of(0.3)])
def test_a_stereo_recording_of_any_rate_before_and_after_saving(make, tmp_path):
    enhancer, recording = make(), noise(2, 44_100)
    recording[1, :20_000] = 0
    enhanced = enhancer.enhance(recording, 44_100)
    assert (enhanced.shape, enhanced.dtype) == (recording.shape, recording.dtype)
    assert not enhanced[1, :15_000].any()
    assert 1e-3 < np.abs(enhanced).mean() < 0.9 * np.abs(recording).mean()
    enhancer.save_pretrained(tmp_path)
    loaded = Enhancer.from_pretrained(tmp_path)
    assert isinstance(loaded.network, WaveformFilter)
    np.testing.assert_array_equal(loaded.enhance(recording, 44_100), enhanced)
    assert json.loads((tmp_path / "config.json").read_text())["mask_enhancer"]["kind"] == "waveform"
    assert "| waveform enhancer | WaveformFilter |" in (tmp_path / "README.md").read_text()


def test_the_band_above_8_khz_gets_the_gain_just_below_it():
    recording = noise(48_000)
    np.testing.assert_allclose(gain_of(0.3).enhance(recording, 48_000), 0.3 * recording, atol=1e-5)


def test_the_limit_holds_for_a_network_without_bins():
    recording = noise(48_000)
    found = gain_of(0.0).enhance(recording, 48_000, attenuation_limit_db=20.0)
    np.testing.assert_allclose(found, 0.1 * recording, atol=1e-5)
    enhancer = gain_of(0.0)
    enhancer.network.attenuation_limit_db = 20.0
    np.testing.assert_allclose(enhancer.enhance(recording, 16_000), 0.1 * recording, atol=1e-5)
    assert not enhancer.enhance(recording, 16_000, attenuation_limit_db=float("inf")).any()


def test_a_batch_is_as_one_by_one():
    enhancer, recordings = with_encoder(), [noise(9000), noise(2, 5000), noise(300)]
    together = enhancer.enhance_batch(recordings, 16_000)
    for found, recording in zip(together, recordings, strict=True):
        np.testing.assert_allclose(found, enhancer.enhance(recording, 16_000), atol=1e-5)


def test_what_it_does_can_be_observed():
    with observing(gain_of(0.5)) as nothing_enhanced:
        pass
    assert nothing_enhanced.local_snr_db is None
    enhancer = gain_of(0.9)
    with observing(enhancer) as observation:
        enhancer.enhance(noise(8000), 16_000)
    assert observation.local_snr_db == pytest.approx(20 * np.log10(9), abs=0.01)
    seen = []
    enhancer = with_encoder()
    enhancer.observer = lambda noisy, enhancement, lengths: seen.append(enhancement.diagnostics)
    enhancer.enhance(noise(8000), 16_000)
    assert seen[0]["tract_variables"].shape == (1, 24, 2)


def test_it_learns():
    enhancer = gain_of(0.5)
    noisy = torch.from_numpy(noise(2, 1000))
    enhancer.network.loss(noisy, 0.2 * noisy, None).backward()
    assert enhancer.network.filter.weight.grad.item() > 0


def test_models_without_a_kind_are_mask_enhancers(tmp_path):
    assert isinstance(build_network({"dim": 4}), MaskEnhancer)
    gain_of(0.5).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    content["mask_enhancer"]["kind"] = "waveforms"
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="unknown kind of enhancer network 'waveforms': did you mean 'waveform'"):
        Enhancer.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="unknown kind"):
        build_network({"kind": "diffusion"})
