"""The stage `align`: add phones to the recordings of a manifest that have none."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from phonemi.data.aligner import align_manifest
from phonemi.data.manifest import read_manifest, validate, write_manifest
from phonemi.errors import DataError
from phonemi.progress import Progress
from phonemi.tables import plural


def run(manifest: Path, output: Path, decode: bool = False) -> None:
    """Align the recordings that have a transcript and no phones, and report the others.

    With `decode`, the phones of what cannot be aligned, for instance without a transcript, are guessed from the sound.

    Raises:
        DataError: if the manifest contradicts itself, or nothing could be aligned; nothing is written then.
    """
    progress = Progress()
    recordings = read_manifest(manifest)
    validate(recordings, check_files=False)
    phones_before = sum(bool(recording.phones) for recording in recordings)
    with progress.task("aligning", len(recordings) - phones_before) as task:
        aligned, failures, pronunciations, decoded = align_manifest(
            recordings, lambda done, total: task.advance(1), decode, processes=min(2, os.cpu_count() or 1)
        )
    with_phones = sum(bool(recording.phones) for recording in aligned)
    if not with_phones:
        reason, count = Counter(failures.values()).most_common(1)[0]
        raise DataError(f"nothing in {manifest} could be aligned; {count} of {len(aligned)}: {reason}")
    write_manifest(output, aligned)
    progress.say(
        f"{output}: phones in {with_phones} of {plural(len(aligned), 'recording')}: {phones_before} before, "
        f"{with_phones - phones_before - len(decoded)} aligned now, {len(decoded)} decoded now"
    )
    if pronunciations:
        words = ", ".join(sorted(pronunciations)[:8]) + (", ..." if len(pronunciations) > 8 else "")
        progress.say(f"not in the dictionary, pronounced by espeak-ng: {len(pronunciations)} ({words})")
    for label, reasons in (("decoded, less accurate", decoded), ("not aligned", failures)):
        for reason, count in Counter(reasons.values()).most_common(5):
            example = next(id for id in reasons if reasons[id] == reason)
            progress.say(f"{label}: {count} ({example}{', ...' if count > 1 else ''}): {reason}")
