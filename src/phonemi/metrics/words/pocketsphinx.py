"""Speech recognition by pocketsphinx: the fallback that needs no download, and a weak judge of words."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phonemi.errors import DataError, require_extra
from phonemi.files import content_hash
from phonemi.metrics.words.recogniser import Waveform, finite_waveform, installed_version

LEVEL_DB = -26.0
# pocketsphinx allows 30 000. In noise, decoding with so many takes twice as long, for about the same word error rates:
# 0.229 and 0.227 on clean LibriSpeech, 0.577 and 0.561 with noise at 10 dB (428 words, 12 speakers).
HYPOTHESES_PER_FRAME = 3_000


class PocketsphinxRecogniser:
    """Recogniser with the US English models that come with pocketsphinx.

    Without a grammar it is weak: it makes 31 % errors on clean read speech, where the smallest Whisper makes 9 %, and
    may call a system better by which Whisper loses words.

    Args:
        grammar_jsgf: text of a JSGF grammar of the sentences to expect; None uses the en-us trigram language model.
    """

    def __init__(self, grammar_jsgf: str | None = None) -> None:
        self.name = "pocketsphinx (weak)" if grammar_jsgf is None else "pocketsphinx with a grammar"
        self.grammar_jsgf = grammar_jsgf
        self._decoder: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # The decoder is a C object that cannot be sent; another process builds its own.
        return {**self.__dict__, "_decoder": None}

    @property
    def settings(self) -> dict[str, Any]:
        """All that the words depend on; its models come with the package."""
        grammar = "en-us trigrams" if self.grammar_jsgf is None else f"JSGF {content_hash(self.grammar_jsgf)}"
        return {
            "recogniser": "pocketsphinx",
            "version": installed_version("pocketsphinx"),
            "acoustic_model": "en-us",
            "language_model": grammar,
            "level_db": LEVEL_DB,
            "hypotheses_per_frame": HYPOTHESES_PER_FRAME,
        }

    @property
    def decoding(self) -> dict[str, Any]:
        """The same."""
        return self.settings

    def load(self) -> None:
        """Check that pocketsphinx is installed; the models are loaded by the process that uses them.

        Raises:
            MissingExtra: if it is not.
        """
        require_extra("pocketsphinx", "metrics")

    def transcribe(self, waveform: Waveform) -> str:
        """Lower-case words heard in `[sample]` at 16 kHz, "" for digital silence.

        Raises:
            AudioError: if a sample is not finite.
            DataError: if the waveform is not `[sample]`, or the grammar is invalid or has words the dictionary lacks.
            MissingExtra: if pocketsphinx is not installed.
        """
        samples = _at_speech_level(waveform)
        if not samples.any():
            return ""
        if self._decoder is None:
            self._decoder = self._build()
        # Forget the cepstral mean and the noise of earlier utterances, or the words would depend on them.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    def _build(self) -> Any:
        decoder_class = require_extra("pocketsphinx", "metrics").Decoder
        if self.grammar_jsgf is None:
            return decoder_class(loglevel="FATAL", maxhmmpf=HYPOTHESES_PER_FRAME)
        decoder = decoder_class(lm=None, loglevel="FATAL", maxhmmpf=HYPOTHESES_PER_FRAME)
        try:
            decoder.add_jsgf_string("grammar", self.grammar_jsgf)
        except (ValueError, RuntimeError) as error:
            unknown = [word for word in _grammar_words(self.grammar_jsgf) if decoder.lookup_word(word) is None]
            reason = f"not in the dictionary: {', '.join(unknown[:5])}" if unknown else str(error)
            raise DataError(f"JSGF grammar not accepted by pocketsphinx ({reason})") from None
        decoder.activate_search("grammar")
        return decoder


def _at_speech_level(waveform: Waveform) -> NDArray[np.int16]:
    """16-bit samples at a fixed RMS level (less where peaks would clip), so that quiet files keep their words."""
    samples = finite_waveform(waveform).astype(np.float64)
    if not samples.any():
        return np.zeros(len(samples), dtype=np.int16)
    samples = samples / np.abs(samples).max()
    gain = min(1.0, 10 ** (LEVEL_DB / 20) / math.sqrt(np.mean(samples**2)))
    rounded: NDArray[np.int16] = np.round(gain * 32767 * samples).astype(np.int16)
    return rounded


def _grammar_words(grammar_jsgf: str) -> list[str]:
    """Words of the expansions of a grammar's rules, without rule names, weights and tags."""
    expansions = " ".join(re.findall(r"=([^;]*)", grammar_jsgf))
    return sorted(set(re.sub(r"<[^>]*>|\{[^}]*\}|/[\d.eE+-]+/|[|()\[\]*+]", " ", expansions).split()))
