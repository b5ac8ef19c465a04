"""LibriSpeech: read English books, `<subset>/<speaker>/<chapter>/<id>.flac`, with transcripts and phone alignments.

CC BY 4.0, https://www.openslr.org/12. The phone alignments of the download are those of the Montreal Forced Aligner by
Lugosch et al., CC BY 4.0, https://zenodo.org/records/2619474 (623 MB; several public download scripts give the same MD5
sum, one of them says it is Zenodo's). One recording of train-clean-100 has no alignment; all of dev-clean and
test-clean have one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from phonemi import audio
from phonemi.data.alignment import read_text
from phonemi.data.corpora.alignment_files import attach_phones
from phonemi.data.corpora.corpus import Listing, Omissions, recordings_of
from phonemi.data.corpora.download import Progress, fetch_and_extract
from phonemi.errors import DataError, nearest

URL = "https://www.openslr.org/resources/12/{subset}.tar.gz"
ALIGNMENTS_URL = "https://zenodo.org/records/2619474/files/librispeech_alignments.zip"
ALIGNMENTS_MD5 = "2bab567d0ace651a4ba254e813629f46"
MD5 = {
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}


def download_librispeech(
    folder: str | Path, *, subset: Sequence[str] = ("dev-clean", "test-clean"), progress: Progress | None = None
) -> list[str]:
    """Download subsets into `folder`/LibriSpeech and their phone alignments into `folder`/alignments.

    The subsets are by default the 8 hours on which Han et al. (2026) train and test their probes.
    """
    for name in subset:
        if name not in MD5:
            raise DataError(f"LibriSpeech has no subset {name!r}; {nearest(name, MD5)}")
    for name in subset:
        fetch_and_extract(URL.format(subset=name), folder, md5=MD5[name], progress=progress)
    fetch_and_extract(ALIGNMENTS_URL, Path(folder) / "alignments", md5=ALIGNMENTS_MD5, progress=progress)
    return []


def prepare_librispeech(
    folder: str | Path, *, subset: Sequence[str] = (), alignments: Sequence[str | Path] = ()
) -> Listing:
    """List the recordings of LibriSpeech: id "<speaker>-<chapter>-<number>", speaker "ls-<speaker>".

    Args:
        folder: contains the subsets, at any depth; flac as published, or any other sound format.
        subset: names of subsets, for instance "dev-clean"; by default all in the folder.
        alignments: as in `attach_phones`; by default `folder`/alignments if that exists.

    Raises:
        DataError: if there are no recordings, or a subset is missing.
    """
    folder = Path(folder)
    transcripts: dict[str, list[Path]] = {}
    for transcript in sorted(folder.rglob("*.trans.txt")):
        transcripts.setdefault(Path(os.path.abspath(transcript)).parent.parent.parent.name, []).append(transcript)
    if not transcripts:
        raise DataError(f"no LibriSpeech in {folder}: found no <subset>/<speaker>/<chapter>/*.trans.txt")
    for name in subset:
        if name not in transcripts:
            raise DataError(f"no LibriSpeech subset {name!r} in {folder}; {nearest(name, transcripts)}")
    skipped = Omissions()
    texts: dict[Path, str] = {}
    for name in subset or transcripts:
        for transcript in transcripts[name]:
            texts |= _texts_of_chapter(transcript, skipped)
    recordings = [
        replace(recording, speaker=f"ls-{recording.id.split('-')[0]}", text=texts[path])
        for path, recording in recordings_of(list(texts), skipped).items()
    ]
    notes = skipped.notes("recording", "skipped")
    if not recordings:
        raise DataError(f"no LibriSpeech recordings in {folder}: {'; '.join(notes)}")
    if not alignments and (folder / "alignments").is_dir():
        alignments = [folder / "alignments"]
    return attach_phones(Listing(recordings, notes), alignments)


def _texts_of_chapter(transcript: Path, skipped: Omissions) -> dict[Path, str]:
    """The text of each sound file beside a transcript."""
    files = {path.stem: path for path in sorted(transcript.parent.iterdir()) if path.suffix.lower() in audio.EXTENSIONS}
    texts = {}
    for line in read_text(transcript).splitlines():
        id, _, text = line.strip().partition(" ")
        if path := files.pop(id, None):
            texts[path] = text.strip()
        elif id:
            skipped.add("without a sound file", id)
    for id in files:
        skipped.add("without a transcript", id)
    return texts
