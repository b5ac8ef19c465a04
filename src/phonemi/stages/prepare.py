"""A corpus on disk -> a validated manifest."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from phonemi.data.corpora import CORPORA
from phonemi.data.manifest import validate, write_manifest
from phonemi.errors import ConfigError, nearest
from phonemi.progress import Progress

RENAMED = {"subset": "subsets"}  # option of the command line, which is repeated -> argument, which is a list


def run(corpus: str, folder: Path, output: Path, download: bool, options: dict[str, Any]) -> None:
    """Download if asked, list the recordings, check them and write the manifest.

    Args:
        corpus: a name of `CORPORA`.
        folder: where it is, or will be.
        output: manifest to write.
        download: fetch it first.
        options: those of the corpus, by their names on the command line.

    Raises:
        ConfigError: for an unknown corpus, or an option that the corpus does not have.
        DataError, AudioError: for what is wrong with the corpus.
    """
    if corpus not in CORPORA:
        raise ConfigError(f"unknown corpus {corpus!r}; {nearest(corpus, CORPORA)}")
    progress = Progress()
    chosen = CORPORA[corpus]
    options = {RENAMED.get(name, name): value for name, value in options.items()}
    _check(corpus, options)
    if download:
        if chosen.download is None:
            raise ConfigError(f"{corpus} is not downloaded: give the folder where it is")
        wanted = {name: options[name] for name in options.keys() & inspect.signature(chosen.download).parameters}
        with progress.task(f"downloading {corpus} (MB)") as task:

            def show(done_bytes: int, all_bytes: int) -> None:
                task.total = all_bytes // 10**6 or None
                task.advance(done_bytes // 10**6 - task.completed)

            for note in chosen.download(folder, progress=show, **wanted):
                progress.say(note)
    prepared = chosen.prepare(folder, **options)
    for note in prepared.notes:
        progress.say(note)
    validate(prepared.recordings)
    write_manifest(output, prepared.recordings)
    hours = sum(recording.duration_s for recording in prepared.recordings) / 3600
    progress.say(f"{output}: {len(prepared.recordings)} recordings, {hours:.2f} h")


def _check(corpus: str, options: dict[str, Any]) -> None:
    """Refuse options that are another corpus's, naming its own."""
    own = list(inspect.signature(CORPORA[corpus].prepare).parameters)[1:]
    for name in options:
        if name not in own:
            spelled = {argument: option for option, argument in RENAMED.items()}
            known = ", ".join(f"--{spelled.get(other, other)}" for other in own) or "no option"
            raise ConfigError(f"--{spelled.get(name, name)} does not apply to {corpus}, which takes {known}")
