"""Three updates of the trainer against clipping and AdamW written out in float64, on the same batches."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from phonemi.aggregations import WeightedSum
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.stages.training_batches import Batch
from phonemi.stages.training_model import TrainingModel
from phonemi.training.loop import FitSettings, fit

RATE, EPS, BETAS, STEPS = 1e-3, 1e-7, (0.9, 0.999), 3


def batch_at(step):
    """noisy, clean [2, sample], lengths, hidden states [layer, 2, frame, dim]."""
    generator = torch.Generator().manual_seed(step)
    noisy, clean = 0.1 * torch.randn(2, 2, 1900, generator=generator)
    return Batch(noisy, clean, [1900, 1900], torch.randn(3, 2, 5, 4, generator=generator))


def gradients(model, weights, batch):
    """The gradient of the loss at these weights, in float64."""
    at = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in at.named_parameters():
            parameter.copy_(torch.from_numpy(weights[name]))
    at(batch).backward()
    return {name: parameter.grad.double().numpy() for name, parameter in at.named_parameters()}


def written_out(model, eps_before_correction=False):
    """Weights after three updates, and how long each gradient was before it was cut to 1."""
    weights = {name: parameter.detach().double().numpy().copy() for name, parameter in model.named_parameters()}
    mean, square = ({name: np.zeros_like(value) for name, value in weights.items()} for _ in range(2))
    lengths = []
    for step in range(1, STEPS + 1):
        found = gradients(model, weights, batch_at(step - 1))
        lengths.append(np.sqrt(sum(np.square(gradient).sum() for gradient in found.values())))
        scale = min(1.0, 1 / (lengths[-1] + 1e-6))
        for name, gradient in found.items():
            gradient = scale * gradient
            mean[name] = BETAS[0] * mean[name] + (1 - BETAS[0]) * gradient
            square[name] = BETAS[1] * square[name] + (1 - BETAS[1]) * gradient**2
            corrected = np.sqrt(1 - BETAS[1] ** step)
            root = np.sqrt(square[name])
            root = (root + EPS) / corrected if eps_before_correction else root / corrected + EPS
            weights[name] -= RATE * mean[name] / (1 - BETAS[0] ** step) / root
    return weights, lengths


def acoustic_row():
    torch.manual_seed(0)
    mask_enhancer = MaskEnhancer(4, log1p=True, hidden=3, layers=2, dropout=0.0)
    return TrainingModel(mask_enhancer, WeightedSum(3).tune("acoustic"))


def trained(model, folder, **options):
    settings = FitSettings(steps=STEPS, learning_rate=RATE, validate_every=STEPS, checkpoint_every=STEPS, **options)
    fit(model, batch_at=batch_at, loss=lambda model, batch: model(batch), settings=settings, folder=folder, label="x",
        device="cpu")  # fmt: skip
    return {name: parameter.detach().double().numpy() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("eps_before_correction", [False, True])
def test_three_updates_are_clipped_adamw_written_out(tmp_path, eps_before_correction):
    """As in torch, or with eps where the AdamW of S3PRL has it."""
    model = acoustic_row()
    expected, lengths = written_out(model, eps_before_correction)
    start = {name: parameter.detach().double().numpy().copy() for name, parameter in model.named_parameters()}
    found = trained(model, tmp_path, eps_before_correction=eps_before_correction or None)
    assert min(lengths) > 1, "so that every gradient is cut"
    assert {"aggregation.front_logit", "aggregation.block_logits", "network.output.bias"} <= found.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-5, err_msg=name)
        assert 1e-4 < np.abs(value - start[name]).max() < 4e-3, name
    other = written_out(acoustic_row(), not eps_before_correction)[0]
    assert max(np.abs(value - other[name]).max() for name, value in found.items()) > 1e-4
