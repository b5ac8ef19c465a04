"""Feature normalisation against its equation written a second time, in every kind of encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sounds import noise
from torch import Tensor

from phonemi.errors import ModelError
from phonemi.representations.base import Representation
from phonemi.representations.feature_normalisation import FeatureNormalisation, Statistics, measure_statistics
from phonemi.representations.log1p import Log1p
from phonemi.representations.names import load_representation
from phonemi.representations.stored import _save_encoder

KINDS = ["mel", "tera", "hubert", "wavlm", "wav2vec2", "hubert-large"]
LAYERS = 4  # three blocks and what comes before them

NewEncoder = Callable[..., Representation]


def statistics(dim: int = 16) -> Statistics:
    generator = torch.Generator().manual_seed(7)
    return Statistics(torch.randn(LAYERS, dim, generator=generator), 0.5 + torch.rand(LAYERS, dim, generator=generator))


def outputs_of(encoder: Representation, waveform: Tensor) -> list[np.ndarray]:
    """What the modules of the layers give, [frame, dim] each, before and after normalisation where there is one."""
    found: list[np.ndarray] = []
    handles = [
        module.register_forward_hook(
            lambda _, inputs, output: found.append((output[0] if isinstance(output, tuple) else output)[0].numpy())
        )
        for module in encoder.layer_modules()
    ]
    with torch.no_grad():
        encoder(waveform)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("layers", [(0,), (2,), (0, 1, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_features_get_the_clean_statistics_before_the_next_block_sees_them(
    new_encoder: NewEncoder, kind: str, layers: tuple[int, ...]
) -> None:
    clean, waveform = statistics(), 0.1 * noise(1, 6000)
    plain = outputs_of(new_encoder(kind), waveform)
    normalised = outputs_of(FeatureNormalisation(new_encoder(kind), layers).set_statistics(clean), waveform)
    first = layers[0]
    for layer in range(first):
        np.testing.assert_array_equal(normalised[layer], plain[layer])
    features = plain[first].astype(np.float64)
    expected = (features - features.mean(0)) / (features.std(0) + 1e-5) * clean.std[first].numpy()
    np.testing.assert_allclose(normalised[first], expected + clean.mean[first].numpy(), atol=1e-4)
    for layer in layers:
        np.testing.assert_allclose(normalised[layer].mean(0), clean.mean[layer], atol=1e-4)
        # Some features of these small encoders vary so little that the eps of 1e-5 shows.
        np.testing.assert_allclose(normalised[layer].std(0), clean.std[layer], rtol=2e-2)
    if first < LAYERS - 1:
        assert np.abs(normalised[first + 1] - plain[first + 1]).max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_is_the_same_alone_and_beside_longer_ones(new_encoder: NewEncoder, kind: str) -> None:
    encoder = FeatureNormalisation(new_encoder(kind), (0, 2)).set_statistics(statistics())
    lengths = torch.tensor([4000, 6000, 4000, 400])
    waveforms = 0.1 * noise(4, 6400)
    with torch.no_grad():
        states, counts = encoder(waveforms, lengths)
        assert states.shape == (LAYERS, 4, encoder.frames(6400), 16)
        for item, length in enumerate(lengths.tolist()):
            alone = encoder(waveforms[item : item + 1, :length]).states[:, 0]
            assert counts[item] == alone.shape[1] == encoder.frames(length)
            torch.testing.assert_close(states[:, item, : counts[item]], alone, atol=1e-5, rtol=1e-4)
            assert not states[:, item, counts[item] :].any()


def test_a_single_frame_and_silence_stay_finite(new_encoder: NewEncoder) -> None:
    plain = new_encoder("mel")
    expected = plain(0.1 * noise(1, 400)).states
    encoder = FeatureNormalisation(plain, (1,)).set_statistics(statistics())
    assert torch.equal(encoder(0.1 * noise(1, 400)).states, expected)
    encoder.unfreeze(0)
    states = encoder(torch.zeros(1, 4000)).states
    states.square().sum().backward()
    assert torch.isfinite(states).all()
    assert all(torch.isfinite(value.grad).all() for value in encoder.parameters() if value.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_those_of_all_frames(new_encoder: NewEncoder, kind: str) -> None:
    encoder = new_encoder(kind)
    waveforms = [0.1 * noise(1, samples, seed=samples)[0].numpy() for samples in (4000, 2000, 5000)]
    found = measure_statistics(encoder, waveforms)
    outputs = [outputs_of(encoder, torch.from_numpy(waveform)[None]) for waveform in waveforms]
    for layer in range(LAYERS):
        frames = np.concatenate([of_waveform[layer] for of_waveform in outputs]).astype(np.float64)
        np.testing.assert_allclose(found.mean[layer], frames.mean(0), atol=1e-5)
        np.testing.assert_allclose(found.std[layer], frames.std(0), atol=1e-4)
    with pytest.raises(ModelError, match="at least one recording"):
        measure_statistics(encoder, [])


def test_paired_statistics_are_those_of_the_clean_recording(new_encoder: NewEncoder) -> None:
    plain = new_encoder("hubert")
    lengths = torch.tensor([4000, 6000, 4000])
    clean = 0.1 * noise(3, 6000) * (torch.arange(6000) < lengths[:, None])
    noisy = clean + 0.05 * noise(3, 6000, seed=3)
    expected = [outputs_of(plain, clean[item : item + 1, :length]) for item, length in enumerate(lengths.tolist())]
    encoder = FeatureNormalisation(plain, (0, 3)).set_statistics(statistics())
    with torch.no_grad():
        usual = encoder(noisy, lengths).states
        with encoder.paired_with(clean, lengths):
            paired = encoder(noisy, lengths).states
        assert torch.equal(encoder(noisy, lengths).states, usual), "and only inside"
    for item, outputs in enumerate(expected):
        count = encoder.frames(int(lengths[item]))
        for layer in (0, 3):
            states = paired[layer, item, :count].numpy()
            np.testing.assert_allclose(states.mean(0), outputs[layer].mean(0), atol=1e-4)
            np.testing.assert_allclose(states.std(0), outputs[layer].std(0), rtol=5e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_as_the_encoder_does(new_encoder: NewEncoder, kind: str) -> None:
    for from_block, keeps in ((0, False), (0, True), (2, False)):
        plain, encoder = new_encoder(kind), FeatureNormalisation(new_encoder(kind), (1,)).set_statistics(statistics())
        plain.unfreeze(from_block, keeps)
        encoder.unfreeze(from_block, keeps).train()
        learned = {name.removeprefix("encoder.") for name, value in encoder.named_parameters() if value.requires_grad}
        assert learned == {name for name, value in plain.named_parameters() if value.requires_grad}
        states = encoder(0.1 * noise(2, 4000)).states
        (states * torch.randn_like(states)).sum().backward()
        assert all(value.grad is not None for value in encoder.parameters() if value.requires_grad)
        assert encoder.is_modified and encoder.encoder.is_modified  # noqa: PT018
        again = FeatureNormalisation(new_encoder(kind), (1,)).set_statistics(statistics()).unfreeze(from_block, keeps)
        again.recompute_blocks().train()
        torch.testing.assert_close(again(0.1 * noise(2, 4000)).states, states)


@pytest.mark.parametrize("kind", ["mel", "hubert", "hubert-large"])
def test_it_is_saved_with_the_encoder_inside(new_encoder: NewEncoder, kind: str, tmp_path: Path) -> None:
    inner: Any = new_encoder(kind)
    if kind != "mel":
        inner.normalise = not inner.normalise  # what a config.json of transformers cannot say
    encoder = FeatureNormalisation(inner, (0, 2)).set_statistics(statistics())
    files = _save_encoder(encoder, tmp_path, half=False)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(files)
    loaded = load_representation(tmp_path)
    assert isinstance(loaded, FeatureNormalisation)
    assert loaded.trainable_from is None
    waveform = 0.1 * noise(1, 5000)
    assert torch.equal(loaded(waveform).states, encoder(waveform).states)
    fresh = load_representation(encoder.settings())
    fresh.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(fresh(waveform).states, encoder(waveform).states)


def test_what_cannot_be_normalised_is_refused(new_encoder: NewEncoder) -> None:
    with pytest.raises(ModelError, match="layers 0 to 3, of which at least one is normalised: asked for 4, 7"):
        FeatureNormalisation(new_encoder("mel"), (2, 4, 7))
    with pytest.raises(ModelError, match="asked for none"):
        FeatureNormalisation(new_encoder("mel"), ())
    with pytest.raises(ModelError, match="log1p lets nobody between its layers"):
        FeatureNormalisation(Log1p(), (0,))
