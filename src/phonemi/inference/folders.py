"""Pairs of source and target -> enhanced recordings and a summary: what is done is skipped, what fails is named."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phonemi.errors import PhonemiError
from phonemi.files import remove_leftovers
from phonemi.inference.batches import process
from phonemi.inference.chunks import CHUNK_S, OVERLAP_S, RecordingFile
from phonemi.inference.existing import is_enhanced
from phonemi.inference.summary import Outcome, Summary
from phonemi.progress import Progress

if TYPE_CHECKING:
    from phonemi.enhancers.recording_enhancer import RecordingEnhancer


def enhance_files(
    enhancer: RecordingEnhancer,
    pairs: Sequence[tuple[Path, Path]],
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
    chunk_s: float = CHUNK_S,
    overlap_s: float = OVERLAP_S,
    batch_size: int = 1,
    **options: Any,
) -> Summary:
    """Enhance every pair of (source, target) of `plan`; a file that fails is reported and does not stop the others.

    Interrupted, by Ctrl-C or kill -9, it leaves whole files only, and goes on where it was when it is called again:
    a target that is there, not older than its source and of the same rate, channels and length is skipped, whatever
    model and settings made it. What killed runs left half-written beside the targets is removed.

    Args:
        enhancer: see `Enhancer.enhance`.
        pairs: see `plan`.
        progress: shows seconds of sound; None: nothing.
        overwrite: enhance also what would be skipped.
        chunk_s, overlap_s, options: see `enhance_file`.
        batch_size: the same; above 1 recordings are enhanced in the order of their length.
    """
    start_s = time.perf_counter()
    remove_leftovers(target for _, target in pairs)
    outcomes: dict[tuple[Path, Path], Outcome] = {}
    recordings = []
    for source, target in pairs:
        try:
            recording = RecordingFile(source, target, chunk_s, overlap_s)
        except (PhonemiError, OSError) as error:
            outcomes[source, target] = Outcome(source, target, "failed", str(error))
            continue
        if not overwrite and is_enhanced(recording.info, target):
            outcomes[source, target] = Outcome(source, target, "skipped", "already there")
        else:
            recordings.append(recording)
    if batch_size > 1:
        recordings.sort(key=lambda recording: (recording.info.sample_rate, recording.info.samples))
    process(recordings, enhancer, progress, batch_size, options)
    for recording in recordings:
        outcomes[recording.source, recording.target] = _outcome(recording)
    return Summary([outcomes[pair] for pair in pairs], time.perf_counter() - start_s)


def _outcome(recording: RecordingFile) -> Outcome:
    error = recording.error
    return Outcome(
        recording.source,
        recording.target,
        "failed" if error else "done",
        str(error) if error else None,
        recording.info.duration_s,
        recording.time_s,
        recording.heard.texts(),
    )
