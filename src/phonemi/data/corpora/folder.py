"""Any folder of sound files, with transcripts beside the files or in a table."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path

from phonemi import audio
from phonemi.data.alignment import is_htk
from phonemi.data.corpora.alignment_files import attach_phones
from phonemi.data.corpora.corpus import Listing, Omissions, fitting_pairs, read_transcript, recordings_of
from phonemi.data.manifest import Recording
from phonemi.errors import DataError, nearest
from phonemi.tables import plural

_COMPARISONS = {">=": ge, "<=": le, "==": eq, "!=": ne, ">": gt, "<": lt}
_File = tuple[Path, str | None, str | None]  # a sound file, and speaker and text as the table or its folder says
_CONDITION = re.compile(r"\s*(.+?)\s*(>=|<=|==|!=|>|<)\s*(.*?)\s*")


def prepare_folder(
    folder: str | Path,
    *,
    table: str | Path | None = None,
    where: Sequence[str] = (),
    alignments: Sequence[str | Path] = (),
    clean: str | Path | None = None,
    fold: int | None = None,
    strict: bool = False,
    any_name: bool = False,
) -> Listing:
    """List the sound files of a folder.

    The id is the stem of the file; where two files below `folder` have the same stem, listed or not, the path below
    `folder` with "__" for slashes.
    The text comes from the table, or else from "<stem>.txt" beside the file, or "<stem>.lab" where that is no HTK label
    file (Montreal Forced Aligner). The speaker comes from the table; without
    such a column it is the name of the folder that contains the file, unless that is `folder` itself.

    Args:
        folder: searched with all folders in it, unless there is a table.
        table: CSV file with a column path (relative to `folder`) and, if known, speaker and text; only the files that
            it lists are taken.
        where: conditions on columns of the table, for instance "dnsmos_bak>=3.5" or "speaker!="; all must hold. A row
            without a number in the column does not pass.
        alignments: as in `alignment_files.attach_phones`.
        clean: folder with the clean counterparts of noisy recordings: the same path below it, any audio extension. A
            recording without one, or with one that cannot be read or is not as long, is left out.
        fold: for noise, the cross-validation fold of all recordings.
        strict: refuse to leave a recording out.
        any_name: list recordings whose path is not UTF-8 too; a manifest cannot hold them.

    Raises:
        DataError: if there is no recording, or none passes the conditions; for an unknown column, or a table that
            cannot be read; with `strict`, for a recording that cannot be listed.
    """
    folder, notes = Path(folder), list[str]()
    conditions = [where] if isinstance(where, str) else list(where)
    if table is not None:
        files, notes = _read_table(folder, Path(table), conditions)
    elif conditions:
        raise DataError(f"{conditions[0]!r} is a condition on the columns of a table, but no table was given")
    else:
        files = [(path, _speaker_folder(path, folder), None) for path in audio.find_recordings(folder)]
    skipped, unread = Omissions(), Omissions()
    readable = recordings_of([path for path, *_ in files], skipped, any_name=any_name)
    ids = _unique_ids(list(readable), folder, audio.find_recordings(folder) if table is not None else ())
    recordings = []
    for path, speaker, text in files:
        if recording := readable.get(path):
            if text is None and (transcript := _transcript_of(path)) is not None:
                text = read_transcript(transcript, unread)
            recordings.append(replace(recording, id=ids[path], speaker=speaker, text=text, fold=fold))
    if clean is not None:
        recordings = _with_clean(recordings, folder, Path(clean), skipped)
    notes += skipped.skipped_recordings(strict) + unread.notes("transcript", "ignored")
    if not recordings:
        kinds = ", ".join(audio.EXTENSIONS)
        raise DataError(f"no recordings in {table or folder}: {'; '.join(notes) or f'found no file of {kinds}'}")
    return attach_phones(Listing(recordings, notes), alignments)


def _transcript_of(path: Path) -> Path | None:
    """The transcript beside a sound file."""
    text, labels = path.with_suffix(".txt"), path.with_suffix(".lab")
    if text.exists():
        return text
    return labels if labels.exists() and not is_htk(labels) else None


def _with_clean(recordings: list[Recording], folder: Path, clean: Path, skipped: Omissions) -> list[Recording]:
    """Each recording with the file in `clean` that has the same relative path, whatever the extension.

    Where several differ in the extension, it is the one with that of the recording.
    """
    files: dict[Path, list[Path]] = defaultdict(list)
    for path in audio.find_recordings(clean):
        files[path.relative_to(clean).with_suffix("")].append(path)
    pairs = []
    for recording in recordings:
        below = Path(os.path.relpath(recording.path, folder))
        name = below.with_suffix("")
        candidates = [path for path in files[name] if path.suffix == below.suffix] or files[name]
        if len(candidates) == 1:
            pairs.append(replace(recording, clean=os.path.abspath(candidates[0])))
        elif candidates:
            names = ", ".join(path.name for path in candidates)
            skipped.add("with several clean counterparts", f"{name}: {names}")
        else:
            skipped.add("without a clean counterpart", str(name))
    return fitting_pairs(pairs, skipped)


def _read_table(folder: Path, table: Path, conditions: Sequence[str]) -> tuple[list[_File], list[str]]:
    """The files of the rows for which all conditions hold, and notes on the other rows."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            columns = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read as a CSV table ({error})") from None
    if "path" not in columns:
        raise DataError(f"{table} has no column 'path'; its columns are {', '.join(columns) or 'none'}")
    tests = [_condition(condition, columns, table) for condition in conditions]
    passing = [row for row in rows if row["path"] and all(test(row) for test in tests)]
    files = {}
    for row in passing:
        path = folder / row["path"]
        speaker = row["speaker"] if "speaker" in columns else _speaker_folder(path, folder)
        files[path] = (path, (speaker or "").strip() or None, (row.get("text") or "").strip() or None)
    failing = len(rows) - len(passing)
    notes = []
    if failing and tests:
        notes.append(f"{failing} of {plural(len(rows), 'row')} of {table} left out by {', '.join(conditions)}")
    if len(files) < len(passing):
        repeated = plural(len(passing) - len(files), "row")
        notes.append(f"{repeated} of {table} left out: a later row has the same path")
    return list(files.values()), notes


def _condition(condition: str, columns: Sequence[str], table: Path) -> Callable[[dict[str, str]], bool]:
    """A test of one row, from text such as "dnsmos_bak>=3.5" or, for equality only, "phones==y" and "speaker!="."""
    parts = _CONDITION.fullmatch(condition)
    limit = _number(parts[3]) if parts else None
    if parts is None or (limit is None and parts[2] not in ("==", "!=")):
        raise DataError(f"{condition!r} is not a condition; write for instance 'dnsmos_bak>=3.5' or 'speaker!='")
    column, sign, expected = parts.groups()
    if column not in columns:
        raise DataError(f"{table} has no column {column!r}; {nearest(column, columns)}")

    def holds(row: dict[str, str]) -> bool:
        if limit is None:
            return ((row[column] or "").strip() == expected) == (sign == "==")
        value = _number(row[column])
        return value is not None and _COMPARISONS[sign](value, limit)

    return holds


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _speaker_folder(path: Path, folder: Path) -> str | None:
    """Name of the folder that contains a file, unless that is `folder` itself."""
    return None if path.parent == folder else path.parent.name


def _unique_ids(paths: Sequence[Path], folder: Path, others: Sequence[Path] = ()) -> dict[Path, str]:
    """Stems; relative paths for equal stems; with the extension where these are equal too. `others` get no id.

    >>> list(_unique_ids([Path("d/a/x.wav"), Path("d/b/x.wav"), Path("d/b/y.wav")], Path("d")).values())
    ['a__x', 'b__x', 'y']
    """
    relative = {path: Path(os.path.relpath(path, folder)) for path in {**dict.fromkeys(paths), **dict.fromkeys(others)}}
    files = set(relative.values())  # a table may write a path in its own way
    stems = Counter(path.stem for path in files)
    without_suffix = Counter(path.with_suffix("") for path in files)
    ids = {}
    for path in paths:
        below = relative[path]
        unique = below if without_suffix[below.with_suffix("")] > 1 else below.with_suffix("")
        ids[path] = path.stem if stems[path.stem] == 1 else "__".join(unique.parts)
    return ids
