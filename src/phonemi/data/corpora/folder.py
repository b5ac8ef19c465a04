"""Any folder of sound files, with transcripts beside them or in a table -> recordings with what is known about them."""

from __future__ import annotations

import csv
import operator
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from phonemi import audio
from phonemi.data.corpora.prepared import LeftOut, Prepared, attach_phones, probe_all
from phonemi.data.manifest import Recording
from phonemi.errors import DataError, nearest

_COMPARISONS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(.+?)\s*(>=|<=|==|!=|>|<)\s*(.*?)\s*")


class _Listed(NamedTuple):
    path: Path
    speaker: str | None
    text: str | None


def prepare_folder(
    folder: str | Path,
    *,
    table: str | Path | None = None,
    where: Sequence[str] = (),
    alignments: Sequence[str | Path] = (),
    clean: str | Path | None = None,
    fold: int | None = None,
) -> Prepared:
    """List the sound files of a folder.

    The id is the stem of the file; where stems collide, the path below `folder` with "__" for slashes. The text is
    that of the table, or else of "<stem>.txt" beside the file. The speaker is that of the table; without such a column
    it is the name of the folder that holds the file, unless that is `folder` itself.

    Args:
        folder: searched with all folders in it, unless there is a table.
        table: CSV file with a column path (relative to `folder`) and, if known, speaker and text; what it does not
            list is left out.
        where: conditions on columns of the table, for instance "dnsmos_bak>=3.5" or "speaker!="; all must hold, and a
            row without the number is left out.
        alignments: files, folders, archives and tables as in `alignment_files.open_alignments`, matched by id or stem.
        clean: folder with the clean counterparts of noisy recordings: the same path below it, any audio extension.
        fold: of noise: the cross-validation fold that all of it belongs to.

    Raises:
        DataError: if nothing is found or left, for an unknown column, if the table cannot be read, or if a clean
            counterpart is missing.
    """
    folder, notes = Path(folder), list[str]()
    conditions = [where] if isinstance(where, str) else list(where)
    if table is not None:
        listed, notes = _read_table(folder, Path(table), conditions)
    elif conditions:
        raise DataError(f"{conditions[0]!r} is a condition on the columns of a table, but no table was given")
    else:
        listed = [_Listed(path, _parent(path, folder), None) for path in audio.find_recordings(folder)]
    skipped, unread = LeftOut(), LeftOut()
    infos = probe_all([file.path for file in listed], skipped)
    ids = _unique_ids(list(infos), folder)
    read = [file for file in listed if file.path in infos]
    recordings = [_recording(ids[file.path], file, infos[file.path], fold, unread) for file in read]
    notes += skipped.notes("recording", "skipped") + unread.notes("transcript", "ignored")
    if not recordings:
        kinds = ", ".join(audio.EXTENSIONS)
        raise DataError(f"no recordings in {table or folder}: {'; '.join(notes) or f'found no file of {kinds}'}")
    if clean is not None:
        recordings = _with_clean(recordings, folder, Path(clean))
    aligned = attach_phones(recordings, alignments)
    return Prepared(aligned.recordings, notes + aligned.notes)


def _recording(id: str, file: _Listed, info: audio.AudioInfo, fold: int | None, unread: LeftOut) -> Recording:
    return Recording(
        id=id,
        path=os.path.abspath(file.path),
        sample_rate=info.sample_rate,
        samples=info.samples,
        speaker=file.speaker,
        text=file.text or _text_beside(file.path, unread),
        fold=fold,
    )


def _with_clean(recordings: list[Recording], folder: Path, clean: Path) -> list[Recording]:
    """Each with the file of the same relative path, less the extension, below `clean`."""
    counterparts = {path.relative_to(clean).with_suffix(""): path for path in audio.find_recordings(clean)}
    places = [Path(os.path.relpath(recording.path, folder)).with_suffix("") for recording in recordings]
    alone = [str(place) for place in places if place not in counterparts]
    if alone:
        raise DataError(
            f"{len(alone)} of {len(places)} recordings have no clean counterpart in {clean}: {alone[0]}, ..."
        )
    pairs = zip(recordings, places, strict=True)
    return [replace(recording, clean=os.path.abspath(counterparts[place])) for recording, place in pairs]


def _read_table(folder: Path, table: Path, conditions: Sequence[str]) -> tuple[list[_Listed], list[str]]:
    """Rows for which all conditions hold, and notes on the others."""
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
    chosen = [row for row in rows if row["path"] and all(test(row) for test in tests)]
    listed = {}
    for row in chosen:
        path = folder / row["path"]
        speaker = row["speaker"] if "speaker" in columns else _parent(path, folder)
        listed[path] = _Listed(path, (speaker or "").strip() or None, (row.get("text") or "").strip() or None)
    left = len(rows) - len(chosen)
    notes = [f"{left} of {len(rows)} rows of {table} left out by {', '.join(conditions)}"] if left and tests else []
    if len(listed) < len(chosen):
        notes.append(f"{len(chosen) - len(listed)} rows of {table} repeat a path; the last of each was taken")
    return list(listed.values()), notes


def _condition(condition: str, columns: Sequence[str], table: Path) -> Callable[[dict[str, str]], bool]:
    """A test of one row, from text such as "dnsmos_bak>=3.5" or, for equality only, "phones==y" and "speaker!="."""
    parts = _CONDITION.fullmatch(condition)
    limit = _number(parts[3]) if parts else None
    if parts is None or (limit is None and parts[2] not in ("==", "!=")):
        raise DataError(f"{condition!r} is not a condition; write for instance 'dnsmos_bak>=3.5' or 'speaker!='")
    column, sign, wanted = parts.groups()
    if column not in columns:
        raise DataError(f"{table} has no column {column!r}; {nearest(column, columns)}")

    def holds(row: dict[str, str]) -> bool:
        if limit is None:
            return ((row[column] or "").strip() == wanted) == (sign == "==")
        value = _number(row[column])
        return value is not None and _COMPARISONS[sign](value, limit)

    return holds


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _parent(path: Path, folder: Path) -> str | None:
    return None if path.parent == folder else path.parent.name


def _text_beside(path: Path, unread: LeftOut) -> str | None:
    """Words of "<stem>.txt", on one line."""
    transcript = path.with_suffix(".txt")
    try:
        return " ".join(transcript.read_text(encoding="utf-8-sig").split()) or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        unread.add("unreadable", f"{transcript}: {error}")
        return None


def _unique_ids(paths: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Stems; relative paths where stems collide; with the extension where those collide too.

    >>> list(_unique_ids([Path("d/a/x.wav"), Path("d/b/x.wav"), Path("d/b/y.wav")], Path("d")).values())
    ['a__x', 'b__x', 'y']
    """
    stems = Counter(path.stem for path in paths)
    relative = {path: Path(os.path.relpath(path, folder)) for path in paths}
    longer = Counter(path.with_suffix("") for path in relative.values())
    ids = {}
    for path, below in relative.items():
        unique = below if longer[below.with_suffix("")] > 1 else below.with_suffix("")
        ids[path] = path.stem if stems[path.stem] == 1 else "__".join(unique.parts)
    return ids
