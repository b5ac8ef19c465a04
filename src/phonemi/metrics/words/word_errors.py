"""Word errors of a transcript against its reference, and the word error rate of a corpus with its interval."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phonemi.errors import DataError, require_extra
from phonemi.metrics.statistics import PairedDifference, bootstrap_interval, paired_ratio
from phonemi.metrics.words.recogniser import Failure


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


def normalise_words(text: str) -> list[str]:
    """Lower-case words without punctuation, so that differences in spelling do not count as errors.

    Hyphens and dashes separate words; apostrophes inside a word stay; accents are dropped; digits are left as digits.

    >>> normalise_words("“Well-known,” said O’Brien: 'tis Zoë!")
    ['well', 'known', 'said', "o'brien", 'tis', 'zoe']
    """
    text = unicodedata.normalize("NFKD", text.replace("’", "'").replace("‘", "'")).lower()
    text = "".join(character for character in text if not unicodedata.combining(character))
    text = re.sub(r"[-‐‑‒–—―/\s]+", " ", text)
    words = (re.sub(r"[^\w']|_", "", word).strip("'") for word in text.split())
    return [word for word in words if word]


def count_words(reference: str, transcript: str, normalise: Callable[[str], list[str]] = normalise_words) -> WordCounts:
    """Align a transcript with its reference by the fewest errors (Levenshtein, through jiwer).

    Args:
        reference: text that was spoken.
        transcript: text that the recogniser heard.
        normalise: turns both texts into words; that of the recogniser.

    Raises:
        MissingExtra: if jiwer is not installed.
    """
    jiwer = require_extra("jiwer", "eval")
    reference_words, words = normalise(reference), normalise(transcript)
    if not reference_words or not words:
        return WordCounts(hits=0, substitutions=0, deletions=len(reference_words), insertions=len(words))
    alignment = jiwer.process_words(" ".join(reference_words), " ".join(words))
    return WordCounts(alignment.hits, alignment.substitutions, alignment.deletions, alignment.insertions)


def corpus_wer(
    counts: Sequence[WordCounts | Failure],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Word error rate over all words of a corpus (not a mean of utterance rates), with a 95 % bootstrap interval.

    Args:
        counts: one per utterance; a `Failure` is counted in `wer_total` and `wer_reasons`.
        clusters: one label per utterance, usually its speaker: resampled instead of utterances.
        seed: of the bootstrap.
        resamples: number of bootstrap samples.

    Returns:
        `wer`, `wer_low`, `wer_high`, `wer_insertions` (invented words per reference word), `wer_scored`, `wer_total`,
        `wer_words`, and `wer_reasons` if any utterance failed. NaN without reference words.

    Raises:
        DataError: if `clusters` has another length than `counts`.
    """
    scored = [count for count in counts if isinstance(count, WordCounts)]
    errors = [count.errors if isinstance(count, WordCounts) else 0 for count in counts]
    words = [count.reference_words if isinstance(count, WordCounts) else 0 for count in counts]
    low, high = bootstrap_interval(errors, words, clusters=clusters, seed=seed, resamples=resamples)
    total_words = sum(words)
    row = {
        "wer": sum(errors) / total_words if total_words else math.nan,
        "wer_low": low,
        "wer_high": high,
        "wer_insertions": sum(count.insertions for count in scored) / total_words if total_words else math.nan,
        "wer_scored": len(scored),
        "wer_total": len(counts),
        "wer_words": total_words,
    }
    reasons = Counter(count.reason for count in counts if isinstance(count, Failure))
    return {**row, "wer_reasons": dict(reasons.most_common())} if reasons else row


def paired_wer_difference(
    a: Sequence[WordCounts | Failure],
    b: Sequence[WordCounts | Failure],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> PairedDifference:
    """Corpus word error rate of a minus that of b, over the utterances that both systems transcribed.

    Args as for `phonemi.metrics.statistics.paired_difference`.

    Raises:
        DataError: if the lengths or the numbers of reference words differ.
    """
    if len(a) != len(b):
        raise DataError(f"paired WER of {len(a)} and {len(b)} utterances: give both systems the same utterances")
    differences, words = np.zeros(len(a)), np.zeros(len(a))
    for index, (first, second) in enumerate(zip(a, b, strict=True)):
        if isinstance(first, Failure) or isinstance(second, Failure):
            continue
        if first.reference_words != second.reference_words:
            raise DataError(
                f"paired WER: utterance {index} has {first.reference_words} and {second.reference_words} reference "
                "words: give both systems the same utterances"
            )
        differences[index], words[index] = first.errors - second.errors, first.reference_words
    return paired_ratio(differences, words, clusters=clusters, seed=seed, resamples=resamples)
