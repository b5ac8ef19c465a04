"""Named switches for what the paper leaves open: each reaches what it is to change."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

from phonemi.config import load_config
from phonemi.data.alignment import frame_labels, inventory
from phonemi.data.manifest import Interval
from phonemi.data.mixing import Mixture
from phonemi.errors import ConfigError
from phonemi.files import read_json
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.stages import aggregate, train
from phonemi.stages.hidden_states import StateCache
from phonemi.stages.run import Run

SAMPLES = (4000, 2600, 3300)


@pytest.fixture
def run_with(tmp_path):
    """Run of the default configuration but for the given switches."""
    return lambda *switches: Run(tmp_path, load_config(None, switches), save=False)


@pytest.fixture
def mixtures():
    random = np.random.default_rng(0)
    noise = [(0.1 * random.standard_normal((2, n))).astype(np.float32) for n in SAMPLES]
    return [Mixture(f"{i}@0dB", *pair, 0.0, "s", None, "n") for i, pair in enumerate(noise)]


def tiny():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    return AutoModel.from_config(AutoConfig.for_model("hubert", **sizes, **convolutions)).eval()


class Listed(list):
    """Mixtures that are there already."""


def test_training_speech_is_encoded_in_padded_batches_and_nothing_else_is(tmp_path, mixtures):
    encoder = HuggingFaceRepresentation(tiny(), "tiny")
    cache = StateCache(tmp_path)
    padded = cache.states(encoder, Listed(mixtures), "train", "key", padded_batch=2)
    alone = cache.states(encoder, Listed(mixtures), "validation", "key")
    items = [torch.from_numpy(mixture.noisy) for mixture in mixtures]
    first_two = torch.nn.utils.rnn.pad_sequence(items[:2], batch_first=True)
    hidden = encoder.padded(first_two, torch.tensor(SAMPLES[:2]))
    for row, item in enumerate(items):
        by_itself = encoder(item[None]).states[:, 0].permute(1, 0, 2)
        expected = by_itself if row == 2 else hidden.states[:, row, : int(hidden.lengths[row])].permute(1, 0, 2)
        torch.testing.assert_close(alone.of(row).float(), by_itself, atol=4e-3, rtol=4e-3)
        torch.testing.assert_close(padded.of(row).float(), expected, atol=4e-3, rtol=4e-3)
    assert alone.starts == padded.starts
    assert (padded.of(1) - alone.of(1)).abs().max() > 0.02


def test_switches_of_the_recipe_reach_the_training(finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    changes = ["enhance.steps=1", "enhance.validate_every=1", "enhance.rows=[log1p]"]
    saved = {}
    for switch in (
        "enhance.eps_before_correction=false",
        "enhance.eps_before_correction=true",
        "enhance.stft_pad=reflect",
    ):
        train.train_systems(Run(folder, load_config(folder / "config.yaml", [*changes, switch]), save=False))
        model = folder / "rows" / "log1p" / "model"
        saved[switch] = (
            read_json(model / "config.json")["mask_enhancer"]["stft_pad"],
            load_file(model / "model.safetensors"),
        )
    (pad, plain), (_, early_eps), (reflect, _) = saved.values()
    assert (pad, reflect) == ("zeros", "reflect")
    moved = [(early_eps[name] - plain[name]).abs().max().item() for name in plain]
    assert 1e-6 < max(moved) < 1e-3, "AdamW's first update is smaller where eps weighs 32 times as much"


@pytest.mark.parametrize("wanted", [True, False])
def test_the_waveform_is_normalised_when_it_is_asked_for(run_with, tmp_path, wanted):
    tiny().save_pretrained(tmp_path / "hubert")
    named = f"representation={tmp_path / 'hubert'}"
    plain, run = run_with(named), run_with(named, f"normalise_waveform={str(wanted).lower()}")
    assert plain.encoder.normalise is False
    assert run.encoder.normalise is wanted
    assert run.keys.encoder != plain.keys.encoder
    with pytest.raises(ConfigError, match="is for HuBERT, WavLM and wav2vec2, not 'log1p': set it to null"):
        run_with("representation=log1p", "normalise_waveform=true").encoder  # noqa: B018


def test_stress_makes_classes_of_its_own():
    phones = (Interval(0.0, 0.1, "AA1"), Interval(0.1, 0.2, "T"))
    for stress, vowel in ((False, "AA"), (True, "AA1")):
        labels = frame_labels(phones, 12, stress=stress)
        assert [inventory(stress)[label] for label in labels] == [vowel] * 5 + ["T"] * 5 + ["SIL"] * 2


def test_projections_of_dws_may_be_narrow(run_with):
    run = run_with("aggregate.projection_dim=3")
    aggregation = aggregate.new_aggregation(run.config.aggregate, HuggingFaceRepresentation(tiny(), "tiny"), "dws")
    assert sum(parameter.numel() for parameter in aggregation.parameters()) == 2 * 16 * 3 + 2
