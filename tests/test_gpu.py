"""What a GPU gives and how: the same numbers as the CPU, and a training step that never waits for the device.

Everything runs on the CPU too, so that these tests are known to run where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from phonemi.aggregations.dynamic_weighted_sum import DynamicWeightedSum
from phonemi.aggregations.weighted_sum import WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.information.mutual_information import EvaluationSet, measure
from phonemi.representations.names import load_representation
from phonemi.stages.train import Conditioned
from phonemi.training.distributed import Processes
from phonemi.training.settings import FitSettings
from phonemi.training.state import TrainingState

GPU = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]
)
DEVICES = pytest.mark.parametrize("device", ["cpu", GPU])


@contextmanager
def no_waiting(device: str) -> Iterator[None]:
    """An error at every call that waits for the GPU."""
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@DEVICES
@pytest.mark.parametrize("level_db", [None, -6.0])
def test_a_step_of_training_never_waits(device: str, level_db: float | None, tmp_path: Path) -> None:
    mask_enhancer = MaskEnhancer(8, log1p=True, hidden=4, layers=2, level_db=level_db)
    model = Conditioned(WeightedSum(3).tune("acoustic"), mask_enhancer, si_sdr_weight=1.0)
    settings = FitSettings(steps=2, validate_every=2, checkpoint_every=2)
    processes = Processes(0, 1, torch.device(device))
    state = TrainingState(model, lambda model, batch: model(*batch), settings, tmp_path, "step", None, processes)
    clean, noisy, states = (one.to(device) for one in (noise(2, 4000), noise(2, 4000) * 2, noise(3, 2, 12, 8)))
    batch = (noisy, clean, [4000, 3000], states)
    state.update([batch])  # in which libraries start
    with no_waiting(device):
        state.update([batch])
    first = model(*batch).item()
    state.update([batch])
    assert model(*batch) < first


@DEVICES
def test_the_mask_enhancer_is_the_same_there(device: str) -> None:
    torch.manual_seed(0)
    model = MaskEnhancer(8, log1p=True, hidden=6, layers=2).eval()
    noisy, features, lengths = noise(3, 4000), noise(3, 12, 8), torch.tensor([4000, 2500, 3100])
    noisy *= torch.arange(4000) < lengths[:, None]
    with torch.inference_mode():
        here = model.enhance(noisy, features, lengths)
        there = model.to(device).enhance(noisy.to(device), features.to(device), lengths)
    torch.testing.assert_close(there.cpu(), here, atol=2e-4, rtol=1e-3)  # TF32


@DEVICES
def test_what_ships_is_the_same_there(device: str) -> None:
    sound = noise(32_000).numpy() * np.linspace(0, 1, 32_000, dtype=np.float32)
    here = Enhancer.from_pretrained("default").enhance(sound, 16_000)
    there = Enhancer.from_pretrained("default").to(device).enhance(sound, 16_000)
    assert np.abs(there - here).max() < 2e-3 * np.abs(here).max()


@DEVICES
def test_hidden_states_and_their_sums_are_the_same_there(device: str) -> None:
    encoder = load_representation("mini").eval()
    waveforms, lengths = noise(2, 16_000), torch.tensor([16_000, 12_000])
    torch.manual_seed(0)
    dynamic = DynamicWeightedSum(encoder.layers, encoder.dim).eval()
    with torch.inference_mode():
        here = encoder(waveforms, lengths).states
        fused = dynamic(here.float())
        there = encoder.to(device)(waveforms.to(device), lengths.to(device)).states
        fused_there = dynamic.to(device)(there.float())
    scale = here.abs().mean().item()
    assert (there.cpu() - here)[:, 1, :30].abs().max() < 0.05 * scale
    assert (fused_there.cpu() - fused)[1, :30].abs().max() < 0.1 * scale


@DEVICES
def test_information_is_the_same_there(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (2000,), generator=generator)
    features = torch.nn.functional.one_hot(labels, 4)[None] + 0.5 * torch.randn(2, 2000, 4, generator=generator)
    sets = {0.0: EvaluationSet(features, labels, np.arange(2000) // 100)}
    training = {
        "classes": 4,
        "seed": 0,
        "hidden": 16,
        "epochs": 4,
        "batch_frames": 200,
        "dropout": 0.0,
        "learning_rate": 0.02,
    }
    here, there = (measure(features, labels, sets, device=where, **training) for where in ("cpu", device))
    for one, other in zip(here, there, strict=True):
        assert other["mi_bits"] == pytest.approx(one["mi_bits"], abs=0.01)
        assert other["mi_bits"] > 0.8
