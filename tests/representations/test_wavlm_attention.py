"""The fused attention gives the results of transformers' own; tiny models with random weights."""

from __future__ import annotations

import copy

import pytest
import torch
from sounds import noise

from phonemi.representations import wavlm_attention
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.names import load_representation
from phonemi.representations.wavlm_attention import FusedAttention, fuse_attention

EXACT = {"atol": 1e-4, "rtol": 1e-4}


def tiny(model_type="wavlm", large=False, **options):
    """Random model of transformers in which scores, biases and gates all show in the output."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "conv_dim": [8] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": "layer" if large else "group",
        "do_stable_layer_norm": large,
        "conv_bias": large,
        "layerdrop": 0.0,
        "apply_spec_augment": False,
    }
    model = AutoModel.from_config(AutoConfig.for_model(model_type, **{**sizes, **options})).eval()
    for name, parameter in model.named_parameters():
        if "layers." in name and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 1.0 if "gru_rel_pos_const" in name else 0.0, 0.25)
        if "rel_attn_embed" in name:
            torch.nn.init.normal_(parameter)
        if name.endswith("proj.bias") or name.endswith("linear.bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def both(model):
    """The model as it is, and a copy with fused attention."""
    fused = copy.deepcopy(model)
    fuse_attention(fused)
    return model, fused


def states_of(model, waveforms, mask=None):
    output = model(waveforms, attention_mask=mask, output_hidden_states=True)
    return torch.stack([*output.hidden_states[:-1], output.last_hidden_state])


@pytest.mark.parametrize("samples", [400, 720, 8000, 40_000])
@pytest.mark.parametrize("large", [False, True])
def test_hidden_states_are_those_of_transformers(large, samples):
    """From one frame to 124, both in the range of single distances (80) and beyond the last bucket (100)."""
    plain, fused = both(tiny(large=large, max_bucket_distance=100))
    waveforms = noise(2, samples)
    with torch.no_grad():
        torch.testing.assert_close(states_of(fused, waveforms), states_of(plain, waveforms), **EXACT)


@pytest.mark.parametrize(("buckets", "furthest"), [(320, 800), (32, 40), (8, 9)])
def test_biases_of_every_distance(buckets, furthest):
    plain = tiny(num_buckets=buckets, max_bucket_distance=furthest).encoder.layers[0].attention
    expected = plain.compute_bias(1000, 1000)
    biases = FusedAttention(plain).biases(1000)
    assert biases.shape == (4, 1999)
    torch.testing.assert_close(biases.unfold(1, 1000, 1).flip(2), expected, atol=0, rtol=0)


@pytest.mark.parametrize("large", [False, True])
def test_padding_is_not_attended_to(large):
    plain, fused = both(tiny(large=large))
    lengths = torch.tensor([9000, 400, 5000])
    mask = (torch.arange(9000) < lengths[:, None]).long()
    waveforms = noise(3, 9000) * mask
    with torch.no_grad():
        expected, actual = states_of(plain, waveforms, mask), states_of(fused, waveforms, mask)
    for row, frames in enumerate((27, 1, 15)):
        torch.testing.assert_close(actual[:, row, :frames], expected[:, row, :frames], **EXACT)
    with torch.no_grad():
        unmasked = states_of(fused, waveforms)
    assert (unmasked[-1, 1, :1] - actual[-1, 1, :1]).abs().max() > 1e-2


def test_blocks_of_queries_change_nothing(monkeypatch):
    fused = both(tiny())[1]
    mask = torch.ones(2, 8000, dtype=torch.long)
    mask[1, 3000:] = 0
    with torch.no_grad():
        whole = states_of(fused, noise(2, 8000), mask)
        monkeypatch.setattr(wavlm_attention, "MAX_BIASES", 7 * 2 * 4 * 24)  # 24 frames in blocks of 7
        torch.testing.assert_close(states_of(fused, noise(2, 8000), mask), whole, atol=1e-5, rtol=1e-5)
        monkeypatch.setattr(wavlm_attention, "MAX_BIASES", 1)
        torch.testing.assert_close(states_of(fused, noise(2, 8000), mask), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("large", [False, True])
def test_bfloat16_is_as_close_to_float32_as_that_of_transformers(large):
    plain, fused = both(tiny(large=large))
    waveforms = noise(2, 16_000)
    with torch.no_grad():
        exact = states_of(plain, waveforms)
        with torch.autocast("cpu", torch.bfloat16):
            errors = [(states_of(model, waveforms).float() - exact).norm() / exact.norm() for model in (plain, fused)]
    assert 0 < errors[1] < 0.03
    assert errors[1] < 1.2 * errors[0]


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_transformers(masked):
    models = both(tiny(num_hidden_layers=2).double())
    mask = torch.ones(2, 4000, dtype=torch.long)
    mask[1, 2000:] = 0
    for model in models:
        model.requires_grad_(True)
        states_of(model, noise(2, 4000).double(), mask if masked else None)[:, :, :5].square().mean().backward()
    expected, actual = ({name: value.grad for name, value in model.named_parameters()} for model in models)
    assert expected.keys() == actual.keys()
    checked = [name for name, gradient in expected.items() if gradient is not None and gradient.any()]
    assert {name.split(".")[-2] for name in checked} >= {"rel_attn_embed", "gru_rel_pos_linear", "attention", "q_proj"}
    largest = max(float(expected[name].abs().max()) for name in checked)
    for name in checked:  # that of k_proj.bias is zero but for rounding: what a key adds to all scores goes unseen
        torch.testing.assert_close(actual[name], expected[name], atol=1e-10 * largest, rtol=1e-6)


def test_dropout_in_training_only():
    fused = both(tiny(attention_dropout=0.5, hidden_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0))[1]
    waveforms = noise(1, 8000)
    with torch.no_grad():
        torch.testing.assert_close(states_of(fused, waveforms), states_of(fused, waveforms), atol=0, rtol=0)
        fused.train()
        assert (states_of(fused, waveforms) - states_of(fused, waveforms)).abs().max() > 1e-2


@pytest.mark.slow
def test_names_of_weights_stay_and_files_go_both_ways(tmp_path):
    from transformers import AutoModel

    plain, fused = both(tiny())
    assert list(fused.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(value, fused.state_dict()[name]) for name, value in plain.state_dict().items())
    fused.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = states_of(plain, noise(1, 4000))
        torch.testing.assert_close(states_of(AutoModel.from_pretrained(tmp_path).eval(), noise(1, 4000)), expected)
        loaded = load_representation(tmp_path)
        assert isinstance(loaded.model.encoder.layers[2].attention, FusedAttention)
        torch.testing.assert_close(loaded(noise(1, 4000)).states, expected, **EXACT)
        rebuilt = load_representation(loaded.settings())
        rebuilt.load_state_dict(loaded.state_dict())
        torch.testing.assert_close(rebuilt(noise(1, 4000)).states, loaded(noise(1, 4000)).states)


def test_on_unless_switched_off_and_once_is_enough():
    representation = HuggingFaceRepresentation(tiny(), "tiny")
    attentions = [layer.attention for layer in representation.model.encoder.layers]
    assert all(isinstance(attention, FusedAttention) for attention in attentions)
    fuse_attention(representation.model)
    assert [layer.attention for layer in representation.model.encoder.layers] == attentions
    off = HuggingFaceRepresentation(tiny(), "tiny", fused=False)
    assert not any(isinstance(module, FusedAttention) for module in off.modules())
    torch.testing.assert_close(representation(noise(2, 6000)).states, off(noise(2, 6000)).states, **EXACT)
    assert representation.settings() == off.settings()


@pytest.mark.parametrize("model_type", ["hubert", "wav2vec2"])
def test_the_others_run_the_fused_attention_of_transformers(model_type):
    plain = tiny(model_type)
    plain.set_attn_implementation("eager")
    fused = HuggingFaceRepresentation(copy.deepcopy(plain), "tiny")
    assert (plain.config._attn_implementation, fused.model.config._attn_implementation) == ("eager", "sdpa")
    assert HuggingFaceRepresentation(tiny(model_type), "tiny").model.config._attn_implementation == "sdpa"
    off = HuggingFaceRepresentation(plain, "tiny", fused=False)
    assert off.model.config._attn_implementation == "eager"
    torch.testing.assert_close(fused(noise(2, 6000)).states, off(noise(2, 6000)).states, **EXACT)
