"""Load a representation by its name: one that ships, a folder, or an id on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phonemi.errors import DataError, ModelError
from phonemi.files import read_json
from phonemi.representations.base import Representation
from phonemi.representations.huggingface import HuggingFaceRepresentation, _import_model, _pretrained
from phonemi.representations.log1p import Log1p
from phonemi.weights import shipped


def load_representation(name: str | Path | dict[str, Any], token: str | bool | None = None) -> Representation:
    """Frozen representation in evaluation mode.

    Args:
        name: "log1p"; "mini" or "mini-kmeans" (they come with the package); a folder that `MelTransformer.save` or
            `transformers` wrote; or a name on the Hugging Face hub, such as "microsoft/wavlm-base-plus". A dict is
            the `settings()` of a representation: the same kind and options, fresh weights to copy trained ones into.
        token: for a private model on the hub; by default that of `hf auth login` or HF_TOKEN.

    Raises:
        ModelError: if there is no such model, it cannot be reached or read, or it is of another kind.

    >>> load_representation("log1p").dim
    257
    """
    if isinstance(name, dict):
        return _from_settings(name).eval().requires_grad_(False)
    if name == "log1p":
        return Log1p()
    from phonemi.representations.mel_transformer import MODEL_TYPE, MelTransformer

    folder, name = shipped.folder_of(name, MODEL_TYPE) or Path(name), str(name)
    if not folder.exists() and "/" not in name:  # nothing that the hub could have
        known = f"one that ships ({shipped.listed(MODEL_TYPE)})"
        raise ModelError(f"no encoder {name!r}: expected {known}, a folder, a hub id such as microsoft/wavlm-base")
    if not (folder / "config.json").exists() or _model_type(folder / "config.json") != MODEL_TYPE:
        return HuggingFaceRepresentation(_pretrained(name, token), name)
    encoder = MelTransformer.load(folder).requires_grad_(False)
    encoder.name = name
    return encoder


def _from_settings(settings: dict[str, Any]) -> Representation:
    from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig

    name = settings["name"]
    if name == "log1p":
        return Log1p()
    if "config" not in settings:
        sizes = {key: value for key, value in settings.items() if key != "name"}
        return MelTransformer(MelTransformerConfig.from_json(sizes), name)
    _import_model(name, settings["config"]["model_type"])
    from transformers import AutoConfig, AutoModel

    model = AutoModel.from_config(AutoConfig.for_model(**settings["config"]))
    return HuggingFaceRepresentation(model, name, settings["normalise"], settings["layer_norm_states"])


def _model_type(path: Path) -> str | None:
    try:
        return read_json(path).get("model_type")
    except (DataError, AttributeError) as error:
        raise ModelError(f"{path} is not the configuration of a model ({error})") from None
