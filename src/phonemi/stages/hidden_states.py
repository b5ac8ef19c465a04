"""Waveforms -> hidden states on disk, computed once: [frame, layer, dim] half precision, memory-mapped.

Everything that needs the states of the same noisy speech (probes of all layers, aggregations, every enhancer row) reads
one file, so that the encoder never runs twice on the same audio. States are written as they come: memory stays flat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.aggregations.base import Aggregation
from phonemi.data.alignment import IGNORE, frame_labels
from phonemi.data.mixing import Mixture, generator
from phonemi.errors import DataError
from phonemi.files import read_json, replacing, write_json
from phonemi.representations.base import HiddenStates, Representation, at_50_hz
from phonemi.signal import SAMPLE_RATE, SSL_FIELD, ssl_frames
from phonemi.stages.run import Run

ENCODED_AT_ONCE_S = 64.0


class Mixtures(Protocol):
    """A sequence of mixtures that makes each one when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mixture: ...


@dataclass(frozen=True)
class States:
    """Hidden states of a set of mixtures on the 50 Hz grid.

    Attributes:
        values: [frame, layer, dim], all items one after the other.
        starts: first frame of each item, and the number of frames, [item + 1].
    """

    values: Tensor
    starts: list[int]

    @property
    def by_layer(self) -> Tensor:
        """[layer, frame, dim], a view."""
        return self.values.permute(1, 0, 2)

    @torch.inference_mode()
    def fused(self, aggregation: Aggregation, device: torch.device | str = "cpu", frames_at_once: int = 8192) -> Tensor:
        """One sequence from a frozen aggregation, computed on `device`: half precision [frame, dim], on the CPU."""
        aggregation = aggregation.to(device)
        fused = torch.empty(len(self.values), self.values.shape[2], dtype=torch.float16)
        for into, chunk in zip(fused.split(frames_at_once), self.values.split(frames_at_once), strict=True):
            into.copy_(aggregation(chunk.to(device).permute(1, 0, 2)[:, None].float())[0])
        return fused


def cached_states(
    run: Run,
    representation: Representation,
    mixtures: Mixtures,
    name: str,
    key: str,
    kept: Kept | None = None,
    padded_batch: int | None = None,
) -> States:
    """States of the noisy speech of `mixtures`, from RUN/cache/NAME when it holds all of those of this `key`.

    All of them, or those `kept`. With a `padded_batch`, so many neighbours at a time are encoded
    as `Representation.padded` does it, where a state may depend on the neighbours.
    """
    index_path, path = run.folder / "cache" / f"{name}.json", run.folder / "cache" / f"{name}.bin"
    choices = ([*kept] if kept else []) + ([f"padded {padded_batch}"] if padded_batch else [])
    key = run.key(key, run.encoder_key, representation.name, *choices)
    if not _is_complete(index_path, path, key):
        index_path.unlink(missing_ok=True)
        starts = _encode(run, representation, mixtures, name, path, kept, padded_batch)
        # Written last: without it the file beside it is not believed.
        write_json(
            index_path, {"key": key, "starts": starts, "layers": representation.layers, "dim": representation.dim}
        )
    index = read_json(index_path)
    # Copy-on-write, because torch has no read-only tensors; nothing writes to it.
    return States(torch.from_numpy(np.memmap(path, np.float16, "c", shape=_shape(index))), index["starts"])


def _is_complete(index_path: Path, path: Path, key: str) -> bool:
    """Whether a cache is there, of this key, and not cut short."""
    if not (index_path.exists() and path.exists()):
        return False
    index = read_json(index_path)
    return index.get("key") == key and path.stat().st_size == 2 * math.prod(_shape(index))


def _shape(index: dict[str, Any]) -> tuple[int, int, int]:
    return index["starts"][-1], index["layers"], index["dim"]


@torch.inference_mode()
def _encode(
    run: Run,
    representation: Representation,
    mixtures: Mixtures,
    name: str,
    path: Path,
    kept: Kept | None,
    padded_batch: int | None,
) -> list[int]:
    starts = [0]
    encode: Callable[[Tensor, Tensor], HiddenStates] = representation.padded if padded_batch else representation
    with (
        replacing(path) as temporary,
        open(temporary, "wb") as file,
        run.progress.task(f"encoding {name}", len(mixtures)) as task,
    ):
        for batch in _batches(mixtures, padded_batch):
            lengths = torch.tensor([len(item.noisy) for item in batch])
            waveforms = nn.utils.rnn.pad_sequence([torch.from_numpy(item.noisy) for item in batch], batch_first=True)
            hidden = encode(waveforms.to(run.device), lengths.to(run.device))
            states, frames = at_50_hz(hidden, representation.hop, lengths)
            for row, count in enumerate(frames.tolist()):
                item = states[:, row, :count].permute(1, 0, 2)
                if kept is not None:
                    item = item[torch.from_numpy(kept.frames(batch[row], count)).to(states.device)]
                file.write(item.half().cpu().contiguous().numpy().tobytes())
                starts.append(starts[-1] + len(item))
            task.advance(len(batch))
    return starts


def _batches(mixtures: Mixtures, together: int | None) -> Iterator[list[Mixture]]:
    """Neighbouring items: as many as make about a minute, or so many `together`."""
    batch: list[Mixture] = []
    for index in range(len(mixtures)):
        item = mixtures[index]
        if len(item.noisy) < SSL_FIELD:
            raise DataError(f"{item.id} has {len(item.noisy)} samples: the encoder needs at least {SSL_FIELD}")
        longest = max(len(item.noisy), *(len(other.noisy) for other in batch)) if batch else len(item.noisy)
        full = len(batch) == together if together else longest * (len(batch) + 1) > ENCODED_AT_ONCE_S * SAMPLE_RATE
        if batch and full:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


class Kept(NamedTuple):
    """A drawn share of the frames of every item, where the states of all would be too many."""

    share: float  # below 1
    of_each: Literal["utterance", "copy"]  # the same of an utterance at every SNR, or others of each of its copies
    seed: int

    def frames(self, mixture: Mixture, count: int) -> np.ndarray:
        """Which of the item's so many frames, ascending int64."""
        name = _utterance(mixture) if self.of_each == "utterance" else mixture.id
        drawn = generator(self.seed, "frames", name).permutation(count)
        return np.sort(drawn[: round(self.share * count)])


def _utterance(mixture: Mixture) -> str:
    return mixture.id.rsplit("@", 1)[0]


class FrameLabels(NamedTuple):
    """What is known about every frame of `cached_states`, in its order; arrays [frame]."""

    phones: Tensor  # int64, IGNORE where the phone is unknown
    utterances: np.ndarray  # one number for the same utterance at several SNRs
    speakers: np.ndarray
    snrs_db: np.ndarray


def labels_of(
    mixtures: Mixtures,
    at: Literal["centre", "start"] = "centre",
    silence: bool = True,
    stress: bool = False,
    kept: Kept | None = None,
) -> FrameLabels:
    """Labels of the frames of all mixtures, one after the other.

    Args:
        mixtures: with phones or without.
        at, silence, stress: as for `data.alignment.frame_labels`.
        kept: as for `cached_states`.
    """
    phones, utterances, speakers, snrs_db = [], [], [], []
    names: dict[str, int] = {}
    for index in range(len(mixtures)):
        item = mixtures[index]
        frames = ssl_frames(len(item.noisy))
        utterance = _utterance(item)
        known = None if item.phones is None else frame_labels(item.phones, frames, at, silence, stress)
        labels = np.full(frames, IGNORE) if known is None else known
        labels = labels if kept is None else labels[kept.frames(item, frames)]
        phones.append(labels)
        utterances.append(np.full(len(labels), names.setdefault(utterance, len(names))))
        speakers.append(np.full(len(labels), names.setdefault(f"speaker {item.speaker or utterance}", len(names))))
        snrs_db.append(np.full(len(labels), item.snr_db))
    return FrameLabels(
        torch.from_numpy(np.concatenate(phones)), *(np.concatenate(part) for part in (utterances, speakers, snrs_db))
    )
