"""Encoders that the package `transformers` reads, from a folder or from the Hugging Face hub."""

from __future__ import annotations

from typing import Any

from torch import nn

from phonemi.errors import ModelError
from phonemi.representations.base import Representation
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.whisper_encoder import MODEL_TYPE as WHISPER
from phonemi.representations.whisper_encoder import WhisperRepresentation
from phonemi.tables import plural
from phonemi.transformers_import import import_transformers, quiet_transformers, unreachable_model

MODEL_TYPES = ("hubert", "wavlm", "wav2vec2", WHISPER)  # as transformers calls them
OPTIONS = ("normalise", "layer_norm_states")  # options of ours that a transformers config.json cannot record
WITHOUT_DECODER = {r"^model\.encoder\.": "", r"^encoder\.": ""}  # names of Whisper's weights -> those of its encoder


def load_encoder(name: str, token: str | bool | None, revision: str | None = None) -> Representation:
    """Load the encoder of a local folder or of the hub, without the heads or the decoder it may have.

    `revision` is a branch, tag or commit on the hub.

    Raises:
        ModelError: if there is none, or it is of another kind.
    """
    import_transformers(name)
    from transformers import AutoConfig

    with quiet_transformers():  # of heads that are not used; missing weights are reported below
        try:
            config = AutoConfig.from_pretrained(name, token=token, revision=revision or "main")
            names = {"key_mapping": WITHOUT_DECODER} if config.model_type == WHISPER else {}
            model, report = _class_of(name, config.model_type).from_pretrained(
                name, config=config, output_loading_info=True, token=token, revision=revision or "main", **names
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise unreachable_model(name, error) from None
    if missing := sorted(set(report["missing_keys"]) - {"masked_spec_embed"}):
        raise ModelError(f"{name}: {plural(len(missing), 'weight')} missing in the file, first {missing[0]}")
    return _represent(model, name, {})


def new_encoder(settings: dict[str, Any]) -> Representation:
    """Build an encoder with fresh weights from what its `settings()` returned."""
    name, config = settings["name"], settings["config"]
    code = _class_of(name, config["model_type"])
    from transformers import AutoConfig

    configuration = AutoConfig.for_model(**config)
    model = code(configuration) if config["model_type"] == WHISPER else code.from_config(configuration)
    return _represent(model, name, {key: settings[key] for key in OPTIONS if key in settings})


def _represent(model: nn.Module, name: str, options: dict[str, Any]) -> Representation:
    config: Any = model.config
    kind = WhisperRepresentation if config.model_type == WHISPER else HuggingFaceRepresentation
    return kind(model, name, **options)


def _class_of(name: str, model_type: str) -> Any:
    """What transformers has for a type of model."""
    if model_type not in MODEL_TYPES:
        raise ModelError(f"{name} is of type {model_type!r}; known: {', '.join(MODEL_TYPES)}")
    transformers = import_transformers(name, model_type)
    if model_type == WHISPER:
        return transformers.models.whisper.modeling_whisper.WhisperEncoder
    return transformers.AutoModel
