"""What the modules of the corpora share: the `Corpus` and its `Listing`, reading headers, finding phone alignments."""

from __future__ import annotations

import inspect
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from phonemi import audio
from phonemi.data.alignment import check_fit
from phonemi.data.corpora.alignment_files import Entry, open_alignments
from phonemi.data.file_index import read_files
from phonemi.data.manifest import Recording
from phonemi.errors import DataError, PhonemiError

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
        total = sum(self._counts.values())
        reasons = [f"{count} {reason} ({self._examples[reason]})" for reason, count in self._counts.items()]
        return [f"{total} {noun}{'' if total == 1 else 's'} {consequence}: {', '.join(reasons)}"]


def recordings_of(paths: Sequence[Path], skipped: Omissions, *, skip_silent: bool = False) -> dict[Path, Recording]:
    """A recording for each sound file, with what its header says and the stem of its name as id.

    Args:
        paths: sound files.
        skipped: counts the files that cannot be read, and those that are silent.
        skip_silent: leave out digital silence. For noise, which is scaled to an SNR; reads every file to its end.
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


def attach_phones(recordings: Sequence[Recording], alignments: Iterable[str | Path]) -> Listing:
    """Give each recording the intervals that an alignment file has under its id or the stem of its file.

    Where several alignment files or several recordings have the same name, those whose paths have the most in common
    belong together: vctk/p225_003.wav and vctk/alignments/phones.ctm. A recording whose alignment stays ambiguous, or
    does not fit the audio (`alignment.check_fit`), is left without phones and counted.

    Args:
        recordings: in any order.
        alignments: files, folders, archives and tables as in `alignment_files.open_alignments`.

    Raises:
        DataError: as `alignment_files.open_alignments`.
    """
    alignments = list(alignments)
    if not alignments:
        return Listing(list(recordings), [])
    missing, unfit = Omissions(), Omissions()
    aligned = []
    with open_alignments(alignments) as entries:
        nearest = _nearest_entries(recordings, entries)
        for recording in recordings:
            entry = nearest.get(recording.id)
            if entry is None:
                is_ambiguous = recording.id in entries or Path(recording.path).stem in entries
                missing.add("ambiguous" if is_ambiguous else "not in the alignment files", recording.id)
            else:
                try:
                    with_phones = replace(recording, phones=tuple(entry.intervals()))
                    check_fit(with_phones)
                    recording = with_phones
                except DataError as error:
                    unfit.add("misfits", str(error))
            aligned.append(recording)
    return Listing(
        aligned, missing.notes("recording", "without an alignment") + unfit.notes("recording", "left unaligned")
    )


def _nearest_entries(recordings: Sequence[Recording], entries: dict[str, list[Entry]]) -> dict[str, Entry]:
    """By id of the recording, the entry that is nearest to it, if there is one and it is as near to no other."""
    claims: dict[tuple[str, Path], list[tuple[int, str, Entry]]] = defaultdict(list)
    for recording in recordings:
        candidates = entries.get(recording.id) or entries.get(Path(recording.path).stem, [])
        ranked = sorted(((entry.nearness(recording), entry) for entry in candidates), key=lambda pair: -pair[0])
        if len(ranked) == 1 or (ranked and ranked[0][0] > ranked[1][0]):
            nearness, entry = ranked[0]
            claims[entry.name, entry.path].append((nearness, recording.id, entry))
    nearest: dict[str, Entry] = {}
    for claim in claims.values():
        best = max(nearness for nearness, *_ in claim)
        winners = [(id, entry) for nearness, id, entry in claim if nearness == best]
        if len(winners) == 1:
            nearest.update(winners)
    return nearest
