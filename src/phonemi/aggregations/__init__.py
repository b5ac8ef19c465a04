"""Aggregations: hidden states [layer, batch, frame, dim] become one sequence, a weighted sum of the layers."""

from phonemi.aggregations.base import Aggregation
from phonemi.aggregations.dynamic_weighted_sum import DynamicWeightedSum
from phonemi.aggregations.normalised_weighted_sum import NormalisedWeightedSum
from phonemi.aggregations.single_layer import SingleLayer
from phonemi.aggregations.storage import AGGREGATIONS, build_aggregation, load_aggregation, save_aggregation
from phonemi.aggregations.weighted_sum import WeightedSum

__all__ = [
    "AGGREGATIONS",
    "Aggregation",
    "DynamicWeightedSum",
    "NormalisedWeightedSum",
    "SingleLayer",
    "WeightedSum",
    "build_aggregation",
    "load_aggregation",
    "save_aggregation",
]
