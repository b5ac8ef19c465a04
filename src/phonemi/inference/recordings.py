"""The way of recordings from file to file: read, cut into chunks, enhanced in batches, joined and written.

`enhance_file` and `enhance_files` make a `Job` of each recording, which reads chunks and writes enhanced ones. Between,
`run_jobs` passes batches of them, perhaps of several recordings, through the network.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
    EnhancedChunk,
    OverlapAdd,
    overlapping,
    plan_cut,
)
from phonemi.inference.condition import Condition
from phonemi.inference.plan import conflicts
from phonemi.inference.record import Origin, Record, fingerprint
from phonemi.inference.summary import LEFT_OUT, OTHERWISE, THERE, Outcome, Summary
from phonemi.progress import Progress
from phonemi.tables import duration_text, plural

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

    Args:
        enhancer: for instance a `phonemi.Enhancer`, whose `enhance_file` says what is the same here.
        source, target, progress: see there. Another extension than the source's chooses another format, with 16 bits
            for wav and flac.
        chunk_s: longest piece that is enhanced at once, in seconds; infinite: the whole file.
        overlap_s: overlap of neighbouring chunks, in seconds; see `OverlapAdd`.
        batch_size: how many waveforms are enhanced together, where a chunk has one for each channel.
        options: those of `Enhancer.enhance`; ConfigError out of their range.
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
    removed: Path | None = None,
    chunk_s: float = CHUNK_S,
    overlap_s: float = OVERLAP_S,
    batch_size: int = 1,
    **options: Any,
) -> Summary:
    """Enhance every source to its target; a file that fails is reported and does not stop the others.

    After an interruption, by Ctrl-C or kill -9, all targets are whole files, and the same call goes on: a target is
    skipped if it is not older than its source and the record beside it (`record`) says that it was made of this source
    by this model with these options. A target without such a line fails and stays as it is. Half-written files that
    killed runs left beside the targets are removed.

    Args:
        enhancer, progress, chunk_s, overlap_s, options: see `enhance_file`.
        pairs: (source, target), as `plan` returns them.
        overwrite: enhance also what would be skipped or stay as it is.
        removed: where to write what was taken off, the noisy recording minus the enhanced one; for a single pair.
        batch_size: see `enhance_file`; above 1, the recordings are enhanced in the order of their lengths.
    """
    start_s = time.perf_counter()
    remove_leftovers([*(target for _, target in pairs), *([removed] if removed else [])])
    options |= {"chunk_s": chunk_s, "overlap_s": overlap_s, "batch_size": batch_size}
    outcomes = enhance_group(enhancer, pairs, Record(), progress, overwrite, removed, **options)
    return Summary(outcomes, time.perf_counter() - start_s)


def enhance_group(
    enhancer: ChunkEnhancer,
    pairs: Sequence[tuple[Path, Path]],
    record: Record,
    progress: Progress | None = None,
    overwrite: bool = False,
    removed: Path | None = None,
    chunk_s: float = CHUNK_S,
    overlap_s: float = OVERLAP_S,
    batch_size: int = 1,
    **options: Any,
) -> list[Outcome]:
    """What `enhance_files` does, but for leftovers; the files may be some of many that share a `record`."""
    reasons, origin = conflicts(pairs), enhancer.origin(**options)
    outcomes = [Outcome(source, target) for source, target in pairs]
    jobs: list[Job] = []
    for outcome, (source, target) in zip(outcomes, pairs, strict=True):
        try:
            if (source, target) in reasons:
                raise AudioError(reasons[source, target])
            targets = [target] if removed is None else [target, removed]
            for path in targets:
                _refuse_overwriting(source, path)
            if removed is not None and removed.resolve() == target.resolve():
                raise AudioError(f"{removed} is the output itself: name another file for what is removed")
            reader = audio.Reader(source)
            if len(pairs) > 1:
                reader.close()  # it opens again when its turn comes: no system keeps thousands of files open
            job = Job(reader, outcome, chunk_s, overlap_s, record, removed)
            job.origin = {"recording": fingerprint(source), **origin}
            ages = {"new"} if overwrite else {record.age(source, path, job.origin_of(path)) for path in targets}
            if ages == {"same"}:
                outcome.state, outcome.reason, outcome.duration_s = "skipped", THERE, None
                job.close()
            else:
                outcome.reason = OTHERWISE if "other" in ages else None
                jobs.append(job)
        except (PhonemiError, OSError) as error:
            outcome.state, outcome.reason = "failed", str(error)
    if batch_size > 1:
        jobs.sort(key=lambda job: (job.info.sample_rate, job.info.samples))
    run_jobs(jobs, enhancer, progress, batch_size, options)
    return outcomes


def _refuse_overwriting(source: Path, target: Path) -> None:
    if Path(target).resolve() == Path(source).resolve():
        raise AudioError(f"{source} would be overwritten by its own enhancement: choose another output")


class Job:
    """A recording that is to be enhanced: gives its chunks, and writes them once they are enhanced.

    What became of it is filled into `outcome`; `has_ended`: it is enhanced or failed. The `origin` of what is written
    is noted in `record`, if there is one. `removed`: file for the noisy recording minus the enhanced one.
    """

    def __init__(
        self,
        reader: audio.Reader,
        outcome: Outcome,
        chunk_s: float,
        overlap_s: float,
        record: Record | None = None,
        removed: Path | None = None,
    ) -> None:
        self.info, self.outcome, self.record, self.removed = reader.info, outcome, record, removed
        self.origin: Origin = {}
        self.target = Path(outcome.target)
        self.outcome.duration_s = reader.info.duration_s
        self.error: PhonemiError | OSError | None = None
        self.has_ended = False
        self._reader = reader
        self._blocks, self._overlap = plan_cut(self.info.samples, self.info.sample_rate, chunk_s, overlap_s)
        self._overlap_add = OverlapAdd(self._overlap)
        self._output = ExitStack()
        self._condition = Condition()  # sum over the chunks
        self._left_out: list[str] = []  # names of what the format of the target cannot hold

    def chunks(self) -> Iterator[Chunk]:
        """Read the recording chunk by chunk, until the job has ended."""
        with self._failing():
            self._writer = self._output.enter_context(self._new_writer(self.target))
            if self.removed is not None:
                self._removed_writer = self._output.enter_context(self._new_writer(self.removed))
            for chunk in overlapping(self._reader.blocks(self._blocks), self._overlap):
                yield chunk
                if self.has_ended:
                    break

    def write(self, chunk: Chunk, enhanced: EnhancedChunk) -> None:
        """Write the samples that are final with this chunk; after the last one, the job has ended."""
        with self._failing():
            self._condition += enhanced.condition
            written = self._writer.write(self._overlap_add.add(enhanced.waveform, chunk.is_last))
            if self.removed is not None:
                self._removed_writer.write(chunk.noisy[:, : written.shape[1]] - written)
            if chunk.is_last:
                self._reader.check_unchanged()
                self._output.close()
                self.outcome.notes = self._condition.texts()
                if self._left_out:
                    form = self.target.suffix.removeprefix(".")
                    self.outcome.notes.append(f"{LEFT_OUT} {', '.join(self._left_out)}: {form} has no place for it")
                self.has_ended = True

    def origin_of(self, target: Path) -> Origin:
        """The origin of the enhanced recording, or of what was removed."""
        return self.origin | ({"removed": True} if target == self.removed else {})

    def _new_writer(self, target: Path) -> audio.Writer:
        info = self.info
        keeps_format = Path(info.path).suffix.lower() == target.suffix.lower() and not info.is_converted
        coding = audio.output_coding(info.format, info.subtype, target) if keeps_format else (None, None)

        def finish(finished: Path) -> None:
            if target != self.removed:
                self._left_out = audio.copy_chunks(info.path, finished)
            if self.record is not None:
                self.record.add(target, finished, self.origin_of(target))

        return audio.Writer(target, info.sample_rate, info.channels, *coding, info.metadata, info.samples, finish)

    def fail(self, error: PhonemiError | OSError) -> None:
        """End the job with an error."""
        self.outcome.state, self.outcome.reason = "failed", str(error)
        self.error, self.has_ended = error, True
        self.close()

    def close(self) -> None:
        """Remove what is written so far, unless the job is done."""
        self._output.__exit__(GeneratorExit, GeneratorExit(), None)
        self._reader.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (PhonemiError, OSError) as error:
            self.fail(error)
        except MemoryError:
            source = self.outcome.source
            self.fail(AudioError(f"{source} takes more memory than is free here: make the chunks shorter"))


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
        for chunk in job.chunks():
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
        for (job, chunk), enhanced in zip(batch, enhanced_chunks, strict=True):
            job.write(chunk, enhanced)
        return
    # Outside the except block, because the traceback would keep the tensors of the failed batch in memory.
    if len(batch) == 1:
        first_job.fail(failure)
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
        f"enhancing {duration_text(chunk.noisy.shape[1] / job.info.sample_rate)} of {job.outcome.source} "
        f"({plural(job.info.channels, 'channel')}) takes more memory than {limit}"
    )
