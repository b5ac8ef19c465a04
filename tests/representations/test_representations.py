"""Representations give the hidden states of transformers' own models; tiny ones with random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sounds import noise
from torch.nn import functional

from phonemi.errors import ModelError
from phonemi.representations.base import HiddenStates, at_50_hz
from phonemi.representations.huggingface import HuggingFaceRepresentation, normalise_waveforms
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.representations.names import load_representation
from phonemi.signal import log1p_spectrum, ssl_frames

MODELS = ["hubert", "wavlm", "wav2vec2"]


def tiny(model_type, large=False, **options):
    """Random model with real strides: Base style (group norm, post-norm) or Large style (layer norm, pre-norm)."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_dim": [8] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": "layer" if large else "group",
        "do_stable_layer_norm": large,
        "conv_bias": large,
    }
    model = AutoModel.from_config(AutoConfig.for_model(model_type, **{**sizes, **options})).eval()
    for parameter in model.parameters():  # large enough for every part to show in the output
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("model_type", MODELS)
def test_folder_gives_the_hidden_states_of_transformers(model_type, large, tmp_path):
    model = tiny(model_type, large)
    model.save_pretrained(tmp_path)
    loaded = load_representation(str(tmp_path))
    waveforms = noise(2, 4000)
    scaled = functional.layer_norm(waveforms, (4000,), eps=1e-7) if large else waveforms
    with torch.no_grad():
        expected = model(scaled, output_hidden_states=True)
    hidden = loaded(waveforms)
    inner = torch.stack(expected.hidden_states[:-1])
    last = expected.last_hidden_state
    if large:
        inner, last = functional.layer_norm(inner, (16,)), functional.layer_norm(last, (16,))
    torch.testing.assert_close(hidden.states[:-1], inner, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(hidden.states[-1], last, atol=1e-5, rtol=1e-4)
    assert (loaded.layers, loaded.dim, loaded.hop) == (4, 16, 320)
    assert hidden.states.shape == (4, 2, 12, 16)
    assert hidden.lengths.tolist() == [12, 12]
    assert not hidden.states.requires_grad


@pytest.mark.slow
@pytest.mark.parametrize("model_type", MODELS)
def test_last_state_of_pre_norm_models_has_the_final_layer_norm(model_type):
    representation = HuggingFaceRepresentation(tiny(model_type, large=True), "tiny", layer_norm_states=False)
    states = representation(noise(1, 8000)).states
    # The final LayerNorm is fresh (weight 1, bias 0), so that it shows in the variance of every frame.
    variance = states.var(-1, correction=0)
    torch.testing.assert_close(variance[-1], torch.ones_like(variance[-1]), atol=1e-3, rtol=1e-3)
    assert (variance[-2] - 1).abs().max() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("model_type", MODELS)
def test_batch_equals_single(model_type, large):
    representation = HuggingFaceRepresentation(tiny(model_type, large), "tiny")
    waveforms, lengths = noise(4, 8000), torch.tensor([4001, 400, 7000, 4001])
    hidden = representation(waveforms, lengths)
    assert hidden.states.shape == (4, 4, representation.frames(8000), 16)
    for row, length in enumerate(lengths.tolist()):
        alone = representation(waveforms[row : row + 1, :length]).states[:, 0]
        assert int(hidden.lengths[row]) == ssl_frames(length) == alone.shape[1]
        torch.testing.assert_close(hidden.states[:, row, : alone.shape[1]], alone, atol=1e-4, rtol=1e-4)
        assert not hidden.states[:, row, alone.shape[1] :].any()


@pytest.fixture(scope="module")
def shallow():
    return HuggingFaceRepresentation(tiny("hubert", num_hidden_layers=1, hidden_size=4), "tiny")


@given(samples=st.integers(400, 40_000))
def test_frame_counts(shallow, samples):
    expected = (samples - 400) // 320 + 1
    hidden = shallow(torch.zeros(1, samples))
    assert shallow.frames(samples) == hidden.states.shape[2] == int(hidden.lengths[0]) == expected


def test_normalised_uses_valid_samples_of_each_item_only():
    waveforms = torch.cat([3 + noise(1, 500), torch.full((1, 500), 9.0)], dim=1).repeat(2, 1)
    result = normalise_waveforms(waveforms, torch.tensor([500, 1000]))
    torch.testing.assert_close(result[0, :500].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(result[0, :500].var(correction=0), torch.tensor(1.0), atol=1e-3, rtol=0)
    assert not result[0, 500:].any()
    torch.testing.assert_close(result[1].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    assert normalise_waveforms(torch.zeros(1, 400), torch.tensor([400])).isfinite().all()


@pytest.mark.parametrize("large", [False, True])
def test_normalise_makes_the_level_irrelevant(large):
    model, waveforms = tiny("wav2vec2", large), noise(1, 2000)
    levelled = HuggingFaceRepresentation(model, "tiny", normalise=True)
    torch.testing.assert_close(levelled(waveforms).states, levelled(5 * waveforms).states, atol=1e-3, rtol=1e-3)
    assert HuggingFaceRepresentation(model, "tiny").normalise is large


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_too_short(samples):
    representation = HuggingFaceRepresentation(tiny("hubert", num_hidden_layers=1), "tiny")
    with pytest.raises(ModelError, match=rf"{samples} samples?.*400"):
        representation(torch.zeros(1, samples))
    with pytest.raises(ModelError, match=f"{samples} sample"):
        representation(torch.zeros(2, 800), torch.tensor([800, samples]))


def test_shapes_that_do_not_fit():
    with pytest.raises(ModelError, match=r"\[batch, sample\]"):
        Log1p()(torch.zeros(800))
    with pytest.raises(ModelError, match="lengths"):
        Log1p()(torch.zeros(2, 800), torch.tensor([800]))
    with pytest.raises(ModelError, match="lengths"):
        Log1p()(torch.zeros(1, 800), torch.tensor([801]))


def test_other_strides_are_refused():
    with pytest.raises(ModelError, match="every 640 samples"):
        HuggingFaceRepresentation(tiny("hubert", conv_stride=[10, 2, 2, 2, 2, 2, 2]), "tiny")


def test_log1p_is_the_spectrum_alone_and_in_a_batch():
    waveforms, lengths = noise(2, 1700), torch.tensor([1700, 900])
    hidden = load_representation("log1p")(waveforms, lengths)
    assert hidden.lengths.tolist() == [11, 6]
    torch.testing.assert_close(hidden.states[0, 0], log1p_spectrum(waveforms[:1])[0])
    torch.testing.assert_close(hidden.states[0, 1, :6], log1p_spectrum(waveforms[1:, :900])[0])
    assert not hidden.states[0, 1, 6:].any()


def test_at_50_hz():
    hidden = HiddenStates(torch.arange(12.0).view(1, 1, 12, 1).repeat(1, 2, 1, 1), torch.tensor([12, 7]))
    assert at_50_hz(hidden, 320, 1760) is hidden
    moved = at_50_hz(hidden, 160, torch.tensor([1760, 1100]))
    assert moved.states[0, :, :, 0].tolist() == [[1, 3, 5, 7, 9], [1, 3, 5, 0, 0]]
    assert moved.lengths.tolist() == [5, 3]
    assert at_50_hz(hidden, 160, 1760).lengths.tolist() == [5, 5]


@pytest.mark.parametrize("samples", [400, 560, 719, 720, 1760])
def test_frames_without_padding_at_50_hz_are_those_of_the_same_centre(samples):
    representation = HuggingFaceRepresentation(tiny("hubert", conv_stride=[5, 2, 2, 2, 2, 2, 1]), "tiny")
    hidden = representation(noise(1, samples))
    moved = at_50_hz(hidden, representation.hop, samples, representation.first_centre)
    assert moved.lengths.tolist() == [ssl_frames(samples)] == [moved.states.shape[2]]
    # Frame t of 50 Hz is centred at sample 320 t + 200; these, of 320 samples, at 160 k + 160.
    torch.testing.assert_close(moved.states, hidden.states[:, :, ::2][:, :, : ssl_frames(samples)])


@pytest.mark.parametrize("large", [False, True])
def test_settings_rebuild_everything_but_the_weights(large):
    first = HuggingFaceRepresentation(tiny("wavlm", large), "some/name", normalise=True, layer_norm_states=True)
    second = load_representation(json.loads(json.dumps(first.settings())))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second(noise(1, 900)).states, first(noise(1, 900)).states)
    assert second.settings() == first.settings()
    assert isinstance(load_representation(Log1p().settings()), Log1p)
    encoder = MelTransformer(MelTransformerConfig(mels=80, dim=8, blocks=1, heads=2, feedforward=8, position_kernel=31))
    assert load_representation(encoder.settings()).config == encoder.config


def test_own_folder_is_recognised(tmp_path):
    encoder = MelTransformer(MelTransformerConfig(mels=80, dim=8, blocks=1, heads=2, feedforward=8, position_kernel=31))
    encoder.save(tmp_path)
    loaded = load_representation(tmp_path)
    assert isinstance(loaded, MelTransformer)
    assert loaded.name == str(tmp_path)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_name_that_ships_and_one_that_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr("phonemi.weights.shipped.WEIGHTS", tmp_path)
    with pytest.raises(ModelError, match=r"no encoder 'mini-kmeans': expected one that ships \(none in this version\)"):
        load_representation("mini-kmeans")
    encoder = MelTransformer(MelTransformerConfig(mels=80, dim=8, blocks=1, heads=2, feedforward=8, position_kernel=31))
    encoder.save(tmp_path / "mini-kmeans", half=True)
    loaded = load_representation("mini-kmeans")
    assert (loaded.name, loaded.embedding.weight.dtype) == ("mini-kmeans", torch.float32)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with pytest.raises(ModelError, match=r"no encoder 'mini': expected one that ships \(mini-kmeans\)"):
        load_representation("mini")


def test_unreachable_hub_names_the_model_and_the_way_on(monkeypatch):
    from transformers import AutoConfig

    def offline(name, **options):
        raise OSError("We couldn't connect to the hub\nand so on")

    monkeypatch.setattr(AutoConfig, "from_pretrained", offline)
    with pytest.raises(ModelError, match="hf download someone/hubert") as caught:
        load_representation("someone/hubert")
    assert "'someone/hubert'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        load_representation(str(tmp_path / "absent"))
    with pytest.raises(ModelError, match="holds no model"):
        load_representation(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="holds no model"):
        load_representation(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="'bert'; known: hubert"):
        load_representation(str(tmp_path))


@pytest.mark.slow
def test_weights_missing_from_the_file(tmp_path):
    from safetensors.torch import load_file, save_file

    tiny("hubert").save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["encoder.layers.1.layer_norm.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weight missing.*encoder\.layers\.1\.layer_norm\.weight"):
        load_representation(tmp_path)


def test_broken_torchaudio_is_told_from_a_missing_model(tmp_path, monkeypatch):
    tiny("hubert").save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers.models.hubert.modeling_hubert", None)
    with pytest.raises(ModelError, match="pip uninstall torchaudio"):
        load_representation(tmp_path)


@pytest.mark.slow
def test_loading_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled
    from transformers import HubertConfig, HubertForCTC
    from transformers.utils import logging

    sizes = {"hidden_size": 4, "num_attention_heads": 1, "intermediate_size": 4, "num_hidden_layers": 1}
    config = HubertConfig(**sizes, conv_dim=[4] * 7, num_conv_pos_embedding_groups=1)
    HubertForCTC(config).save_pretrained(tmp_path)
    before = logging.is_progress_bar_enabled(), are_progress_bars_disabled(), logging.get_verbosity()
    capfd.readouterr()
    load_representation(tmp_path)
    assert capfd.readouterr() == ("", "")
    assert (logging.is_progress_bar_enabled(), are_progress_bars_disabled(), logging.get_verbosity()) == before
