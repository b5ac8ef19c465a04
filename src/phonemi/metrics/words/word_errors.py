"""Word errors of a transcript against its reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

from phonemi.errors import require_extra
from phonemi.metrics.words.normalisation import normalise_words


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
