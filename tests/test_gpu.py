"""What a GPU computes and how: the same numbers as the CPU, and training steps that never wait for the device.

The reference is computed on the CPU, one item (or slot) at a time. On the device, all are computed together; so the
tests of equal numbers have something to compare where there is no GPU, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from phonemi.aggregations import DynamicWeightedSum, WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.information.mutual_information import EvaluationSet, MutualInformation, measure
from phonemi.representations.names import load_representation
from phonemi.stages.training_batches import Batch
from phonemi.stages.training_model import TrainingModel
from phonemi.training.loop import FitSettings, fit

GPU = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]
)
DEVICES = pytest.mark.parametrize("device", ["cpu", GPU])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class NoWaiting:
    """Takes the place of a progress bar: every call that waits for the GPU is an error from a loss to its step's end.

    The first step is left out, because libraries start in it, and so is the last one, which is logged.
    """

    def __init__(self, device: str, steps: int) -> None:
        self.is_gpu, self.steps, self.losses, self.checked = device == "cuda", steps, list[Tensor](), 0

    @contextmanager
    def task(self, *_: object, **__: object) -> Iterator[NoWaiting]:
        try:
            yield self
        finally:
            self._set("default")

    def loss(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        if 0 < len(self.losses) < self.steps - 1:
            self._set("error")
            self.checked += 1
        loss: Tensor = model(batch)
        self.losses.append(loss.detach())
        return loss

    def advance(self, *_: object) -> None:
        self._set("default")

    def _set(self, mode: str) -> None:
        if self.is_gpu:
            torch.cuda.set_sync_debug_mode(mode)


@DEVICES
@pytest.mark.parametrize("level_db", [None, -6.0])
def test_a_step_of_training_never_waits(device: str, level_db: float | None, tmp_path: Path) -> None:
    """On the CPU this shows that the steps watched are steps of training."""
    torch.manual_seed(0)
    mask_enhancer = MaskEnhancer(8, log1p=True, hidden=4, layers=2, level_db=level_db)
    model = TrainingModel(mask_enhancer, WeightedSum(3).tune("acoustic"), si_sdr_weight=1.0)
    batch = Batch(noise(2, 4000) * 2, noise(2, 4000), [4000, 3000], noise(3, 2, 12, 8))
    watch, never = NoWaiting(device, steps=5), 100
    fit(
        model,
        batch_at=lambda step: batch,
        loss=watch.loss,
        settings=FitSettings(
            steps=5, learning_rate=1e-3, log_every=never, validate_every=never, checkpoint_every=never
        ),
        folder=tmp_path,
        label="test",
        progress=watch,  # type: ignore[arg-type]
        device=device,
    )
    assert watch.checked == 3
    assert watch.losses[-1] < watch.losses[0]


@DEVICES
def test_the_mask_enhancer_gives_the_same(device: str) -> None:
    torch.manual_seed(0)
    model = MaskEnhancer(8, log1p=True, hidden=6, layers=2).eval()
    noisy, features, lengths = noise(3, 4000), noise(3, 12, 8), torch.tensor([4000, 2500, 3100])
    noisy *= torch.arange(4000) < lengths[:, None]
    with torch.inference_mode():
        alone = [
            model.denoise(noisy[i : i + 1, :n], features[i : i + 1, : (n - 400) // 320 + 1])[0][0]
            for i, n in enumerate(lengths.tolist())
        ]
        together = model.to(device).denoise(noisy.to(device), features.to(device), lengths)[0].cpu()
    for row, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(row[: len(expected)], expected, atol=2e-4, rtol=1e-3)  # TF32


@pytest.mark.slow
@DEVICES
def test_the_enhancer_that_ships_gives_the_same(device: str) -> None:
    channels = noise(2, 32_000).numpy() * np.linspace(0, 1, 32_000, dtype=np.float32)
    enhancer = Enhancer.from_pretrained("default")
    alone = np.stack([enhancer.enhance(channel, 16_000) for channel in channels])
    together = enhancer.to(device).enhance(channels, 16_000)
    assert np.abs(together - alone).max() < 2e-3 * np.abs(alone).max()


@DEVICES
def test_hidden_states_and_their_sums_are_the_same(device: str) -> None:
    encoder = load_representation("mini")
    waveforms, lengths = noise(2, 16_000), torch.tensor([16_000, 12_000])
    torch.manual_seed(0)
    aggregation = DynamicWeightedSum(encoder.layers, encoder.dim).eval()
    with torch.inference_mode():
        alone = [encoder(waveforms[i : i + 1, :n]).states for i, n in enumerate(lengths.tolist())]
        sums = [aggregation(states) for states in alone]
        hidden = encoder.to(device)(waveforms.to(device), lengths.to(device))
        together, sums_together = hidden.states.cpu(), aggregation.to(device)(hidden.states).cpu()
    scale = alone[0].abs().mean()
    for row, (states, fused) in enumerate(zip(alone, sums, strict=True)):
        frames = states.shape[2]
        assert int(hidden.lengths[row]) == frames
        assert (together[:, row, :frames] - states[:, 0]).abs().max() < 0.05 * scale
        assert (sums_together[row, :frames] - fused[0]).abs().max() < 0.1 * scale


@DEVICES
def test_information_is_the_same(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (2000,), generator=generator)
    features = torch.nn.functional.one_hot(labels, 4)[None] + 0.5 * torch.randn(2, 2000, 4, generator=generator)

    def information(features: Tensor, device: str) -> list[MutualInformation]:
        return measure(
            features,
            labels,
            {"all": EvaluationSet(features, labels, np.arange(2000) // 100)},
            device=device,
            classes=4,
            seed=0,
            hidden=16,
            epochs=4,
            batch_frames=200,
            dropout=0.0,
            learning_rate=0.02,
        )["all"]

    alone = [information(features[slot : slot + 1], "cpu")[0] for slot in range(2)]
    for expected, bound in zip(alone, information(features, device), strict=True):
        assert bound.mi_bits == pytest.approx(expected.mi_bits, abs=0.01)
        assert bound.mi_bits > 0.8
    assert alone[0].mi_bits != alone[1].mi_bits


@DEVICES
@pytest.mark.parametrize("kind", ["wavlm", "hubert"])
def test_gradients_of_a_fine_tuned_encoder_are_the_same(device: str, kind: str) -> None:
    from transformers import AutoConfig, AutoModel

    from phonemi.representations.huggingface import HuggingFaceRepresentation

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    convolutions = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    model = AutoModel.from_config(AutoConfig.for_model(kind, **sizes, **convolutions))
    encoder = HuggingFaceRepresentation(model, kind).unfreeze(2)
    waveforms = noise(2, 8000)
    weights = noise(4, 1, 24, 64, seed=1)

    def gradients(waveforms: Tensor, device: str) -> dict[str, Tensor]:
        encoder.to(device).zero_grad()
        (encoder(waveforms.to(device)).states * weights.to(device)).sum().backward()
        return {name: value.grad.cpu() for name, value in encoder.named_parameters() if value.grad is not None}

    alone = [gradients(waveform[None], "cpu") for waveform in waveforms]
    together = gradients(waveforms, device)
    assert together.keys() == alone[0].keys()
    largest = max(float(gradient.abs().max()) for gradient in together.values())
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, alone[0][name] + alone[1][name], atol=2e-3 * largest, rtol=2e-2, msg=name)
