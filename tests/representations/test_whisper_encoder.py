"""The encoder of Whisper: on 30 s what transformers computes, on other lengths one recording at a time or many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sounds import noise
from tiny_whisper import make_whisper
from torch.nn import functional

from phonemi import Enhancer
from phonemi.aggregations import WeightedSum
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.errors import ModelError
from phonemi.representations.names import load_representation
from phonemi.representations.whisper_encoder import MARGIN, STEP, WhisperRepresentation
from phonemi.signal import ssl_frames

WINDOW_S = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("encoder") / "wee-whisper", context=32)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> WhisperRepresentation:
    loaded = load_representation(str(folder))
    assert isinstance(loaded, WhisperRepresentation)
    return loaded


@pytest.mark.slow
def test_on_30_s_it_is_the_encoder_of_transformers(encoder: WhisperRepresentation, folder: Path) -> None:
    from transformers import WhisperFeatureExtractor, WhisperModel

    recording = 0.05 * noise(1, WINDOW_S * 16_000)[0]
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    features = extractor(recording.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        theirs = WhisperModel.from_pretrained(folder).encoder.eval()(features, output_hidden_states=True)
    expected = torch.stack([*theirs.hidden_states[:-1], theirs.last_hidden_state])[:, 0]
    # Its frames are centred at multiples of 320 samples, the first one with half a window mirrored before the sound.
    mirrored = functional.pad(recording[None, None], (200, 200), mode="reflect")[0, :, : WINDOW_S * 16_000 + 240]
    states = encoder(mirrored).states[:, 0]
    assert states.shape == (2, 1500, 16)
    torch.testing.assert_close(states, functional.layer_norm(expected, (16,)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("samples", [400, 559, 560, 719, 720, 16_000])
def test_there_are_as_many_frames_as_of_other_encoders(encoder: WhisperRepresentation, samples: int) -> None:
    hidden = encoder(noise(1, samples))
    assert hidden.states.shape == (2, 1, ssl_frames(samples), 16)
    assert hidden.lengths.tolist() == [ssl_frames(samples)] == [encoder.frames(samples)]


def test_company_does_not_matter(encoder: WhisperRepresentation) -> None:
    waveforms, lengths = noise(4, 9000), torch.tensor([8999, 400, 5003, 560])
    waveforms[1] *= 100  # the loudest: each item has its own floor
    hidden = encoder(waveforms, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(waveforms[row : row + 1, :length]).states[:, 0]
        torch.testing.assert_close(hidden.states[:, row, : alone.shape[1]], alone, atol=1e-5, rtol=1e-5)
        assert not hidden.states[:, row, alone.shape[1] :].any()


@pytest.mark.slow
def test_a_longer_recording_is_encoded_in_windows(encoder: WhisperRepresentation) -> None:
    waveforms = noise(2, 16_000 * 53)
    lengths = torch.tensor([16_000 * 53, 16_000 * 10])
    hidden = encoder(waveforms, lengths)
    assert hidden.lengths.tolist() == ssl_frames(lengths).tolist()
    short = encoder(waveforms[1:, : 16_000 * 10]).states[:, 0]
    torch.testing.assert_close(hidden.states[:, 1, : short.shape[1]], short, atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        mel, _ = encoder.log_mel(waveforms, lengths)
    assert torch.equal(mel, encoder.log_mel(waveforms, lengths)[0])
    # The floor is that of the whole recording; noise does not reach it.
    seam = STEP + MARGIN
    first = encoder(waveforms[:1, : 1499 * 320 + 400 + 160]).states[:, 0]
    second = encoder(waveforms[:1, STEP * 320 :][:, : 1499 * 320 + 400 + 160]).states[:, 0]
    torch.testing.assert_close(hidden.states[:, 0, :seam], first[:, :seam], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        hidden.states[:, 0, seam : 2 * STEP + MARGIN], second[:, MARGIN:seam], atol=1e-4, rtol=1e-4
    )


def test_too_short(encoder: WhisperRepresentation) -> None:
    with pytest.raises(ModelError, match="399 samples is too short"):
        encoder(noise(1, 399))


def test_settings_rebuild_everything_but_the_weights(encoder: WhisperRepresentation) -> None:
    other = load_representation(json.loads(json.dumps(encoder.settings())))
    assert not torch.equal(other(noise(1, 900)).states, encoder(noise(1, 900)).states)
    other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(other(noise(1, 900)).states, encoder(noise(1, 900)).states)
    assert other.settings() == encoder.settings()


def test_training_changes_blocks_and_never_positions(folder: Path) -> None:
    encoder = load_representation(folder).unfreeze(1)
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert "model.layers.0.fc1.weight" in trained
    assert "model.layer_norm.weight" in trained, "it comes after the last block"
    assert not {name for name in trained if "conv" in name or "positions" in name}
    assert encoder.unfreeze(0).trainable_from == 0
    assert not encoder.model.embed_positions.weight.requires_grad
    encoder(noise(1, 4000)).states.square().mean().backward()
    assert encoder.model.conv1.weight.grad is not None


@pytest.mark.slow
def test_an_enhancer_keeps_its_own_copy(encoder: WhisperRepresentation, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MaskEnhancer(16, hidden=4, layers=1)
    enhancer = Enhancer(encoder, WeightedSum(2), network).eval()
    enhancer.save_pretrained(tmp_path / "enhancer")
    loaded = Enhancer.from_pretrained(tmp_path / "enhancer")
    assert isinstance(loaded.representation, WhisperRepresentation)
    torch.testing.assert_close(loaded(noise(1, 4000)), enhancer(noise(1, 4000)))
    size = (tmp_path / "enhancer" / "encoder" / "model.safetensors").stat().st_size
    assert size < 4 * sum(parameter.numel() for parameter in encoder.parameters()) + 10_000, "without the decoder"
