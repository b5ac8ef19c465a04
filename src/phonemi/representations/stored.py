"""Encoders inside the folder of a model that uses them: copied, or named where they can be loaded from elsewhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from phonemi.errors import ModelError
from phonemi.files import replacing
from phonemi.representations.base import Representation
from phonemi.representations.feature_normalisation import INNER_ENCODER, FeatureNormalisation
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.log1p import Log1p
from phonemi.representations.names import load_representation
from phonemi.representations.saved_encoder import SavedEncoder
from phonemi.representations.side_by_side import PARTS, SideBySide
from phonemi.representations.transformers_models import OPTIONS
from phonemi.representations.whisper_encoder import WhisperRepresentation
from phonemi.signal import SAMPLE_RATE
from phonemi.weights import shipped
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE
from phonemi.weights.tensors import save_weights

ENCODER = "encoder"  # folder of the encoder's files, inside that of the model


def store_encoder(
    encoder: Representation, folder: Path, half: bool, shipped_encoder: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Store an encoder in the folder of an enhancer, unless it can be loaded from elsewhere.

    Returns the entries of config.json that say how to load it, and the files written, relative to `folder`.
    """
    options = encoder.settings()
    settings: dict[str, Any] = {"representation_options": {key: options[key] for key in OPTIONS if key in options}}
    if shipped_encoder is not None:
        version = _version_of(encoder, shipped_encoder)
        return settings | {"representation": shipped_encoder, "representation_sha256": version}, []
    if files := _save_encoder(encoder, folder / ENCODER, half):
        return settings | {"representation": ENCODER}, [f"{ENCODER}/{file}" for file in files]
    if isinstance(encoder, Log1p):
        return settings | {"representation": encoder.name}, []
    published: Any = encoder.model
    commit = getattr(published.config, "_commit_hash", None)
    on_hub = {"representation_revision": commit, "representation_response": _response(encoder)}
    return settings | {"representation": encoder.name} | on_hub, []


@torch.inference_mode()
def _response(encoder: Representation) -> list[float]:
    """What an encoder makes of a tone that rises from 0.2 to 3.2 kHz in a second: some of its mean hidden states.

    They tell weights apart, and not how these are stored: half precision changes them by a thousandth.
    """
    time_s = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = 0.1 * torch.sin(2 * torch.pi * (200 + 1500 * time_s) * time_s)
    states = encoder(tone[None].to(next(encoder.parameters()).device)).states[:, 0].float().mean(1)
    values: list[float] = states[:, :: max(1, encoder.dim // 8)].flatten().tolist()
    return [round(value, 4) for value in values]


def hear_alike(first: Representation | None, second: Representation) -> bool:
    """Whether two encoders have the same weights and input, however these are stored."""
    return first is not None and _agree(_response(first), _response(second))


def _agree(response: list[float], expected: list[float]) -> bool:
    """Whether the distance is less than 1 % of the length; of weights that were shuffled it is 100 % or more."""
    if len(response) != len(expected):
        return False
    return math.dist(response, expected) < 0.01 * math.hypot(*expected)


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


def _save_encoder(encoder: Representation, folder: Path, half: bool, is_inside: bool = False) -> list[str]:
    """Write the files of an encoder; returns their names, none if it has none, or if they are those that the hub has.

    What is inside of another is always written.
    """
    if isinstance(encoder, FeatureNormalisation):
        inner = _save_encoder(encoder.encoder, folder / INNER_ENCODER, half, is_inside=True)
        options = {key: value for key, value in encoder.encoder.settings().items() if key in OPTIONS}
        encoder.save(folder, options)
        return [CONFIG_FILE, WEIGHTS_FILE, *(f"{INNER_ENCODER}/{file}" for file in inner)]
    if isinstance(encoder, SideBySide):
        parts: list[dict[str, Any]] = []
        files = [CONFIG_FILE]
        for part, one in zip(PARTS, (encoder.first, encoder.second), strict=True):
            written = _save_encoder(one, folder / part, half, is_inside=True)
            options = {key: value for key, value in one.settings().items() if key in OPTIONS}
            parts.append(({"folder": part} if written else {"name": one.name}) | {"options": options})
            files += [f"{part}/{file}" for file in written]
        encoder.save(folder, parts)
        return files
    if isinstance(encoder, SavedEncoder):
        encoder.save(folder, half)
        return [CONFIG_FILE, WEIGHTS_FILE]
    name = Path(encoder.name)
    is_on_hub = not (encoder.is_modified or name.is_dir() or name.is_absolute())
    if not isinstance(encoder, HuggingFaceRepresentation | WhisperRepresentation) or (is_on_hub and not is_inside):
        return []
    save_weights(encoder.model, folder / WEIGHTS_FILE, half, {"format": "pt"})
    config: Any = encoder.model.config
    with replacing(folder / CONFIG_FILE) as temporary:
        config.to_json_file(temporary)
    return [CONFIG_FILE, WEIGHTS_FILE]


def load_stored_encoder(
    settings: dict[str, Any], folder: Path, token: str | bool | None = None, encoder_folder: str | Path | None = None
) -> Representation | None:
    """The encoder that `store_encoder` stored in the folder of a model, whose config.json has these `settings`.

    Args:
        settings: None under "representation": there is no encoder.
        token: of the hub.
        encoder_folder: where the encoder lies, if it is one of the hub; None: it comes from there.

    Raises:
        ModelError: if it is not there, or not the one that the model was trained with.
    """
    is_complete = settings["representation"] in (None, ENCODER, "log1p") or "representation_sha256" in settings
    if encoder_folder is not None and is_complete:
        raise ModelError("it needs no encoder from elsewhere: leave that out")
    if settings["representation"] is None:
        return None
    encoder: str = settings["representation"]
    expected: Any = settings.get("representation_sha256")
    version = None if expected is None else shipped.version_of(encoder)
    if version != expected:
        raise ModelError(
            f"it was trained on the encoder {encoder!r} of another version of phonemi (weights {expected[:8]}, "
            f"here {(version or 'none')[:8]}): use the model that comes with this version, or that version"
        )
    source = folder / ENCODER if encoder == ENCODER else encoder
    if encoder_folder is not None:
        source = Path(encoder_folder)
    commit, response = settings.get("representation_revision"), settings.get("representation_response")
    try:
        representation: Any = load_representation(source, token, commit)
    except ModelError as error:
        by_option = ", by --encoder (encoder= in Python)" if str(error).endswith("name that folder") else ""
        raise ModelError(f"{error}{by_option}") from None
    for option, value in settings.get("representation_options", {}).items():
        setattr(representation, option, value)
    if response is not None:
        if not _agree(_response(representation), response):
            raise ModelError(
                f"the weights in {source} are not those of {encoder} that it was trained with"
                + (f", of commit {commit}" if commit else "")
            )
        representation.name = encoder  # also if it comes from a folder
        representation.model.config._commit_hash = commit
    return representation  # type: ignore[no-any-return]
