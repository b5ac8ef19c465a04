"""What a recogniser gets: the work of a network of its own, or the recording as it is where its phones can be told."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import noise

from phonemi.aggregations import WeightedSum
from phonemi.enhancers.complex_mask import ComplexMaskEnhancer
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.enhancers.options import Purpose
from phonemi.enhancers.purpose import HIGH_ENTROPY_NATS, LOW_ENTROPY_NATS, PhoneProbe, between_frames
from phonemi.errors import ConfigError, ModelError, PhonemiWarning
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig

PHONES = 40
SIZES = {"mels": 8, "dim": 16, "blocks": 1, "heads": 2, "feedforward": 8, "position_kernel": 3}


def enhancer(scale: float, network: str = "mask") -> Enhancer:
    """One whose probe is the surer, the larger `scale` is: at 0 all phones are equally probable."""
    torch.manual_seed(0)
    encoder = MelTransformer(MelTransformerConfig(**SIZES)).requires_grad_(False)
    probe = PhoneProbe(encoder.dim, PHONES)
    with torch.no_grad():
        probe.linear.weight.zero_()
        probe.linear.bias.copy_(scale * torch.arange(PHONES))
    made = ComplexMaskEnhancer(16) if network == "complex" else MaskEnhancer(16, True, hidden=4, layers=1)
    if isinstance(made, ComplexMaskEnhancer):
        with torch.no_grad():
            made.mask.bias.mul_(0.5)  # it would change nothing at first
    return Enhancer(encoder, WeightedSum(encoder.layers), made, phone_probe=probe)


def entropy_of(scale: float) -> float:
    probe = enhancer(scale).phone_probe
    assert probe is not None
    return float(probe.entropy(torch.zeros(1, 1, 16)).detach())


def scale_for(nats: float) -> float:
    low, high = 0.0, 9.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy_of(middle) > nats else (low, middle)
    return low


def test_entropy_is_that_of_the_probe() -> None:
    assert entropy_of(0.0) == pytest.approx(np.log(PHONES), abs=1e-6)
    assert entropy_of(9.0) == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize("network", ["mask", "complex"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_where_the_phones_can_be_told_the_recording_stays_as_it_is(network: str, rate: int) -> None:
    recording = noise(2, rate).numpy()
    told = enhancer(9.0, network)
    with pytest.warns(PhonemiWarning, match="left as it is, or nearly so: its phones can be told"):
        left = told.enhance(recording, rate, purpose="recognition")
    np.testing.assert_allclose(left, recording, atol=2e-5)
    enhanced = told.enhance(recording, rate)
    assert np.abs(enhanced - recording).max() > 0.01
    mixed_up = enhancer(0.0, network)
    assert np.log(PHONES) > HIGH_ENTROPY_NATS
    np.testing.assert_allclose(mixed_up.enhance(recording, rate, purpose="recognition"), enhanced, atol=1e-5)


def test_halfway_half_of_the_recording_is_mixed_back() -> None:
    halfway = enhancer(scale_for((LOW_ENTROPY_NATS + HIGH_ENTROPY_NATS) / 2))
    recording = noise(8000).numpy()
    expected = (recording + halfway.enhance(recording, 16_000)) / 2
    np.testing.assert_allclose(halfway.enhance(recording, 16_000, purpose="recognition"), expected, atol=1e-4)


def test_the_share_follows_the_entropy_in_time_and_knows_nothing_of_padding() -> None:
    entropy = torch.cat([torch.full((1, 400), 0.1), torch.full((1, 400), 3.0)], 1)
    probe = PhoneProbe(16, PHONES)
    share = probe.enhanced_share(entropy, torch.tensor([800]), 320)[0]
    assert share[:300].max() == 0
    assert share[500:].min() == 1
    assert (share.diff() >= 0).all()
    padded = probe.enhanced_share(torch.cat([entropy, torch.zeros(1, 90)], 1), torch.tensor([800]), 320)[0]
    torch.testing.assert_close(padded[:800], share)
    assert (padded[800:] == share[-1]).all(), "the interpolation reaches half a frame beyond the last"


def test_one_frame_is_enough_to_interpolate() -> None:
    assert between_frames(torch.tensor([[0.25]]), torch.arange(400), 320).unique().tolist() == [0.25]


def test_an_item_is_treated_alone_as_beside_a_longer_one() -> None:
    made = enhancer(1.0)
    probe = PhoneProbe(16, PHONES, low_entropy_nats=0.0, high_entropy_nats=np.log(PHONES))
    torch.nn.init.normal_(probe.linear.weight, std=4.0)
    made.phone_probe = probe
    recordings = [noise(40_000).numpy(), noise(70_000).numpy()]
    features = made.fuse(torch.from_numpy(recordings[1])[None])
    assert features is not None
    share = probe.enhanced_share(probe.entropy(features), torch.tensor([features.shape[1]]), 320)[0]
    assert share.diff()[-20:].abs().min() > 1e-6, "it changes to the end"
    together = made.enhance_batch(recordings, 16_000, purpose="recognition")
    for recording, result in zip(recordings, together, strict=True):
        np.testing.assert_allclose(made.enhance(recording, 16_000, purpose="recognition"), result, atol=1e-5)


def with_a_network_for_recognition() -> Enhancer:
    heard = enhancer(9.0)
    torch.manual_seed(1)
    own = MaskEnhancer(16, True, hidden=4, layers=1)
    return Enhancer(heard.representation, heard.aggregation, heard.network, recognition_network=own)


def test_a_network_for_recognition_does_that_and_no_more(tmp_path: Path) -> None:
    made, recording = with_a_network_for_recognition(), noise(2, 44_100).numpy()
    assert made.recognition_network is not None
    alone = Enhancer(made.representation, made.aggregation, made.recognition_network)
    pairs: list[tuple[Purpose, Enhancer]] = [("listening", enhancer(9.0)), ("recognition", alone)]
    for purpose, wanted in pairs:
        np.testing.assert_array_equal(
            made.enhance(recording, 44_100, purpose=purpose), wanted.enhance(recording, 44_100)
        )
    assert np.abs(alone.enhance(recording, 44_100) - made.enhance(recording, 44_100)).max() > 1e-3
    made.save_pretrained(tmp_path)
    loaded = Enhancer.from_pretrained(tmp_path)
    assert loaded.version == made.version != enhancer(9.0).version
    found = loaded.enhance(recording, 44_100, purpose="recognition")
    np.testing.assert_array_equal(found, alone.enhance(recording, 44_100))
    assert "| mask enhancer for recognition | BLSTM" in (tmp_path / "README.md").read_text()
    assert "another for recognition; " in repr(loaded)


def test_a_network_for_recognition_must_fit_and_mixes_nothing_back() -> None:
    made = enhancer(0.0)
    arguments = made.representation, made.aggregation, made.network
    with pytest.raises(ModelError, match="the network expects features of size 8, the encoder gives 16"):
        Enhancer(*arguments, recognition_network=MaskEnhancer(8, True, hidden=4, layers=1))
    with pytest.raises(ModelError, match="it takes no phone probe"):
        Enhancer(*arguments, phone_probe=made.phone_probe, recognition_network=made.network)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_a_network_for_recognition().enhance(noise(2).numpy(), 16_000, purpose="recognition")


def test_a_model_without_either_says_so() -> None:
    made = enhancer(0.0)
    made.phone_probe = None
    with pytest.raises(ConfigError, match=r"enhancer has neither a network .* nor a phone probe .* \(--mix 0.8\)"):
        made.enhance(noise(8000).numpy(), 16_000, purpose="recognition")
    with pytest.raises(ConfigError, match="enhancer has neither"):
        made.enhance_folder("recordings", "enhanced", purpose="recognition")
    with pytest.raises(ConfigError, match="purpose is 'recogniser': did you mean 'recognition'"):
        made.enhance(noise(8000).numpy(), 16_000, purpose="recogniser")  # type: ignore[arg-type]


def test_the_probe_is_saved_with_the_model(tmp_path: Path) -> None:
    made = enhancer(1.0)
    made.save_pretrained(tmp_path)
    loaded, recording = Enhancer.from_pretrained(tmp_path), noise(8000).numpy()
    np.testing.assert_array_equal(
        loaded.enhance(recording, 16_000, purpose="recognition"), made.enhance(recording, 16_000, purpose="recognition")
    )
    assert "| phone probe | linear, on the fused features | 680 |" in (tmp_path / "README.md").read_text()


def test_a_probe_of_other_features_does_not_fit() -> None:
    made = enhancer(0.0)
    with pytest.raises(ModelError, match="the phone probe reads features of size 8, not 16"):
        Enhancer(made.representation, made.aggregation, made.network, phone_probe=PhoneProbe(8, PHONES))
    with pytest.raises(ModelError, match="the phone probe reads features of size 8, not 0"):
        Enhancer(None, None, MaskEnhancer(0, True, hidden=4, layers=1), phone_probe=PhoneProbe(8, PHONES))
