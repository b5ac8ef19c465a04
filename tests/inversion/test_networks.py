"""Networks that hear the articulators: times of frames, lengths, what is not known, gradients, settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phonemi.errors import ConfigError, ModelError
from phonemi.inversion.networks import NETWORKS, at_tracks, build_inverter_network, track_frames
from phonemi.signal import ssl_frames, stft_frames

KINDS = list(NETWORKS)


def new_network(kind, dim=5, variables=3, **options):
    torch.manual_seed(0)
    sizes = {"hidden": 8, "heads": 2} if kind == "gru" else {}
    return build_inverter_network({"kind": kind, "dim": dim, "variables": variables, **sizes, **options}).eval()


@pytest.mark.parametrize(("hop", "centre"), [(320, 200), (160, 0)])
def test_a_ramp_over_time_stays_one(hop, centre):
    """A feature that is the time of its frame gives the times of the tracks, held at the ends."""
    samples = torch.tensor([16_000, 8_123])
    counts = ssl_frames(samples) if hop == 320 else stft_frames(samples)
    time_s = (centre + hop * torch.arange(int(counts.max()))) / 16_000
    found = at_tracks(time_s[None, :, None].expand(2, -1, 1), counts, hop, samples)[..., 0]
    assert track_frames(samples).tolist() == [100, 51]
    for item, count in enumerate(counts.tolist()):
        expected = np.arange(found.shape[1]).clip(centre / 160, (centre + hop * (count - 1)) / 160) / 100
        np.testing.assert_allclose(found[item], expected, atol=1e-6)


@pytest.mark.parametrize("hop", [320, 160])
@pytest.mark.parametrize("kind", KINDS)
def test_an_item_is_the_same_alone_and_beside_longer_ones(kind, hop):
    network, samples = new_network(kind, hop=hop), torch.tensor([9000, 400, 16_000])
    counts = ssl_frames(samples) if hop == 320 else stft_frames(samples)
    features = torch.randn(3, int(counts.max()), 5)
    with torch.no_grad():
        together = network(features, samples)
        assert together.shape == (3, 100, 3)
        for item, (length, count) in enumerate(zip(samples.tolist(), counts.tolist(), strict=True)):
            alone = network(features[item : item + 1, :count], samples[item : item + 1])[0]
            frames = -(-length // 160)
            assert alone.shape == (frames, 3)
            torch.testing.assert_close(together[item, :frames], alone, atol=1e-6, rtol=1e-4)
            assert not together[item, frames:].any()


def test_the_linear_one_is_linear():
    network, samples = new_network("linear"), torch.tensor([3200])
    features = torch.randn(1, 9, 5)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    frames = features[0].numpy() @ weights["output.weight"].T + weights["output.bias"]
    times, centres = np.arange(20) * 160, 320 * np.arange(9) + 200
    expected = np.stack([np.interp(times, centres, column) for column in frames.T], axis=1)
    np.testing.assert_allclose(network(features, samples)[0].detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_over_what_is_known(kind):
    network, samples = new_network(kind), torch.tensor([3200, 1600])
    features = torch.randn(2, 9, 5)
    targets = torch.full((2, 20, 3), torch.nan)
    targets[0, 3:7, 1] = 0.5
    targets[1, :10, 2] = torch.linspace(-1, 1, 10)
    with torch.no_grad():
        estimate = network(features, samples)
        errors = [(estimate[0, 3:7, 1] - 0.5).abs(), (estimate[1, :10, 2] - torch.linspace(-1, 1, 10)).abs()]
        expected = torch.cat(errors).mean().item()
        assert network.loss(features, targets, samples).item() == pytest.approx(expected, rel=1e-5)
        assert network.loss(features, torch.full_like(targets, torch.nan), samples).item() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_a_map_of_its_features(kind):
    torch.manual_seed(1)
    network, samples = new_network(kind, dropout=0.0) if kind == "gru" else new_network(kind), torch.tensor([8000] * 4)
    features = torch.randn(4, 24, 5)
    target = torch.tanh(at_tracks(features @ torch.randn(5, 3), torch.tensor([24] * 4), 320, samples)).detach()
    optimiser = torch.optim.Adam(network.train().parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = network.loss(features, target, samples)
        loss.backward()
        assert all(value.grad is not None for value in network.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


def test_the_output_of_the_recurrent_one_is_bounded():
    network = new_network("gru")
    assert network(1e4 * torch.randn(1, 49, 5), torch.tensor([16_000])).abs().max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_settings_rebuild_it_and_what_does_not_fit_is_refused(kind):
    network = new_network(kind, hop=160)
    again = build_inverter_network(network.settings())
    assert again.settings() == network.settings()
    again.load_state_dict(network.state_dict())
    with pytest.raises(ModelError, match="expects 5 features"):
        network(torch.randn(1, 49, 6), torch.tensor([16_000]))
    with pytest.raises(ModelError, match="every 640 samples"):
        new_network(kind, hop=640)
    with pytest.raises(ConfigError, match="did you mean 'gru'"):
        build_inverter_network({"kind": "gur", "dim": 5, "variables": 3})
