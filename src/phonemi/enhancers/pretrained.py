"""Where the parts of an enhancer are: the files of its encoder, and the folder that a name stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from phonemi.enhancers.hub import fetch
from phonemi.errors import ModelError
from phonemi.files import replacing
from phonemi.representations.base import Representation
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.mel_transformer import MelTransformer
from phonemi.representations.names import load_representation
from phonemi.weights import shipped
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE
from phonemi.weights.tensors import save_weights

MODEL_TYPE = "phonemi-enhancer"
ENCODER = "encoder"  # folder of the encoder's files, inside the enhancer's
ENCODER_OPTIONS = ("normalise", "layer_norm_states")  # options of ours that a transformers config.json cannot record


def store_encoder(
    encoder: Representation, folder: Path, half: bool, shipped_encoder: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Store an encoder in the folder of an enhancer, or refer to where it can be loaded from.

    Args:
        encoder: to be loaded again with the enhancer.
        folder: of the enhancer.
        half: store parameters in half precision.
        shipped_encoder: name of the encoder of the package that this one is, to refer to it; None: do not.

    Returns:
        The entries of config.json that say how to load it, and the files written, relative to `folder`.

    Raises:
        ModelError: if `shipped_encoder` does not ship or is another encoder.
    """
    options = encoder.settings()
    settings: dict[str, Any] = {
        "representation_options": {key: options[key] for key in ENCODER_OPTIONS if key in options}
    }
    if shipped_encoder is not None:
        version = _version_of(encoder, shipped_encoder)
        return settings | {"representation": shipped_encoder, "representation_sha256": version}, []
    if _save_encoder(encoder, folder / ENCODER, half):
        return settings | {"representation": ENCODER}, [f"{ENCODER}/{file}" for file in (CONFIG_FILE, WEIGHTS_FILE)]
    return settings | {"representation": encoder.name}, []


def _version_of(encoder: Representation, name: str) -> str:
    """Hash of the weights that ship under `name`; ModelError if they are not those of `encoder`."""
    version = shipped.version_of(name)
    if version is None:
        raise ModelError(f"no encoder {name!r} ships: save the enhancer with a copy of its own")
    shipped_encoder, weights = load_representation(name), encoder.state_dict()
    if shipped_encoder.settings() != encoder.settings() | {"name": shipped_encoder.name} or any(
        not torch.equal(weights[key].cpu(), values) for key, values in shipped_encoder.state_dict().items()
    ):
        raise ModelError(f"the encoder of this enhancer is not the {name!r} that ships: save it with a copy of its own")
    return version


def check_version(encoder: str, expected: str | None) -> None:
    """Raise ModelError if the encoder that ships under a name is not the one that the enhancer was trained on."""
    version = None if expected is None else shipped.version_of(encoder)
    if version != expected:
        raise ModelError(
            f"it was trained on the encoder {encoder!r} of another version of phonemi (weights {str(expected)[:8]}, "
            f"here {(version or 'none')[:8]}): use the enhancer that comes with this version, or that version"
        )


def _save_encoder(encoder: Representation, folder: Path, half: bool) -> bool:
    """Write the files of an encoder; False if it has none, or if they are those that the hub has."""
    if isinstance(encoder, MelTransformer):
        encoder.save(folder, half)
        return True
    name = Path(encoder.name)
    is_on_hub = not (encoder.is_modified or name.is_dir() or name.is_absolute())
    if not isinstance(encoder, HuggingFaceRepresentation) or is_on_hub:
        return False
    save_weights(encoder.model, folder / WEIGHTS_FILE, half, {"format": "pt"})
    config: Any = encoder.model.config
    with replacing(folder / CONFIG_FILE) as temporary:
        config.to_json_file(temporary)
    return True


def find(name: str | Path, revision: str | None = None, token: str | bool | None = None) -> Path:
    """Folder of an enhancer, with config.json: shipped in the package, local, or from the hub.

    Args:
        name: shipped name, folder or hub id.
        revision: branch, tag or commit on the hub. If it is given, `name` is looked for on the hub only.
        token: see `hub.fetch`.

    Raises:
        ModelError: if there is none, or the hub cannot be reached.
    """
    text = str(name)
    is_hub_id = text.count("/") == 1 and not text.startswith((".", "/", "~"))
    if revision is None:
        if (shipped_folder := shipped.folder_of(name, MODEL_TYPE)) is not None:
            return shipped_folder
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
