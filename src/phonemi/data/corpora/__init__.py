"""Corpora by name -> functions that download them and list their recordings: one module a corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from phonemi.data.corpora.esc50 import download_esc50, prepare_esc50
from phonemi.data.corpora.folder import prepare_folder
from phonemi.data.corpora.librispeech import download_librispeech, prepare_librispeech
from phonemi.data.corpora.musan import download_musan, prepare_musan
from phonemi.data.corpora.prepared import Prepared
from phonemi.data.corpora.voicebank_demand import download_voicebank_demand, prepare_voicebank_demand
from phonemi.data.manifest import read_manifest

__all__ = ["CORPORA", "Corpus", "Prepared"]


class Corpus(NamedTuple):
    """What can be done with one corpus.

    `prepare(folder, **options)` lists the recordings of a corpus on disk; `download(folder, progress=...)` fetches it
    and returns notes for the user, and is None for what is not downloaded. The options are those of the function.
    """

    name: str
    prepare: Callable[..., Prepared]
    download: Callable[..., list[str]] | None
    description: str


def _prepare_synthetic(folder: str | Path, *, utterances: int = 300, seed: int = 0) -> Prepared:
    """Make synthetic speech and noise in `folder` and list the speech; the noise is listed in noise.jsonl."""
    from phonemi.data.corpora.synthetic import synthesise

    synthesise(folder, utterances=utterances, seed=seed)
    return Prepared(read_manifest(Path(folder) / "speech.jsonl"), [f"the noise is in {Path(folder) / 'noise.jsonl'}"])


CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            "librispeech",
            prepare_librispeech,
            download_librispeech,
            "read English books, with text and phone alignments (CC BY 4.0)",
        ),
        Corpus(
            "voicebank-demand",
            prepare_voicebank_demand,
            download_voicebank_demand,
            "noisy recordings with their clean counterparts, 28 training and 2 test speakers (CC BY 4.0)",
        ),
        Corpus(
            "esc50", prepare_esc50, download_esc50, "2000 environmental sounds of 5 s, in five folds (CC BY-NC 3.0)"
        ),
        Corpus("musan", prepare_musan, download_musan, "noise, and music and speech, in five folds (CC BY 4.0)"),
        Corpus("folder", prepare_folder, None, "any folder of sound files, with transcripts beside them or in a table"),
        Corpus("synthetic", _prepare_synthetic, None, "speech with exact phones, and noise, made here by espeak-ng"),
    )
}
