"""Sound files and alignment files of a corpus -> recordings with phones, and one-line notes on what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from phonemi import audio
from phonemi.data.alignment import check_fit
from phonemi.data.corpora.alignment_files import Entry, open_alignments
from phonemi.data.file_index import read_files
from phonemi.data.manifest import Recording
from phonemi.errors import DataError, PhonemiError

# Digital silence, also after lossy coding; what anybody recorded is far louder.
_MAX_SILENCE_DB = -90.0


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


def probe_all(paths: Sequence[Path], skipped: LeftOut) -> dict[Path, audio.AudioInfo]:
    """Headers of the sound files that can be read; the others are counted in `skipped`."""
    infos = {}
    for path, info in read_files(audio.probe, paths).items():
        if isinstance(info, PhonemiError):
            skipped.add("unreadable", str(info))
        else:
            infos[path] = info
    return infos


def probe_audible(paths: Sequence[Path], skipped: LeftOut) -> dict[Path, audio.AudioInfo]:
    """Headers of the noise clips that can be read and are not silent; the others are counted in `skipped`.

    Noise is scaled to an SNR, which silence has none of. Every clip is read to its end.
    """

    def read_header_and_level(path: Path) -> tuple[audio.AudioInfo, float]:
        return audio.probe(path), audio.level_db(audio.load(path, sample_rate=None))

    infos = {}
    for path, clip in read_files(read_header_and_level, paths).items():
        if isinstance(clip, PhonemiError):
            skipped.add("unreadable", str(clip))
        elif clip[1] < _MAX_SILENCE_DB:
            skipped.add("silent", path.name)
        else:
            infos[path] = clip[0]
    return infos


def attach_phones(recordings: Sequence[Recording], alignments: Iterable[str | Path]) -> Prepared:
    """Give each recording the intervals that an alignment file has under its id or the stem of its file.

    Where the same name occurs in several alignment files or belongs to several recordings, those whose paths have the
    most in common belong together: vctk/p225_003.wav with vctk/alignments/phones.ctm. What stays undecided, or does not
    fit the audio (`alignment.check_fit`), is left without phones and counted.

    Args:
        recordings: in any order.
        alignments: files, folders, archives and tables as in `alignment_files.open_alignments`.

    Raises:
        DataError: as `alignment_files.open_alignments`.
    """
    alignments = list(alignments)
    if not alignments:
        return Prepared(list(recordings), [])
    missing, unfit = LeftOut(), LeftOut()
    aligned = []
    with open_alignments(alignments) as entries:
        chosen = _choose(recordings, entries)
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


def _choose(recordings: Sequence[Recording], entries: dict[str, list[Entry]]) -> dict[str, Entry]:
    """By id of the recording, the one entry that is nearest to it and has no other recording as near."""
    claims: dict[tuple[str, Path], list[tuple[int, str, Entry]]] = defaultdict(list)
    for recording in recordings:
        candidates = entries.get(recording.id) or entries.get(Path(recording.path).stem, [])
        ranked = sorted(((entry.nearness(recording), entry) for entry in candidates), key=lambda pair: -pair[0])
        if len(ranked) == 1 or (ranked and ranked[0][0] > ranked[1][0]):
            nearness, entry = ranked[0]
            claims[entry.name, entry.path].append((nearness, recording.id, entry))
    chosen: dict[str, Entry] = {}
    for claim in claims.values():
        best = max(nearness for nearness, *_ in claim)
        nearest = [(id, entry) for nearness, id, entry in claim if nearness == best]
        if len(nearest) == 1:
            chosen.update(nearest)
    return chosen
