"""Transcripts on disk, by the content of the sound and by what recognised it, so that no sound is recognised twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from phonemi.errors import DataError
from phonemi.files import content_hash
from phonemi.metrics.words.recogniser import Waveform


class TranscriptStore:
    """Transcripts of one recogniser, in an SQLite file that several recognisers and processes may share.

    Args:
        path: the file; made when the first transcript is kept.
        settings: all that the words of the recogniser depend on.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]) -> None:
        self.path, self._recogniser = Path(path), content_hash(settings)

    def find(self, waveforms: list[Waveform]) -> list[str | None]:
        """The transcript of each waveform; None where there is none yet.

        Raises:
            DataError: if the file is no such store.
        """
        if not self.path.exists():
            return [None] * len(waveforms)
        with self._connection() as connection:
            query = "SELECT text FROM transcripts WHERE recogniser = ? AND sound = ?"
            rows = [connection.execute(query, self._key(waveform)).fetchone() for waveform in waveforms]
        return [None if row is None else str(row[0]) for row in rows]

    def add(self, transcripts: list[tuple[Waveform, str]]) -> None:
        """Keep transcripts: all of them or, if that fails, none."""
        with self._connection() as connection:
            rows = [(*self._key(waveform), text) for waveform, text in transcripts]
            connection.executemany("INSERT OR REPLACE INTO transcripts VALUES (?, ?, ?)", rows)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS transcripts (recogniser TEXT, sound TEXT, text TEXT, "
                    "PRIMARY KEY (recogniser, sound)) WITHOUT ROWID"
                )
                yield connection
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{self.path} cannot be used ({error}): delete it, and words are recognised again"
            ) from None

    def _key(self, waveform: Waveform) -> tuple[str, str]:
        sound = np.ascontiguousarray(waveform, dtype=np.float32)
        return self._recogniser, hashlib.sha256(sound.tobytes()).hexdigest()
