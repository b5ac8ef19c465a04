"""What the modules of the corpora share: the `Corpus` and its `Listing`, and reading headers."""

from __future__ import annotations

import inspect
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from phonemi import audio
from phonemi.data.alignment import read_text
from phonemi.data.fingerprints import read_files
from phonemi.data.manifest import Recording, is_pair
from phonemi.errors import DataError, PhonemiError
from phonemi.tables import plural

_MAX_SILENCE_DB = -90.0  # digital silence, also after lossy coding; every recorded sound is far louder


class Listing(NamedTuple):
    """The recordings of a corpus, and sentences for the user about what was left out and why."""

    recordings: list[Recording]
    notes: list[str]


class Corpus(NamedTuple):
    """A corpus that `phonemi prepare` knows.

    Attributes:
        prepare: `prepare(folder, **options)` lists the recordings of the corpus on disk.
        download: `download(folder, progress=..., **options)` fetches it and returns notes for the user; None for a
            corpus that is not downloaded.
    """

    prepare: Callable[..., Listing]
    download: Callable[..., list[str]] | None = None

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
        self._examples: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, example: str) -> None:
        """Count one thing."""
        self._examples[reason].append(example)

    def notes(self, noun: str, consequence: str) -> list[str]:
        """One sentence, or none if nothing was left out."""
        total = sum(map(len, self._examples.values()))
        reasons = [f"{len(examples)} {reason} ({examples[0]})" for reason, examples in self._examples.items()]
        return [f"{plural(total, noun)} {consequence}: {', '.join(reasons)}"] if total else []

    def skipped_recordings(self, strict: bool = False) -> list[str]:
        """The notes on recordings that were skipped; with `strict` a DataError if there are any."""
        notes = self.notes("recording", "skipped")
        if strict and notes:
            raise DataError(f"{notes[0]}; without --strict the others are listed")
        return notes


def folder_called(name: str, folder: Path) -> Path | None:
    """The uppermost folder of this name in `folder`, at any depth, or `folder` itself if it has the name."""
    folders = [path for path in folder.rglob(name) if path.is_dir()]
    itself = folder if folder.is_dir() and folder.resolve().name == name else None
    return min(folders, key=lambda path: (len(path.parts), path), default=itself)


def read_transcript(path: Path, unread: Omissions) -> str | None:
    """The text of a file on one line; None if it is empty, or not text, which `unread` counts."""
    try:
        return " ".join(read_text(path).split()) or None
    except DataError as error:
        unread.add("unreadable", str(error))
        return None


def recordings_of(
    paths: Sequence[Path], skipped: Omissions, *, skip_silent: bool = False, any_name: bool = False
) -> dict[Path, Recording]:
    """A recording for each sound file, with what its header says and the stem of its name as id.

    `skipped` counts the files that cannot be read, without `any_name` those whose path is not UTF-8, as manifests
    are, and, with `skip_silent`, those of digital silence: noise is scaled to an SNR. That reads every file to its end.
    """

    def recording_if_audible(path: Path) -> Recording | None:
        info = audio.probe(path)
        if skip_silent and audio.level_db(audio.load(path, sample_rate=None)) < _MAX_SILENCE_DB:
            return None
        return Recording(id=path.stem, path=os.path.abspath(path), sample_rate=info.sample_rate, samples=info.samples)

    recordings = {}
    in_utf8 = []
    for path in paths:
        if any_name or (name := printable(path)) == str(path):
            in_utf8.append(path)
        else:
            skipped.add("with a name that is not UTF-8", name)
    for path, recording in read_files(recording_if_audible, in_utf8).items():
        if isinstance(recording, PhonemiError):
            skipped.add("unreadable", str(recording))
        elif recording is None:
            skipped.add("silent", path.name)
        else:
            recordings[path] = recording
    return recordings


def printable(path: Path) -> str:
    """The path; where it is not UTF-8, with an escape for each byte that is not."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def fitting_pairs(recordings: Iterable[Recording], skipped: Omissions) -> list[Recording]:
    """The noisy recordings whose clean counterpart can be read and has their length; `skipped` counts the others."""
    pairs = [(recording, Path(recording.clean)) for recording in recordings if recording.clean is not None]
    readable = recordings_of([clean for _, clean in pairs], skipped)
    fitting = []
    for recording, path in pairs:
        if clean := readable.get(path):
            if is_pair(recording.duration_s, clean.duration_s):
                fitting.append(recording)
            else:
                lengths = f"{recording.duration_s:.4f} s noisy, {clean.duration_s:.4f} s clean"
                skipped.add("with a clean counterpart of another length", f"{recording.id}: {lengths}")
    return fitting
