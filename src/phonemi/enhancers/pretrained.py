"""Saving enhancers to a folder or to the hub, and loading them from a folder, the package or the hub.

config.json is written last and holds a hash of every other file, so that loading notices when saving over an older
model was interrupted.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from phonemi.aggregations import build_aggregation
from phonemi.enhancers.base import EnhancerNetwork
from phonemi.enhancers.bsse_enhancer import BsseEnhancer
from phonemi.enhancers.complex_mask import ComplexMaskEnhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.enhancers.purpose import PhoneProbe
from phonemi.enhancers.waveform_enhancer import WaveformEnhancer
from phonemi.errors import ConfigError, ModelError, PhonemiError, nearest, one_line
from phonemi.files import read_json, replacing, sha256, write_json, write_text
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
from phonemi.tables import plural
from phonemi.weights import shipped
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE
from phonemi.weights.tensors import load_weights, save_weights

if TYPE_CHECKING:
    from phonemi.enhancers.enhancer import Enhancer

NETWORKS: dict[str, type[EnhancerNetwork]] = {
    network.kind: network for network in (MaskEnhancer, ComplexMaskEnhancer, BsseEnhancer, WaveformEnhancer)
}
MODEL_TYPE = "phonemi-enhancer"
CARD_FILE = "README.md"  # the hub shows it as the page of the model
HUB_ADVICE = "is there a network? A proxy is set with HTTPS_PROXY, another hub with HF_ENDPOINT"
STATUS_ADVICE = {  # by HTTP status
    401: "log in with `hf auth login` or give a token; the hub answers the same for what does not exist",
    403: "the account or the token lacks the right: ask for access, or use a token that may write",
    404: "check the name and the revision",
}
ENCODER = "encoder"  # folder of the encoder's files, inside the enhancer's


def build_network(settings: dict[str, Any]) -> EnhancerNetwork:
    """Make a network with untrained weights from its `settings()` and its `kind`.

    Models of phonemi 0.1 have no kind: all are mask enhancers.

    Raises:
        ConfigError: for an unknown kind.
        TypeError: for settings that the kind does not take.

    >>> build_network({"kind": "mask", "dim": 0, "log1p": True}).kind
    'mask'
    """
    settings = dict(settings)
    kind = settings.pop("kind", MaskEnhancer.kind)
    if kind not in NETWORKS:
        raise ConfigError(f"unknown kind of enhancer network {kind!r}: {nearest(str(kind), NETWORKS)}")
    return NETWORKS[kind](**settings)


def load(
    kind: type[Enhancer],
    name: str | Path,
    revision: str | None,
    token: str | bool | None,
    encoder: str | Path | None,
) -> Enhancer:
    """See `Enhancer.from_pretrained`."""
    folder = _find(name, revision, token)
    try:
        return _load_folder(kind, folder, token, encoder)
    except PhonemiError as error:
        raise ModelError(f"loading enhancer {name}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"loading enhancer {name}: {CONFIG_FILE} does not describe one ({error!r})") from None


def _find(name: str | Path, revision: str | None, token: str | bool | None) -> Path:
    """Folder of an enhancer: shipped in the package, local, or from the hub, and only from there with a revision."""
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


def _load_folder(
    kind: type[Enhancer], folder: Path, token: str | bool | None, encoder_folder: str | Path | None
) -> Enhancer:
    settings = read_json(folder / CONFIG_FILE)
    if settings.get("model_type") != MODEL_TYPE:
        raise ModelError(f"it is a {settings.get('model_type')!r} model, not a {MODEL_TYPE!r}")
    if settings["sample_rate"] != SAMPLE_RATE:
        raise ModelError(f"it was trained at {settings['sample_rate']} Hz; this version runs {SAMPLE_RATE} Hz models")
    for file, digest in settings.get("files", {}).items():
        if not (folder / file).is_file():
            raise ModelError(f"{file} is missing: copy or train the model again")
        if sha256(folder / file) != digest:
            raise ModelError(
                f"{file} is not the one that {CONFIG_FILE} was written with, because a save was interrupted or the "
                "file damaged: copy or train the model again"
            )
    representation: Any = None
    aggregation = None
    is_complete = settings["representation"] in (None, ENCODER, "log1p") or "representation_sha256" in settings
    if encoder_folder is not None and is_complete:
        raise ModelError("it needs no encoder from elsewhere: leave that out")
    if settings["representation"] is not None:
        encoder, expected = settings["representation"], settings.get("representation_sha256")
        version = None if expected is None else shipped.version_of(encoder)
        if version != expected:
            raise ModelError(
                f"it was trained on the encoder {encoder!r} of another version of phonemi (weights {expected[:8]}, "
                f"here {(version or 'none')[:8]}): use the enhancer that comes with this version, or that version"
            )
        source = folder / ENCODER if encoder == ENCODER else encoder
        if encoder_folder is not None:
            source = Path(encoder_folder)
        commit, response = settings.get("representation_revision"), settings.get("representation_response")
        try:
            representation = load_representation(source, token, commit)
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
        aggregation = build_aggregation(settings["aggregation"])
    network = build_network(settings["mask_enhancer"])
    probe = PhoneProbe(network.dim, **settings["phone_probe"]) if settings.get("phone_probe") else None
    enhancer = kind(representation, aggregation, network, settings["name"], probe)
    load_weights(_without_encoder(enhancer), folder / WEIGHTS_FILE)
    # "load" is where this copy was uploaded to, which is not true of the next one.
    enhancer.facts = {key: fact for key, fact in settings.get("facts", {}).items() if key != "load"}
    return enhancer


def describe(enhancer: Enhancer) -> dict[str, Any]:
    """What an enhancer is made of, JSON-able: the names of config.json."""
    network, encoder, aggregation = enhancer.network, enhancer.representation, enhancer.aggregation
    probe = {} if enhancer.phone_probe is None else {"phone_probe": enhancer.phone_probe.settings()}
    return {
        "model_type": MODEL_TYPE,
        "name": enhancer.name,
        "sample_rate": SAMPLE_RATE,
        "mask_enhancer": {"kind": network.kind, **network.settings()},
        "representation": None if encoder is None else encoder.name,
        "aggregation": None if aggregation is None else aggregation.settings(),
        **probe,
    }


def save(enhancer: Enhancer, folder: Path, facts: dict[str, Any], half: bool, shipped_encoder: str | None) -> None:
    """See `Enhancer.save_pretrained`."""
    from phonemi.enhancers.card import model_card  # not needed for enhancing

    network, aggregation = enhancer.network, enhancer.aggregation
    settings = describe(enhancer) | {"representation": None, "facts": facts}
    files = [WEIGHTS_FILE]
    parts: list[tuple[str, str, nn.Module]] = []  # for the card
    if enhancer.representation is not None and aggregation is not None:
        encoder = enhancer.representation
        encoder_settings, encoder_files = _store_encoder(encoder, folder, half, shipped_encoder)
        settings |= encoder_settings
        files += encoder_files
        size = f"{encoder.layers} hidden states of {encoder.dim}"
        name = settings["representation"]
        kind = aggregation.kind.replace("_", " ")
        parts = [
            ("encoder", size if name == ENCODER else f"{name}: {size}", encoder),
            ("aggregation", f"{kind} of {plural(aggregation.layers, 'layer')}", aggregation),
        ]
    if enhancer.phone_probe is not None:
        parts.append(("phone probe", "linear, on the fused features", enhancer.phone_probe))
    parts.append((f"{network.kind} enhancer", network.description(), network))
    save_weights(_without_encoder(enhancer), folder / WEIGHTS_FILE, half, {"format": "pt"})
    settings["files"] = {file: sha256(folder / file) for file in files}
    own_facts = {
        "name": enhancer.name,
        "parts": [
            {"part": part, "what": what, "parameters": sum(values.numel() for values in module.parameters())}
            for part, what, module in parts
        ],
        "size_mb": sum((folder / file).stat().st_size for file in files) / 1e6,
        "sample_rate": SAMPLE_RATE,
    }
    write_text(folder / CARD_FILE, model_card(own_facts | facts))
    write_json(folder / CONFIG_FILE, settings)


def _store_encoder(
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


def _without_encoder(enhancer: Enhancer) -> nn.Module:
    """The parts whose weights are in model.safetensors, under the names that they have there."""
    parts = {"aggregation": enhancer.aggregation, "phone_probe": enhancer.phone_probe}
    return nn.ModuleDict({"mask_enhancer": enhancer.network} | {name: part for name, part in parts.items() if part})


def fetch(repo_id: str, revision: str | None, token: str | bool | None) -> Path:
    """Download the JSON and safetensors files of a repository; returns the local folder.

    Files in the cache are not downloaded again. Without a network, or with HF_HUB_OFFLINE=1, only the cache is used.
    Arguments and errors are those of `Enhancer.from_pretrained`; token False: none.
    """
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors"]
        return Path(snapshot_download(repo_id, revision=revision, token=token, allow_patterns=patterns))
    except Exception as error:  # the client raises a dozen kinds of errors, and all mean the same to the user
        raise _hub_error(f"fetching {repo_id!r} from the hub", error) from None


def push(
    folder: Path, repo_id: str, private: bool, token: str | bool | None, commit_message: str, revision: str | None
) -> str:
    """Commit every file of a folder for `Enhancer.push_to_hub`; others in the repository stay."""
    from huggingface_hub import HfApi

    if repo_id.count("/") != 1:
        raise ModelError(f"{repo_id!r} is no name on the hub: expected ACCOUNT/MODEL")
    api = HfApi(token=token)
    try:
        url = str(api.create_repo(repo_id, private=private, exist_ok=True))
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message, revision=revision)
    except Exception as error:  # as in `fetch`
        raise _hub_error(f"uploading to {repo_id!r} on the hub", error) from None
    return url if revision is None else f"{url}/tree/{revision}"


def _hub_error(action: str, error: Exception) -> ModelError:
    """The error for an action that failed: what was tried, what went wrong, and what to do about it."""
    from huggingface_hub.errors import LocalEntryNotFoundError, LocalTokenNotFoundError, OfflineModeIsEnabled

    is_cache_miss = isinstance(error, LocalEntryNotFoundError)
    cause = error.__cause__ if is_cache_miss and isinstance(error.__cause__, Exception) else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    problem = one_line(cause) or type(cause).__name__
    if isinstance(cause, OfflineModeIsEnabled):
        problem = "HF_HUB_OFFLINE is set"
        advice = "unset it where there is a network"
    elif isinstance(cause, LocalTokenNotFoundError):
        advice = STATUS_ADVICE[401]
    elif status is not None:
        advice = STATUS_ADVICE.get(status, "try again later")
    elif isinstance(cause, ValueError) or getattr(cause, "errno", None):  # an invalid name or card, a full disk
        advice = ""
    else:
        advice = HUB_ADVICE
    if is_cache_miss:
        problem += ", and the cache holds no whole copy"
    return ModelError(": ".join(part for part in (action, problem, advice) if part))
