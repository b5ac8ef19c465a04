"""Word errors of a transcript against its reference."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

from phonemi.errors import require_extra
from phonemi.metrics.words.normalisation import normalise_words

_PART = 500  # characters


@dataclass(frozen=True)
class WordCounts:
    """Numbers of words in the alignment of a transcript with its reference."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def reference_words(self) -> int:
        """Words of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Errors per reference word; without reference words 0 if the transcript is empty, too, else infinity.

        >>> WordCounts(hits=2, substitutions=1, deletions=1, insertions=1).wer
        0.75
        """
        if self.reference_words:
            return self.errors / self.reference_words
        return math.inf if self.insertions else 0.0


def is_loop(transcript: str) -> bool:
    """Whether a recogniser said the same again and again: zlib shortens its text more than 2.4 times, as in Whisper.

    Whisper's own decoder calls that a failure of a piece of 30 s and draws another text. Here decoding is fixed, and
    one loop can add as many errors as fifty wrong words, so loops are counted. A longer text is looked at in parts of
    about 30 s of speech, since any long text can be shortened.

    >>> is_loop("I can see now that the children of the children" + " of the children" * 20), is_loop("no, no, no")
    (True, False)
    """
    text = transcript.strip().encode()
    parts = (text[start : start + _PART] for start in range(0, max(1, len(text) - _PART // 2), _PART // 2))
    return any(len(part) > 2.4 * len(zlib.compress(part)) for part in parts)


def count_words(reference: str, transcript: str) -> WordCounts:
    """Align a transcript with its reference by the fewest errors (Levenshtein, through jiwer).

    Both are normalised first, see `normalise_words`.

    Raises:
        MissingExtra: if jiwer or whisper-normalizer is not installed.
    """
    jiwer = require_extra("jiwer", "metrics")
    reference_words, words = normalise_words(reference), normalise_words(transcript)
    if not reference_words or not words:
        return WordCounts(hits=0, substitutions=0, deletions=len(reference_words), insertions=len(words))
    alignment = jiwer.process_words(" ".join(reference_words), " ".join(words))
    return WordCounts(alignment.hits, alignment.substitutions, alignment.deletions, alignment.insertions)
