"""A manifest, with transcripts or without -> the same manifest with phones."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from phonemi.data.aligned_manifest import align_manifest
from phonemi.data.manifest import read_manifest, validate, write_manifest
from phonemi.errors import DataError
from phonemi.progress import Progress


def run(manifest: Path, output: Path, decode: bool = False) -> None:
    """Align what has a transcript and no phones yet; the rest is decoded, or kept as it is, and counted.

    Raises:
        DataError: if the manifest contradicts itself, or nothing could be aligned; nothing is written then.
    """
    progress = Progress()
    recordings = read_manifest(manifest)
    validate(recordings, check_files=False)
    had_phones = sum(bool(recording.phones) for recording in recordings)
    with progress.task("aligning", len(recordings) - had_phones) as task:
        aligned, failures, pronounced, decoded = align_manifest(
            recordings, lambda done, total: task.advance(1), decode, processes=min(2, os.cpu_count() or 1)
        )
    with_phones = sum(bool(recording.phones) for recording in aligned)
    if not with_phones:
        reason, count = Counter(failures.values()).most_common(1)[0]
        raise DataError(f"nothing in {manifest} could be aligned; {count} of {len(aligned)}: {reason}")
    write_manifest(output, aligned)
    now = f"{with_phones - had_phones - len(decoded)} aligned now, {len(decoded)} decoded now"
    progress.say(f"{output}: {with_phones} of {len(aligned)} recordings have phones: {had_phones} before, {now}")
    if pronounced:
        words = ", ".join(sorted(pronounced)[:8]) + (", ..." if len(pronounced) > 8 else "")
        progress.say(f"not in the dictionary, pronounced by espeak-ng: {len(pronounced)} ({words})")
    _say_why(progress, "decoded, less accurate", decoded)
    _say_why(progress, "not aligned", failures)


def _say_why(progress: Progress, label: str, reasons: dict[str, str]) -> None:
    for reason, count in Counter(reasons.values()).most_common(5):
        names = [name for name, why in reasons.items() if why == reason]
        progress.say(f"{label}: {count} ({names[0]}{', ...' if count > 1 else ''}): {reason}")
