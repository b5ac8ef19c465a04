"""Transcripts on disk, by the content of the sound and by what recognised it, so that no sound is recognised twice."""

from __future__ import annotations

import hashlib
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from phonemi.errors import DataError, PhonemiWarning, one_line
from phonemi.files import content_hash
from phonemi.metrics.words.recogniser import Waveform

WAIT_S = 60.0  # while another process writes
IN_USE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# A folder or disk that cannot be read or written now; the file is not at fault.
OUT_OF_REACH = (
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL),
    sqlite3.SQLITE_IOERR,
)


class TranscriptStore:
    """Transcripts of one recogniser, in an SQLite file that several recognisers and processes may share.

    A file that cannot be written, for instance because the disk is full or the folder read-only, is still read. What is
    not kept is recognised again the next time; a `PhonemiWarning` says so once.

    Args:
        path: the file; made when the first transcript is kept.
        settings: all that the words of the recogniser depend on.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]) -> None:
        self.path, self._recogniser = Path(path), content_hash(settings)
        self._has_warned = False

    def find(self, waveforms: list[Waveform]) -> list[str | None]:
        """The transcript of each waveform; None where there is none yet.

        Raises:
            DataError: if the file is no such store, or another process does not let go of it.
        """
        texts: list[str | None] = [None] * len(waveforms)
        with self._explained():
            if not self.path.exists():
                return texts
            with self._connection() as connection:
                query = "SELECT text FROM transcripts WHERE recogniser = ? AND sound = ?"
                rows = [connection.execute(query, self._key(waveform)).fetchone() for waveform in waveforms]
            texts = [None if row is None else str(row[0]) for row in rows]
        return texts

    def add(self, transcripts: list[tuple[Waveform, str]]) -> None:
        """Keep transcripts: all of them or, if that fails, none.

        Raises:
            DataError: as `find`.
        """
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._connection() as connection:
                rows = [(*self._key(waveform), text) for waveform, text in transcripts]
                connection.executemany("INSERT OR REPLACE INTO transcripts VALUES (?, ?, ?)", rows)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=WAIT_S)) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS transcripts (recogniser TEXT, sound TEXT, text TEXT, "
                "PRIMARY KEY (recogniser, sound)) WITHOUT ROWID"
            )
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Go on after a failure that is not the file's fault, with one warning; a DataError for all others."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without its finer distinctions
            if code in IN_USE:
                raise DataError(
                    f"another process has kept {self.path} for itself for {WAIT_S:.0f} s: wait until it is done, "
                    "then run this again"
                ) from None
            if code not in OUT_OF_REACH and not isinstance(error, OSError):
                raise DataError(
                    f"{self.path} cannot be used ({error}): delete it, and words are recognised again"
                ) from None
            if not self._has_warned:
                text = f"{self.path} cannot be used ({one_line(error)}): new transcripts are not kept"
                warnings.warn(text, PhonemiWarning, stacklevel=2)
            self._has_warned = True

    def _key(self, waveform: Waveform) -> tuple[str, str]:
        sound = np.ascontiguousarray(waveform, dtype=np.float32)
        return self._recogniser, hashlib.sha256(sound.tobytes()).hexdigest()
