"""Saving enhancers to a folder or to the hub, and loading them from a folder, the package or the hub.

config.json is written last and holds a hash of every other file, so that loading notices when saving over an older
model was interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from phonemi.aggregations import build_aggregation
from phonemi.enhancers.base import EnhancerNetwork
from phonemi.enhancers.bsse_enhancer import BsseEnhancer
from phonemi.enhancers.complex_mask import ComplexMaskEnhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.enhancers.purpose import PhoneProbe
from phonemi.enhancers.waveform_enhancer import WaveformEnhancer
from phonemi.errors import ConfigError, ModelError, PhonemiError, nearest
from phonemi.files import sha256, write_json, write_text
from phonemi.representations.stored import ENCODER, load_stored_encoder, store_encoder
from phonemi.signal import SAMPLE_RATE
from phonemi.tables import plural
from phonemi.weights.hub import find_model
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE, read_model
from phonemi.weights.tensors import load_weights, save_weights

if TYPE_CHECKING:
    from phonemi.enhancers.enhancer import Enhancer

NETWORKS: dict[str, type[EnhancerNetwork]] = {
    network.kind: network for network in (MaskEnhancer, ComplexMaskEnhancer, BsseEnhancer, WaveformEnhancer)
}
MODEL_TYPE = "phonemi-enhancer"
INVERTER_TYPE = "phonemi-inverter"
ENHANCER = "enhancer"  # folder of an enhancer inside that of an inverter that it was trained with
CARD_FILE = "README.md"  # the hub shows it as the page of the model


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
    folder = find_model(name, (MODEL_TYPE, INVERTER_TYPE), revision, token)
    if (folder / ENHANCER / CONFIG_FILE).is_file():  # inside a model of which it is the lesser half
        folder = folder / ENHANCER
    try:
        return _load_folder(kind, folder, token, encoder)
    except PhonemiError as error:
        raise ModelError(f"loading enhancer {name}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"loading enhancer {name}: {CONFIG_FILE} does not describe one ({error!r})") from None


def _load_folder(
    kind: type[Enhancer], folder: Path, token: str | bool | None, encoder_folder: str | Path | None
) -> Enhancer:
    settings = read_model(folder, MODEL_TYPE)
    representation = load_stored_encoder(settings, folder, token, encoder_folder)
    aggregation = None
    if representation is not None:
        aggregation = build_aggregation(settings["aggregation"])
    network = build_network(settings["mask_enhancer"])
    probe = PhoneProbe(network.dim, **settings["phone_probe"]) if settings.get("phone_probe") else None
    own = build_network(settings["recognition_network"]) if settings.get("recognition_network") else None
    enhancer = kind(representation, aggregation, network, settings["name"], probe, own)
    load_weights(_without_encoder(enhancer), folder / WEIGHTS_FILE)
    # "load" is where this copy was uploaded to, which is not true of the next one.
    enhancer.facts = {key: fact for key, fact in settings.get("facts", {}).items() if key != "load"}
    return enhancer


def describe(enhancer: Enhancer) -> dict[str, Any]:
    """What an enhancer is made of, JSON-able: the names of config.json."""
    network, encoder, aggregation = enhancer.network, enhancer.representation, enhancer.aggregation
    own = enhancer.recognition_network
    of_recognition = {} if own is None else {"recognition_network": {"kind": own.kind, **own.settings()}}
    if enhancer.phone_probe is not None:
        of_recognition |= {"phone_probe": enhancer.phone_probe.settings()}
    return {
        "model_type": MODEL_TYPE,
        "name": enhancer.name,
        "sample_rate": SAMPLE_RATE,
        "mask_enhancer": {"kind": network.kind, **network.settings()},
        "representation": None if encoder is None else encoder.name,
        "aggregation": None if aggregation is None else aggregation.settings(),
        **of_recognition,
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
        encoder_settings, encoder_files = store_encoder(encoder, folder, half, shipped_encoder)
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
    if (own := enhancer.recognition_network) is not None:
        parts.append((f"{own.kind} enhancer for recognition", own.description(), own))
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


def _without_encoder(enhancer: Enhancer) -> nn.Module:
    """The parts whose weights are in model.safetensors, under the names that they have there."""
    parts = {
        "aggregation": enhancer.aggregation,
        "phone_probe": enhancer.phone_probe,
        "recognition_network": enhancer.recognition_network,
    }
    return nn.ModuleDict({"mask_enhancer": enhancer.network} | {name: part for name, part in parts.items() if part})
