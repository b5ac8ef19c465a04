"""The probe that aggregations are pre-trained with."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from phonemi.aggregations import DynamicWeightedSum
from phonemi.probes.aggregation_probe import AggregationProbe


@pytest.mark.slow
def test_it_is_the_mean_cross_entropy_of_a_linear_layer_on_the_aggregated_frames() -> None:
    torch.manual_seed(0)
    aggregation = DynamicWeightedSum(3, 6)
    probe, states, labels = AggregationProbe(aggregation, 6, 5), torch.randn(3, 10, 6), torch.arange(10) % 5
    features = torch.stack([aggregation(states[:, frame, None, None])[0, 0] for frame in range(10)])
    expected = functional.cross_entropy(probe.linear(features), labels)
    torch.testing.assert_close(probe(states, labels), expected)


def test_both_parts_learn() -> None:
    torch.manual_seed(0)
    probe = AggregationProbe(DynamicWeightedSum(3, 6), 6, 5)
    probe(torch.randn(3, 10, 6).half(), torch.arange(10) % 5).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in probe.parameters())
