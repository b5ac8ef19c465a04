"""The way of recordings from file to file: read, cut into chunks, enhanced in batches, joined and written.

`enhance_file` and `enhance_files` make a `Job` of each recording. A job reads chunks and writes enhanced ones; between,
`run_jobs` passes batches of them, perhaps of several recordings, through the network.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from phonemi import audio
from phonemi.errors import AudioError, ModelError, PhonemiError
from phonemi.files import remove_leftovers
from phonemi.inference.chunks import (
    CHUNK_S,
    OVERLAP_S,
    Chunk,
    ChunkEnhancer,
    Condition,
    OverlapAdd,
    overlapping,
    plan_cut,
)
from phonemi.inference.plan import is_enhanced
from phonemi.inference.summary import Outcome, Summary
from phonemi.progress import Progress

MAX_LENGTH_RATIO = 1.25  # of the longest to the shortest chunk of a batch, because padding costs as much as sound
# What torch, oneDNN and the libraries of GPUs say when memory runs out. Most of them raise a plain RuntimeError.
NO_MEMORY = re.compile("tried to allocate|(out of|not enough) memory|ALLOC_FAILED|bad.?alloc|could not create a prim")
GPU = re.compile("CUDA|CUBLAS|CUDNN|HIP|MPS")


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
    _refuse_overwriting(source, target)
    outcome = Outcome(Path(source), Path(target))
    with audio.Reader(source) as reader:
        job = Job(reader, outcome, chunk_s, overlap_s)
        run_jobs([job], enhancer, progress, batch_size, options)
    if job.error is not None:
        raise job.error
    return outcome.notes


def enhance_files(
    enhancer: ChunkEnhancer,
    pairs: Sequence[tuple[Path, Path]],
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
    chunk_s: float = CHUNK_S,
    overlap_s: float = OVERLAP_S,
    batch_size: int = 1,
    **options: Any,
) -> Summary:
    """Enhance every source to its target; a file that fails is reported and does not stop the others.

    After an interruption, by Ctrl-C or kill -9, all targets are whole files, and the same call goes on: a target is
    skipped if it is not older than its source and has the same sample rate, channels and length, whatever model and
    settings produced it. Half-written files that killed runs left beside the targets are removed.

    Args:
        enhancer: for instance a `phonemi.Enhancer`.
        pairs: (source, target), as `plan` returns them.
        progress: shows seconds of sound; None: shows nothing.
        overwrite: enhance also what would be skipped.
        chunk_s, overlap_s, options: see `enhance_file`.
        batch_size: see `enhance_file`; above 1, the recordings are enhanced in the order of their lengths.
    """
    start_s = time.perf_counter()
    remove_leftovers(target for _, target in pairs)
    outcomes = [Outcome(source, target) for source, target in pairs]
    jobs: list[Job] = []
    for outcome in outcomes:
        try:
            _refuse_overwriting(outcome.source, outcome.target)
            reader = audio.Reader(outcome.source)
        except (PhonemiError, OSError) as error:
            outcome.state, outcome.reason = "failed", str(error)
            continue
        if len(pairs) > 1:
            reader.close()  # it opens again when its turn comes: no system keeps thousands of files open
        if not overwrite and is_enhanced(reader.info, outcome.target):
            outcome.state, outcome.reason = "skipped", "already there"
            reader.close()
        else:
            jobs.append(Job(reader, outcome, chunk_s, overlap_s))
    if batch_size > 1:
        jobs.sort(key=lambda job: (job.info.sample_rate, job.info.samples))
    run_jobs(jobs, enhancer, progress, batch_size, options)
    return Summary(outcomes, time.perf_counter() - start_s)


def _refuse_overwriting(source: Path, target: Path) -> None:
    if Path(target).resolve() == Path(source).resolve():
        raise AudioError(f"{source} would be overwritten by its own enhancement: choose another output")


class Job:
    """A recording that is to be enhanced; what became of it is written into `outcome`.

    The network is not called here, because it may enhance chunks of several recordings together: whoever calls `resume`
    sets `enhanced` of the chunks that it gave.

    Attributes:
        info: what the header of the recording says.
        error: what went wrong; the other jobs go on.
        has_ended: whether it is enhanced or failed.
    """

    def __init__(self, reader: audio.Reader, outcome: Outcome, chunk_s: float, overlap_s: float) -> None:
        self.info = reader.info
        self.outcome = outcome
        self.outcome.duration_s = reader.info.duration_s
        self.error: PhonemiError | OSError | None = None
        self.has_ended = False
        self._work = self._enhance(reader, chunk_s, overlap_s)

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
        except StopIteration:
            pass
        except (PhonemiError, OSError) as error:
            self.error = error
        except MemoryError:
            source = self.outcome.source
            self.error = AudioError(f"{source} takes more memory than is free here: make the chunks shorter")
        if self.error is not None:
            self.outcome.state, self.outcome.reason = "failed", str(self.error)
        self.has_ended = True
        return None

    def close(self) -> None:
        """Remove what is written so far, unless the job has ended."""
        self._work.close()

    def _enhance(self, reader: audio.Reader, chunk_s: float, overlap_s: float) -> Generator[Chunk | None, None, None]:
        """Yield each chunk as soon as it is read, then None for as long as some are not enhanced; write those that are.

        If an exception is thrown in, or the generator is closed, nothing is left under the target's name.
        """
        info, target = reader.info, self.outcome.target
        keeps_format = Path(info.path).suffix.lower() == target.suffix.lower() and not info.is_converted
        coding = audio.output_coding(info.format, info.subtype, target) if keeps_format else (None, None)
        cut = plan_cut(info.samples, info.sample_rate, chunk_s, overlap_s)
        overlap_add = OverlapAdd(cut.overlap)
        waiting: deque[Chunk] = deque()  # read, but not written yet
        condition: Condition | None = None  # sum over the chunks
        with audio.Writer(target, info.sample_rate, info.channels, *coding, info.metadata, info.samples) as writer:
            for chunk in chain(overlapping(reader.blocks(cut.new_samples), cut.overlap), repeat(None)):
                if chunk is not None:
                    waiting.append(chunk)
                elif not waiting:
                    break
                yield chunk
                while waiting and (enhanced := waiting[0].enhanced) is not None:
                    condition = enhanced.condition if condition is None else condition + enhanced.condition
                    writer.write(overlap_add.add(enhanced.waveform, waiting.popleft().is_last))
            reader.check_unchanged()
        self.outcome.notes = condition.texts() if condition is not None else []


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
            _enhance_batch(batch, enhancer, options)
            for job, chunk in batch:
                if chunk.is_last:
                    job.resume()  # writes the rest and ends
            now_s = time.perf_counter()
            total_size = sum(chunk.noisy.size for _, chunk in batch)
            for job, chunk in batch:
                job.outcome.time_s += (now_s - batch_start_s) * chunk.noisy.size / total_size
                enhanced_s += chunk.new_samples / job.info.sample_rate
            batch_start_s = now_s
            task.advance(_up(enhanced_s) - task.completed, f"real-time factor {(now_s - start_s) / enhanced_s:.3f}")


def _up(seconds: float) -> int:
    return math.ceil(seconds - 1e-6)


def _batches(jobs: Sequence[Job], batch_size: int) -> Iterator[list[tuple[Job, Chunk]]]:
    """Group chunks of consecutive jobs. A batch must be enhanced before the next one is asked for."""
    batch: list[tuple[Job, Chunk]] = []
    for job in jobs:
        while (chunk := job.resume()) is not None:
            if batch and not _fit_together([*batch, (job, chunk)], batch_size):
                yield batch
                batch = []
            if not job.has_ended:  # as it has when its chunk in the last batch could not be enhanced
                batch.append((job, chunk))
    if batch:
        yield batch


def _fit_together(batch: list[tuple[Job, Chunk]], batch_size: int) -> bool:
    rates = {job.info.sample_rate for job, _ in batch}
    lengths = [chunk.noisy.shape[1] for _, chunk in batch]
    waveforms = sum(len(chunk.noisy) for _, chunk in batch)
    return len(rates) == 1 and waveforms <= batch_size and max(lengths) <= MAX_LENGTH_RATIO * min(lengths)


def _enhance_batch(batch: list[tuple[Job, Chunk]], enhancer: ChunkEnhancer, options: dict[str, Any]) -> None:
    """Enhance a batch; if that fails, enhance its chunks one by one, so that only the jobs at fault end."""
    batch = [(job, chunk) for job, chunk in batch if not job.has_ended]
    if not batch:
        return
    first_job, first_chunk = batch[0]
    try:
        noisy = [chunk.noisy for _, chunk in batch]
        enhanced_chunks = enhancer.enhance_chunks(noisy, first_job.info.sample_rate, **options)
    except (PhonemiError, RuntimeError, MemoryError) as error:
        failure = _translated(error, first_job, first_chunk)
    else:
        for (_, chunk), enhanced in zip(batch, enhanced_chunks, strict=True):
            chunk.enhanced = enhanced
        return
    # Outside the except block, because the traceback would keep the tensors of the failed batch in memory.
    if len(batch) == 1:
        first_job.resume(failure)
    else:
        for member in batch:
            _enhance_batch([member], enhancer, options)


def _translated(error: PhonemiError | RuntimeError | MemoryError, job: Job, chunk: Chunk) -> PhonemiError:
    """The error of one chunk as a PhonemiError. What has to do with neither the recording nor memory is raised."""
    if isinstance(error, PhonemiError):
        return error
    if not (isinstance(error, MemoryError) or NO_MEMORY.search(str(error))):
        raise error
    limit = "is free here: make the chunks shorter"
    if GPU.search(str(error)):
        limit = "the GPU has: make the chunks shorter or use the CPU"
    return ModelError(
        f"enhancing {chunk.noisy.shape[1] / job.info.sample_rate:.1f} s of {job.outcome.source} "
        f"({job.info.channels} channels) takes more memory than {limit}"
    )
