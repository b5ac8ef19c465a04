"""Weighted sums of eqs. (2) and (3) in float64 numpy, at the size of a Base model: 13 layers of 768."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phonemi.aggregations import DynamicWeightedSum, WeightedSum

LAYERS, FRAMES, DIM = 13, 3, 768


def hidden_states():
    """[layer, 1, frame, dim], with a few channels far larger than the others, as Base models have them."""
    states = torch.randn(LAYERS, 1, FRAMES, DIM, generator=torch.Generator().manual_seed(0))
    states[..., 5] *= 20
    return states


def randomise(module, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


def softmax(scores):
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def close(actual, expected):
    np.testing.assert_allclose(actual.detach().double(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_weighted_sum_is_equation_2_with_a_softmax_of_the_logits():
    aggregation, states = WeightedSum(LAYERS), hidden_states()
    weights = randomise(aggregation)
    w = softmax(np.concatenate([weights["front_logit"], weights["block_logits"]]))
    expected = sum(w[i] * states[i].double().numpy() for i in range(LAYERS))
    close(aggregation(states), expected)
    close(aggregation.weights(states)[0, 0], w)


@pytest.mark.parametrize(("bias", "width"), [(False, None), (True, None), (False, 64), (True, 64)])
def test_dynamic_weighted_sum_is_equation_3(bias, width):
    aggregation, states = DynamicWeightedSum(LAYERS, DIM, projection_bias=bias, projection_dim=width), hidden_states()
    weights = randomise(aggregation, 0.04)
    width = width or DIM
    bias = np.concatenate([weights["front_bias"], weights["block_bias"]])[None]
    none = np.zeros(width)
    for frame in range(FRAMES):
        stack = states[:, 0, frame].double().numpy()
        queries = stack @ weights["query.weight"].T + weights.get("query.bias", none)
        keys = stack @ weights["key.weight"].T + weights.get("key.bias", none)
        attention = softmax(queries @ keys.T / np.sqrt(width) + bias)
        close(aggregation(states)[0, frame], (attention @ stack).mean(0))
        close(aggregation.weights(states)[0, frame], attention.mean(0))


@pytest.mark.parametrize("renormalise", [True, False])
def test_hybrid_tuning_learns_the_weight_of_layer_0_alone(renormalise):
    """The gradient of sum(fused) by w_0, written out for both readings, and none for anything else."""
    aggregation, states = WeightedSum(LAYERS), hidden_states()
    weights = randomise(aggregation)
    w = softmax(np.concatenate([weights["front_logit"], weights["block_logits"]]))
    sums = states.double().sum((1, 2, 3)).numpy()
    aggregation.tune("hybrid", renormalise=renormalise)
    aggregation(states).sum().backward()
    expected = w[0] * (sums[0] - (w @ sums if renormalise else 0))
    assert aggregation.front_logit.grad.item() == pytest.approx(expected, rel=1e-4)
    assert aggregation.block_logits.grad is None
