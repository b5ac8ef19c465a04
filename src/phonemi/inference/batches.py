"""Enhancing recordings whose chunks go through the network in batches."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from phonemi import audio
from phonemi.errors import AudioError, ModelError, PhonemiError
from phonemi.inference.chunks import CHUNK_S, OVERLAP_S
from phonemi.inference.protocol import ChunkEnhancer
from phonemi.inference.recording import Chunk, enhance_recording
from phonemi.progress import Progress

MAX_LENGTH_RATIO = 1.25  # of the longest to the shortest chunk of a batch, because padding costs as much as sound
# What torch, oneDNN and the libraries of GPUs say when memory runs out. Most of them raise a plain RuntimeError.
NO_MEMORY = re.compile("tried to allocate|(out of|not enough) memory|ALLOC_FAILED|bad.?alloc|could not create a prim")
GPU = re.compile("CUDA|CUBLAS|CUDNN|HIP|MPS")


class Job:
    """A recording that is to be enhanced, and what became of it.

    Args:
        reader: the recording.
        target: where to write.
        chunk_s: see `enhance_recording`.
        overlap_s: see `enhance_recording`.

    Attributes:
        time_s: its share of the time that its batches took, with reading and writing.
        notes: what a listener should know of it.
        error: what went wrong; the other jobs go on.
        has_ended: whether it is enhanced or failed.
    """

    def __init__(self, reader: audio.Reader, target: Path, chunk_s: float, overlap_s: float) -> None:
        self.source = Path(reader.info.path)
        self.target = target
        self.info = reader.info
        self.time_s = 0.0
        self.notes: list[str] = []
        self.error: PhonemiError | OSError | None = None
        self.has_ended = False
        self._work: Generator[Chunk | None, None, list[str]] = enhance_recording(reader, target, chunk_s, overlap_s)

    def resume(self, failure: PhonemiError | None = None) -> Chunk | None:
        """Write the chunks that were enhanced meanwhile, and read the next one.

        Args:
            failure: why a chunk could not be enhanced; it ends the job.

        Returns:
            The next chunk; None: the recording is read to its end, or the job has ended.
        """
        if self.has_ended:
            return None
        try:
            return next(self._work) if failure is None else self._work.throw(failure)
        except StopIteration as end:
            self.notes = end.value
        except (PhonemiError, OSError) as error:
            self.error = error
        except MemoryError:
            self.error = AudioError(f"{self.source} takes more memory than is free here: make the chunks shorter")
        self.has_ended = True
        return None

    def close(self) -> None:
        """Remove what is written so far, unless the job has ended."""
        self._work.close()


class Member(NamedTuple):
    """A chunk in a batch, and the job that it belongs to."""

    job: Job
    chunk: Chunk


def enhance_file(
    enhancer: ChunkEnhancer,
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
        enhancer: for instance a `phonemi.Enhancer`.
        source: any sound file.
        target: where to write; another extension than the source's chooses another format, with 16 bits for wav and
            flac.
        chunk_s: longest piece that is enhanced at once, in seconds; infinite: the whole file.
        overlap_s: overlap of neighbouring chunks, in seconds. A quarter at each end of it is context only; in the half
            between, one chunk is faded into the next.
        batch_size: how many waveforms are enhanced together, where a chunk has one for each channel.
        progress: shows seconds of sound; None: shows nothing.
        options: `mix`, `attenuation_limit_db` and `upper_band` of `Enhancer.enhance`.

    Returns:
        What a listener should know of the recording, one sentence each: it is clipped, narrow-band, or clean already.

    Raises:
        AudioError: naming the file and what is wrong with it.
        ConfigError: if an option is out of its range.
    """
    refuse_overwriting(source, target)
    with audio.Reader(source) as reader:
        job = Job(reader, Path(target), chunk_s, overlap_s)
        run_jobs([job], enhancer, progress, batch_size, options)
    if job.error is not None:
        raise job.error
    return job.notes


def refuse_overwriting(source: Path, target: Path) -> None:
    """Raise AudioError if the target is the source, perhaps by another name."""
    if Path(target).resolve() == Path(source).resolve():
        raise AudioError(f"{source} would be overwritten by its own enhancement: choose another output")


def run_jobs(
    jobs: Sequence[Job],
    enhancer: ChunkEnhancer,
    progress: Progress | None,
    batch_size: int,
    options: dict[str, Any],
) -> None:
    """Enhance recordings in the given order, in batches that may hold chunks of several; one failing stops no other.

    Memory holds at most `batch_size` waveforms and the next chunk. A single chunk with more channels than that is
    still one batch: the enhancer passes a few channels at a time through its network.
    """
    start_s = batch_start_s = time.perf_counter()
    enhanced_s = 0.0
    total_s = sum(job.info.duration_s for job in jobs)
    with ExitStack() as stack, (progress or Progress(enabled=False)).task("seconds of sound", _up(total_s)) as task:
        for job in jobs:
            stack.callback(job.close)  # so that nothing half-written is left after Ctrl-C either
        for batch in _batches(jobs, batch_size):
            _enhance(batch, enhancer, options)
            for job, chunk in batch:
                if chunk.is_last:
                    job.resume()  # writes the rest and ends
            now_s = time.perf_counter()
            total_size = sum(chunk.noisy.size for _, chunk in batch)
            for job, chunk in batch:
                job.time_s += (now_s - batch_start_s) * chunk.noisy.size / total_size
                enhanced_s += chunk.new_samples / chunk.sample_rate
            batch_start_s = now_s
            task.advance(_up(enhanced_s) - task.completed, f"real-time factor {(now_s - start_s) / enhanced_s:.3f}")


def _up(seconds: float) -> int:
    return math.ceil(seconds - 1e-6)


def _batches(jobs: Sequence[Job], batch_size: int) -> Iterator[list[Member]]:
    """Group chunks of consecutive jobs. A batch must be enhanced before the next one is asked for."""
    batch: list[Member] = []
    for job in jobs:
        while (chunk := job.resume()) is not None:
            if batch and not _fit_together([*batch, Member(job, chunk)], batch_size):
                yield batch
                batch = []
            if not job.has_ended:  # as it has when its chunk in the last batch could not be enhanced
                batch.append(Member(job, chunk))
    if batch:
        yield batch


def _fit_together(members: list[Member], batch_size: int) -> bool:
    rates = {chunk.sample_rate for _, chunk in members}
    lengths = [chunk.noisy.shape[1] for _, chunk in members]
    waveforms = sum(len(chunk.noisy) for _, chunk in members)
    return len(rates) == 1 and waveforms <= batch_size and max(lengths) <= MAX_LENGTH_RATIO * min(lengths)


def _enhance(batch: list[Member], enhancer: ChunkEnhancer, options: dict[str, Any]) -> None:
    """Enhance a batch; if that fails, enhance its chunks one by one, so that only the jobs at fault end."""
    batch = [member for member in batch if not member.job.has_ended]
    if not batch:
        return
    try:
        noisy = [chunk.noisy for _, chunk in batch]
        enhanced_chunks = enhancer.enhance_chunks(noisy, batch[0].chunk.sample_rate, **options)
    except (PhonemiError, RuntimeError, MemoryError) as error:
        failure = _translated(error, batch[0])
    else:
        for (_, chunk), enhanced in zip(batch, enhanced_chunks, strict=True):
            chunk.enhanced = enhanced
        return
    # Outside the except block, because the traceback would keep the tensors of the failed batch in memory.
    if len(batch) == 1:
        batch[0].job.resume(failure)
    else:
        for member in batch:
            _enhance([member], enhancer, options)


def _translated(error: PhonemiError | RuntimeError | MemoryError, member: Member) -> PhonemiError:
    """The error of one chunk as a PhonemiError. What has to do with neither the recording nor memory is raised."""
    if isinstance(error, PhonemiError):
        return error
    if not (isinstance(error, MemoryError) or NO_MEMORY.search(str(error))):
        raise error
    job, chunk = member
    duration_s = chunk.noisy.shape[1] / chunk.sample_rate
    limit = (
        "the GPU has: make the chunks shorter or use the CPU"
        if GPU.search(str(error))
        else "is free here: make the chunks shorter"
    )
    return ModelError(
        f"enhancing {duration_s:.1f} s of {job.source} ({job.info.channels} channels) takes more memory than {limit}"
    )
