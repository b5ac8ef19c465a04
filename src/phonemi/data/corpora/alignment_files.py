"""Find the phone alignments of many utterances: in folders, zip archives, single files and tables."""

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

_READERS: dict[str, Callable[[Path], list[Interval]]] = {".textgrid": read_textgrid, ".lab": read_htk}


class Entry(NamedTuple):
    """One utterance of one alignment file. The path of a file in an archive goes on below that of the archive."""

    name: str
    path: Path
    intervals: Callable[[], list[Interval]]  # reads them

    def nearness(self, recording: Recording) -> int:
        """Number of folders that the two paths have in common, at their beginnings and at their ends."""
        folders, others = (Path(os.path.abspath(path)).parent.parts for path in (self.path, recording.path))
        return len(os.path.commonprefix([folders, others])) + len(os.path.commonprefix([folders[::-1], others[::-1]]))


@contextmanager
def open_alignments(alignments: Iterable[str | Path]) -> Iterator[dict[str, list[Entry]]]:
    """List the utterances of alignment files by name; archives stay open until the context ends.

    Args:
        alignments: CTM files; folders of CTM files, TextGrids and HTK labels (.lab), at any depth; zip archives of
            TextGrids (.zip), which are not unpacked; tables (`alignment_table`: .jsonl, .json, .csv).

    Raises:
        DataError: if a path does not exist, has no alignments in it, or cannot be parsed.
    """
    entries: dict[str, list[Entry]] = defaultdict(list)
    with ExitStack() as archives:
        for path in map(Path, alignments):
            for file in _files_in(path) if path.is_dir() else [path]:
                for entry in _entries(file, archives):
                    entries[entry.name].append(entry)
        yield dict(entries)


def _files_in(folder: Path) -> Sequence[Path]:
    files = sorted(file for file in folder.rglob("*") if not file.name.startswith("."))
    alignments = [file for file in files if file.suffix.lower() in (".ctm", *_READERS)]
    if not alignments:
        tables = [file for file in files if file.suffix.lower() in (".zip", ".parquet", *TABLES)]
        hint = f"; name the file itself: {tables[0]}" if tables else ""
        raise DataError(f"{folder} holds no CTM file, no TextGrid and no HTK label file (.lab){hint}")
    return alignments


def _entries(file: Path, archives: ExitStack) -> Iterator[Entry]:
    suffix = file.suffix.lower()
    if read := _READERS.get(suffix):
        yield Entry(file.stem, file, partial(read, file))
    elif suffix == ".zip":
        yield from _entries_of_archive(file, archives)
    elif suffix == ".parquet":
        raise DataError(f"{file} is a Parquet table, which is not read here; export it as JSON lines first: {EXPORT}")
    else:
        table = read_alignment_table(file) if suffix in TABLES else read_ctm(file)
        for name, intervals in table.items():
            yield Entry(name, file, partial(list, intervals))


def _entries_of_archive(file: Path, archives: ExitStack) -> Iterator[Entry]:
    """The TextGrids of an archive, without the files that macOS adds ("__MACOSX/._name")."""
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
