"""Parts of an enhancer <-> a folder: which files the encoder needs, half precision, and where a name leads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from phonemi.enhancers.hub import fetch
from phonemi.errors import ModelError
from phonemi.files import replacing
from phonemi.representations.base import Representation
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.mel_transformer import MelTransformer
from phonemi.representations.names import load_representation
from phonemi.weights import shipped
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE

MODEL_TYPE = "phonemi-enhancer"
ENCODER = "encoder"  # folder of the encoder's own files, inside the enhancer's
ENCODER_OPTIONS = ("normalise", "layer_norm_states")  # what a transformers encoder does that its files do not say


def store_encoder(
    encoder: Representation, folder: Path, half: bool, shipped_encoder: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Write what is needed to load the encoder again: what config.json says of it, and the files written."""
    options = encoder.settings()
    kept = {"representation_options": {key: options[key] for key in ENCODER_OPTIONS if key in options}}
    if shipped_encoder is not None:
        version = _version_of(encoder, shipped_encoder)
        return kept | {"representation": shipped_encoder, "representation_sha256": version}, []
    if _save_encoder(encoder, folder / ENCODER, half):
        return kept | {"representation": ENCODER}, [f"{ENCODER}/{file}" for file in (CONFIG_FILE, WEIGHTS_FILE)]
    return kept | {"representation": encoder.name}, []


def _version_of(encoder: Representation, name: str) -> str:
    """Hash of the weights that ship under `name`; ModelError if they are not those of `encoder`."""
    version = shipped.version_of(name)
    if version is None:
        raise ModelError(f"no encoder {name!r} ships: save the enhancer with a copy of its own")
    known, own = load_representation(name), encoder.state_dict()
    if known.settings() != encoder.settings() | {"name": known.name} or any(
        not torch.equal(own[key].cpu(), values) for key, values in known.state_dict().items()
    ):
        raise ModelError(f"the encoder of this enhancer is not the {name!r} that ships: save it with a copy of its own")
    return version


def check_version(encoder: str, expected: str | None) -> None:
    """Raise ModelError if the encoder that ships under a name is not the one that the enhancer was trained on."""
    found = None if expected is None else shipped.version_of(encoder)
    if found != expected:
        raise ModelError(
            f"it was trained on the encoder {encoder!r} of another version of phonemi (weights {str(expected)[:8]}, "
            f"here {(found or 'none')[:8]}): use the enhancer that comes with this version, or that version"
        )


def _save_encoder(encoder: Representation, folder: Path, half: bool) -> bool:
    """Write the encoder's own files, if it has any and they are not on the hub; whether it did."""
    if isinstance(encoder, MelTransformer):
        encoder.save(folder, half)
    elif isinstance(encoder, HuggingFaceRepresentation) and Path(encoder.name).is_dir():
        save_weights(encoder.model, folder / WEIGHTS_FILE, half)
        with replacing(folder / CONFIG_FILE) as temporary:
            encoder.model.config.to_json_file(temporary)  # type: ignore[operator, union-attr]
    else:
        return False
    return True


def save_weights(module: nn.Module, path: Path, half: bool) -> None:
    """Write a safetensors file; `half` stores the parameters, and only these, in float16."""
    parameters = {name for name, _ in module.named_parameters()} if half else set()
    weights = {
        name: value.detach().cpu().contiguous().to(torch.float16 if name in parameters else value.dtype)
        for name, value in module.state_dict().items()
    }
    with replacing(path) as temporary:
        save_file(weights, temporary, {"format": "pt"})  # transformers refuses files that do not say so


def find(name: str | Path, revision: str | None = None, token: str | bool | None = None) -> Path:
    """Folder of an enhancer, with config.json: shipped in the package, local, or from the hub.

    Args:
        name: shipped name, folder or hub id.
        revision: branch, tag or commit on the hub, where `name` is then looked for and nowhere else.
        token: see `hub.fetch`.

    Raises:
        ModelError: if there is none, or the hub cannot be reached.
    """
    text = str(name)
    is_hub_id = text.count("/") == 1 and not text.startswith((".", "/", "~"))
    if revision is None:
        if (found := shipped.folder_of(name, MODEL_TYPE)) is not None:
            return found
        if (Path(text) / CONFIG_FILE).is_file():
            return Path(text)
        if Path(text).exists() or not is_hub_id:
            raise ModelError(
                f"no enhancer {text!r}: expected one that ships ({shipped.listed(MODEL_TYPE)}), a folder with "
                f"{CONFIG_FILE} (phonemi train makes one) or a hub id"
            )
    elif not is_hub_id:
        raise ModelError(f"no enhancer {text!r} with revision {revision!r}: expected the hub id ACCOUNT/MODEL")
    return fetch(text, revision, token)
