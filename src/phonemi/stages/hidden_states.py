"""Hidden states of noisy speech on disk, computed once: [frame, layer, dim] in half precision, memory-mapped.

Everything that needs the hidden states of the same mixtures (probes of all layers, aggregations, every enhancer)
reads one file, so that the encoder never runs twice on the same audio. States are written as they come: memory stays
flat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.aggregations import Aggregation
from phonemi.claims import claimed
from phonemi.data.mixing import Mixture, Mixtures, generator
from phonemi.errors import DataError
from phonemi.files import content_hash, read_json, remove_leftovers, replacing, write_json
from phonemi.probes.frames import FrameStates
from phonemi.progress import Progress
from phonemi.representations.base import HiddenStates, Representation, at_50_hz
from phonemi.signal import SAMPLE_RATE, SSL_FIELD
from phonemi.tables import plural

MAX_ENCODED_S = 64.0  # seconds of sound, padding included, that go through the encoder together


@dataclass(frozen=True)
class StoredStates:
    """Hidden states of a set of mixtures on the 50 Hz grid."""

    values: Tensor  # [frame, layer, dim], all mixtures one after the other
    starts: list[int]  # first frame of each mixture, then the number of frames, [mixture + 1]

    @property
    def frames(self) -> FrameStates:
        """All frames, for probes."""
        return FrameStates(self.values)

    def of(self, index: int) -> Tensor:
        """Of one mixture, [frame, layer, dim]."""
        return self.values[self.starts[index] : self.starts[index + 1]]

    @torch.inference_mode()
    def aggregated(
        self, aggregation: Aggregation, device: torch.device | str = "cpu", frames_at_once: int = 8192
    ) -> Tensor:
        """The sequence that a frozen aggregation makes of them, computed on `device`: half precision [frame, dim]."""
        aggregation = aggregation.to(device)
        sequence = torch.empty(len(self.values), self.values.shape[2], dtype=torch.float16)
        for part, states in zip(sequence.split(frames_at_once), self.values.split(frames_at_once), strict=True):
            part.copy_(aggregation(states.to(device).permute(1, 0, 2)[:, None].float())[0])
        return sequence


class FrameSubset(NamedTuple):
    """A drawn share of the frames of every mixture, for sets whose states would be too many."""

    share: float  # of the frames, below 1
    per_copy: bool  # draw other frames for each noisy copy of an utterance; else the same ones at every SNR
    seed: int

    def frames(self, mixture_id: str, count: int) -> np.ndarray:
        """Which of the mixture's `count` frames, ascending int64."""
        name = mixture_id if self.per_copy else mixture_id.rsplit("@", 1)[0]  # 84-121123-0001@-5dB
        order = generator(self.seed, "frames", name).permutation(count)
        return np.sort(order[: round(self.share * count)])


class StateCache:
    """Files of hidden states in a folder, RUN/cache; the encoder runs on `device`."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu", progress: Progress | None = None) -> None:
        self.folder, self.device, self.progress = folder, torch.device(device), progress or Progress(enabled=False)

    def states(
        self,
        representation: Representation,
        mixtures: Mixtures,
        name: str,
        key: str,
        subset: FrameSubset | None = None,
        padded_batch: int | None = None,
    ) -> StoredStates:
        """Hidden states of the noisy speech: those on disk if they are of this key, else computed and stored.

        Args:
            representation: on the device of this cache.
            mixtures: what is encoded.
            name: of the files.
            key: what the mixtures and the representation depend on.
            subset: which frames to keep; None: all.
            padded_batch: so many neighbours at a time are encoded as `Representation.padded` does it, where a state may
                depend on its neighbours; None: each as if it were alone.
        """
        with claimed(self.folder.parent / "claims" / f"states.{name}.lock", wait=True, say=self.progress.say):
            return self._states(representation, mixtures, name, key, subset, padded_batch)

    def _states(
        self,
        representation: Representation,
        mixtures: Mixtures,
        name: str,
        key: str,
        subset: FrameSubset | None,
        padded_batch: int | None,
    ) -> StoredStates:
        index_path, path = self.folder / f"{name}.json", self.folder / f"{name}.bin"
        key = content_hash(key, representation.name, subset, padded_batch)
        index = read_json(index_path) if index_path.exists() and path.exists() else {}
        # The file may have been cut short.
        if index.get("key") != key or path.stat().st_size != 2 * math.prod(_shape(index)):
            index_path.unlink(missing_ok=True)
            remove_leftovers((path, index_path))
            starts = self._encode(representation, mixtures, name, path, subset, padded_batch)
            index = {"key": key, "starts": starts, "layers": representation.layers, "dim": representation.dim}
            write_json(index_path, index)  # last: without it the file beside it counts for nothing
        # Copy-on-write, because torch has no read-only tensors; nothing writes to it.
        return StoredStates(torch.from_numpy(np.memmap(path, np.float16, "c", shape=_shape(index))), index["starts"])

    @torch.inference_mode()
    def _encode(
        self,
        representation: Representation,
        mixtures: Mixtures,
        name: str,
        path: Path,
        subset: FrameSubset | None,
        padded_batch: int | None,
    ) -> list[int]:
        starts = [0]
        encode: Callable[[Tensor, Tensor], HiddenStates] = representation.padded if padded_batch else representation
        with (
            replacing(path) as temporary,
            open(temporary, "wb") as file,
            self.progress.task(f"encoding {name}", len(mixtures)) as task,
        ):
            for batch in _batches(mixtures, padded_batch):
                noisy, lengths = pad_batch([item.noisy for item in batch])
                hidden = encode(noisy.to(self.device), lengths.to(self.device))
                states, frames = at_50_hz(hidden, representation.hop, lengths, representation.first_centre)
                for row, count in enumerate(frames.tolist()):
                    item = states[:, row, :count].permute(1, 0, 2)
                    if subset is not None:
                        item = item[torch.from_numpy(subset.frames(batch[row].id, count)).to(states.device)]
                    file.write(item.half().cpu().contiguous().numpy().tobytes())
                    starts.append(starts[-1] + len(item))
                task.advance(len(batch))
        return starts


def pad_batch(waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Waveforms [sample] of any lengths -> [batch, sample], zero beyond each, and the lengths [batch]."""
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    return nn.utils.rnn.pad_sequence([torch.from_numpy(w) for w in waveforms], batch_first=True), lengths


def _shape(index: dict[str, Any]) -> tuple[int, int, int]:
    return index["starts"][-1], index["layers"], index["dim"]


def _batches(mixtures: Mixtures, size: int | None) -> Iterator[list[Mixture]]:
    """Neighbouring mixtures: `size` of them, or as many as `MAX_ENCODED_S` allows, one at least."""
    batch: list[Mixture] = []
    for index in range(len(mixtures)):
        item = mixtures[index]
        if len(item.noisy) < SSL_FIELD:
            samples = plural(len(item.noisy), "sample")
            raise DataError(f"{item.id} has {samples}: the encoder needs at least {SSL_FIELD}")
        longest = max(len(other.noisy) for other in [*batch, item])
        is_full = len(batch) == size if size else longest * (len(batch) + 1) > MAX_ENCODED_S * SAMPLE_RATE
        if batch and is_full:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
