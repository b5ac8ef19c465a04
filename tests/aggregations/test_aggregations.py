"""Aggregations against the equations of the paper, their tuning modes, and their files."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from phonemi.aggregations import (
    DynamicWeightedSum,
    SingleLayer,
    WeightedSum,
    build_aggregation,
    load_aggregation,
    save_aggregation,
)
from phonemi.errors import ConfigError, ModelError

LAYERS, BATCH, FRAMES, DIM = 5, 2, 7, 12


def hidden_states(seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(LAYERS, BATCH, FRAMES, DIM, generator=torch.Generator().manual_seed(seed))


def random_dynamic(**settings) -> DynamicWeightedSum:
    aggregation = DynamicWeightedSum(LAYERS, DIM, **settings)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in aggregation.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return aggregation


def literal_equation_3(aggregation: DynamicWeightedSum, states: Tensor) -> Tensor:
    """Avg_layer(Softmax(Q K^T / sqrt(D) + b) V), one frame after the other, exactly as printed."""
    bias = torch.cat((aggregation.front_bias, aggregation.block_bias)).reshape(1, LAYERS)
    fused = torch.zeros(BATCH, FRAMES, DIM)
    for item in range(BATCH):
        for frame in range(FRAMES):
            stack = states[:, item, frame]
            queries, keys = stack @ aggregation.query.weight.T, stack @ aggregation.key.weight.T
            if aggregation.query.bias is not None:
                queries, keys = queries + aggregation.query.bias, keys + aggregation.key.bias
            attention = torch.softmax(queries @ keys.T / math.sqrt(DIM) + bias, dim=-1)
            fused[item, frame] = (attention @ stack).mean(0)
    return fused


@pytest.mark.slow
@pytest.mark.parametrize("projection_bias", [False, True])
def test_dynamic_weighted_sum_is_equation_3(projection_bias):
    aggregation, states = random_dynamic(projection_bias=projection_bias), hidden_states()
    torch.testing.assert_close(aggregation(states), literal_equation_3(aggregation, states), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_dynamic_weighted_sum_has_the_gradients_of_equation_3():
    aggregation, states = random_dynamic(), hidden_states()
    names, parameters = zip(*aggregation.named_parameters(), strict=True)
    expected = torch.autograd.grad(literal_equation_3(aggregation, states).square().sum(), parameters)
    actual = torch.autograd.grad(aggregation(states).square().sum(), parameters)
    for name, gradient, literal in zip(names, actual, expected, strict=True):
        torch.testing.assert_close(gradient, literal, rtol=1e-4, atol=1e-4, msg=name)


def test_dynamic_weighted_sum_has_the_published_number_of_parameters():
    with torch.device("meta"):
        aggregation = DynamicWeightedSum(13, 768)
        biased = DynamicWeightedSum(13, 768, projection_bias=True)
    assert sum(parameter.numel() for parameter in aggregation.parameters()) == 1_179_661
    assert sum(parameter.numel() for parameter in biased.parameters()) == 1_181_197


def test_zero_queries_give_the_plain_mean_and_the_bias_alone_a_softmax():
    aggregation, states = DynamicWeightedSum(LAYERS, DIM), hidden_states()
    torch.nn.init.zeros_(aggregation.query.weight)
    torch.testing.assert_close(aggregation(states), states.mean(0))
    with torch.no_grad():
        aggregation.front_bias.fill_(math.log(4.0))
    expected = torch.tensor([0.5, 0.125, 0.125, 0.125, 0.125])
    torch.testing.assert_close(aggregation.mean_weights(states), expected)


def test_a_larger_bias_moves_weight_to_its_layer_in_every_frame():
    aggregation, states = random_dynamic(), hidden_states()
    before = aggregation.weights(states)
    with torch.no_grad():
        aggregation.block_bias[2] += 1.0
    after = aggregation.weights(states)
    assert (after[..., 3] > before[..., 3]).all()
    assert (after[..., [0, 1, 2, 4]] < before[..., [0, 1, 2, 4]]).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("normalise_layers", [False, True])
def test_weights_are_a_distribution_over_layers_and_give_the_output(scale, normalise_layers):
    states = hidden_states(scale=scale)
    for aggregation in (SingleLayer(LAYERS, 3), WeightedSum(LAYERS), random_dynamic(normalise_layers=normalise_layers)):
        weights = aggregation.weights(states)
        assert weights.shape == (BATCH, FRAMES, LAYERS)
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, FRAMES))
        layers = torch.nn.functional.layer_norm(states, (DIM,)) if aggregation.normalise_layers else states
        expected = torch.einsum("btl,lbtd->btd", weights, layers)
        torch.testing.assert_close(aggregation(states), expected, rtol=1e-5, atol=1e-5 * scale)


def test_weights_of_a_frame_do_not_depend_on_other_frames():
    aggregation, states = random_dynamic(), hidden_states()
    torch.testing.assert_close(aggregation(states[:, 1:, 2:5]), aggregation(states)[1:, 2:5])


def test_weighted_sum_starts_as_the_mean_of_the_layers():
    states = hidden_states()
    torch.testing.assert_close(WeightedSum(LAYERS)(states), states.mean(0))
    torch.testing.assert_close(WeightedSum(1)(states[:1]), states[0])


def test_single_layer_gives_that_layer():
    states = hidden_states()
    assert torch.equal(SingleLayer(LAYERS, 3)(states), states[3])
    with pytest.raises(ConfigError, match="layer 5 asked for, the encoder has 5"):
        SingleLayer(LAYERS, 5)


def test_mean_weights_leave_padding_out():
    aggregation, states = random_dynamic(), hidden_states()
    lengths = torch.tensor([3, 7])
    expected = torch.cat((aggregation.weights(states)[0, :3], aggregation.weights(states)[1])).mean(0)
    torch.testing.assert_close(aggregation.mean_weights(states, lengths), expected)


def test_half_precision_states_are_weighted_in_float32():
    aggregation, states = random_dynamic(), hidden_states()
    rounded = states.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        weights, fused = aggregation.weights(rounded), aggregation(rounded)
    torch.testing.assert_close(weights, aggregation.weights(rounded.float()))
    assert fused.dtype == torch.bfloat16
    torch.testing.assert_close(fused.float(), aggregation(rounded.float()), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("aggregation", [WeightedSum(LAYERS), random_dynamic()])
def test_gradient_reaches_only_what_tune_frees(aggregation):
    front = {"front_logit", "front_bias"}
    names = {name for name, _ in aggregation.named_parameters()}
    for mode, free in (("acoustic", names), ("linguistic", set()), ("hybrid", names & front)):
        aggregation.tune(mode).zero_grad()
        assert aggregation.is_frozen == (mode == "linguistic")
        if free:
            aggregation(hidden_states()).square().sum().backward()
        reached = {name for name, parameter in aggregation.named_parameters() if parameter.grad is not None}
        assert reached == free
        assert all(parameter.grad.abs().max() > 0 for name, parameter in aggregation.named_parameters() if name in free)


def test_tune_refuses_unknown_words_and_leaves_a_single_layer_frozen():
    with pytest.raises(ConfigError, match="did you mean 'hybrid'"):
        WeightedSum(LAYERS).tune("hybird")
    assert SingleLayer(LAYERS, 0).tune("acoustic").is_frozen


def test_hybrid_keeps_the_proportions_of_the_other_layers_or_their_values():
    states = hidden_states()
    for renormalise in (True, False):
        aggregation = WeightedSum(LAYERS)
        with torch.no_grad():
            aggregation.block_logits.copy_(torch.tensor([0.5, -1.0, 2.0, 0.1]))
        before = aggregation.mean_weights(states).detach()
        aggregation.tune("hybrid", renormalise=renormalise)
        torch.testing.assert_close(aggregation.mean_weights(states), before)
        with torch.no_grad():
            aggregation.front_logit += math.log(3.0)
        after = aggregation.mean_weights(states)
        if renormalise:
            torch.testing.assert_close(after[1:] / after[1:].sum(), before[1:] / before[1:].sum())
            torch.testing.assert_close(after.sum(), torch.tensor(1.0))
        else:
            torch.testing.assert_close(after[1:], before[1:])
            torch.testing.assert_close(after[0], 3 * before[0])


def test_save_and_load_give_the_same_module(tmp_path):
    states = hidden_states()
    free = WeightedSum(LAYERS, normalise_layers=True).tune("hybrid", renormalise=False)
    with torch.no_grad():
        free.front_logit += 1
    for aggregation in (SingleLayer(LAYERS, 2), free, WeightedSum(LAYERS), random_dynamic(projection_bias=True)):
        save_aggregation(aggregation, tmp_path)
        loaded = load_aggregation(tmp_path, layers=LAYERS, dim=DIM)
        assert loaded.settings() == aggregation.settings() == json.loads((tmp_path / "aggregation.json").read_text())
        torch.testing.assert_close(loaded(states), aggregation(states), rtol=0, atol=0)
        rebuilt = build_aggregation(aggregation.settings())
        rebuilt.load_state_dict(aggregation.state_dict())
        assert (type(rebuilt), rebuilt.settings()) == (type(aggregation), aggregation.settings())
        torch.testing.assert_close(rebuilt(states), aggregation(states), rtol=0, atol=0)
    save_aggregation(WeightedSum(1), tmp_path)
    assert load_aggregation(tmp_path).layers == 1


def test_another_number_of_layers_is_one_clear_error_at_load_and_at_forward(tmp_path):
    save_aggregation(random_dynamic(), tmp_path)
    with pytest.raises(ModelError, match="made for 5 layers, the encoder has 25"):
        load_aggregation(tmp_path, layers=25, dim=DIM)
    with pytest.raises(ModelError, match="made for 12 features per frame, the encoder has 768"):
        load_aggregation(tmp_path, layers=LAYERS, dim=768)
    with pytest.raises(ModelError, match="made for 5 layers, the encoder has 25") as caught:
        WeightedSum(LAYERS)(torch.zeros(25, 1, 3, DIM))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="layer, batch, frame, dim"):
        WeightedSum(LAYERS)(torch.zeros(LAYERS, 3, DIM))


def test_damaged_folders_are_model_errors(tmp_path):
    with pytest.raises(ModelError, match="holds no aggregation"):
        load_aggregation(tmp_path)
    save_aggregation(WeightedSum(LAYERS), tmp_path)
    settings = WeightedSum(LAYERS + 1).settings()
    (tmp_path / "aggregation.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"aggregation\.safetensors does not fit its configuration") as caught:
        load_aggregation(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "aggregation.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match=r"aggregation\.safetensors cannot be read"):
        load_aggregation(tmp_path)


def test_unknown_settings_are_config_errors():
    with pytest.raises(ConfigError, match="did you mean 'weighted_sum'"):
        build_aggregation({"kind": "weighted_sun", "layers": 3})
    with pytest.raises(ConfigError, match="heads"):
        build_aggregation({"kind": "weighted_sum", "layers": 3, "heads": 2})
    with pytest.raises(ConfigError, match="at least 1 layer"):
        WeightedSum(0)
