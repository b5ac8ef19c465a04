"""A manifest with transcripts -> the same manifest with phones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from phonemi.data.aligner import align_manifest
from phonemi.data.manifest import read_manifest, validate, write_manifest
from phonemi.errors import DataError
from phonemi.progress import Progress


def run(manifest: Path, output: Path) -> None:
    """Align what has a transcript and no phones yet; the rest is kept as it is and counted.

    Raises:
        DataError: if the manifest contradicts itself, or nothing could be aligned; nothing is written then.
    """
    progress = Progress()
    recordings = read_manifest(manifest)
    validate(recordings, check_files=False)
    with progress.task("aligning", len(recordings)) as task:
        aligned, failures, pronounced = align_manifest(recordings, lambda done, total: task.advance(1))
    with_phones = sum(recording.phones is not None for recording in aligned)
    if not with_phones:
        reason, count = Counter(failures.values()).most_common(1)[0]
        raise DataError(f"nothing in {manifest} could be aligned; {count} of {len(aligned)}: {reason}")
    write_manifest(output, aligned)
    progress.say(f"{output}: {with_phones} of {len(aligned)} recordings have phones")
    if pronounced:
        words = ", ".join(sorted(pronounced)[:8]) + (", ..." if len(pronounced) > 8 else "")
        progress.say(f"not in the dictionary, pronounced by espeak-ng: {len(pronounced)} ({words})")
    for reason, count in Counter(failures.values()).most_common(5):
        names = [name for name, why in failures.items() if why == reason]
        progress.say(f"not aligned: {count} ({names[0]}{', ...' if count > 1 else ''}): {reason}")
