"""LibriSpeech on disk, `<subset>/<speaker>/<chapter>/<id>.flac` with transcripts -> recordings with text and phones.

CC BY 4.0, https://www.openslr.org/12. The phone alignments of the download are those of the Montreal Forced Aligner by
Lugosch et al., CC BY 4.0, https://zenodo.org/records/2619474 (623 MB; several public download scripts give the same MD5
sum, one as Zenodo's own). One recording of train-clean-100 has none, those of dev-clean and test-clean all have one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from phonemi import audio
from phonemi.data.corpora.download import Progress, fetch_and_extract
from phonemi.data.corpora.prepared import LeftOut, Prepared, attach_phones, probe_all
from phonemi.data.manifest import Recording
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
    folder: str | Path, *, subsets: Sequence[str] = ("dev-clean", "test-clean"), progress: Progress | None = None
) -> list[str]:
    """Download subsets into `folder`/LibriSpeech and their phone alignments into `folder`/alignments.

    The default subsets are the 8 hours that the probes of the paper are trained and tested on.

    Returns:
        notes for the user; none.

    Raises:
        DataError: for an unknown subset, or as `download.fetch_and_extract`.
    """
    for subset in subsets:
        if subset not in MD5:
            raise DataError(f"LibriSpeech has no subset {subset!r}; {nearest(subset, MD5)}")
    for subset in subsets:
        fetch_and_extract(URL.format(subset=subset), folder, md5=MD5[subset], progress=progress)
    fetch_and_extract(ALIGNMENTS_URL, Path(folder) / "alignments", md5=ALIGNMENTS_MD5, progress=progress)
    return []


def prepare_librispeech(
    folder: str | Path, *, subsets: Sequence[str] = (), alignments: Sequence[str | Path] = ()
) -> Prepared:
    """List the recordings of LibriSpeech: id "<speaker>-<chapter>-<number>", speaker "ls-<speaker>".

    Args:
        folder: holds the subsets, at any depth; flac as published, or any other sound format.
        subsets: folder names, for instance "dev-clean"; all that are there by default.
        alignments: CTM files, folders or zip archives of TextGrids, or tables of the hub (`alignment_table`), matched
            by id; by default `folder`/alignments if that exists.

    Raises:
        DataError: if there are no recordings, or a subset is missing.
    """
    folder = Path(folder)
    by_subset: dict[str, list[Path]] = {}
    for transcript in sorted(folder.rglob("*.trans.txt")):
        by_subset.setdefault(Path(os.path.abspath(transcript)).parent.parent.parent.name, []).append(transcript)
    if not by_subset:
        raise DataError(f"no LibriSpeech in {folder}: found no <subset>/<speaker>/<chapter>/*.trans.txt")
    for subset in subsets:
        if subset not in by_subset:
            raise DataError(f"no LibriSpeech subset {subset!r} in {folder}; {nearest(subset, by_subset)}")
    skipped = LeftOut()
    texts: dict[Path, str] = {}
    for subset in subsets or by_subset:
        for transcript in by_subset[subset]:
            texts |= _chapter(transcript, skipped)
    infos = probe_all(list(texts), skipped)
    recordings = [
        Recording(
            id=path.stem,
            path=os.path.abspath(path),
            sample_rate=info.sample_rate,
            samples=info.samples,
            speaker=f"ls-{path.stem.split('-')[0]}",
            text=texts[path],
        )
        for path, info in infos.items()
    ]
    if not alignments and (folder / "alignments").is_dir():
        alignments = [folder / "alignments"]
    notes = skipped.notes("recording", "skipped")
    if not recordings:
        raise DataError(f"no LibriSpeech recordings in {folder}: {'; '.join(notes)}")
    aligned = attach_phones(recordings, alignments)
    return Prepared(aligned.recordings, notes + aligned.notes)


def _chapter(transcript: Path, skipped: LeftOut) -> dict[Path, str]:
    """The sound files of one chapter with their texts."""
    files = {path.stem: path for path in sorted(transcript.parent.iterdir()) if path.suffix.lower() in audio.EXTENSIONS}
    try:
        lines = transcript.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{transcript} cannot be read ({error})") from None
    texts = {}
    for line in lines:
        id, _, text = line.strip().partition(" ")
        if path := files.pop(id, None):
            texts[path] = text.strip()
        elif id:
            skipped.add("without a sound file", id)
    for id in files:
        skipped.add("without a transcript", id)
    return texts
