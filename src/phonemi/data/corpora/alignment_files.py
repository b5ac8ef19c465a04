"""Find the phone alignments of many utterances: in folders, zip archives, single files and tables.

Two published tables have phones of LibriSpeech by the Montreal Forced Aligner. Both are read as they are:

- anyspeech/librispeech_MFA_alignments (revision a16beef): identifier, and the lists phones, start, end in seconds;
- gilkeyio/librispeech-alignments (revision 0daa1eb, CC BY 4.0, made of the TextGrids of `librispeech`): id, and
  phonemes, a list of {phoneme, start, end}. Users report that it has no silences; time without a phone counts as one.

The hub keeps them as Parquet, whose reader (pyarrow) this package does not depend on. Export the columns, without the
audio, as JSON lines or CSV; in a CSV file the cells of the lists must be JSON or Python lists.
"""

from __future__ import annotations

import ast
import csv
import json
import os
import sys
import warnings
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from phonemi.data.alignment import check_fit, foreign_labels, is_htk, read_ctm, read_htk, read_textgrid
from phonemi.data.corpora.corpus import Listing, Omissions
from phonemi.data.manifest import Interval, Recording
from phonemi.errors import DataError, PhonemiWarning

_READERS: dict[str, Callable[[Path], list[Interval]]] = {".textgrid": read_textgrid, ".lab": read_htk}
_TABLES = (".jsonl", ".json", ".csv")
_EXPORT = (
    "pandas.read_parquet(FILE, columns=COLUMNS).to_json('phones.jsonl', orient='records', lines=True), "
    "with the columns ['identifier', 'phones', 'start', 'end'] or ['id', 'phonemes']"
)


class ForeignLabels(DataError):
    """A file of words, or of phones that are not ARPAbet."""


class Entry(NamedTuple):
    """One utterance of one alignment file. The path of a file in an archive goes on below that of the archive."""

    name: str
    path: Path
    intervals: Callable[[], list[Interval]]  # reads them

    def nearness(self, recording: Recording) -> int:
        """Number of folders that the two paths have in common, at their beginnings and at their ends."""
        folders, others = (Path(os.path.abspath(path)).parent.parts for path in (self.path, recording.path))
        return len(os.path.commonprefix([folders, others])) + len(os.path.commonprefix([folders[::-1], others[::-1]]))


def attach_phones(listing: Listing, alignments: Sequence[str | Path]) -> Listing:
    """Give each recording the intervals that an alignment file has under its id or the stem of its file.

    Where several alignment files or several recordings have the same name, those whose paths have the most in common
    belong together: vctk/p225_003.wav and vctk/alignments/phones.ctm. A recording whose alignment stays ambiguous, or
    does not fit the audio (`alignment.check_fit`), is left without phones and counted. `alignments` and errors are as
    in `find_alignments`.
    """
    if not alignments:
        return listing
    missing, unfit = Omissions(), Omissions()
    entries = find_alignments(alignments)
    nearest = _nearest_entries(listing.recordings, entries)
    aligned = []
    for recording in listing.recordings:
        if entry := nearest.get(recording.id):
            try:
                recording = check_fit(replace(recording, phones=tuple(entry.intervals())))
            except DataError as error:
                unfit.add("misfits", str(error))
        else:
            is_ambiguous = recording.id in entries or Path(recording.path).stem in entries
            missing.add("ambiguous" if is_ambiguous else "not in the alignment files", recording.id)
        aligned.append(recording)
    notes = missing.notes("recording", "without an alignment") + unfit.notes("recording", "left unaligned")
    return Listing(aligned, listing.notes + notes)


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


def find_alignments(alignments: Iterable[str | Path]) -> dict[str, list[Entry]]:
    """List the utterances of alignment files by name; an archive stays open as long as its entries are kept.

    Args:
        alignments: CTM files; folders of CTM files, TextGrids and HTK labels (.lab), at any depth; zip archives of
            TextGrids (.zip), which are not unpacked; tables (.jsonl, .json, .csv). In a folder, CTM files of words are
            left out with a warning, and .lab files of text are no alignments.

    Raises:
        DataError: if a path does not exist, has no alignments in it, or cannot be parsed.
    """
    entries: dict[str, list[Entry]] = defaultdict(list)
    for path in map(Path, alignments):
        of_path: list[Entry] = []
        foreign: list[ForeignLabels] = []
        for file in _files_in(path) if path.is_dir() else [path]:
            try:
                of_path += _entries(file)
            except ForeignLabels as error:
                foreign.append(error)
        if foreign and not of_path:
            raise foreign[0]
        for reason in foreign:
            warnings.warn(f"{reason}; left out", PhonemiWarning, stacklevel=2)
        for entry in of_path:
            entries[entry.name].append(entry)
    return dict(entries)


def _files_in(folder: Path) -> Sequence[Path]:
    files = sorted(file for file in folder.rglob("*") if not file.name.startswith("."))
    alignments = [file for file in files if file.suffix.lower() in (".ctm", *_READERS)]
    alignments = [file for file in alignments if file.suffix.lower() != ".lab" or is_htk(file)]
    if not alignments:
        tables = [file for file in files if file.suffix.lower() in (".zip", ".parquet", *_TABLES)]
        hint = f"; name the file itself: {tables[0]}" if tables else ""
        raise DataError(f"{folder} holds no CTM file, no TextGrid and no HTK label file (.lab){hint}")
    return alignments


def _entries(file: Path) -> Iterator[Entry]:
    suffix = file.suffix.lower()
    if read := _READERS.get(suffix):
        yield Entry(file.stem, file, partial(read, file))
    elif suffix == ".zip":
        yield from _entries_of_archive(file)
    elif suffix == ".parquet":
        raise DataError(f"{file} is a Parquet table, which is not read here; export it as JSON lines first: {_EXPORT}")
    else:
        table = read_alignment_table(file) if suffix in _TABLES else read_ctm(file)
        # In all utterances: a short one may have only such words as look like phones.
        if foreign := foreign_labels(interval.phone for intervals in table.values() for interval in intervals):
            labels = ", ".join(map(repr, foreign[:5]))
            raise ForeignLabels(f"{file} holds other labels than ARPAbet phones: {labels}")
        for name, intervals in table.items():
            yield Entry(name, file, partial(list, intervals))


def _entries_of_archive(file: Path) -> Iterator[Entry]:
    """The TextGrids of an archive, without the files that macOS adds ("__MACOSX/._name")."""
    try:
        archive = zipfile.ZipFile(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})") from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{file} is not a zip archive ({error})") from None
    members = [Path(name) for name in archive.namelist() if name.lower().endswith(".textgrid")]
    members = [member for member in members if not member.name.startswith(".")]
    if not members:
        raise DataError(f"{file} holds no TextGrid")
    for member in members:
        yield Entry(member.stem, file / member, partial(_read_member, archive, file / member, member.as_posix()))


def _read_member(archive: zipfile.ZipFile, path: Path, member: str) -> list[Interval]:
    try:
        content = archive.read(member)
    except (KeyError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    return read_textgrid(path, content=content)


def read_alignment_table(path: Path) -> dict[str, list[Interval]]:
    """Read the intervals of each utterance of a table: a CSV file if it ends in .csv, JSON lines otherwise.

    Raises:
        DataError: naming file and line, if the file is missing, empty or not text, or if a row lacks the columns above,
            has lists of different lengths, or repeats an utterance.
    """
    utterances: dict[str, list[Interval]] = {}
    try:
        for line, row in _rows(path):
            try:
                name, intervals = _utterance(row)
            except (KeyError, TypeError, ValueError, SyntaxError):
                expected = "expected an utterance as identifier, phones, start and end, or as id and phonemes"
                raise DataError(f"{path}:{line}: {expected}, found {str(row).strip()[:80]}") from None
            if name in utterances:
                raise DataError(f"{path}:{line}: utterance {name!r} was in the table before")
            utterances[name] = intervals
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table of alignments ({error})") from None
    if not utterances:
        raise DataError(f"{path} holds no alignments: it has no rows")
    return utterances


def _rows(path: Path) -> Iterator[tuple[int, str | dict[str, Any]]]:
    """Number of the line, and what is in it: JSON, or the cells of a CSV file by column."""
    with open(path, encoding="utf-8-sig", newline="") as lines:
        if path.suffix.lower() == ".csv":
            reader = csv.DictReader(lines)
            yield from ((reader.line_num, row) for row in reader)
        else:
            yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _utterance(row: str | dict[str, Any]) -> tuple[str, list[Interval]]:
    """Raises KeyError, TypeError, ValueError or SyntaxError for a row of another form."""
    fields = json.loads(row) if isinstance(row, str) else row
    if not isinstance(fields, dict) or not isinstance(name := fields.get("identifier", fields.get("id")), str):
        raise TypeError
    if fields.get("phonemes") is not None:
        values = [(item["start"], item["end"], item["phoneme"]) for item in _list(fields["phonemes"])]
    else:
        values = list(zip(*(_list(fields[key]) for key in ("start", "end", "phones")), strict=True))
    # Interned: one object per label instead of millions of equal strings.
    return name, [Interval(float(start_s), float(end_s), sys.intern(phone)) for start_s, end_s, phone in values]


def _list(cell: Any) -> list[Any]:
    """The list in a cell; in a CSV file it is written as JSON or Python."""
    if isinstance(cell, str):
        cell = ast.literal_eval(cell)
    if not isinstance(cell, list):
        raise TypeError
    return cell
