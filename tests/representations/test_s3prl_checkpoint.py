"""Checkpoints in the layout of S3PRL, which the tests write themselves, become encoders."""

from __future__ import annotations

import argparse
import collections
import copy
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from sounds import noise
from torch import Tensor

from phonemi.errors import ModelError
from phonemi.representations.names import load_representation
from phonemi.representations.s3prl_checkpoint import read_checkpoint
from phonemi.representations.tera import Tera, TeraConfig

DIM, BLOCKS, FEEDFORWARD, MELS = 16, 2, 24, 20
MEL_AUDIO = {
    "target_level": -25, "win_ms": 25, "hop_ms": 10, "n_freq": 201, "n_mels": MELS, "n_mfcc": 13,
    "input": {"feat_type": "mel", "channel": 0, "log": True, "delta": 0, "cmvn": True},
    "target": {"feat_type": "linear", "channel": 1, "log": True, "delta": 0, "cmvn": True},
}  # fmt: skip
FBANK_AUDIO = {
    "kaldi": {
        "feat_type": "fbank",
        "fbank": {"num_mel_bins": MELS, "frame_length": 25.0, "frame_shift": 10.0, "use_log_fbank": True},
    },
    "delta": {"order": 2, "win_length": 5},
    "cmvn": {"use_cmvn": True},
}
# Where a linear layer or a LayerNorm lies in a published state dict, and where its weights are found here.
LAYERS = {
    "attention.self.query": ("query", DIM, DIM),
    "attention.self.key": ("key", DIM, DIM),
    "attention.self.value": ("value", DIM, DIM),
    "attention.output.dense": ("attention_output", DIM, DIM),
    "attention.output.LayerNorm": ("attention_norm", DIM, None),
    "intermediate.dense": ("feedforward_input", FEEDFORWARD, DIM),
    "output.dense": ("feedforward_output", DIM, FEEDFORWARD),
    "output.LayerNorm": ("feedforward_norm", DIM, None),
}


def published(front_end: str = "mel", pre_norm: bool = False, old_names: bool = False) -> tuple[Any, dict[str, Tensor]]:
    """The content of a checkpoint with the configuration under "Config", and its weights by the names of a `Tera`."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = collections.OrderedDict()
    expected: dict[str, Tensor] = {}

    def add(name: str, own: str, rows: int, columns: int | None) -> None:
        kinds = ("gamma", "beta") if old_names and columns is None else ("weight", "bias")
        for kind, theirs, shape in zip(
            ("weight", "bias"), kinds, [(rows,) if columns is None else (rows, columns), (rows,)], strict=True
        ):
            weights[f"{name}.{theirs}"] = expected[f"{own}.{kind}"] = torch.randn(shape, generator=generator)

    add("input_representations.spec_transform", "projection", DIM, MELS * (1 if front_end == "mel" else 3))
    add("input_representations.LayerNorm", "projection_norm", DIM, None)
    for block in range(BLOCKS):
        for name, (own, rows, columns) in LAYERS.items():
            add(f"encoder.layer.{block}.{name}", f"blocks.{block}.{own}", rows, columns)
        if pre_norm:
            for name, again in (
                ("attention.LayerNorm", "attention.output.LayerNorm"),
                ("LayerNorm", "output.LayerNorm"),
            ):
                for kind in ("weight", "bias"):
                    prefix = f"encoder.layer.{block}"
                    weights[f"{prefix}.{name}.{kind}"] = weights[f"{prefix}.{again}.{kind}"]
    for number in range(BLOCKS + 1 if pre_norm else 0):
        add(f"encoder.LayerNorm.{number}", f"state_norms.{number}", DIM, None)
    transformer = {
        "input_dim": -1, "hidden_size": DIM, "num_hidden_layers": BLOCKS, "num_attention_heads": 2,
        "intermediate_size": FEEDFORWARD, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.2, "initializer_range": 0.02, "layer_norm_eps": "1e-12",
        "share_layer": False, "pre_layer_norm": pre_norm,
    }  # fmt: skip
    config = {
        "transformer": transformer,
        "task": {"loss": "L1", "sequence_length": 1500, "mask_proportion": 0.15},
        "audio": copy.deepcopy(MEL_AUDIO if front_end == "mel" else FBANK_AUDIO),
    }
    head = collections.OrderedDict({"dense.weight": torch.zeros(DIM, DIM), "output.weight": torch.zeros(201, DIM)})
    return {"Config": config, "Transformer": weights, "SpecHead": head, "Step": 5}, expected


@pytest.fixture
def optimizers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of that name, as the pickled schedulers of published checkpoints need; gone when they are read."""
    module: Any = types.ModuleType("optimizers")
    exec("class WarmupLinearSchedule:\n    pass\nclass Lamb:\n    pass\n", module.__dict__)  # classes of that module
    monkeypatch.setitem(sys.modules, "optimizers", module)
    yield module
    monkeypatch.undo()


def write(path: Path, content: Any, optimizers: Any = None, is_zip: bool = True) -> Path:
    if optimizers is not None:
        schedule = optimizers.WarmupLinearSchedule()
        schedule.warmup, schedule.t_total = 0.07, 1e6
        content |= {
            "Optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"schedule": schedule}]},
            "Scheduler": schedule,
            "Args": argparse.Namespace(upstream="tera", device="cuda"),
        }
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    sys.modules.pop("optimizers", None)
    return path


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("old_names", [False, True], ids=["", "gamma and beta"])
@pytest.mark.parametrize("layout", ["Config", "Upstream_Config"])
@pytest.mark.parametrize("front_end", ["mel", "fbank"])
def test_the_published_layouts(
    tmp_path: Path, optimizers: Any, front_end: str, layout: str, old_names: bool, is_zip: bool
) -> None:
    content, expected = published(front_end, old_names=old_names)
    if layout == "Upstream_Config":
        content["Upstream_Config"], content["Config"] = content["Config"], {"runner": {"total_steps": 1_000_000}}
    path = write(tmp_path / "states-1000000.ckpt", content, optimizers, is_zip)
    with pytest.raises(ModuleNotFoundError, match="optimizers"):
        torch.load(path, weights_only=False)
    model = read_checkpoint(path)
    weights = model.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], values) for name, values in expected.items())
    assert model.config == TeraConfig(
        front_end, MELS, DIM, BLOCKS, 2, FEEDFORWARD, longest=1500, dropout=0.1, attention_dropout=0.2
    )
    assert not model.training
    assert model(noise(1, 4000)).states.isfinite().all()


def test_pre_norm(tmp_path: Path) -> None:
    content, expected = published(pre_norm=True)
    model = read_checkpoint(write(tmp_path / "file.ckpt", content))
    assert model.config.pre_norm
    assert all(torch.equal(values, expected[name]) for name, values in model.state_dict().items())


def test_convert_leaves_a_folder_that_can_be_loaded(phonemi: Any, tmp_path: Path, optimizers: Any) -> None:
    content, expected = published()
    path = write(tmp_path / "tera.ckpt", content, optimizers)
    outcome = phonemi("convert", path, "-o", tmp_path / "tera")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout == f"{tmp_path / 'tera'}: 3 hidden states of 16 every 10 ms\n"
    assert sorted(file.name for file in (tmp_path / "tera").iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_representation(tmp_path / "tera")
    assert isinstance(loaded, Tera)
    assert all(torch.equal(values, expected[name]) for name, values in loaded.state_dict().items())
    # A folder as `hf download` leaves it.
    (tmp_path / "downloaded").mkdir()
    path.rename(tmp_path / "downloaded" / "states.ckpt")
    (tmp_path / "downloaded" / "README.md").write_text("TERA\n")
    assert phonemi("convert", tmp_path / "downloaded", "-o", tmp_path / "again").code == 0
    again = load_representation(tmp_path / "again")
    assert torch.equal(again(noise(1, 4000)).states, loaded(noise(1, 4000)).states)


@pytest.mark.parametrize("place", ["Scheduler", "Transformer", "weight"])
def test_code_in_a_checkpoint_is_not_run(phonemi: Any, tmp_path: Path, place: str) -> None:
    marker = tmp_path / "was here"

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch '{marker}'",)

    content, _ = published()
    if place == "weight":
        content["Transformer"]["encoder.layer.0.output.dense.weight"] = Evil()
    else:
        content[place] = Evil()
    path = write(tmp_path / "evil.ckpt", content)
    outcome = phonemi("convert", path, "-o", tmp_path / "out")
    assert not marker.exists()
    if place == "Scheduler":
        assert outcome.code == 0
    else:
        assert outcome.code == 1
        assert outcome.stderr.startswith(f"phonemi: {path}")
        assert outcome.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file is as bad as it should be"


def changed(content: Any, path: str, value: Any) -> Any:
    *sections, last = path.split("/")
    for section in sections:
        content = content[section]
    if value is None:
        del content[last]
    else:
        content[last] = value


WEIGHT = "Transformer/encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        ("Transformer", None, "no checkpoint of Mockingjay or TERA: it has no 'Transformer' with weights"),
        ("Config", None, "neither 'Config' nor 'Upstream_Config' describes a transformer"),
        ("Config/audio", None, "it reads features that were extracted beforehand, not waveforms"),
        ("Config/task", None, "the configuration has no section 'task'"),
        ("Config/audio/input", None, "'audio' has no section 'input'"),
        ("Config/audio/input/feat_type", "linear", "feat_type in 'input' is 'linear'; only 'mel' is known here"),
        ("Config/audio/input/delta", 2, "delta in 'input' is 2; only 0 is known here"),
        ("Config/audio/input/cmvn", False, "cmvn in 'input' is False; only True is known here"),
        ("Config/audio/hop_ms", 12.5, "hop_ms in 'audio' is 12.5; only 10 is known here"),
        ("Config/audio/target_level", None, "target_level in 'audio' is None; only -25.0 is known here"),
        ("Config/transformer/hidden_act", "relu", "hidden_act in 'transformer' is 'relu'; only 'gelu' is known here"),
        ("Config/transformer/share_layer", True, "share_layer in 'transformer' is True; only False is known here"),
        ("Config/transformer/layer_norm_eps", 1e-5, "layer_norm_eps in 'transformer' is 1e-05; only 1e-12"),
        ("Config/transformer/hidden_size", 10**12, "is 1000000000000, expected a number from 1 to 100000"),
        ("Config/transformer/hidden_size", 10**5, "is [16, 20], expected [100000, 20]"),
        ("Config/transformer/num_hidden_layers", 101, "is 101, expected a number from 1 to 100"),
        ("Config/transformer/hidden_size", "many", "hidden_size in 'transformer' is 'many', expected a number from 1"),
        ("Config/transformer/hidden_size", 17, "dim 17 a multiple of heads 2"),
        ("Config/transformer/num_hidden_layers", 1, "have no place in a network of 1 blocks of 16"),
        ("Config/transformer/num_hidden_layers", 3, "16 weights are missing in the file, blocks.2."),
        (
            "Config/transformer/hidden_dropout_prob",
            1.5,
            "hidden_dropout_prob in 'transformer' is 1.5, expected a number",
        ),
        ("Config/transformer/pre_layer_norm", True, "6 weights are missing in the file, state_norms.0.bias"),
        (WEIGHT, None, "1 weights are missing in the file, blocks.1.feedforward_output.weight the first"),
        (WEIGHT, torch.zeros(3, 3), "encoder.layer.1.output.dense.weight is [3, 3], expected [16, 24]"),
        (WEIGHT, "text", "expected a tensor, found str"),
        (WEIGHT, torch.full((16, 24), torch.nan), "the weights blocks.1.feedforward_output.weight are not finite"),
        ("Transformer/pooler.weight", torch.zeros(3), "its weights 'pooler.weight' have no place in a network"),
    ],
)
def test_what_is_not_known_is_refused_in_one_line(
    phonemi: Any, tmp_path: Path, change: str, value: Any, message: str
) -> None:
    content, _ = published()
    changed(content, change, value)
    path = write(tmp_path / "file.ckpt", content)
    outcome = phonemi("convert", path, "-o", tmp_path / "out")
    assert outcome.code == 1
    assert outcome.stderr.startswith(f"phonemi: {path}")
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        ("Config/audio/kaldi/feat_type", "mfcc", "feat_type in 'kaldi' is 'mfcc'; only 'fbank'"),
        ("Config/audio/kaldi/fbank/dither", 1.0, "dither in 'fbank' is 1.0; only 0 is known here"),
        ("Config/audio/kaldi/fbank/use_energy", True, "'fbank' has options that are not known here: use_energy"),
        ("Config/audio/delta/order", 1, "order in 'delta' is 1; only 2"),
        ("Config/audio/cmvn", None, "'audio' has no section 'cmvn'"),
    ],
)
def test_other_filter_banks_are_refused(tmp_path: Path, change: str, value: Any, message: str) -> None:
    content, _ = published("fbank")
    changed(content, change, value)
    with pytest.raises(ModelError) as caught:
        read_checkpoint(write(tmp_path / "file.ckpt", content))
    assert message in str(caught.value)


def test_other_files_and_names(phonemi: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pt")
    (tmp_path / "text.ckpt").write_text("hello\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for source, message in {
        tmp_path / "linear.pt": "no checkpoint of Mockingjay or TERA",
        tmp_path / "text.ckpt": "no file of torch.save, or damaged",
        tmp_path: "expected one checkpoint in",
        tmp_path / "nothing.ckpt": "does not exist",
        "tera": "does not exist: expected a checkpoint, a folder with one, or a hub id",
        "s3prl/tera": "neither a file nor a model that the Hugging Face hub gives now",
    }.items():
        outcome = phonemi("convert", source, "-o", tmp_path / "out")
        assert outcome.code == 1
        assert message in outcome.stderr
        assert outcome.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_not_opened_but_the_command_is_named(tmp_path: Path) -> None:
    (tmp_path / "tera.ckpt").write_bytes(b"")
    for name in (str(tmp_path / "tera.ckpt"), "s3prl/tera", "s3prl/mockingjay"):
        with pytest.raises(ModelError, match=f"run `phonemi convert {name} -o FOLDER`, then name that folder"):
            load_representation(name)
