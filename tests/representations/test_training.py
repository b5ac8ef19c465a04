"""Representations that learn: what is trained, what is not, and that nothing else changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from phonemi.errors import ModelError
from phonemi.representations.base import Representation
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import MelTransformer
from phonemi.representations.names import load_representation
from phonemi.representations.saved_encoder import SavedEncoder
from phonemi.representations.tera import Tera
from phonemi.training.loop import FitSettings, fit

KINDS = ["mel", "tera", "tera-pre", "hubert", "wavlm", "wav2vec2", "hubert-large", "wavlm-large", "wav2vec2-large"]
BLOCKS = 3

NewEncoder = Callable[..., Representation]


def noise(*shape: int, seed: int = 1) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def blocks_of(encoder: Representation) -> nn.ModuleList:
    """The transformer blocks, where each kind of encoder has them."""
    blocks = encoder.blocks if isinstance(encoder, SavedEncoder) else encoder.model.encoder.layers
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def expected_parameters(encoder: Representation, from_block: int) -> set[str]:
    """Names of the parameters that block `from_block` and later ones are made of, by identity."""
    if from_block == 0:
        unused = {"mask_embedding", "model.masked_spec_embed"}
        return {name for name, _ in encoder.named_parameters()} - unused
    modules: list[nn.Module] = [*blocks_of(encoder)[from_block - 1 :]]
    if encoder.name.endswith("-large"):
        modules.append(encoder.model.encoder.layer_norm)
    if isinstance(encoder, Tera):
        modules += [*encoder.state_norms[from_block:]]
    wanted = {id(parameter) for module in modules for parameter in module.parameters()}
    return {name for name, parameter in encoder.named_parameters() if id(parameter) in wanted}


def loss_of(encoder: Representation, samples: int = 8000) -> Tensor:
    """A number that depends on all hidden states of a batch of items of different lengths."""
    states = encoder(noise(2, samples), torch.tensor([samples, samples // 2])).states
    return (states * noise(*states.shape, seed=2)).sum()


@pytest.mark.parametrize("from_block", range(BLOCKS + 1))
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_freed_blocks_and_nothing_else(new_encoder: NewEncoder, kind: str, from_block: int) -> None:
    encoder = new_encoder(kind).unfreeze(from_block).train()
    assert encoder.trainable_from == from_block
    loss_of(encoder).backward()
    wanted = expected_parameters(encoder, from_block)
    assert {name for name, parameter in encoder.named_parameters() if parameter.requires_grad} == wanted
    assert {name for name, parameter in encoder.named_parameters() if parameter.grad is not None} == wanted
    still = {name for name, parameter in encoder.named_parameters() if name in wanted and not parameter.grad.any()}
    # A bias of the keys adds the same to all scores of a query, which the softmax takes off again.
    assert all(name.endswith(("k_proj.bias", "key.bias")) for name in still)


@pytest.mark.slow
@pytest.mark.parametrize("from_block", range(BLOCKS + 1))
@pytest.mark.parametrize("kind", KINDS)
def test_the_frozen_part_builds_no_graph(new_encoder: NewEncoder, kind: str, from_block: int) -> None:
    encoder = new_encoder(kind).unfreeze(from_block).train()
    needs_gradient: list[bool] = []
    for block in blocks_of(encoder):
        block.register_forward_hook(
            lambda _, inputs, output: needs_gradient.append(
                (output[0] if isinstance(output, tuple) else output).requires_grad
            )
        )
    encoder(noise(1, 4000))
    assert needs_gradient == [number >= from_block for number in range(1, BLOCKS + 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_convolutions_build_no_graph_unless_they_are_trained(new_encoder: NewEncoder, kind: str) -> None:
    encoder = new_encoder(kind).train()
    for from_block in (1, BLOCKS, 0):
        encoder.unfreeze(from_block)
        if isinstance(encoder, SavedEncoder):
            front_end = encoder.projection if isinstance(encoder, Tera) else encoder.embedding
        else:
            front_end = encoder.model.feature_extractor
        seen: list[bool] = []
        handle = front_end.register_forward_hook(lambda _, inputs, output, seen=seen: seen.append(output.requires_grad))
        encoder(noise(1, 4000))
        handle.remove()
        assert seen == [from_block == 0]


@pytest.mark.parametrize("kind", KINDS)
def test_partial_fine_tuning_trains_all_but_what_makes_frames_of_the_waveform(
    new_encoder: NewEncoder, kind: str
) -> None:
    encoder = new_encoder(kind, dropout=0.5).unfreeze(0, keep_front_end=True).train()
    front_end = encoder.get_submodule(encoder.front_end[0])
    seen: list[bool] = []
    front_end.register_forward_hook(lambda _, inputs, output: seen.append(output.requires_grad))
    loss_of(encoder).backward()
    assert seen
    assert not any(seen), "no gradient is computed where none is needed"
    frozen = {name for name, parameter in encoder.named_parameters() if parameter.grad is None}
    assert frozen == {name for name, _ in encoder.named_parameters() if name.startswith(f"{encoder.front_end[0]}.")} | {
        name for name, _ in encoder.named_parameters() if name == encoder.mask_parameter
    }
    assert not any(module.training for module in front_end.modules())
    assert all(module.training for module in blocks_of(encoder).modules())
    assert not torch.equal(encoder(noise(1, 4000)).states, encoder(noise(1, 4000)).states), "it drops out"
    assert torch.equal(encoder.eval()(noise(1, 4000)).states, encoder(noise(1, 4000)).states)


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_blocks_give_the_same_gradient_and_keep_less(new_encoder: NewEncoder, kind: str) -> None:
    found = []
    for recomputes in (False, True):
        encoder = new_encoder(kind, dropout=0.1).unfreeze(0)
        if recomputes:
            encoder.recompute_blocks()
        encoder.train()
        torch.manual_seed(5)
        kept: set[int] = set()

        def keep(tensor: Tensor, kept: set[int] = kept) -> Tensor:
            kept.add(tensor.untyped_storage().data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = loss_of(encoder)
            count = len(kept)
            loss.backward()
        found.append((loss.detach(), {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}, count))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-5, atol=1e-7, msg=name)
    assert found[1][2] < 0.8 * found[0][2]


@pytest.mark.parametrize("kind", KINDS)
def test_the_modules_of_layers_give_the_hidden_states(new_encoder: NewEncoder, kind: str) -> None:
    encoder = new_encoder(kind)
    modules = encoder.layer_modules()
    outputs: dict[int, Tensor] = {}
    for layer, module in enumerate(modules):

        def keep(_: object, inputs: object, output: Any, layer: int = layer) -> None:
            outputs[layer] = output[0] if isinstance(output, tuple) else output

        module.register_forward_hook(keep)
    states = encoder(noise(1, 4000)).states
    assert len(modules) == encoder.layers == len(outputs)
    is_normalised = kind == "mel" or kind.endswith("-large")
    for layer in range(encoder.layers):
        output = outputs[layer]
        if kind.endswith("-large") and layer == encoder.layers - 1:
            output = encoder.model.encoder.layer_norm(output)
        if kind == "tera-pre":
            output = encoder.state_norms[layer](output)
        expected = nn.functional.layer_norm(output, (encoder.dim,)) if is_normalised else output
        torch.testing.assert_close(states[layer], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_freezing_and_unfreezing_change_no_number(new_encoder: NewEncoder, kind: str) -> None:
    encoder = new_encoder(kind, dropout=0.5)
    waveforms, lengths = noise(3, 6000), torch.tensor([6000, 2000, 4000])
    expected = encoder(waveforms, lengths).states
    assert not expected.requires_grad
    # The fast kernels cannot learn WavLM's biases: where these are trained, PyTorch takes the plain products.
    with sdpa_kernel(SDPBackend.MATH):
        plain = encoder(waveforms, lengths).states
        for from_block in (2, 0):
            assert torch.equal(encoder.unfreeze(from_block)(waveforms, lengths).states, plain)
        encoder.freeze()
    torch.testing.assert_close(plain, expected, rtol=1e-6, atol=3e-6)  # states are up to 3
    frozen = encoder.freeze().train()(waveforms, lengths).states
    assert torch.equal(frozen, expected)
    assert encoder.trainable_from is None
    assert not any(module.training for module in encoder.modules())


@pytest.mark.parametrize("from_block", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_change_the_freed_blocks_only(new_encoder: NewEncoder, kind: str, from_block: int) -> None:
    encoder = new_encoder(kind)
    before, states = copy.deepcopy(encoder.state_dict()), encoder(noise(1, 4000)).states
    nn.ModuleList([encoder.unfreeze(from_block)]).train()
    optimiser = torch.optim.AdamW([value for value in encoder.parameters() if value.requires_grad], lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        loss_of(encoder, 4000).backward()
        optimiser.step()
    changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == expected_parameters(encoder, from_block)
    after = encoder.eval()(noise(1, 4000)).states
    assert torch.equal(after[:from_block], states[:from_block])
    moved = (after - states).abs().amax((1, 2, 3))
    assert (moved[from_block:] > 1e-3).all()


@pytest.mark.parametrize("from_block", range(BLOCKS + 1))
@pytest.mark.parametrize("kind", ["mel", "tera", "wavlm", "hubert-large"])
def test_dropout_acts_in_trained_blocks_only_and_follows_the_seed(
    new_encoder: NewEncoder, kind: str, from_block: int
) -> None:
    encoder = new_encoder(kind, dropout=0.5).unfreeze(from_block)
    plain = encoder(noise(1, 4000)).states
    encoder.train()

    def step(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return encoder(noise(1, 4000)).states

    first, again, other = step(1), step(1), step(2)
    assert torch.equal(first, again)
    frozen = max(from_block, 1) if kind == "mel" else from_block  # the front-end of a mel transformer drops nothing
    assert torch.equal(first[:frozen], plain[:frozen])
    assert all((first[i] - plain[i]).abs().max() > 1e-3 for i in range(frozen, BLOCKS + 1))
    assert all((first[i] - other[i]).abs().max() > 1e-3 for i in range(frozen, BLOCKS + 1))
    assert torch.equal(encoder.eval()(noise(1, 4000)).states, plain)


@pytest.mark.parametrize("kind", ["hubert", "wavlm", "wav2vec2-large"])
def test_blocks_are_not_skipped_and_frames_not_masked(new_encoder: NewEncoder, kind: str) -> None:
    encoder = new_encoder(kind, layerdrop=0.9, mask_time_prob=0.9, mask_time_length=2, mask_feature_prob=0.5)
    expected = encoder(noise(1, 8000)).states
    encoder.unfreeze(0).train()
    for _ in range(3):
        torch.testing.assert_close(encoder(noise(1, 8000)).states.detach(), expected, rtol=0, atol=1e-6)


def test_masking_can_be_asked_for_and_follows_the_seed_of_numpy(new_encoder: NewEncoder) -> None:
    encoder = new_encoder("hubert", mask_time_prob=0.5, mask_time_length=2)
    encoder.unfreeze(0).train().model.config.apply_spec_augment = True  # type: ignore[union-attr]

    def step(seed: int) -> Tensor:
        np.random.seed(seed)  # noqa: NPY002  # transformers draws from this generator
        return encoder(noise(1, 8000)).states

    assert torch.equal(step(1), step(1))
    assert not torch.equal(step(1), step(2))
    encoder.unfreeze(1)
    assert torch.equal(step(1), step(2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_representation_stays_in_evaluation_mode_in_a_model_that_trains(
    new_encoder: NewEncoder, kind: str
) -> None:
    owner = nn.ModuleList([new_encoder(kind, dropout=0.5)]).train()
    assert owner.training
    assert not any(module.training for module in owner[0].modules())
    owner[0].unfreeze(2)
    assert not any(module.training for module in owner[0].modules()), "the mode changes when train() is called"
    owner.train()
    assert [block.training for block in blocks_of(owner[0])] == [False, True, True]
    owner[0].freeze()
    assert not any(module.training for module in owner[0].modules())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["wavlm", "wavlm-large"])
def test_fused_attention_trains_as_that_of_transformers(new_encoder: NewEncoder, kind: str, masked: bool) -> None:
    """Gradients in float64 of the blocks from 2 on, through the whole representation, padding and all."""
    from phonemi.representations.huggingface import HuggingFaceRepresentation
    from phonemi.representations.wavlm_attention import FusedAttention

    fused = new_encoder(kind).double()
    plain = HuggingFaceRepresentation(copy.deepcopy(fused.model), "tiny", fused=False).double()
    for layer, fused_layer in zip(plain.model.encoder.layers, fused.model.encoder.layers, strict=True):
        assert isinstance(fused_layer.attention, FusedAttention)
        layer.attention = as_in_transformers(fused_layer.attention, plain.model.config)
    assert not any(isinstance(module, FusedAttention) for module in plain.modules())
    lengths = torch.tensor([4000, 2000]) if masked else None
    gradients = []
    for encoder in (plain, fused):
        encoder.unfreeze(2).train()
        states = encoder(noise(2, 4000).double(), lengths).states
        (states * noise(*states.shape, seed=3)).sum().backward()
        gradients.append({name: value.grad for name, value in encoder.named_parameters() if value.grad is not None})
    expected, actual = gradients
    assert expected.keys() == actual.keys() == expected_parameters(fused, 2)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, atol=1e-10 * largest, rtol=1e-6)


def as_in_transformers(attention: nn.Module, config: object) -> nn.Module:
    """A `WavLMAttention` with the weights of ours."""
    from transformers.models.wavlm.modeling_wavlm import WavLMAttention

    plain = WavLMAttention(
        embed_dim=config.hidden_size,
        num_heads=config.num_attention_heads,
        dropout=0.0,
        num_buckets=config.num_buckets,
        max_distance=config.max_bucket_distance,
        has_relative_position_bias=hasattr(attention, "rel_attn_embed"),
    ).double()
    plain.load_state_dict(attention.state_dict())
    return plain.eval()


@pytest.mark.slow
@pytest.mark.parametrize("from_block", [0, 1, 2])
def test_gradients_of_a_mel_transformer_are_those_of_finite_differences(
    new_encoder: NewEncoder, from_block: int
) -> None:
    encoder = new_encoder("mel").double()
    assert isinstance(encoder, MelTransformer)
    features = encoder.features(noise(2, 1500)).double()
    encoder.unfreeze(from_block).train()
    parameters = {name: value for name, value in encoder.named_parameters() if value.requires_grad}
    generator = torch.Generator().manual_seed(0)

    def loss(values: dict[str, Tensor]) -> Tensor:
        states = torch.func.functional_call(
            Encode(encoder), {f"encoder.{n}": v for n, v in values.items()}, (features,)
        )
        return (states * noise(*states.shape, seed=2)).sum()

    gradients = torch.autograd.grad(loss(parameters), list(parameters.values()))
    for (name, value), gradient in zip(parameters.items(), gradients, strict=True):
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        direction = direction / direction.norm()
        with torch.no_grad():
            ends = [loss({**parameters, name: value + step * direction}) for step in (1e-5, -1e-5)]
        slope = (ends[0] - ends[1]).item() / 2e-5
        assert (gradient * direction).sum().item() == pytest.approx(slope, abs=1e-6, rel=1e-5), name


class Encode(nn.Module):
    """`MelTransformer.encode` as a module, of two items of different lengths."""

    def __init__(self, encoder: MelTransformer) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor) -> Tensor:
        return self.encoder.encode(features, torch.tensor([features.shape[1], 2])).states


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_encoder_is_rebuilt_from_its_settings_and_weights(new_encoder: NewEncoder, kind: str) -> None:
    encoder = new_encoder(kind)
    assert not encoder.is_modified
    encoder.unfreeze(2)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.1 * parameter.requires_grad
    encoder.freeze()
    assert encoder.is_modified, "what was trained stays different from what the name loads"
    rebuilt = load_representation(json.loads(json.dumps(encoder.settings())))
    rebuilt.load_state_dict(encoder.state_dict())
    assert torch.equal(rebuilt(noise(1, 4000)).states, encoder(noise(1, 4000)).states)
    assert rebuilt.settings() == encoder.settings()
    assert (rebuilt.is_modified, rebuilt.trainable_from, rebuilt.training) == (True, None, False)


def test_a_new_mel_transformer_is_trainable_as_a_whole_for_pre_training(new_encoder: NewEncoder) -> None:
    encoder = MelTransformer(new_encoder("mel", dropout=0.5).config).train()
    assert encoder.trainable_from == 0
    assert encoder.mask_embedding.requires_grad
    assert all(module.training for module in encoder.modules())


def test_what_cannot_be_trained_is_one_line(new_encoder: NewEncoder) -> None:
    with pytest.raises(ModelError, match=r"^log1p has no parameters: there is nothing to train$"):
        Log1p().unfreeze()
    encoder = new_encoder("mel")
    for number in (-1, BLOCKS + 1):
        with pytest.raises(ModelError, match=rf"has no block {number}: its blocks are 1 to 3, and 0 is the front-end$"):
            encoder.unfreeze(number)
    assert (encoder.is_modified, encoder.trainable_from) == (False, None)
    assert Log1p().freeze().trainable_from is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mel", "wavlm"])
def test_the_training_loop_fine_tunes_and_repeats_itself(new_encoder: NewEncoder, kind: str, tmp_path: Path) -> None:
    class Task(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = new_encoder(kind, dropout=0.3).unfreeze(2)
            self.head = nn.Linear(16, 1)

    def loss(task: Task, waveforms: Tensor) -> Tensor:
        return task.head(task.encoder(waveforms).states.mean((0, 2))).square().mean()

    ends = []
    for folder in ("first", "second"):
        task = Task()
        before = copy.deepcopy(task.encoder.state_dict())
        fit(
            task,
            batch_at=lambda step: noise(2, 2000, seed=step),
            loss=loss,
            settings=FitSettings(steps=3, learning_rate=0.01, validate_every=3, checkpoint_every=3),
            folder=tmp_path / folder,
            label="test",
            device="cpu",
        )
        changed = {name for name, value in task.encoder.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == expected_parameters(task.encoder, 2)
        ends.append(task.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
