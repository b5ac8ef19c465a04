"""The kinds of enhancer networks, and how one is made from the settings in a config.json."""

from __future__ import annotations

from typing import Any

from phonemi.enhancers.base import EnhancerNetwork
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.errors import ConfigError, nearest

NETWORKS: dict[str, type[EnhancerNetwork]] = {network.kind: network for network in (MaskEnhancer,)}


def build_network(settings: dict[str, Any]) -> EnhancerNetwork:
    """Make a network with untrained weights from its `settings()` and its kind.

    Args:
        settings: constructor arguments, and the `kind`. Models of phonemi 0.1 have no kind: all are mask enhancers.

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
