"""Recordings on disk -> enhanced recordings on disk: chunks of like length go through the enhancer together."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from phonemi.errors import AudioError, ModelError, PhonemiError
from phonemi.inference.chunks import CHUNK_S, OVERLAP_S, Chunk, RecordingFile
from phonemi.progress import Progress

if TYPE_CHECKING:
    from phonemi.enhancers.recording_enhancer import RecordingEnhancer

LENGTH_RATIO = 1.25  # of the longest to the shortest chunk of a batch: padding costs as much as sound
# What torch, oneDNN and cuBLAS say where there is no more memory; of torch only GPUs have an error of their own for it.
NO_MEMORY = re.compile("tried to allocate|(out of|not enough) memory|ALLOC_FAILED|bad.?alloc|could not create a prim")


def enhance_file(
    enhancer: RecordingEnhancer,
    source: Path,
    target: Path,
    chunk_s: float = CHUNK_S,
    overlap_s: float = OVERLAP_S,
    batch_size: int = 1,
    progress: Progress | None = None,
    **options: Any,
) -> list[str]:
    """Enhance one file: same sample rate, channels, length and, for the same extension, format and sample format.

    Memory does not grow with the length of the file. A failure leaves nothing under the target's name.

    Args:
        enhancer: see `Enhancer.enhance`.
        source: any sound file.
        target: where to; another extension than the source's chooses another format, with 16 bits for wav and flac.
        chunk_s: the most that is enhanced at once; infinite: all of it.
        overlap_s: what two chunks share: a quarter at each end is context only, the half between is cross-faded.
        batch_size: waveforms, one for each channel of a chunk, that are enhanced together.
        progress: shows seconds of sound; None: nothing.
        options: `mix`, `attenuation_limit_db` and `upper_band` of `Enhancer.enhance`.

    Returns:
        What is wrong with the recording, one sentence each: clipped, narrow-band, clean already.

    Raises:
        AudioError: naming the file and what is wrong with it.
    """
    recording = RecordingFile(Path(source), Path(target), chunk_s, overlap_s)
    process([recording], enhancer, progress, batch_size, options)
    if recording.error is not None:
        raise recording.error
    return recording.heard.texts()


def process(
    recordings: Sequence[RecordingFile],
    enhancer: RecordingEnhancer,
    progress: Progress | None,
    batch_size: int,
    options: dict[str, Any],
) -> None:
    """Enhance recordings in their order, in batches that may hold chunks of several; one that fails stops no other.

    In memory are at most `batch_size` waveforms and the next chunk, or one chunk with more channels than that, of which
    a few at a time go through the network.
    """
    start_s, done_s = time.perf_counter(), 0.0
    total_s = sum(recording.info.duration_s for recording in recordings)
    with (progress or Progress(enabled=False)).task("seconds of sound", math.ceil(total_s - 1e-6)) as task:
        for batch in _processed(recordings, enhancer, batch_size, options):
            done_s += sum(chunk.new_samples / chunk.recording.info.sample_rate for chunk in batch)
            factor = (time.perf_counter() - start_s) / done_s
            task.advance(math.ceil(done_s - 1e-6) - task.completed, f"real-time factor {factor:.3f}")


def _processed(
    recordings: Sequence[RecordingFile], enhancer: RecordingEnhancer, batch_size: int, options: dict[str, Any]
) -> Iterator[list[Chunk]]:
    """Every batch when it is enhanced and written."""
    unfinished: set[RecordingFile] = set()
    start_s = time.perf_counter()
    chunks = (chunk for recording in recordings for chunk in recording.chunks())
    try:
        for batch in _batches(chunks, batch_size):
            unfinished |= {chunk.recording for chunk in batch}
            _enhance(batch, enhancer, options)
            end_s = time.perf_counter()
            for chunk in batch:
                share = chunk.noisy.size / sum(member.noisy.size for member in batch)
                chunk.recording.time_s += share * (end_s - start_s)
            unfinished -= {chunk.recording for chunk in batch if chunk.is_last}
            yield batch
            start_s = end_s
    finally:  # also after Ctrl-C
        for recording in unfinished:
            if recording.error is None:
                recording.fail(AudioError(f"{recording.target} was not finished"))


def _batches(chunks: Iterable[Chunk], batch_size: int) -> Iterator[list[Chunk]]:
    """Neighbours that go together, at most `batch_size` waveforms unless one chunk alone has more."""
    batch: list[Chunk] = []
    for chunk in chunks:
        if batch and not _go_together([*batch, chunk], batch_size):
            yield batch
            batch = []
        batch.append(chunk)
    if batch:
        yield batch


def _go_together(chunks: list[Chunk], batch_size: int) -> bool:
    rates = {chunk.recording.info.sample_rate for chunk in chunks}
    lengths = [chunk.noisy.shape[1] for chunk in chunks]
    waveforms = sum(len(chunk.noisy) for chunk in chunks)
    return len(rates) == 1 and waveforms <= batch_size and max(lengths) <= LENGTH_RATIO * min(lengths)


def _enhance(batch: list[Chunk], enhancer: RecordingEnhancer, options: dict[str, Any]) -> None:
    """Enhance and write a batch; one that fails is tried chunk by chunk, so that only what is at fault fails."""
    failure: PhonemiError | None = None
    try:
        enhanced = enhancer.enhance_chunks(
            [chunk.noisy for chunk in batch], batch[0].recording.info.sample_rate, **options
        )
    except (PhonemiError, RuntimeError, MemoryError) as error:
        failure = _explained(error, batch[0])
    if failure is None:
        for chunk, (waveform, condition) in zip(batch, enhanced, strict=True):
            if chunk.recording.error is None:
                chunk.recording.heard += condition  # type: ignore[operator]
                chunk.recording.write(waveform, chunk.is_last)
    elif len(batch) == 1:
        batch[0].recording.fail(failure)
    else:  # not while the error is handled: what it stopped would stay in memory
        for chunk in batch:
            _enhance([chunk], enhancer, options)


def _explained(error: PhonemiError | RuntimeError | MemoryError, chunk: Chunk) -> PhonemiError:
    """The error of a chunk that was enhanced alone; what is neither of the recording nor of its size is raised."""
    if isinstance(error, PhonemiError):
        return error
    on_gpu = isinstance(error, torch.OutOfMemoryError) or "CU" in str(error)  # CUDA, CUBLAS, CUDNN
    if not (isinstance(error, (MemoryError, torch.OutOfMemoryError)) or NO_MEMORY.search(str(error))):
        raise error
    info = chunk.recording.info
    duration_s = chunk.noisy.shape[1] / info.sample_rate
    limit = "the GPU has: make the chunks shorter or use the CPU" if on_gpu else "is free here: make the chunks shorter"
    return ModelError(
        f"enhancing {duration_s:.1f} s of {chunk.recording.source} ({info.channels} channels) takes more memory than "
        + limit
    )
