"""enhancers.pretrained: half precision, copies of the encoder, and what refers to the shipped one by its name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from phonemi.aggregations import DynamicWeightedSum, WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.errors import ModelError
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.representations.names import load_representation
from phonemi.representations.tera import Tera, TeraConfig
from phonemi.weights import shipped

NOISE = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(1))


def encoder(seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"mels": 8, "dim": 16, "blocks": 1, "heads": 2, "feedforward": 8, "position_kernel": 3} | options
    model = MelTransformer(MelTransformerConfig(**sizes))
    model.set_statistics(torch.full((8,), 0.1234567), torch.full((8,), 1.7654321))
    return model.requires_grad_(False)


def joined(representation):
    torch.manual_seed(0)
    aggregation = DynamicWeightedSum(representation.layers, representation.dim)
    return Enhancer(representation, aggregation, MaskEnhancer(representation.dim, True, hidden=4, layers=1))


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """An encoder that ships, as "mini"; its folder."""
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    encoder().save(tmp_path / "weights" / "mini", half=True)
    return tmp_path / "weights" / "mini"


def hubert(folder):
    from transformers import HubertConfig, HubertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    sizes |= {"conv_dim": [4] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    HubertModel(HubertConfig(**sizes)).save_pretrained(folder)
    return load_representation(folder)


@pytest.mark.parametrize("kind", ["own", "hubert"])
def test_half_precision_is_half_as_large_and_runs_in_single(kind, tmp_path):
    made = joined(encoder() if kind == "own" else hubert(tmp_path / "hubert"))
    made.save_pretrained(tmp_path / "single")
    made.save_pretrained(tmp_path / "half", half=True)
    for file in ("model.safetensors", "encoder/model.safetensors"):
        single, half = load_file(tmp_path / "single" / file), load_file(tmp_path / "half" / file)
        assert single.keys() == half.keys()
        halved = {name for name, values in half.items() if values.dtype == torch.float16}
        assert single.keys() - halved <= {"mean", "std"}, "statistics stay as they are"
    loaded = Enhancer.from_pretrained(tmp_path / "half")
    assert {values.dtype for values in loaded.state_dict().values()} == {torch.float32}
    assert loaded.mask_enhancer.blstm(torch.zeros(1, 5, 16 + 257))[0].dtype == torch.float32
    assert torch.equal(loaded.mask_enhancer.output.weight, made.mask_enhancer.output.weight.half().float())
    if kind == "own":
        assert torch.equal(loaded.representation.mean, made.representation.mean)
    torch.testing.assert_close(loaded.enhance(NOISE, 16_000), made.enhance(NOISE, 16_000), atol=2e-3, rtol=0)


def test_what_ships_refers_to_the_encoder_beside_it(mini, tmp_path):
    row = joined(load_representation("mini"))
    row.save_pretrained(tmp_path / "row")  # what a run leaves
    trained = Enhancer.from_pretrained(tmp_path / "row")
    trained.save_pretrained(mini.parent / "default", half=True, shipped_encoder="mini")
    assert sorted(path.name for path in (mini.parent / "default").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    settings = json.loads((mini.parent / "default" / "config.json").read_text())
    assert (settings["representation"], settings["representation_sha256"]) == ("mini", shipped.version_of("mini"))
    loaded = Enhancer.from_pretrained("default")
    assert isinstance(loaded.representation, MelTransformer)
    assert loaded.representation.name == "mini"
    torch.testing.assert_close(loaded.enhance(NOISE, 16_000), row.enhance(NOISE, 16_000), atol=2e-3, rtol=0)


def test_another_encoder_under_the_same_name_is_refused(mini, tmp_path):
    joined(load_representation("mini")).save_pretrained(tmp_path / "model", shipped_encoder="mini")
    encoder(seed=1).save(mini, half=True)
    message = r"trained on the encoder 'mini' of another version of phonemi \(weights [0-9a-f]{8}, here [0-9a-f]{8}\)"
    with pytest.raises(ModelError, match=message):
        Enhancer.from_pretrained(tmp_path / "model")
    (mini / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="here none"):
        Enhancer.from_pretrained(tmp_path / "model")


def test_everything_else_has_its_own_copy(mini, tmp_path):
    made = joined(load_representation("mini"))
    made.save_pretrained(tmp_path / "row")
    expected = made.enhance(NOISE, 16_000)
    made.save_pretrained(mini.parent / "default", shipped_encoder="mini")
    Enhancer.from_pretrained("default").save_pretrained(tmp_path / "mine")
    encoder(seed=1).save(mini)  # a later version
    for folder in ("row", "mine"):
        assert torch.equal(Enhancer.from_pretrained(tmp_path / folder).enhance(NOISE, 16_000), expected)


@pytest.mark.parametrize("other", [{"seed": 1}, {"heads": 4}, {"blocks": 2}])
def test_an_encoder_that_does_not_ship_is_not_referred_to(mini, tmp_path, other):
    with pytest.raises(ModelError, match="is not the 'mini' that ships: save it with a copy"):
        joined(encoder(**other)).save_pretrained(tmp_path / "model", shipped_encoder="mini")
    with pytest.raises(ModelError, match="no encoder 'maxi' ships"):
        joined(encoder()).save_pretrained(tmp_path / "model", shipped_encoder="maxi")
    with pytest.raises(ModelError, match="no encoder"):
        joined(load_representation(mini)).save_pretrained(tmp_path / "model", shipped_encoder=str(mini))
    assert not (tmp_path / "model").exists()


def test_encoder_of_the_hub_does_not_ship(mini, tmp_path):
    made = hubert(tmp_path / "hubert")
    assert isinstance(made, HuggingFaceRepresentation)
    with pytest.raises(ModelError, match="is not the 'mini' that ships"):
        joined(made).save_pretrained(tmp_path / "model", shipped_encoder="mini")


def test_shipped_names_come_before_folders_of_that_name(mini, tmp_path, monkeypatch):
    joined(load_representation("mini")).save_pretrained(mini.parent / "default", shipped_encoder="mini")
    other = Enhancer(encoder(), WeightedSum(2), MaskEnhancer(16, hidden=4, layers=1), "other")
    other.save_pretrained(tmp_path / "here" / "default")
    monkeypatch.chdir(tmp_path / "here")
    assert Enhancer.from_pretrained("default").name == "enhancer"
    for name in ("./default", tmp_path / "here" / "default"):
        assert Enhancer.from_pretrained(name).name == "other"
    with pytest.raises(ModelError, match=r"no enhancer 'mini': expected one that ships \(default\)"):
        Enhancer.from_pretrained("mini")


def test_the_card_says_what_is_known(mini, tmp_path):
    made = joined(load_representation("mini"))
    facts = {"licence": "apache-2.0", "weak": ["music"], "summary": None}
    made.save_pretrained(tmp_path, facts, half=True, shipped_encoder="mini")
    card = (tmp_path / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "| encoder | mini: 2 hidden states of 16 |" in card
    assert "| aggregation | dynamic weighted sum of 2 layers |" in card
    assert "| mask enhancer | BLSTM of 1 layer of 4 on fused features and log1p spectrum |" in card
    assert f"| all |  | {sum(values.numel() for values in made.parameters())} |" in card
    assert f"The files take {(tmp_path / 'model.safetensors').stat().st_size / 1e6:.3g} MB." in card
    assert "## What it is bad at\n\n- music" in card
    assert json.loads((tmp_path / "config.json").read_text())["facts"] == facts


def hub_encoder(kind, folder):
    """A tiny encoder of `transformers` with random weights that says it comes from the hub."""
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    sizes |= {"conv_dim": [4] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    torch.manual_seed(0)
    getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**sizes)).save_pretrained(folder)
    encoder = load_representation(folder)
    encoder.name = f"someone/{kind}"
    return encoder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["WavLM", "Hubert"])
def test_an_encoder_that_was_trained_is_stored_whatever_its_name(kind, tmp_path):
    made = joined(hub_encoder(kind, tmp_path / "hub"))
    made.save_pretrained(tmp_path / "frozen")
    assert not (tmp_path / "frozen" / "encoder").exists()

    made.representation.unfreeze(from_block=2)
    parameters = [parameter for parameter in made.parameters() if parameter.requires_grad]
    before = made.enhance(NOISE, 16_000)
    made.network.loss(NOISE, 0.5 * NOISE, made.fuse(NOISE)).backward()
    with torch.no_grad():
        for parameter in parameters:
            parameter -= 0.1 * parameter.grad if parameter.grad is not None else 0
    made.representation.freeze()
    expected = made.enhance(NOISE, 16_000)
    assert not torch.equal(expected, before)

    made.save_pretrained(tmp_path / "trained")
    loaded = Enhancer.from_pretrained(tmp_path / "trained")
    assert torch.equal(loaded.enhance(NOISE, 16_000), expected)
    loaded.save_pretrained(tmp_path / "again")
    (tmp_path / "trained").rename(tmp_path / "moved")
    loaded.save_pretrained(tmp_path / "after the move")
    for folder in ("again", "moved", "after the move"):
        assert torch.equal(Enhancer.from_pretrained(tmp_path / folder).enhance(NOISE, 16_000), expected)


def test_a_trained_encoder_of_the_package_is_not_referred_to(mini, tmp_path):
    made = joined(load_representation("mini"))
    made.representation.unfreeze(from_block=1)
    made.save_pretrained(tmp_path / "untouched")
    assert torch.equal(
        Enhancer.from_pretrained(tmp_path / "untouched").enhance(NOISE, 16_000), made.enhance(NOISE, 16_000)
    )
    made.representation.blocks[0].query_key_value.weight.data *= 1.5
    expected = made.enhance(NOISE, 16_000)
    made.save_pretrained(tmp_path / "trained")
    assert torch.equal(Enhancer.from_pretrained(tmp_path / "trained").enhance(NOISE, 16_000), expected)
    with pytest.raises(ModelError, match="is not the 'mini' that ships"):
        made.save_pretrained(tmp_path / "model", shipped_encoder="mini")


@pytest.mark.parametrize("front_end", ["mel", "fbank"])
def test_an_enhancer_takes_its_tera_with_it(front_end, tmp_path):
    torch.manual_seed(0)
    guide = Tera(TeraConfig(front_end, mels=8, dim=16, blocks=2, heads=2, feedforward=8)).freeze().eval()
    network = MaskEnhancer(guide.dim, True, hidden=4, layers=1, hop=guide.hop)
    made = Enhancer(guide, WeightedSum(guide.layers), network)
    made.save_pretrained(tmp_path / "model")
    loaded = Enhancer.from_pretrained(tmp_path / "model")
    assert isinstance(loaded.representation, Tera)
    for samples in (1, 300, 4000):
        assert torch.equal(loaded.enhance(NOISE[:, :samples], 16_000), made.enhance(NOISE[:, :samples], 16_000))
