"""What each stage costs for an hour of sound, and so for a corpus: python bench/scale.py [--hours 100000]

Everything is measured here, on one thread of a CPU or on a GPU, with encoders of random weights (their sizes are those
of the published ones). FLOPs are counted by torch, two for a multiplication and addition. The last columns are
arithmetic: bytes and hours of one such core or GPU for so many hours of sound.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from phonemi.aggregations import WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.information.mutual_information import EvaluationSet, measure
from phonemi.metrics.intrusive import score_pair
from phonemi.probes.frames import FrameStates
from phonemi.representations.base import Representation
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.names import load_representation
from phonemi.tables import Table

RATE, FRAMES_PER_HOUR = 16_000, 50 * 3600
UTTERANCE_S, UTTERANCES = 10.0, 4
CLASSES, EPOCHS = 40, 2


class Cost(NamedTuple):
    """Of an hour of sound."""

    stage: str
    time_s: float
    flops: float | None = None
    stored_bytes: float | None = None
    note: str = ""


def seconds_of(work: Callable[[], Any], repeats: int = 2) -> float:
    """The shortest of some times, after one that does not count; on a CPU of this process alone, whatever else runs."""
    work()
    times_s = []
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    for _ in range(repeats):
        start_s = clock()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times_s.append(clock() - start_s)
    return min(times_s)


def flops_of(work: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def base_encoder(family: str) -> Representation:
    from transformers import AutoConfig, AutoModel

    return HuggingFaceRepresentation(AutoModel.from_config(AutoConfig.for_model(family)), family)


def costs(device: torch.device) -> list[Cost]:
    noise = 0.1 * torch.randn(UTTERANCES, round(UTTERANCE_S * RATE), device=device)
    per_hour = 3600 / (UTTERANCE_S * UTTERANCES)
    found = []
    for name, encoder in (
        ("mini", load_representation("mini")),
        *((f"{family} Base", base_encoder(family)) for family in ("wavlm", "hubert", "wav2vec2")),
    ):
        encoder.to(device).eval()

        @torch.inference_mode()
        def encode(encoder: Representation = encoder) -> Any:
            return encoder(noise)

        stored = 2.0 * encoder.layers * encoder.dim * FRAMES_PER_HOUR
        found.append(
            Cost(f"encode: {name}", per_hour * seconds_of(encode), per_hour * flops_of(encode), stored, "all layers")
        )

    layers, dim, frames = 13, 768, 20_000
    states = torch.randn(frames, layers, dim).half()
    labels = torch.randint(0, CLASSES, (frames,))
    owners = np.arange(frames) // 500
    tests = {("rows", 0.0): EvaluationSet(FrameStates(states[:2000]), labels[:2000], owners[:2000], owners[:2000])}

    def probe() -> Any:
        options = {"classes": CLASSES, "seed": 0, "device": device, "epochs": EPOCHS}
        return measure(FrameStates(states), labels, tests, **options)

    found.append(Cost("probes of 13 layers, an epoch", seconds_of(probe, 1) / EPOCHS * FRAMES_PER_HOUR / frames))
    aggregation = WeightedSum(layers).to(device).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "states.bin"
        path.write_bytes(states.numpy().tobytes())
        stored = torch.from_numpy(np.memmap(path, np.float16, "c", shape=tuple(states.shape)))

        def aggregate() -> Any:
            return aggregation(stored.to(device).permute(1, 0, 2)[:, None].float())

        note = "reads the states from a file in the cache of the system"
        aggregated = 2.0 * dim * FRAMES_PER_HOUR
        time_s = seconds_of(aggregate) * FRAMES_PER_HOUR / frames
        found.append(Cost("weighted sum of 13 layers", time_s, None, aggregated, note))

    network = MaskEnhancer(dim=dim, log1p=True).to(device)
    features = torch.randn(UTTERANCES, round(UTTERANCE_S * 50), dim, device=device)
    optimiser = torch.optim.AdamW(network.parameters())

    def update() -> None:
        lengths = torch.full((UTTERANCES,), noise.shape[1])
        loss = network.loss(noise, noise, features, lengths)
        (loss[0] if isinstance(loss, tuple) else loss).backward()
        optimiser.step()
        optimiser.zero_grad()

    found.append(Cost("train the paper's BLSTM, an epoch", per_hour * seconds_of(update)))  # torch counts no LSTMs

    enhancer = Enhancer.from_pretrained("default").to(device)
    recording = noise[0].cpu().numpy()
    found.append(Cost("enhance: default", 3600 / UTTERANCE_S * seconds_of(lambda: enhancer.enhance(recording, RATE))))
    clean = np.sin(np.arange(len(recording)) * np.sin(np.arange(len(recording)) / 3000) / 9).astype(np.float32)
    score = seconds_of(lambda: score_pair(clean + recording, clean + recording, clean), 1)
    found.append(Cost("SI-SDR, STOI, PESQ", 3600 / UTTERANCE_S * score))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=100_000)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    unit = "core" if options.device == "cpu" else "GPU"
    rows = []
    for cost in costs(torch.device(options.device)):
        rate = "" if cost.flops is None else f"{cost.flops / cost.time_s / 1e9:.0f}"
        stored = "" if cost.stored_bytes is None else f"{cost.stored_bytes / 1e9:.2f}"
        total = "" if cost.stored_bytes is None else f"{cost.stored_bytes * options.hours / 1e12:.1f}"
        flops = "" if cost.flops is None else f"{cost.flops / 1e12:.1f}"
        rows.append(
            [cost.stage, f"{cost.time_s:.1f}", flops, rate, stored, f"{cost.time_s * options.hours / 3600:,.0f}", total]
        )
    columns = ["an hour of sound", f"{unit} s", "TFLOP", "GFLOP/s", "GB", f"{unit} hours for {options.hours:g} h", "TB"]
    print(Table(columns, rows).markdown())


if __name__ == "__main__":
    main()
