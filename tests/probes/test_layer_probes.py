"""Batched probes against the ordinary modules they stand for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from phonemi.probes.layer_probes import LayerProbes

SLOTS, FRAMES, DIM, CLASSES = 3, 20, 6, 4


def features(seed: int = 0) -> torch.Tensor:
    return torch.randn(SLOTS, FRAMES, DIM, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_batched_product_equals_separate_modules(depth):
    probes = LayerProbes(SLOTS, DIM, CLASSES, hidden=8, depth=depth).eval()
    logits = probes(features())
    assert logits.shape == (SLOTS, FRAMES, CLASSES)
    for slot in range(SLOTS):
        torch.testing.assert_close(logits[slot], probes.slot(slot)(features()[slot]))


def test_training_together_equals_training_separately():
    probes = LayerProbes(SLOTS, DIM, CLASSES, hidden=8, dropout=0.0)
    separate = [probes.slot(slot) for slot in range(SLOTS)]
    labels = torch.arange(FRAMES) % CLASSES
    optimiser = torch.optim.Adam(probes.parameters(), lr=1e-2)
    for step in range(10):
        logits = probes(features(step))
        optimiser.zero_grad()
        sum(F.cross_entropy(slot, labels) for slot in logits).backward()
        optimiser.step()
    for slot, module in enumerate(separate):
        optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
        for step in range(10):
            optimiser.zero_grad()
            F.cross_entropy(module(features(step)[slot]), labels).backward()
            optimiser.step()
        torch.testing.assert_close(probes(features(99))[slot], module(features(99)[slot]), rtol=1e-4, atol=1e-5)


def test_starts_as_linear_layers_do_and_alike_in_each_slot():
    probes = LayerProbes(SLOTS, 400, CLASSES, hidden=100, generator=torch.Generator().manual_seed(0))
    again = LayerProbes(SLOTS, 400, CLASSES, hidden=100, generator=torch.Generator().manual_seed(0))
    for inputs, kernel, bias in zip((400, 100, 100), probes.kernels, probes.biases, strict=True):
        bound = inputs**-0.5
        assert kernel.abs().max() <= bound
        assert bias.abs().max() <= bound
        assert kernel.std(unbiased=False).item() == pytest.approx(bound / 3**0.5, rel=0.05)  # of a uniform draw
        assert torch.equal(kernel[0], kernel[1])
    assert all(torch.equal(one, other) for one, other in zip(probes.parameters(), again.parameters(), strict=True))


def test_dropout_keeps_the_mean_and_only_works_in_training():
    probes = LayerProbes(2, DIM, CLASSES, hidden=16, depth=2, dropout=0.3)
    frame = features()[:2, :1]
    many = frame.expand(2, 20_000, DIM)
    expected = probes.eval()(frame)
    assert torch.equal(probes(frame), expected)
    logits = probes.train()(many)
    assert logits.std(1).min() > 0
    torch.testing.assert_close(logits.mean(1, keepdim=True), expected, rtol=0, atol=0.02)


def test_linear_probe_has_one_matrix_a_slot():
    probes = LayerProbes(13, 768, 40, depth=1)
    assert sum(parameter.numel() for parameter in probes.parameters()) == 13 * (768 * 40 + 40)
