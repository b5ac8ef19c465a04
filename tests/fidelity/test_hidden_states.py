"""Hidden states against hooks on the blocks of transformers' own models, as S3PRL takes them; random weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sounds import noise
from transformers import AutoConfig, AutoModel

from phonemi.representations.huggingface import HuggingFaceRepresentation

MODELS = ["hubert", "wavlm", "wav2vec2"]
LENGTHS = [8000, 5200, 2479]


def tiny(model_type, large):
    """Base style (group norm, post-norm) or Large style (layer norm, pre-norm), with real strides; eager attention."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24,
        "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": "layer" if large else "group", "do_stable_layer_norm": large, "conv_bias": large,
        "apply_spec_augment": False, "layerdrop": 0.0,
    }  # fmt: skip
    model = AutoModel.from_config(AutoConfig.for_model(model_type, **sizes)).eval()
    model.set_attn_implementation("eager")
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.25)
        elif parameter.dim() == 1:  # so that a LayerNorm that is left out, or in, shows
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    return model


@torch.no_grad()
def hooked(model, waveforms, mask=None):
    """Input of every block, then the output of the encoder: [layer, batch, frame, dim]."""
    states, handles = [], []
    for block in model.encoder.layers:

        def note(_, arguments, named):
            states.append(arguments[0] if arguments else named["hidden_states"])

        handles.append(block.register_forward_pre_hook(note, with_kwargs=True))
    handles.append(model.encoder.register_forward_hook(lambda _, arguments, output: states.append(output[0])))
    model(waveforms, attention_mask=mask)
    for handle in handles:
        handle.remove()
    return torch.stack(states)


def close(actual, expected):
    """Within 1e-5 of the largest value."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("model_type", MODELS)
def test_state_i_is_the_input_of_block_i_and_the_last_the_output_of_the_encoder(model_type, large):
    model, waveforms = tiny(model_type, large), noise(2, 4000)
    expected = hooked(copy.deepcopy(model), waveforms)
    ours = HuggingFaceRepresentation(model, "tiny", normalise=False, layer_norm_states=False)
    actual = ours(waveforms).states
    assert actual.shape == expected.shape == (4, 2, 12, 16)
    close(actual, expected)
    assert all((expected[i] - expected[j]).abs().max() > 0.1 for i in range(4) for j in range(i))


def normalised(values):
    """LayerNorm without parameters, over the last axis."""
    centred = values - values.mean(-1, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5)


def test_large_models_are_normalised_before_and_after_as_documented():
    model, waveforms = tiny("wavlm", large=True), 3 + noise(1, 4000)
    waveform = waveforms.double().numpy()
    scaled = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
    expected = hooked(copy.deepcopy(model), torch.from_numpy(scaled).float()).double().numpy()
    close(HuggingFaceRepresentation(model, "tiny")(waveforms).states, normalised(expected))


def padded_batch():
    """[batch, sample], zero beyond each item's end."""
    waveforms = noise(3, max(LENGTHS))
    for row, length in enumerate(LENGTHS):
        waveforms[row, length:] = 0
    return waveforms


def padding_of_frames(frames):
    """True where all samples of a frame's share are padding, counted sample by sample (fairseq, S3PRL)."""
    share = max(LENGTHS) // frames
    samples = np.arange(max(LENGTHS)) >= np.array(LENGTHS)[:, None]
    return torch.from_numpy(samples[:, : share * frames].reshape(3, frames, share).all(-1))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("model_type", MODELS)
def test_a_padded_batch_is_encoded_as_s3prl_does_it(model_type, large):
    model, waveforms, frames = tiny(model_type, large), padded_batch(), 24
    reference = copy.deepcopy(model)
    attended = ~padding_of_frames(frames)
    reference._get_feature_vector_attention_mask = lambda *arguments, **named: attended
    expected = hooked(reference, waveforms, mask=torch.ones(3, max(LENGTHS), dtype=torch.long))
    ours = HuggingFaceRepresentation(model, "tiny", normalise=False, layer_norm_states=False)
    actual = ours.padded(waveforms, torch.tensor(LENGTHS))
    assert actual.lengths.tolist() == [24, 16, 7]
    for row, count in enumerate(actual.lengths.tolist()):
        close(actual.states[:, row, :count], expected[:, row, :count])
        assert not actual.states[:, row, count:].any()


def test_the_padding_changes_base_models_and_the_longest_item_is_as_alone():
    ours = HuggingFaceRepresentation(tiny("hubert", large=False), "tiny")
    waveforms = padded_batch()
    front_end = ours.padded(waveforms, torch.tensor(LENGTHS)).states[0]
    moved = []
    for row, length in enumerate(LENGTHS):
        alone = ours(waveforms[row : row + 1, :length]).states[0, 0]
        moved.append(float((front_end[row, : len(alone)] - alone).norm() / alone.norm()))
    assert moved[0] < 1e-5
    assert 0.03 < moved[1] < moved[2]
