"""Load a representation by its name: one that ships, a folder, or an id on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phonemi.errors import ModelError
from phonemi.files import read_json
from phonemi.representations.base import Representation
from phonemi.representations.feature_normalisation import INNER_ENCODER, FeatureNormalisation
from phonemi.representations.feature_normalisation import MODEL_TYPE as FEATURE_NORMALISATION
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import MODEL_TYPE, MelTransformer
from phonemi.representations.saved_encoder import SavedEncoder
from phonemi.representations.side_by_side import MODEL_TYPE as SIDE_BY_SIDE
from phonemi.representations.side_by_side import SideBySide
from phonemi.representations.tera import Tera
from phonemi.representations.transformers_models import load_encoder, new_encoder
from phonemi.weights import shipped

S3PRL = "s3prl/"  # whose repositories on the hub hold checkpoints
# Encoders of our own code, by the model_type in their config.json.
KINDS: dict[object, type[SavedEncoder]] = {kind.config_type.model_type: kind for kind in (MelTransformer, Tera)}


def load_representation(
    name: str | Path | dict[str, Any], token: str | bool | None = None, revision: str | None = None
) -> Representation:
    """Load a representation, frozen and in evaluation mode.

    Args:
        name: "log1p"; "mini" or "mini-kmeans" (they come with the package); a folder that `MelTransformer.save`,
            `phonemi convert` or `transformers` wrote; or a name on the Hugging Face hub, such as
            "microsoft/wavlm-base-plus" or "openai/whisper-base.en", of which the encoder is taken. Two of these with a
            "+" between them stand side by side, such as "mini+log1p". A dict is what `settings()` returned: it gives an
            encoder of the same kind and options with fresh weights, into which `load_state_dict` copies trained ones.
        token: for a private model on the hub; by default that of `hf auth login` or HF_TOKEN.
        revision: branch, tag or commit of a model on the hub.

    Raises:
        ModelError: if there is no such model, it cannot be reached or read, or it is of another kind.

    >>> load_representation("log1p").dim
    257
    """
    if isinstance(name, dict):
        representation = _from_settings(name)
        representation.is_modified = not isinstance(representation, Log1p)  # its weights need not be those of its name
        return representation.freeze().eval()
    if name == "log1p":
        return Log1p().eval()
    if isinstance(name, str) and len(parts := shipped.parts_of(name)) == 2:
        return SideBySide(*(load_representation(part, token) for part in parts)).freeze().eval()
    folder, name = shipped.folder_of(name, MODEL_TYPE) or Path(name), str(name)
    if not folder.exists() and "/" not in name:  # the hub has no such names
        raise ModelError(
            f"no encoder {name!r}: expected one that ships ({shipped.listed(MODEL_TYPE)}), a folder, "
            "a hub id such as microsoft/wavlm-base"
        )
    if folder.is_file() or (not folder.exists() and name.startswith(S3PRL)):
        raise ModelError(
            f"{name} is not the folder of an encoder: if it is a checkpoint of Mockingjay or TERA, "
            f"run `phonemi convert {name} -o FOLDER`, then name that folder"
        )
    model_type = shipped.type_of(folder / shipped.CONFIG_FILE)
    if model_type == FEATURE_NORMALISATION:
        return FeatureNormalisation.load(folder, load_representation(folder / INNER_ENCODER)).freeze().eval()
    if model_type == SIDE_BY_SIDE:
        return _load_pair(folder)
    kind = KINDS.get(model_type)
    if kind is None:
        return load_encoder(name, token, revision)
    encoder = kind.load(folder)
    encoder.name = name
    return encoder.freeze()


def _load_pair(folder: Path) -> Representation:
    """Two representations side by side, from a folder that `SideBySide.save` wrote to."""
    encoders = []
    for part in read_json(folder / shipped.CONFIG_FILE)["parts"]:
        encoder = load_representation(folder / part["folder"] if "folder" in part else part["name"])
        for option, value in part["options"].items():
            setattr(encoder, option, value)
        encoders.append(encoder)
    return SideBySide(*encoders).freeze().eval()


def _from_settings(settings: dict[str, Any]) -> Representation:
    name = settings["name"]
    if "side_by_side" in settings:
        return SideBySide(*map(load_representation, settings["side_by_side"]))
    if "normalised_layers" in settings:
        return FeatureNormalisation(load_representation(settings["encoder"]), settings["normalised_layers"])
    if name == "log1p":
        return Log1p()
    if "config" in settings:  # of transformers
        return new_encoder(settings)
    kind = KINDS.get(settings.get("model_type"), MelTransformer)
    return kind.new({key: value for key, value in settings.items() if key != "name"}, name)
