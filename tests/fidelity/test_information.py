"""The bound of eq. (1) on a tiny set, written out: forward pass of the probe, softmax, entropy by counting."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from phonemi.aggregations import WeightedSum
from phonemi.constants import IGNORE
from phonemi.information.mutual_information import EvaluationSet, measure
from phonemi.probes.aggregation_probe import AggregationProbe
from phonemi.probes.layer_probes import train_probes

CLASSES, DIM, SLOTS = 5, 6, 2
TRAINING = {"hidden": 7, "epochs": 3, "batch_frames": 40, "learning_rate": 1e-2, "dropout": 0.1}


def frames(count, seed):
    """Features [slot, frame, dim] that say something of the labels [frame], of which some are unknown."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    features = torch.randn(SLOTS, count, DIM, generator=generator)
    features[:, :, 0] += labels
    labels[::7] = IGNORE
    return features, labels


def cross_entropy_nats(features, labels, layers):
    """Mean of -log softmax(MLP(z))[y] over the frames with a label."""
    total, known = 0.0, 0
    for z, y in zip(features.double().numpy(), labels.tolist(), strict=True):
        if y == IGNORE:
            continue
        for depth, (kernel, bias) in enumerate(layers):
            z = z @ kernel + bias
            if depth < len(layers) - 1:
                z = np.maximum(z, 0)
        total += math.log(sum(math.exp(v - z[y]) for v in z))
        known += 1
    return total / known


def entropy_bits(labels):
    counts = Counter(label for label in labels.tolist() if label != IGNORE)
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())


@pytest.mark.parametrize("depth", [1, 3])
def test_the_bound_is_entropy_less_cross_entropy_in_bits(depth):
    features, labels = frames(200, seed=0)
    test_features, test_labels = frames(90, seed=1)
    test_set = EvaluationSet(test_features, test_labels, np.arange(90) // 10)
    bounds = measure(features, labels, {0.0: test_set}, classes=CLASSES, seed=3, depth=depth, **TRAINING)
    # The same draws as in `measure`: the same probes.
    generator = torch.Generator().manual_seed(3)
    probes = train_probes(features, labels, classes=CLASSES, generator=generator, depth=depth, **TRAINING)
    for slot, bound in enumerate(bounds[0.0]):
        layers = [
            (kernel[slot].detach().double().numpy(), bias[slot, 0].detach().double().numpy())
            for kernel, bias in zip(probes.kernels, probes.biases, strict=True)
        ]
        assert len(layers) == depth
        loss = cross_entropy_nats(test_features[slot], test_labels, layers)
        assert bound.entropy_bits == pytest.approx(entropy_bits(test_labels), abs=1e-9)
        assert bound.cross_entropy_bits == pytest.approx(loss / math.log(2), abs=1e-5)
        assert bound.mi_bits == pytest.approx(entropy_bits(test_labels) - loss / math.log(2), abs=1e-5)
        assert bound.mi_nats == pytest.approx(bound.mi_bits * math.log(2), abs=1e-9)


def test_pre_training_minimises_the_same_cross_entropy_of_the_fused_layers():
    torch.manual_seed(0)
    probe, states = AggregationProbe(WeightedSum(3), DIM, 40), torch.randn(3, 20, DIM)
    phones = torch.arange(20) % CLASSES
    layers = [(probe.linear.weight.T.detach().double().numpy(), probe.linear.bias.detach().double().numpy())]
    expected = cross_entropy_nats(states.double().mean(0), phones, layers)  # logits of zero: all layers alike
    assert probe(states, phones).item() == pytest.approx(expected, abs=1e-5)
