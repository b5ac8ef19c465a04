"""Words that speech recognisers hear, and how many of them are wrong.

| module | what it has |
|---|---|
| `recogniser` | what a recogniser must offer; transcribing many waveforms |
| `pocketsphinx`, `whisper` | two recognisers |
| `word_errors` | word counts of an utterance, word error rates of a corpus |

A new recogniser is one module, and one line in `RECOGNISERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from phonemi.metrics.words.pocketsphinx import PocketsphinxRecogniser
from phonemi.metrics.words.recogniser import Recogniser
from phonemi.metrics.words.whisper import DEFAULT_MODEL, WhisperRecogniser


class RecogniserOptions(NamedTuple):
    """Settings for building a recogniser; each one takes those that it needs."""

    model: str = DEFAULT_MODEL  # id on the Hugging Face hub, or folder
    device: str = "cpu"  # of torch
    grammar_jsgf: str = ""  # text of a JSGF grammar of the sentences to expect


RECOGNISERS: dict[str, Callable[[RecogniserOptions], Recogniser]] = {
    "pocketsphinx": lambda options: PocketsphinxRecogniser(),
    "pocketsphinx-grammar": lambda options: PocketsphinxRecogniser(options.grammar_jsgf),
    "whisper": lambda options: WhisperRecogniser(options.model, options.device),
}
