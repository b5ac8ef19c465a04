"""Checkpoints of Mockingjay and TERA that S3PRL has written -> `Tera`, without S3PRL and without running their code."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phonemi.errors import ModelError
from phonemi.representations.acoustic_features import LEVEL_DB
from phonemi.representations.tera import LAYER_NORM_EPS, Tera, TeraConfig
from phonemi.weights.torch_file import TorchFile

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
# Names of weights in a checkpoint -> those of a `Tera`.
INPUT = {"spec_transform": "projection", "LayerNorm": "projection_norm"}
BLOCK = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention_output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "feedforward_input",
    "output.dense": "feedforward_output",
    "output.LayerNorm": "feedforward_norm",
}
AGAIN = ("attention.LayerNorm", "LayerNorm")  # second names of two of these in pre-norm blocks
LEGACY = {"gamma": "weight", "beta": "bias"}
# What all that is published has in common; another value means another network or another front end.
TRANSFORMER = {"hidden_act": "gelu", "layer_norm_eps": LAYER_NORM_EPS, "share_layer": False}
MEL = {"target_level": LEVEL_DB, "win_ms": 25, "hop_ms": 10, "n_freq": 201, "sample_rate": 16_000}
MEL_INPUT = {"feat_type": "mel", "log": True, "delta": 0, "cmvn": True}
FBANK = {"frame_length": 25, "frame_shift": 10, "use_log_fbank": True, "dither": 0}
MAY_BE_ABSENT = {"share_layer", "sample_rate", "delta", "dither"}


def read_checkpoint(path: str | Path) -> Tera:
    """Read a checkpoint of S3PRL's Mockingjay or TERA, in evaluation mode.

    The head that predicted the spectrum, "SpecHead", is left out: no hidden state depends on it, and `phonemi pretrain`
    begins with a new encoder.

    Raises:
        ModelError: if it is another kind of file or another network, or lacks something.
    """
    file = TorchFile(path)
    if not isinstance(file.content, dict) or not isinstance(file.content.get("Transformer"), dict):
        raise ModelError(f"{path} is no checkpoint of Mockingjay or TERA: it has no 'Transformer' with weights")
    try:
        with torch.device("meta"):  # sizes of a damaged file take no memory
            model = Tera(_config_of(file.content))
        _copy_weights(model, file.content["Transformer"], file.tensor)
    except ModelError as error:
        raise ModelError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    return model.eval()


def _config_of(content: dict[Any, Any]) -> TeraConfig:
    """Sizes and front end; in old files under "Config", in later ones, where that holds the runner's, elsewhere."""
    for key in ("Config", "Upstream_Config"):
        config = content.get(key)
        if isinstance(config, dict) and "transformer" in config:
            break
    else:
        raise ModelError("neither 'Config' nor 'Upstream_Config' describes a transformer")
    if "audio" not in config:
        raise ModelError("it reads features that were extracted beforehand, not waveforms")
    root = Section("the configuration", config)
    transformer, audio = root.section("transformer"), root.section("audio")
    transformer.expect(TRANSFORMER)
    if "kaldi" in audio.values:
        kaldi = audio.section("kaldi")
        fbank = kaldi.section("fbank")
        kaldi.expect({"feat_type": "fbank"})
        fbank.expect(FBANK)
        if unknown := sorted(map(str, fbank.values.keys() - {"num_mel_bins", *FBANK})):
            raise ModelError(f"{fbank.name} has options that are not known here: {', '.join(unknown)}")
        audio.section("delta").expect({"order": 2, "win_length": 5})
        audio.section("cmvn").expect({"use_cmvn": True})
        front_end: dict[str, Any] = {"front_end": "fbank", "mels": fbank.number("num_mel_bins")}
    else:
        audio.expect(MEL)
        audio.section("input").expect(MEL_INPUT)
        front_end = {"front_end": "mel", "mels": audio.number("n_mels")}
    return TeraConfig(
        **front_end,
        dim=transformer.number("hidden_size"),
        blocks=transformer.number("num_hidden_layers", highest=100),
        heads=transformer.number("num_attention_heads"),
        feedforward=transformer.number("intermediate_size"),
        longest=root.section("task").number("sequence_length", lowest=0),
        pre_norm=transformer.values.get("pre_layer_norm", False) is True,
        dropout=transformer.share("hidden_dropout_prob"),
        attention_dropout=transformer.share("attention_probs_dropout_prob"),
    )


@dataclass(frozen=True)
class Section:
    """A dict of a configuration that somebody else has written, and its name in error messages."""

    name: str
    values: dict[Any, Any]

    def section(self, key: str) -> Section:
        """The dict under a key."""
        values = self.values.get(key)
        if not isinstance(values, dict):
            raise ModelError(f"{self.name} has no section {key!r}")
        return Section(f"'{key}'", values)

    def number(self, key: str, lowest: int = 1, highest: int = 100_000) -> int:
        """A whole number in a range under a key."""
        value = _as_number(self.values.get(key))
        if value is None or value != int(value) or not lowest <= value <= highest:
            found = _shown(self.values.get(key))
            raise ModelError(f"{key} in {self.name} is {found}, expected a number from {lowest} to {highest}")
        return int(value)

    def share(self, key: str) -> float:
        """A number of at least 0 and below 1 under a key."""
        value = _as_number(self.values.get(key))
        if value is None or not 0 <= value < 1:
            raise ModelError(f"{key} in {self.name} is {_shown(self.values.get(key))}, expected a number from 0 to 1")
        return value

    def expect(self, expected: dict[str, Any]) -> None:
        """Raise ModelError if a value is another one."""
        for key, wanted in expected.items():
            value = self.values.get(key)
            is_same = value is wanted if isinstance(wanted, bool) else value == wanted or _as_number(value) == wanted
            if not is_same and not (key in MAY_BE_ABSENT and key not in self.values):
                raise ModelError(f"{key} in {self.name} is {_shown(value)}; only {wanted!r} is known here")


def _as_number(value: object) -> float | None:
    """A number, also one that YAML has taken for a text, such as 1e-12."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: object) -> str:
    """A value in an error message: nothing that could be long, or that the file decides about."""
    return repr(value)[:40] if isinstance(value, (bool, int, float, str, type(None))) else f"a {type(value).__name__}"


def _copy_weights(model: Tera, weights: dict[Any, Any], read: Callable[[object], Tensor]) -> None:
    expected = model.state_dict()
    copies: dict[str, Tensor] = {}
    for name, stored in weights.items():
        own = _own_name(str(name), model.config.pre_norm)
        if own is None:
            continue
        if own not in expected:
            raise ModelError(f"its weights {str(name)[:80]!r} have no place in a network of {_text(model.config)}")
        values = read(stored)
        if values.shape != expected[own].shape:
            raise ModelError(f"{name} is {list(values.shape)}, expected {list(expected[own].shape)}")
        copies[own] = values.to(expected[own].dtype)
    if missing := sorted(expected.keys() - copies.keys()):
        raise ModelError(f"{len(missing)} weights are missing in the file, {missing[0]} the first of them")
    if name := next((name for name, values in copies.items() if not bool(values.isfinite().all())), None):
        raise ModelError(f"the weights {name} are not finite")
    model.load_state_dict(copies, assign=True)


def _text(config: TeraConfig) -> str:
    return f"{config.blocks} blocks of {config.dim}"


def _own_name(name: str, pre_norm: bool) -> str | None:
    """Name in a `Tera` of a weight in a checkpoint, an empty one if it has none; None for one that is there twice."""
    path, _, kind = name.rpartition(".")
    kind = LEGACY.get(kind, kind)
    part, _, rest = path.partition(".")
    if part == "input_representations" and rest in INPUT:
        return f"{INPUT[rest]}.{kind}"
    if match := re.fullmatch(r"encoder\.LayerNorm\.(\d+)", path):
        return f"state_norms.{match[1]}.{kind}"
    if match := re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", path):
        if pre_norm and match[2] in AGAIN:
            return None
        if match[2] in BLOCK:
            return f"blocks.{match[1]}.{BLOCK[match[2]]}.{kind}"
    return ""
