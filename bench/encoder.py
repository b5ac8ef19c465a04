"""Encoders of Base size, random weights -> time and memory of a forward pass beside those of transformers' own model.

    python bench/encoder.py [--models wavlm hubert wav2vec2] [--batch 2] [--seconds 3] [--layers 12] [--repeats 2]

Both ways take turns in one process, on one thread; each time is the least of its repeats in processor seconds, which
other work on the machine disturbs less than the clock. Memory is what a forward pass adds to that of the weights at its
peak, each measured in a process of its own (fork: Linux).
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from phonemi.models.representations import MODEL_TYPES, HuggingFaceRepresentation

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
Forward = Callable[[], object]


def random_model(model_type: str, layers: int) -> nn.Module:
    """A model of transformers, Base size but for the number of layers, as its configuration gives it."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(model_type, num_hidden_layers=layers)
    return AutoModel.from_config(config).eval().requires_grad_(False)


def two_ways(model: nn.Module, model_type: str, waveforms: Tensor) -> tuple[Forward, Forward]:
    """Forward passes that end in all hidden states: of transformers' model untouched, of ours."""
    representation = HuggingFaceRepresentation(copy.deepcopy(model), model_type)
    return lambda: model(waveforms, output_hidden_states=True), lambda: representation(waveforms)


def run(forward: Forward, precision: torch.dtype) -> float:
    """Processor seconds of one forward pass."""
    with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        start = time.process_time()
        forward()
        return time.process_time() - start


def memory_mb(forward: Forward, precision: torch.dtype) -> float:
    """What the first forward pass of a fresh process adds to its memory at most, in MB."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def measure() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run(forward, precision)
        sender.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)

    process = multiprocessing.get_context("fork").Process(target=measure)
    process.start()
    taken = receiver.recv()
    process.join()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODEL_TYPES, default=["wavlm"])
    parser.add_argument("--batch", type=int, default=2, help="waveforms of equal length")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each waveform")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    waveforms = 0.1 * torch.randn(asked.batch, round(16_000 * asked.seconds))
    print(f"{asked.batch} x {asked.seconds:g} s, {asked.layers} layers, torch {torch.__version__}, one thread")
    print("encoder   precision  transformers    phonemi  times as fast  MB of transformers, of phonemi")
    for model_type in asked.models:
        ways = two_ways(random_model(model_type, asked.layers), model_type, waveforms)
        for name, precision in PRECISIONS.items():
            plain_mb, fused_mb = (memory_mb(way, precision) for way in ways)
            turns = [[run(way, precision) for way in ways] for _ in range(asked.repeats)]
            plain_s, fused_s = (min(times) for times in zip(*turns, strict=True))
            print(
                f"{model_type:8}  {name:>9}  {plain_s:10.2f} s  {fused_s:7.2f} s  {plain_s / fused_s:13.2f}  "
                f"{plain_mb:18.0f}, {fused_mb:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
