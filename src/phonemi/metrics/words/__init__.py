"""The words that speech recognisers find in recordings, and how many of them are wrong.

| module | what it has |
|---|---|
| `recogniser` | what a recogniser must offer; transcribing many waveforms |
| `whisper` | the recogniser that people use, by `faster_whisper` or `transformers_whisper` |
| `pocketsphinx` | the fallback that needs no download |
| `transcripts` | transcripts kept on disk |
| `normalisation` | one spelling for all texts |
| `word_errors` | word counts and error rate of an utterance |

A new recogniser is one module, and one line in `RECOGNISERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from phonemi.constants import DEFAULT_WHISPER, WhisperBackend
from phonemi.metrics.words.pocketsphinx import PocketsphinxRecogniser
from phonemi.metrics.words.recogniser import Recogniser
from phonemi.metrics.words.whisper import WhisperRecogniser


class RecogniserOptions(NamedTuple):
    """Settings for building a recogniser; each one takes those that it needs."""

    model: str = DEFAULT_WHISPER  # size, id on the Hugging Face hub, or folder
    backend: WhisperBackend = "auto"
    device: str = "cpu"  # of torch
    grammar_jsgf: str = ""  # text of a JSGF grammar of the sentences to expect


RECOGNISERS: dict[str, Callable[[RecogniserOptions], Recogniser]] = {
    "whisper": lambda options: WhisperRecogniser(options.model, options.device, options.backend),
    "pocketsphinx": lambda options: PocketsphinxRecogniser(),
    "pocketsphinx-grammar": lambda options: PocketsphinxRecogniser(options.grammar_jsgf),
}


class Choice(NamedTuple):
    """A recogniser, and why "auto" did not take Whisper; "" if it did, or was not asked."""

    recogniser: Recogniser
    reason: str


def choose_recogniser(name: str, options: RecogniserOptions) -> Choice:
    """The recogniser of a name; of "auto" Whisper if it is installed and its weights on this machine, or pocketsphinx.

    Nothing is loaded or downloaded. The default Whisper is taken on a GPU only: on a CPU, where it would take hours,
    a Whisper has to be named.
    """
    if name != "auto":
        return Choice(RECOGNISERS[name](options), "")
    whisper = WhisperRecogniser(options.model, options.device, options.backend)
    if (options.model, options.device) == (DEFAULT_WHISPER, "cpu"):
        reason: str | None = f"on a CPU {DEFAULT_WHISPER} takes hours; name a smaller Whisper, such as base.en"
    else:
        reason = whisper.obstacle()
    return Choice(whisper, "") if reason is None else Choice(PocketsphinxRecogniser(), reason)
