"""BSSE's weighted sum against its equation written a second time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from phonemi.aggregations import NormalisedWeightedSum, load_aggregation, save_aggregation
from phonemi.errors import ConfigError, ModelError


@pytest.mark.parametrize("first_layer", [0, 1])
def test_it_is_the_equation(first_layer: int) -> None:
    torch.manual_seed(0)
    aggregation = NormalisedWeightedSum(4, 6, first_layer=first_layer)
    for parameter in aggregation.parameters():
        torch.nn.init.normal_(parameter)
    states = torch.randn(4, 2, 5, 6)
    values = {name: value.detach().numpy() for name, value in aggregation.named_parameters()}
    weights = np.exp(values["logits"]) / np.exp(values["logits"]).sum()
    expected = np.zeros((2, 5, 6))
    for number, layer in enumerate(states.numpy()[first_layer:]):
        centred = layer - layer.mean(-1, keepdims=True)
        normalised = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        expected += weights[number] * (normalised * values[f"norms.{number}.weight"] + values[f"norms.{number}.bias"])
    np.testing.assert_allclose(aggregation(states).detach().numpy(), expected, atol=1e-5)
    shown = aggregation.mean_weights(states).detach().numpy()
    np.testing.assert_allclose(shown, [*[0] * first_layer, *weights], atol=1e-6)


def test_it_begins_even_and_everything_learns() -> None:
    aggregation, states = NormalisedWeightedSum(3, 4), torch.randn(3, 1, 2, 4)
    assert aggregation.mean_weights(states).tolist() == pytest.approx([1 / 3] * 3)
    (aggregation(states) * torch.randn(1, 2, 4)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in aggregation.parameters())


def test_it_is_saved_and_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    aggregation = NormalisedWeightedSum(3, 4, first_layer=1)
    save_aggregation(aggregation, tmp_path)
    loaded, states = load_aggregation(tmp_path, layers=3, dim=4), torch.randn(3, 1, 2, 4)
    assert torch.equal(loaded(states), aggregation(states))
    with pytest.raises(ModelError, match="encoder has 5"):
        loaded(torch.randn(3, 1, 2, 5))
    with pytest.raises(ConfigError, match="layers 0 to 2"):
        NormalisedWeightedSum(3, 4, first_layer=3)
