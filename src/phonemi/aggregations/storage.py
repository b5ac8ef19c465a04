"""Build an aggregation from its settings; save it to a folder and load it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phonemi.aggregations.base import Aggregation
from phonemi.aggregations.dynamic_weighted_sum import DynamicWeightedSum
from phonemi.aggregations.normalised_weighted_sum import NormalisedWeightedSum
from phonemi.aggregations.single_layer import SingleLayer
from phonemi.aggregations.weighted_sum import WeightedSum
from phonemi.errors import ConfigError, ModelError, nearest
from phonemi.files import read_json, write_json
from phonemi.weights.tensors import load_weights, save_weights

AGGREGATIONS: dict[str, type[Aggregation]] = {
    aggregation.kind: aggregation
    for aggregation in (SingleLayer, WeightedSum, DynamicWeightedSum, NormalisedWeightedSum)
}


def build_aggregation(settings: dict[str, Any]) -> Aggregation:
    """Build an aggregation with untrained weights from what `Aggregation.settings` returned.

    >>> build_aggregation({"kind": "weighted_sum", "layers": 13}).layers
    13

    Raises:
        ConfigError: for an unknown kind, or settings that the kind does not take.
    """
    arguments = dict(settings)
    kind = arguments.pop("kind", None)
    if kind not in AGGREGATIONS:
        raise ConfigError(f"unknown kind of aggregation {kind!r}: {nearest(str(kind), AGGREGATIONS)}")
    try:
        return AGGREGATIONS[kind](**arguments)
    except TypeError as error:
        raise ConfigError(f"settings of aggregation {kind}: {error}") from None


def save_aggregation(aggregation: Aggregation, folder: str | Path) -> None:
    """Write `aggregation.safetensors` and `aggregation.json` into `folder`, each complete or not at all."""
    save_weights(aggregation, Path(folder) / "aggregation.safetensors")
    write_json(Path(folder) / "aggregation.json", aggregation.settings())


def load_aggregation(folder: str | Path, *, layers: int | None = None, dim: int | None = None) -> Aggregation:
    """Read what `save_aggregation` wrote. All parameters are trainable until `tune` says otherwise.

    Raises:
        ModelError: if files are missing or do not belong together, or it was made for encoders of other `layers` (the
            number of hidden states) or `dim` (features per frame); None is not compared.
    """
    folder = Path(folder)
    for name in ("aggregation.json", "aggregation.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} holds no aggregation ({name} is missing): train one with `phonemi aggregate`")
    aggregation = build_aggregation(read_json(folder / "aggregation.json"))
    try:
        aggregation.check_fits(layers, dim)
        load_weights(aggregation, folder / "aggregation.safetensors")
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
    return aggregation
