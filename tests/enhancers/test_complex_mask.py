"""The complex mask: a transform that can be undone, frames where the encoder's are, and a network that learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sounds import noise

from phonemi.aggregations import WeightedSum
from phonemi.enhancers.complex_mask import BINS, ComplexMaskEnhancer, compress, expand
from phonemi.enhancers.enhancer import Enhancer
from phonemi.errors import ModelError
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.signal import ssl_frames


@pytest.fixture
def network() -> ComplexMaskEnhancer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ComplexMaskEnhancer(6, channels=8, blocks=1, guide=2).eval()


def below_7_khz(waveforms: torch.Tensor) -> torch.Tensor:
    spectrum = torch.fft.rfft(waveforms)
    spectrum[:, spectrum.shape[1] * 7 // 8 :] = 0
    return torch.fft.irfft(spectrum, waveforms.shape[1])


@pytest.mark.parametrize("samples", [400, 401, 719, 720, 16_001])
def test_the_transform_and_the_compression_can_be_undone(network: ComplexMaskEnhancer, samples: int) -> None:
    waveforms = below_7_khz(torch.cat([0 * noise(1, 2000), noise(1, samples), 0 * noise(1, 2000)], 1))
    spectrum = network.analyse(waveforms)
    torch.testing.assert_close(network.synthesise(spectrum, samples + 4000), waveforms, atol=2e-4, rtol=0)
    torch.testing.assert_close(expand(compress(spectrum)), spectrum, atol=1e-3, rtol=1e-3)
    assert compress(spectrum).abs().max() == pytest.approx(float(spectrum.abs().max()) ** 0.3, rel=1e-3)


def test_frames_are_centred_where_those_of_the_encoder_are(network: ComplexMaskEnhancer) -> None:
    for frame in (0, 7, 48):
        click = torch.zeros(1, 16_000)
        click[0, 320 * frame + 200] = 1
        energy = network.analyse(click).abs().square().sum(-1)[0]
        assert int(energy.argmax()) == frame + 1
        assert energy[frame + 1] > 10 * energy.sum() / 11


def test_every_feature_meets_its_own_frame(network: ComplexMaskEnhancer, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.Tensor] = []
    forward = network.forward
    monkeypatch.setattr(
        network, "forward", lambda spectrum, features: (given.append(features), forward(spectrum, features))[1]
    )
    features = torch.arange(ssl_frames(8000), dtype=torch.float32)[None, :, None].repeat(1, 1, 6)
    network.denoise(noise(1, 8000), features)
    frames = given[0][0, :, 0].tolist()
    assert frames[:4] == [0, 0, 1, 2]
    assert frames[1 : 1 + ssl_frames(8000)] == list(range(ssl_frames(8000)))
    assert set(frames[1 + ssl_frames(8000) :]) == {ssl_frames(8000) - 1}


def test_an_item_is_enhanced_as_if_it_were_alone(network: ComplexMaskEnhancer) -> None:
    lengths = torch.tensor([9000, 400, 5001])
    features = noise(3, ssl_frames(9000) * 6).view(3, -1, 6)
    noisy = noise(3, 9000) * (torch.arange(9000) < lengths[:, None])
    together = network.enhance(noisy, features, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = network.enhance(noisy[row : row + 1, :length], features[row : row + 1, : ssl_frames(length)])
        torch.testing.assert_close(together[row : row + 1, :length], alone, atol=1e-5, rtol=1e-4)
        assert not together[row, length:].any()


def test_the_level_does_not_matter_and_silence_stays(network: ComplexMaskEnhancer) -> None:
    noisy, features = noise(1, 8000), torch.zeros(1, ssl_frames(8000), 6)
    quiet = network.enhance(1e-3 * noisy, features)
    torch.testing.assert_close(1e3 * quiet, network.enhance(noisy, features), atol=1e-4, rtol=1e-3)
    assert not network.enhance(0 * noisy, features).any()


def test_it_learns_and_silence_gives_finite_gradients() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ComplexMaskEnhancer(0, channels=8, blocks=1)
    tone = torch.sin(2 * torch.pi * 500 / 16_000 * torch.arange(16_000.0)).repeat(2, 1)
    noisy = tone + 0.5 * noise(2, 16_000)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = network.loss(noisy, tone, None)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    network.zero_grad()
    silence = torch.zeros(1, 4000)
    network.loss(silence, silence, None, torch.tensor([4000]), lambda waveforms: waveforms.sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_padding_does_not_count(network: ComplexMaskEnhancer) -> None:
    noisy, clean, features = noise(1, 6400), 0.5 * noise(1, 6400), torch.zeros(1, ssl_frames(6400), 6)
    padded = [torch.nn.functional.pad(part, (0, 1600)) for part in (noisy, clean)]
    longer = network.loss(*padded, torch.zeros(1, ssl_frames(8000), 6), torch.tensor([6400]))
    # The LSTM sees the padding in training, so the two are alike and not equal.
    torch.testing.assert_close(longer, network.loss(noisy, clean, features), atol=0, rtol=0.02)


def test_an_enhancer_with_it_is_saved_and_loaded(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = MelTransformerConfig(mels=8, dim=16, blocks=1, heads=2, feedforward=8, position_kernel=3)
        network = ComplexMaskEnhancer(16, channels=8, blocks=1, guide=2)
        enhancer = Enhancer(MelTransformer(config), WeightedSum(2), network)
    enhancer.save_pretrained(tmp_path)
    loaded = Enhancer.from_pretrained(tmp_path)
    assert isinstance(loaded.network, ComplexMaskEnhancer)
    recording = noise(1, 8000)[0].numpy()
    torch.testing.assert_close(loaded.enhance(recording, 16_000), enhancer.enhance(recording, 16_000))
    assert "complex mask of 1 dual-path block " in (tmp_path / "README.md").read_text()


def test_what_it_cannot_be(network: ComplexMaskEnhancer) -> None:
    with pytest.raises(ModelError, match="needs the noisy spectrum"):
        ComplexMaskEnhancer(4, log1p=False)
    with pytest.raises(ModelError, match="expects 6 features a frame, got 0"):
        network(torch.zeros(1, 3, BINS, dtype=torch.complex64), None)
