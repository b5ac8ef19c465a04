"""The words that speech recognisers find in recordings, and how many of them are wrong.

| module | what it has |
|---|---|
| `recogniser` | what a recogniser must offer; transcribing many waveforms |
| `whisper` | the recogniser that people use, by `faster_whisper` or `transformers_whisper` |
| `pocketsphinx` | the fallback that needs no download |
| `transcripts` | transcripts kept on disk |
| `normalisation` | one spelling for all texts |
| `word_errors` | word counts of an utterance, word error rates of a corpus |

A new recogniser is one module, and one line in `RECOGNISERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from phonemi.metrics.words.pocketsphinx import PocketsphinxRecogniser
from phonemi.metrics.words.recogniser import Recogniser
from phonemi.metrics.words.whisper import DEFAULT_MODEL, BackendName, WhisperRecogniser, is_at_hand


class RecogniserOptions(NamedTuple):
    """Settings for building a recogniser; each one takes those that it needs."""

    model: str = DEFAULT_MODEL  # of Whisper: size, id on the Hugging Face hub, or folder
    backend: BackendName = "auto"  # of Whisper
    device: str = "cpu"  # of torch
    grammar_jsgf: str = ""  # text of a JSGF grammar of the sentences to expect


RECOGNISERS: dict[str, Callable[[RecogniserOptions], Recogniser]] = {
    "whisper": lambda options: WhisperRecogniser(options.model, options.device, options.backend),
    "pocketsphinx": lambda options: PocketsphinxRecogniser(),
    "pocketsphinx-grammar": lambda options: PocketsphinxRecogniser(options.grammar_jsgf),
}


def choose_recogniser(name: str, options: RecogniserOptions) -> str:
    """What "auto" stands for here: Whisper if it is installed and its model on this machine, otherwise pocketsphinx.

    Other names are returned as they are.
    """
    if name != "auto":
        return name
    return "whisper" if is_at_hand(options.model, options.device, options.backend) else "pocketsphinx"
