"""Paths of alignments (folders, archives, files, tables) -> one `Entry` an utterance, read when it is asked for."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from phonemi.data.alignment import read_ctm, read_htk, read_textgrid
from phonemi.data.corpora.alignment_table import EXPORT, TABLES, read_alignment_table
from phonemi.data.manifest import Interval, Recording
from phonemi.errors import DataError

_ONE_A_FILE: dict[str, Callable[[Path], list[Interval]]] = {".textgrid": read_textgrid, ".lab": read_htk}


class Entry(NamedTuple):
    """One utterance of one alignment file; `path` goes on inside an archive."""

    name: str
    path: Path
    intervals: Callable[[], list[Interval]]

    def nearness(self, recording: Recording) -> int:
        """How many folders the two paths share, at their beginnings and at their ends."""
        own, other = (Path(os.path.abspath(path)).parent.parts for path in (self.path, recording.path))
        return len(os.path.commonprefix([own, other])) + len(os.path.commonprefix([own[::-1], other[::-1]]))


@contextmanager
def open_alignments(alignments: Iterable[str | Path]) -> Iterator[dict[str, list[Entry]]]:
    """List the utterances of alignment files, by name; those of archives can be read until the context ends.

    Args:
        alignments: CTM files; folders of them, of TextGrids and of HTK labels (.lab), at any depth; zip archives of
            TextGrids (.zip), which are not unpacked; tables (`alignment_table`: .jsonl, .json, .csv).

    Raises:
        DataError: if a path does not exist, holds no alignments, or cannot be parsed.
    """
    entries: dict[str, list[Entry]] = defaultdict(list)
    with ExitStack() as archives:
        for path in map(Path, alignments):
            for file in _folder(path) if path.is_dir() else [path]:
                for entry in _entries(file, archives):
                    entries[entry.name].append(entry)
        yield dict(entries)


def _folder(folder: Path) -> Sequence[Path]:
    inside = sorted(file for file in folder.rglob("*") if not file.name.startswith("."))
    found = [file for file in inside if file.suffix.lower() in (".ctm", *_ONE_A_FILE)]
    if not found:
        tables = [file for file in inside if file.suffix.lower() in (".zip", ".parquet", *TABLES)]
        hint = f"; name the file itself: {tables[0]}" if tables else ""
        raise DataError(f"{folder} holds no CTM file, no TextGrid and no HTK label file (.lab){hint}")
    return found


def _entries(file: Path, archives: ExitStack) -> Iterator[Entry]:
    suffix = file.suffix.lower()
    if read := _ONE_A_FILE.get(suffix):
        yield Entry(file.stem, file, partial(read, file))
    elif suffix == ".zip":
        yield from _zipped(file, archives)
    elif suffix == ".parquet":
        raise DataError(f"{file} is a Parquet table, which is not read here; export it as JSON lines first: {EXPORT}")
    else:
        table = read_alignment_table(file) if suffix in TABLES else read_ctm(file)
        for name, intervals in table.items():
            yield Entry(name, file, partial(list, intervals))


def _zipped(file: Path, archives: ExitStack) -> Iterator[Entry]:
    """The TextGrids of an archive; not what macOS adds to one ("__MACOSX/._name")."""
    try:
        archive = archives.enter_context(zipfile.ZipFile(file))
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
