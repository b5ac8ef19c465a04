"""A corpus on disk -> a validated manifest."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from phonemi.data.corpora import CORPORA
from phonemi.data.manifest import validate, write_manifest
from phonemi.errors import ConfigError, nearest
from phonemi.progress import Progress


def run(corpus: str, folder: Path, output: Path, download: bool, options: dict[str, Any]) -> None:
    """Download if asked, list the recordings, check them and write the manifest.

    Raises:
        ConfigError: for an unknown corpus, or an option that the corpus does not have.
        DataError, AudioError: for what is wrong with the corpus.
    """
    if corpus not in CORPORA:
        raise ConfigError(f"unknown corpus {corpus!r}; {nearest(corpus, CORPORA)}")
    progress = Progress()
    chosen = CORPORA[corpus]
    if download:
        if chosen.download is None:
            raise ConfigError(f"{corpus} is not downloaded: give the folder where it is")
        wanted = {
            name: value for name, value in options.items() if name in inspect.signature(chosen.download).parameters
        }
        for note in chosen.download(folder, **wanted):
            progress.say(note)
    accepted = inspect.signature(chosen.prepare).parameters
    for name in options:
        if name not in accepted:
            raise ConfigError(f"--{name.rstrip('s') if name == 'subsets' else name} does not apply to {corpus}")
    prepared = chosen.prepare(folder, **options)
    for note in prepared.notes:
        progress.say(note)
    validate(prepared.recordings)
    write_manifest(output, prepared.recordings)
    hours = sum(recording.duration_s for recording in prepared.recordings) / 3600
    progress.say(f"{output}: {len(prepared.recordings)} recordings, {hours:.2f} h")
