"""Two representations side by side: whose features are where, at which rate, and that they go wherever one goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sounds import noise

from phonemi import load_representation
from phonemi.errors import ModelError
from phonemi.representations.base import Representation, at_50_hz
from phonemi.representations.log1p import Log1p
from phonemi.representations.side_by_side import SideBySide
from phonemi.representations.stored import _save_encoder
from phonemi.weights.training_record import find_training_record

NewEncoder = Callable[..., Representation]


@pytest.mark.parametrize("kind", ["mel", "hubert", "wavlm-large"])
def test_the_spectrum_stands_beside_every_layer(new_encoder: NewEncoder, kind: str) -> None:
    encoder, waveforms, lengths = new_encoder(kind), 0.1 * noise(2, 6000), torch.tensor([6000, 4123])
    pair = SideBySide(encoder, Log1p())
    assert (pair.layers, pair.dim, pair.hop) == (4, 16 + 257, 320)
    states, counts = pair(waveforms, lengths)
    own, spectrum = encoder(waveforms, lengths), at_50_hz(Log1p()(waveforms, lengths), 160, lengths)
    assert counts.tolist() == own.lengths.tolist() == [pair.frames(6000), pair.frames(4123)]
    for layer in range(4):
        torch.testing.assert_close(states[layer, ..., :16], own.states[layer])
        torch.testing.assert_close(states[layer, ..., 16:], spectrum.states[0])


def test_layers_are_counted_from_the_last(new_encoder: NewEncoder) -> None:
    deep, shallow = load_representation("mini"), new_encoder("hubert")
    pair, waveform = SideBySide(shallow, deep), 0.1 * noise(1, 4000)
    states, of_deep, of_shallow = (encoder(waveform).states for encoder in (pair, deep, shallow))
    assert states.shape == (7, 1, pair.frames(4000), 16 + 256)
    for layer, own in enumerate([0, 0, 0, 0, 1, 2, 3]):
        torch.testing.assert_close(states[layer, ..., :16], of_shallow[own])
        torch.testing.assert_close(states[layer, ..., 16:], of_deep[layer])


def test_two_at_100_frames_a_second_stay_there() -> None:
    pair, waveform = SideBySide(Log1p(), Log1p()), 0.1 * noise(1, 4000)
    assert (pair.hop, pair.frames(4000)) == (160, 26)
    torch.testing.assert_close(pair(waveform).states[..., 257:], Log1p()(waveform).states)


def test_an_item_is_the_same_alone_and_beside_longer_ones(new_encoder: NewEncoder) -> None:
    pair, lengths, waveforms = SideBySide(new_encoder("hubert"), Log1p()), [4000, 6000, 400], 0.1 * noise(3, 6400)
    states, counts = pair(waveforms, torch.tensor(lengths))
    for item, length in enumerate(lengths):
        alone = pair(waveforms[item : item + 1, :length]).states[:, 0]
        assert counts[item] == alone.shape[1]
        torch.testing.assert_close(states[:, item, : counts[item]], alone, atol=1e-5, rtol=1e-4)
        assert not states[:, item, counts[item] :].any()


def test_blocks_are_those_of_the_layers(new_encoder: NewEncoder) -> None:
    pair = SideBySide(new_encoder("mel"), Log1p()).unfreeze(3)
    assert {name for name, value in pair.named_parameters() if value.requires_grad} == {
        name for name, _ in pair.named_parameters() if name.startswith("first.blocks.2.")
    }
    pair.unfreeze(0, keep_front_end=True)
    assert not any(value.requires_grad for name, value in pair.named_parameters() if name.startswith("first.embedding"))


def test_names_say_it_and_files_keep_it(new_encoder: NewEncoder, tmp_path: Path) -> None:
    named = load_representation("mini+log1p")
    assert isinstance(named, SideBySide)
    assert named.name == "mini+log1p"
    assert find_training_record("mini+log1p") == find_training_record("mini")
    both = find_training_record("mini+mini-kmeans")
    assert both is not None
    assert "beside" in both.method
    unknown = find_training_record("mini+microsoft/wavlm-base")
    assert unknown is not None
    assert not unknown.all_speakers_known
    inner: Any = new_encoder("hubert")
    inner.normalise = True
    for pair in (named, SideBySide(inner, Log1p())):
        folder = tmp_path / pair.name.replace("/", "-")
        files = _save_encoder(pair, folder, half=False)
        assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(files)
        waveform = 0.1 * noise(1, 4000)
        assert torch.equal(load_representation(folder)(waveform).states, pair(waveform).states)
    fresh = load_representation(named.settings())
    fresh.load_state_dict(named.state_dict())
    assert torch.equal(fresh(waveform).states, named(waveform).states)


def test_three_are_refused() -> None:
    with pytest.raises(ModelError, match="two representations stand side by side, not three"):
        load_representation("mini+log1p+log1p")
    with pytest.raises(ModelError, match="no encoder 'nobody'"):
        load_representation("mini+nobody")
