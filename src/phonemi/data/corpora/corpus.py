"""What the modules of the corpora share: the `Corpus` and its `Listing`, and reading headers."""

from __future__ import annotations

import inspect
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from phonemi import audio
from phonemi.data.fingerprints import read_files
from phonemi.data.manifest import Recording
from phonemi.errors import PhonemiError

_MAX_SILENCE_DB = -90.0  # digital silence, also after lossy coding; every recorded sound is far louder


class Listing(NamedTuple):
    """The recordings of a corpus, and sentences for the user about what was left out and why."""

    recordings: list[Recording]
    notes: list[str]


class Corpus(NamedTuple):
    """A corpus that `phonemi prepare` knows.

    Attributes:
        name: name on the command line.
        prepare: `prepare(folder, **options)` lists the recordings of the corpus on disk.
        download: `download(folder, progress=..., **options)` fetches it and returns notes for the user; None for a
            corpus that is not downloaded.
        description: one line of help.
    """

    name: str
    prepare: Callable[..., Listing]
    download: Callable[..., list[str]] | None
    description: str

    @property
    def options(self) -> list[str]:
        """Names of the options of `prepare`, those of the command line."""
        return list(inspect.signature(self.prepare).parameters)[1:]


class Omissions:
    """Counts what is left out, by reason, with the first example of each.

    >>> skipped = Omissions()
    >>> for name in ("a.wav", "b.wav"):
    ...     skipped.add("unreadable", f"{name} is empty")
    >>> skipped.add("silent", "c.wav")
    >>> skipped.notes("recording", "skipped")
    ['3 recordings skipped: 2 unreadable (a.wav is empty), 1 silent (c.wav)']
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, reason: str, example: str) -> None:
        """Count one thing."""
        self._counts[reason] += 1
        self._examples.setdefault(reason, example)

    def notes(self, noun: str, consequence: str) -> list[str]:
        """One sentence, or none if nothing was left out."""
        if not self._counts:
            return []
        total = self._counts.total()
        reasons = [f"{count} {reason} ({self._examples[reason]})" for reason, count in self._counts.items()]
        return [f"{total} {noun}{'' if total == 1 else 's'} {consequence}: {', '.join(reasons)}"]


def recordings_of(paths: Sequence[Path], skipped: Omissions, *, skip_silent: bool = False) -> dict[Path, Recording]:
    """A recording for each sound file, with what its header says and the stem of its name as id.

    `skipped` counts the files that cannot be read and, with `skip_silent`, those of digital silence: noise is scaled to
    an SNR. That reads every file to its end.
    """

    def recording_if_audible(path: Path) -> Recording | None:
        info = audio.probe(path)
        if skip_silent and audio.level_db(audio.load(path, sample_rate=None)) < _MAX_SILENCE_DB:
            return None
        return Recording(id=path.stem, path=os.path.abspath(path), sample_rate=info.sample_rate, samples=info.samples)

    recordings = {}
    for path, recording in read_files(recording_if_audible, paths).items():
        if isinstance(recording, PhonemiError):
            skipped.add("unreadable", str(recording))
        elif recording is None:
            skipped.add("silent", path.name)
        else:
            recordings[path] = recording
    return recordings
