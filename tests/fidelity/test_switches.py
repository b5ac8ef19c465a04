"""Named switches for what the paper leaves open: each reaches what it is to change, and the defaults change no key."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from phonemi.config import load_config
from phonemi.config.sections import Aggregate, Enhance, Information
from phonemi.data.alignment import inventory
from phonemi.data.manifest import Interval
from phonemi.data.mixing import Mixture
from phonemi.errors import ConfigError
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.stages import aggregate, information, train
from phonemi.stages.hidden_states import labels_of
from phonemi.stages.run import Run
from phonemi.systems.system import parse

SAMPLES = (4000, 2600, 3300)


@pytest.fixture
def run_with(tmp_path):
    """Run of the default configuration but for the given switches."""
    return lambda *switches: Run(tmp_path, load_config(None, switches), save=False)


@pytest.fixture
def mixtures():
    random = np.random.default_rng(0)
    noise = [(0.1 * random.standard_normal((2, n))).astype(np.float32) for n in SAMPLES]
    phones = (Interval(0.0, 0.1, "AA1"), Interval(0.1, 0.2, "T"))
    return [Mixture(f"{i}@0dB", *pair, 0.0, "s", None, phones, "n") for i, pair in enumerate(noise)]


def tiny():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    return AutoModel.from_config(AutoConfig.for_model("hubert", **sizes, **convolutions)).eval()


def test_training_speech_is_encoded_in_padded_batches_and_nothing_else_is(run_with, mixtures):
    run = run_with("enhance.encoder_padding=batch", "enhance.batch=2")
    run.__dict__["representation"] = encoder = HuggingFaceRepresentation(tiny(), "tiny")
    train_states, alone = (train._states(run, mixtures, split) for split in ("train", "validation"))
    items = [torch.from_numpy(mixture.noisy) for mixture in mixtures]
    first_two = torch.nn.utils.rnn.pad_sequence(items[:2], batch_first=True)
    hidden = encoder.padded(first_two, torch.tensor(SAMPLES[:2]))
    for row, item in enumerate(items):
        part = slice(alone.starts[row], alone.starts[row + 1])
        by_itself = encoder(item[None]).states[:, 0].permute(1, 0, 2)
        expected = by_itself if row == 2 else hidden.states[:, row, : int(hidden.lengths[row])].permute(1, 0, 2)
        torch.testing.assert_close(alone.values[part].float(), by_itself, atol=4e-3, rtol=4e-3)
        torch.testing.assert_close(train_states.values[part].float(), expected, atol=4e-3, rtol=4e-3)
    assert alone.starts == train_states.starts
    second = slice(alone.starts[1], alone.starts[2])
    assert (train_states.values[second] - alone.values[second]).abs().max() > 0.02


def test_what_training_is_told(run_with, mixtures, monkeypatch):
    told = {}

    def noting(model, **options):
        told.update(pad=model.mask_enhancer.stft_pad, eps=options["settings"].eps_at(0))
        raise StopIteration

    monkeypatch.setattr(train, "fit", noting)
    made = {"train": mixtures, "validation": mixtures}
    with pytest.raises(StopIteration):
        train.train_row(run_with("enhance.hidden=4"), parse("log1p"), made)
    assert told == {"pad": "zeros", "eps": 1e-7}
    switched = run_with("enhance.hidden=4", "enhance.stft_pad=reflect", "enhance.eps_before_correction=true")
    with pytest.raises(StopIteration):
        train.train_row(switched, parse("log1p"), made)
    assert told == {"pad": "reflect", "eps": pytest.approx(1e-7 / 0.001**0.5)}


@pytest.mark.parametrize("wanted", [True, False])
def test_the_waveform_is_normalised_when_it_is_asked_for(run_with, tmp_path, wanted):
    tiny().save_pretrained(tmp_path / "hubert")
    named = f"representation={tmp_path / 'hubert'}"
    plain, run = run_with(named), run_with(named, f"normalise_waveform={str(wanted).lower()}")
    assert plain.representation.normalise is False
    assert run.representation.normalise is wanted
    assert run.encoder_key != plain.encoder_key
    with pytest.raises(ConfigError, match="is for encoders of transformers, not 'log1p': set it to null"):
        run_with("representation=log1p", "normalise_waveform=true").representation  # noqa: B018


def test_stress_makes_classes_of_its_own(mixtures):
    for stress, vowel in ((False, "AA"), (True, "AA1")):
        names = [inventory(stress)[label] for label in labels_of(mixtures[:1], stress=stress).phones]
        assert names == [vowel] * 5 + ["T"] * 5 + ["SIL"] * 2


def test_projections_of_dws_may_be_narrow(run_with):
    run = run_with("aggregate.projection_dim=3")
    run.__dict__["representation"] = HuggingFaceRepresentation(tiny(), "tiny")
    fuse = aggregate.new_aggregation(run, "dws")
    assert sum(parameter.numel() for parameter in fuse.parameters()) == 2 * 16 * 3 + 2


@pytest.mark.parametrize(
    ("switch", "rows", "pretraining", "analysis"),
    [
        ("enhance.stft_pad=reflect", True, False, False),
        ("enhance.encoder_padding=batch", True, False, False),
        ("enhance.eps_before_correction=true", True, False, False),
        ("aggregate.projection_dim=64", True, True, False),
        ("information.stress=true", True, True, True),
        ("normalise_waveform=true", True, True, True),
    ],
)
def test_a_switch_makes_the_results_that_depend_on_it_anew(run_with, switch, rows, pretraining, analysis):
    default, switched = run_with(), run_with(switch)
    row = parse("dws-linguistic")
    assert (train.row_key(default, row) != train.row_key(switched, row)) == rows
    assert (aggregate.result_key(default) != aggregate.result_key(switched)) == pretraining
    assert (information.result_key(default) != information.result_key(switched)) == analysis


@pytest.mark.parametrize("section", [Enhance, Aggregate, Information])
def test_switches_that_came_later_are_in_no_key_at_their_defaults(section):
    assert section.later <= section.model_fields.keys()
    assert not section.later & section().for_key().keys()
    assert section().for_key().keys() | section.later == section.model_fields.keys()
