"""Sound files and alignment files of a corpus -> recordings with phones, and one-line notes on what was left out."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from phonemi import audio
from phonemi.data.alignment import check_fit, read_ctm, read_htk, read_textgrid
from phonemi.data.manifest import Interval, Recording
from phonemi.errors import DataError, PhonemiError

T = TypeVar("T")

_ONE_A_FILE: dict[str, Callable[[Path], list[Interval]]] = {".textgrid": read_textgrid, ".lab": read_htk}


class Prepared(NamedTuple):
    """The recordings of a corpus, and sentences for the user about what was left out and why."""

    recordings: list[Recording]
    notes: list[str]


class LeftOut:
    """Counts what was left out, by reason, with the first example of each.

    >>> skipped = LeftOut()
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

    def notes(self, noun: str, what: str) -> list[str]:
        """One sentence, or none if nothing was left out."""
        if not self._counts:
            return []
        total = sum(self._counts.values())
        reasons = [f"{count} {reason} ({self._examples[reason]})" for reason, count in self._counts.items()]
        return [f"{total} {noun}{'' if total == 1 else 's'} {what}: {', '.join(reasons)}"]


def read_all(read: Callable[[Path], T], paths: Sequence[Path]) -> list[T | PhonemiError]:
    """`read` of every path in order, several at a time; an error of this package takes the place of its result."""

    def result(path: Path) -> T | PhonemiError:
        try:
            return read(path)
        except PhonemiError as error:
            return error

    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(result, paths))


def probe_all(paths: Sequence[Path], skipped: LeftOut) -> dict[Path, audio.AudioInfo]:
    """Headers of the sound files that can be read; the others are counted in `skipped`."""
    found = {}
    for path, info in zip(paths, read_all(audio.probe, paths), strict=True):
        if isinstance(info, PhonemiError):
            skipped.add("unreadable", str(info))
        else:
            found[path] = info
    return found


def attach_phones(recordings: Sequence[Recording], alignments: Iterable[str | Path]) -> Prepared:
    """Give each recording the intervals that an alignment file has under its id or the stem of its file.

    Where the same name occurs in several alignment files or belongs to several recordings, those whose paths have the
    most in common belong together: vctk/p225_003.wav with vctk/alignments/phones.ctm. What stays undecided, or does not
    fit the audio (`alignment.check_fit`), is left without phones and counted.

    Args:
        recordings: in any order.
        alignments: CTM files, or folders of them, of TextGrids and of HTK labels (.lab).

    Raises:
        DataError: if an alignment file does not exist or a CTM file cannot be parsed.
    """
    alignments = list(alignments)
    if not alignments:
        return Prepared(list(recordings), [])
    entries = _entries(alignments)
    chosen = _choose(recordings, entries)
    missing, unfit = LeftOut(), LeftOut()
    aligned = []
    for recording in recordings:
        entry = chosen.get(recording.id)
        if entry is None:
            several = recording.id in entries or Path(recording.path).stem in entries
            missing.add("ambiguous" if several else "not in the alignment files", recording.id)
        else:
            try:
                with_phones = replace(recording, phones=tuple(entry.intervals()))
                check_fit(with_phones)
                recording = with_phones
            except DataError as error:
                unfit.add("misfits", str(error))
        aligned.append(recording)
    return Prepared(
        aligned, missing.notes("recording", "without an alignment") + unfit.notes("recording", "left unaligned")
    )


class _Entry(NamedTuple):
    """One utterance of one alignment file; a TextGrid is read only when it is asked for."""

    name: str
    path: Path
    intervals: Callable[[], list[Interval]]

    def nearness(self, recording: Recording) -> int:
        """How many folders the two paths share, at their beginnings and at their ends."""
        own, other = (Path(os.path.abspath(path)).parent.parts for path in (self.path, recording.path))
        return len(os.path.commonprefix([own, other])) + len(os.path.commonprefix([own[::-1], other[::-1]]))


def _entries(alignments: Iterable[str | Path]) -> dict[str, list[_Entry]]:
    files: list[Path] = []
    for path in map(Path, alignments):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in (".ctm", *_ONE_A_FILE))
            if not inside:
                raise DataError(f"{path} holds no CTM file, no TextGrid and no HTK label file (.lab)")
            files += inside
        else:
            files.append(path)
    entries: dict[str, list[_Entry]] = defaultdict(list)
    for file in files:
        if file.suffix.lower() in _ONE_A_FILE:
            read = _ONE_A_FILE[file.suffix.lower()]
            entries[file.stem].append(_Entry(file.stem, file, partial(read, file)))
        else:
            for name, intervals in read_ctm(file).items():
                entries[name].append(_Entry(name, file, partial(list, intervals)))
    return dict(entries)


def _choose(recordings: Sequence[Recording], entries: dict[str, list[_Entry]]) -> dict[str, _Entry]:
    """By id of the recording, the one entry that is nearest to it and has no other recording as near."""
    claims: dict[tuple[str, Path], list[tuple[int, str, _Entry]]] = defaultdict(list)
    for recording in recordings:
        candidates = entries.get(recording.id) or entries.get(Path(recording.path).stem, [])
        ranked = sorted(((entry.nearness(recording), entry) for entry in candidates), key=lambda pair: -pair[0])
        if len(ranked) == 1 or (ranked and ranked[0][0] > ranked[1][0]):
            nearness, entry = ranked[0]
            claims[entry.name, entry.path].append((nearness, recording.id, entry))
    chosen: dict[str, _Entry] = {}
    for claim in claims.values():
        best = max(nearness for nearness, *_ in claim)
        nearest = [(id, entry) for nearness, id, entry in claim if nearness == best]
        if len(nearest) == 1:
            chosen.update(nearest)
    return chosen
