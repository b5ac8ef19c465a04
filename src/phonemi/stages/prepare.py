"""The stage `prepare`: make a validated manifest of a corpus on disk, downloaded first if asked."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phonemi.data.alignment import PHONES, phone_class
from phonemi.data.corpora import CORPORA
from phonemi.data.manifest import Recording, validate, write_manifest
from phonemi.errors import ConfigError, nearest
from phonemi.progress import Progress
from phonemi.tables import duration_text, plural


def run(corpus: str, folder: Path, output: Path, download: bool, options: dict[str, Any]) -> None:
    """Download the corpus into `folder` if asked, list its recordings, check them and write the manifest `output`.

    `options` are those of the corpus, by their names on the command line.

    Raises:
        ConfigError: for an unknown corpus, or an option that the corpus does not have.
        DataError, AudioError: if the corpus is incomplete or contradicts itself.
    """
    if corpus not in CORPORA:
        raise ConfigError(f"unknown corpus {corpus!r}; {nearest(corpus, CORPORA)}")
    prepare, fetch = CORPORA[corpus]
    for name in options:
        if name not in CORPORA[corpus].options:
            options_of_corpus = ", ".join(f"--{option}" for option in CORPORA[corpus].options) or "no option"
            raise ConfigError(f"--{name} does not apply to {corpus}, which takes {options_of_corpus}")
    progress = Progress()
    if download:
        if fetch is None:
            raise ConfigError(f"{corpus} is not downloaded: give the folder where it is")
        fetch_options = {name: options[name] for name in options.keys() & inspect.signature(fetch).parameters}
        with progress.task(f"downloading {corpus} (MB)") as task:

            def show(done_bytes: int, all_bytes: int) -> None:
                task.total = all_bytes // 10**6 or None
                task.advance(done_bytes // 10**6 - task.completed)

            for note in fetch(folder, progress=show, **fetch_options):
                progress.say(note)
    recordings, notes = prepare(folder, **options)
    for note in notes:
        progress.say(note)
    validate(recordings)
    write_manifest(output, recordings)
    progress.say(f"{output}: {describe(recordings)}")


def describe(recordings: Sequence[Recording]) -> str:
    """How many recordings these are, how long, by how many speakers, with how many phones; of noise, its folds.

    >>> describe([Recording(id="a", path="a.wav", sample_rate=16_000, samples=48_000, speaker="anna")])
    '1 recording, 3.0 s, 1 speaker, no phones'
    """
    parts = [plural(len(recordings), "recording"), duration_text(sum(recording.duration_s for recording in recordings))]
    if folds := {recording.fold for recording in recordings} - {None}:
        return ", ".join([*parts, plural(len(folds), "fold")])
    if speakers := {recording.speaker for recording in recordings} - {None}:
        without = sum(recording.speaker is None for recording in recordings)
        parts.append(plural(len(speakers), "speaker"))
        parts[-1] += f" ({plural(without, 'recording')} without one)" if without else ""
    else:
        parts.append("no speaker known")
    with_phones = sum(bool(recording.phones) for recording in recordings)
    labels = (interval.phone for recording in recordings for interval in recording.phones or ())
    phones = sum(phone_class(label) != PHONES.index("SIL") for label in labels)
    part = f" in {with_phones} of them" if with_phones < len(recordings) else ""
    return ", ".join([*parts, plural(phones, "phone") + part if phones else "no phones"])
