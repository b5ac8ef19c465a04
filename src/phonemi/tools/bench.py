"""The same work the plain way and ours, taking turns in one process -> seconds of each, their ratio, and memory.

encoder       all hidden states of a batch: transformers' own model | `HuggingFaceRepresentation`
information   MI of every layer at every SNR: encode and train a probe for one layer after the other | all at once
aggregation   an epoch of linguistic pre-training: the encoder in every step | hidden states kept on disk

The encoder is of Base size with random weights: the work does not depend on them. The plain way is a fair one: of each
layer it keeps the states it has computed, and all its products are PyTorch's.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.aggregations import WeightedSum
from phonemi.data.alignment import PHONES
from phonemi.devices import choose_device
from phonemi.errors import ConfigError, nearest
from phonemi.information.mutual_information import EvaluationSet, measure
from phonemi.memory import give_freed_memory_back
from phonemi.probes.frames import FrameStates
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.tables import Cell, Column, Table

SNRS_DB = (0.0, 10.0, 20.0)
CLASSES, HIDDEN, BATCH_FRAMES = len(PHONES), 512, 1024

Work = Callable[[], Any]


class Size(NamedTuple):
    """How much work."""

    layers: int = 12
    utterances: int = 4
    seconds: float = 4.0
    epochs: int = 4
    repeats: int = 2


class Bench:
    """Material of all comparisons: an encoder ("wavlm", "hubert" or "wav2vec2") and noisy speech that is noise.

    With `bf16`, products are in bfloat16 by autocast, both ways. A `dim` of 768 is Base.
    """

    def __init__(self, model_type: str, size: Size, device: torch.device, bf16: bool = False, dim: int = 768):
        from transformers import AutoConfig, AutoModel

        torch.manual_seed(0)
        shape = {"hidden_size": dim, "intermediate_size": 4 * dim, "num_attention_heads": dim // 64 or 1}
        config = AutoConfig.for_model(model_type, num_hidden_layers=size.layers, layerdrop=0.0, **shape)
        self.model = AutoModel.from_config(config).eval().requires_grad_(False).to(device)
        self.encoder = HuggingFaceRepresentation(copy.deepcopy(self.model), model_type).to(device)
        self.size, self.device, self.bf16 = size, device, bf16
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
        samples = round(16_000 * size.seconds)
        self.train = 0.1 * torch.randn(size.utterances, samples, device=device)
        self.test = {snr_db: 0.1 * torch.randn(1, samples, device=device) for snr_db in SNRS_DB}
        frames = self.encoder.frames(samples)
        self.labels = torch.randint(CLASSES, (size.utterances * frames,))
        self.test_labels = torch.randint(CLASSES, (frames,))

    def states(self, waveforms: Tensor) -> Tensor:
        """[layer, frame, dim], half precision, of all waveforms one after the other."""
        with torch.inference_mode(), self.autocast:
            return self.encoder(waveforms).states.flatten(1, 2).half()

    def encoder_ways(self) -> tuple[Work, Work]:
        """Forward passes that end in all hidden states."""

        def plain() -> Any:
            with torch.inference_mode(), self.autocast:
                return self.model(self.train, output_hidden_states=True)

        return plain, lambda: self.states(self.train)

    def information_ways(self) -> tuple[Work, Work]:
        """Probes of every layer, judged at every SNR."""

        def ours() -> list[float]:
            together = _as_stored(self.states(torch.cat([*self.test.values()])))  # SNRs side by side
            labels = self.test_labels.repeat(len(self.test))
            frames = np.arange(len(labels)).reshape(len(self.test), -1)
            who = np.zeros(len(labels), dtype=int)
            sets = (EvaluationSet(together, labels, who, frames=own) for own in frames)
            tests = dict(zip(self.test, sets, strict=True))
            bounds = measure(
                _as_stored(self.states(self.train)), self.labels, tests, classes=CLASSES, seed=0, device=self.device,
                bf16=self.bf16, hidden=HIDDEN, epochs=self.size.epochs, batch_frames=BATCH_FRAMES,
            )  # fmt: skip
            return [bound.mi_bits for by_layer in bounds.values() for bound in by_layer]

        return lambda: [self._one_layer(layer) for layer in range(self.encoder.layers)], ours

    def _one_layer(self, layer: int) -> float:
        """Encode, train the probe of one layer, and judge it at every SNR: nats of cross-entropy."""
        train, labels = self.states(self.train)[layer], self.labels.to(self.device)
        sizes = (train.shape[1], HIDDEN)
        layers = [part for size in sizes for part in (nn.Linear(size, HIDDEN), nn.ReLU(), nn.Dropout(0.1))]
        probe = nn.Sequential(*layers, nn.Linear(HIDDEN, CLASSES)).to(self.device)
        optimiser = torch.optim.Adam(probe.parameters(), lr=1e-3)
        for _ in range(self.size.epochs):
            for batch in torch.randperm(len(labels), device=self.device).split(BATCH_FRAMES):
                with self.autocast:
                    logits = probe(train[batch].float())
                optimiser.zero_grad()
                functional.cross_entropy(logits.float(), labels[batch]).backward()
                optimiser.step()
        with torch.inference_mode():
            labels = self.test_labels.to(self.device)
            logits_by_snr = [probe(self.states(waveform)[layer].float()) for waveform in self.test.values()]
            return torch.stack([functional.cross_entropy(logits, labels) for logits in logits_by_snr]).mean().item()

    def aggregation_ways(self) -> tuple[Work, Work]:
        """An epoch over all utterances of a weighted sum and its linear probe."""
        states = _as_stored(self.states(self.train)).values
        with tempfile.TemporaryFile() as file:  # whose content stays as long as it is mapped
            states.numpy().tofile(file)
            on_disk = torch.from_numpy(np.memmap(file, np.float16, "c", shape=tuple(states.shape)))
        utterances, layers, dim = self.size.utterances, *states.shape[1:]
        on_disk, labels = on_disk.unflatten(0, (utterances, -1)), self.labels.unflatten(0, (utterances, -1))

        def epoch(states_of: Callable[[int], Tensor]) -> None:
            fuse, probe = WeightedSum(layers).to(self.device), nn.Linear(dim, CLASSES).to(self.device)
            optimiser = torch.optim.Adam([*fuse.parameters(), *probe.parameters()], lr=1e-3)
            for item in range(utterances):
                optimiser.zero_grad()
                logits = probe(fuse(states_of(item)[:, None].float())[0])
                functional.cross_entropy(logits, labels[item].to(self.device)).backward()
                optimiser.step()

        return (
            lambda: epoch(lambda item: self.states(self.train[item : item + 1])),
            lambda: epoch(lambda item: on_disk[item].to(self.device).permute(1, 0, 2)),
        )


def _as_stored(states: Tensor) -> FrameStates:
    """Hidden states [layer, frame, dim] in the order in which they are stored, on the CPU."""
    return FrameStates(states.permute(1, 0, 2).contiguous().cpu())


class Comparison(NamedTuple):
    """What was measured; memory is what the work adds at its peak, NaN where it cannot be measured."""

    name: str
    plain_s: float
    ours_s: float
    plain_mb: float
    ours_mb: float

    @property
    def ratio(self) -> float:
        return self.plain_s / self.ours_s


NAMES = ("encoder", "information", "aggregation")


def run(
    names: Sequence[str] = (), model_type: str = "wavlm", size: Size | None = None, device: str = "auto",
    bf16: bool = False, dim: int = 768,
) -> list[Comparison]:  # fmt: skip
    """Compare; all of `NAMES` by default.

    Raises:
        ConfigError: for another name, or a GPU that is not there.
    """
    for name in names:
        if name not in NAMES:
            raise ConfigError(f"unknown comparison {name!r}; {nearest(name, NAMES)}")
    size = size or Size()
    bench = Bench(model_type, size, choose_device(device), bf16, dim)
    comparisons = []
    for name in names or NAMES:
        ways: tuple[Work, Work] = getattr(bench, f"{name}_ways")()
        memory_mb = [_memory_mb(way, bench.device) for way in ways]
        turns = [[_seconds(way, bench.device) for way in ways] for _ in range(size.repeats)]
        comparisons.append(Comparison(name, *map(min, zip(*turns, strict=True)), *memory_mb))
    return comparisons


def _seconds(work: Work, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _memory_mb(work: Work, device: torch.device) -> float:
    """On a GPU by torch's count; on a CPU in a process of its own, which begins as a copy of this one (fork)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    if not hasattr(os, "fork"):
        return float("nan")
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        torch.set_num_threads(1)  # the threads of the parent are not there
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        sender.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)

    give_freed_memory_back()  # or the copy would find its arrays there
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    sender.close()
    try:
        return float(receiver.recv())
    except EOFError:  # it was killed
        return float("nan")
    finally:
        process.join()


def table(comparisons: Sequence[Comparison]) -> Table:
    """Seconds and memory of both ways, at most 60 columns of text."""
    columns = [Column(title, unit) for unit in ("s", "MB") for title in ("plain", "ours")]
    columns.insert(2, Column("ratio"))
    rows: list[list[Cell | str]] = [
        [one.name, *(Cell(value, 3) for value in (one.plain_s, one.ours_s)), Cell(one.ratio, 1),
         *(Cell(value, 0) for value in (one.plain_mb, one.ours_mb))]
        for one in comparisons
    ]  # fmt: skip
    return Table(["", *columns], rows)
