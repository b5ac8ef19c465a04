"""Enhancing many files: what exists is skipped, what fails is named, and a summary says what became of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phonemi import audio
from phonemi.errors import PhonemiError
from phonemi.files import remove_leftovers
from phonemi.inference.batches import Job, refuse_overwriting, run_jobs
from phonemi.inference.chunks import CHUNK_S, OVERLAP_S
from phonemi.inference.existing import is_enhanced
from phonemi.inference.protocol import ChunkEnhancer
from phonemi.inference.summary import Outcome, Summary
from phonemi.progress import Progress


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
        chunk_s: see `enhance_file`.
        overlap_s: see `enhance_file`.
        batch_size: see `enhance_file`; above 1, the recordings are enhanced in the order of their lengths.
        options: see `enhance_file`.
    """
    start_s = time.perf_counter()
    remove_leftovers(target for _, target in pairs)
    outcomes: dict[tuple[Path, Path], Outcome] = {}
    jobs: list[Job] = []
    for source, target in pairs:
        try:
            refuse_overwriting(source, target)
            reader = audio.Reader(source)
        except (PhonemiError, OSError) as error:
            outcomes[source, target] = Outcome(source, target, "failed", str(error))
            continue
        if len(pairs) > 1:
            reader.close()  # it opens again when its turn comes: no system keeps thousands of files open
        if not overwrite and is_enhanced(reader.info, target):
            outcomes[source, target] = Outcome(source, target, "skipped", "already there")
            reader.close()
        else:
            jobs.append(Job(reader, target, chunk_s, overlap_s))
    if batch_size > 1:
        jobs.sort(key=lambda job: (job.info.sample_rate, job.info.samples))
    run_jobs(jobs, enhancer, progress, batch_size, options)
    for job in jobs:
        outcomes[job.source, job.target] = Outcome(
            job.source,
            job.target,
            "failed" if job.error else "done",
            str(job.error) if job.error else None,
            job.info.duration_s,
            job.time_s,
            job.notes,
        )
    return Summary([outcomes[pair] for pair in pairs], time.perf_counter() - start_s)
