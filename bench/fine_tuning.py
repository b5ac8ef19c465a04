"""Memory and time of an update that fine-tunes an encoder: python bench/fine_tuning.py [FAMILY ...] [--seconds 2]

Base encoders with random weights (their sizes are those of the published ones; nothing is downloaded) are trained
entirely, as in the rows bsse-ws+tuned-entire, on batches of 8 x 2 s of noise. Each case runs in a process of its own,
so that its peak is its own; on a GPU the peak is that of the GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from phonemi.aggregations import NormalisedWeightedSum
from phonemi.enhancers.bsse_enhancer import BsseEnhancer
from phonemi.representations.base import Representation
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.stages.training_batches import Batch
from phonemi.stages.training_model import TrainingModel
from phonemi.training.loop import fit
from phonemi.training.settings import FitSettings

FAMILIES = ("wavlm", "hubert", "wav2vec2")
CASES = (("no", False), ("no", True), ("bf16", False), ("bf16", True))  # precision, whether blocks are recomputed
STEPS = 3


def base_encoder(family: str) -> Representation:
    """An encoder of Base size with random weights."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    return HuggingFaceRepresentation(AutoModel.from_config(AutoConfig.for_model(family)), family)


def measure(family: str, precision: str, recomputes: bool, batch: int, duration_s: float) -> dict[str, float]:
    """Peak memory in GB, before and in training, and seconds of an update after the first."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = base_encoder(family).unfreeze(0)
    if recomputes:
        encoder.recompute_blocks()
    network = BsseEnhancer(encoder.dim, log1p=True, hop=encoder.hop)
    model = TrainingModel(network, NormalisedWeightedSum(encoder.layers, encoder.dim), encoder)
    samples, before_gb, times_s = round(16_000 * duration_s), peak_gb(device), []

    def batch_at(index: int) -> Batch:
        generator = torch.Generator().manual_seed(index)
        noisy, clean = 0.1 * torch.randn(2, batch, samples, generator=generator)
        times_s.append(time.monotonic())
        return Batch(noisy, clean, [samples] * batch, None)

    settings = FitSettings(
        steps=STEPS, learning_rate=1e-4, learning_rate_of={"representation.": 1e-5}, eps=1e-8, gradient_clip=None,
        precision=precision, validate_every=STEPS, checkpoint_every=STEPS,
    )  # fmt: skip
    started_s: list[float] = []

    def loss(model: torch.nn.Module, given: Batch) -> torch.Tensor:
        started_s.append(time.monotonic())
        value: torch.Tensor = model(given)
        return value

    with tempfile.TemporaryDirectory() as folder:
        fit(model, batch_at=batch_at, loss=loss, settings=settings, folder=folder, label=family, device=device)
    return {"before_gb": before_gb, "peak_gb": peak_gb(device), "update_s": started_s[-1] - started_s[-2]}


def peak_gb(device: str) -> float:
    """The most memory that this process has had, in GB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Print a line for each family and case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        family, precision, recomputes = json.loads(options.case)
        print(json.dumps(measure(family, precision, recomputes, options.batch, options.seconds)))
        return
    print("| encoder | precision | blocks | peak, GB | update, s |\n|---|---|---|---|---|")
    for family in options.families:
        for precision, recomputes in CASES:
            case = ["--case", json.dumps([family, precision, recomputes])]
            sizes = ["--batch", str(options.batch), "--seconds", str(options.seconds)]
            command = [sys.executable, str(Path(__file__)), *case, *sizes]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            kept = "recomputed" if recomputes else "kept"
            print(f"| {family} | {precision} | {kept} | {found['peak_gb']:.1f} | {found['update_s']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
