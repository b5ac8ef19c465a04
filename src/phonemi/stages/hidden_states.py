"""Hidden states of noisy speech on disk, computed once: [frame, layer, dim] in half precision, memory-mapped.

Everything that needs the hidden states of the same mixtures (probes of all layers, aggregations, every enhancer)
reads one file, so that the encoder never runs twice on the same audio. States are written as they come: memory stays
flat. Processes that need the same states at the same time share the encoding of them, and one that was killed loses a
part of the mixtures.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.aggregations import Aggregation
from phonemi.claims import claimed, share
from phonemi.data.mixing import Mixture, Mixtures, generator
from phonemi.errors import DataError
from phonemi.files import content_hash, read_json, remove_leftovers, replacing, write_json
from phonemi.probes.frames import FrameStates
from phonemi.progress import Progress, Task
from phonemi.representations.base import HiddenStates, Representation, at_50_hz
from phonemi.signal import SAMPLE_RATE, SSL_FIELD
from phonemi.tables import plural

PART_MIXTURES = 64  # that one process encodes before it looks what is left
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
        key = content_hash(key, representation.name, subset, padded_batch)
        part_size = max(1, PART_MIXTURES // (padded_batch or 1)) * (padded_batch or 1)  # a batch is in one part
        parts = [range(first, min(first + part_size, len(mixtures))) for first in range(0, len(mixtures), part_size)]
        files = StateFiles(self.folder, name, key, parts=len(parts))

        def encode(number: int) -> None:
            if files.has_part(number):
                return
            path = files.part(number)
            starts = self._encode(representation, mixtures, parts[number], path, subset, padded_batch, task)
            index = {"key": key, "starts": starts, "layers": representation.layers, "dim": representation.dim}
            write_json(path.with_suffix(".json"), index)  # last: without it the file beside it counts for nothing

        def claim(what: str, wait: bool = True) -> AbstractContextManager[bool]:
            return claimed(self.folder.parent / "claims" / f"states.{what}.lock", wait=wait, say=self.progress.say)

        if not files.is_whole():
            with self.progress.task(f"encoding {name}", len(mixtures)) as task:
                whole = len(parts) == 1
                share({name if whole else f"{name}.{n}": partial(encode, n) for n in range(len(parts))}, claim)
            if len(parts) > 1:
                with claim(name):
                    files.join()
        return files.read()

    @torch.inference_mode()
    def _encode(
        self,
        representation: Representation,
        mixtures: Mixtures,
        indices: range,
        path: Path,
        subset: FrameSubset | None,
        padded_batch: int | None,
        task: Task,
    ) -> list[int]:
        path.with_suffix(".json").unlink(missing_ok=True)
        remove_leftovers((path, path.with_suffix(".json")))
        starts = [0]
        encode: Callable[[Tensor, Tensor], HiddenStates] = representation.padded if padded_batch else representation
        with replacing(path) as temporary, open(temporary, "wb") as file:
            for batch in _batches(mixtures, indices, padded_batch):
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


class StateFiles:
    """The files of one set of states: FOLDER/<name>.bin and .json or, before they are joined, parts of them.

    Parts lie in FOLDER/<name>.parts, a .bin and a .json each, which may be made by several processes. They are appended
    to one another and removed one by one, so that no more than one part is on disk twice; joined.json says how many.

    Args:
        folder, name: of the files.
        key: what is of another key counts for nothing.
        parts: how many there are; one is the whole.
    """

    def __init__(self, folder: Path, name: str, key: str, parts: int) -> None:
        self.path, self.key, self.parts = folder / f"{name}.bin", key, parts
        self._parts = folder / f"{name}.parts"

    def is_whole(self) -> bool:
        """Whether all states are there."""
        return self._index(self.path) is not None

    def part(self, number: int) -> Path:
        """Where a part is written."""
        return self.path if self.parts == 1 else self._parts / f"{number:06d}.bin"

    def has_part(self, number: int) -> bool:
        """Whether a part is there, or has been joined to the others."""
        # In this order: what is joined meanwhile is found at its next place.
        return self._index(self.part(number)) is not None or self._joined()[0] > number or self.is_whole()

    def join(self) -> None:
        """Make the whole of the parts, unless it is there; what was killed at it goes on."""
        if self.is_whole():
            return
        self.path.with_suffix(".json").unlink(missing_ok=True)
        joined_path = self._parts / "joined.bin"
        joined, index = self._joined()
        for number in range(joined, self.parts):
            part, of_part = self.part(number), self._index(self.part(number))
            assert of_part is not None, "every part was made before"
            if number == 0:
                os.replace(part, joined_path)
                index = of_part
            else:
                with open(joined_path, "r+b") as whole, open(part, "rb") as more:
                    whole.truncate(2 * math.prod(_shape(index)))
                    whole.seek(0, os.SEEK_END)
                    shutil.copyfileobj(more, whole, 1 << 24)
                    whole.flush()
                    os.fsync(whole.fileno())
                starts = index["starts"]
                index = {**index, "starts": starts + [starts[-1] + start for start in of_part["starts"][1:]]}
            write_json(self._parts / "joined.json", {**index, "parts": number + 1})
            part.unlink(missing_ok=True)
        os.replace(joined_path, self.path)
        write_json(self.path.with_suffix(".json"), index)
        shutil.rmtree(self._parts)

    def read(self) -> StoredStates:
        """All states."""
        index = self._index(self.path)
        assert index is not None, "they were made before"
        # Copy-on-write, because torch has no read-only tensors; nothing writes to it.
        values = torch.from_numpy(np.memmap(self.path, np.float16, "c", shape=_shape(index)))
        return StoredStates(values, index["starts"])

    def _index(self, path: Path) -> dict[str, Any] | None:
        """What is in a file of states; None if that is of another key, cut short, or not there."""
        try:
            index: dict[str, Any] = read_json(path.with_suffix(".json"))
            is_current = index["key"] == self.key and path.stat().st_size == 2 * math.prod(_shape(index))
        except (DataError, OSError, KeyError):
            return None
        return index if is_current else None

    def _joined(self) -> tuple[int, dict[str, Any]]:
        """How many parts are joined, and what is in them."""
        try:
            index: dict[str, Any] = read_json(self._parts / "joined.json")
            is_there = index["key"] == self.key and (self._parts / "joined.bin").exists()
        except (DataError, OSError, KeyError):
            return 0, {}
        return (index.pop("parts"), index) if is_there else (0, {})


def pad_batch(waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Waveforms [sample] of any lengths -> [batch, sample], zero beyond each, and the lengths [batch]."""
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    return nn.utils.rnn.pad_sequence([torch.from_numpy(w) for w in waveforms], batch_first=True), lengths


def _shape(index: dict[str, Any]) -> tuple[int, int, int]:
    return index["starts"][-1], index["layers"], index["dim"]


def _batches(mixtures: Mixtures, indices: range, size: int | None) -> Iterator[list[Mixture]]:
    """Neighbouring mixtures: `size` of them, or as many as `MAX_ENCODED_S` allows, one at least."""
    batch: list[Mixture] = []
    for index in indices:
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
