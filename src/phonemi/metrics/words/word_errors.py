"""Waveform [sample] and its transcript -> the words a recogniser hears, and the word error rate of a corpus."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from phonemi.errors import AudioError, DataError, PhonemiError, require_extra
from phonemi.metrics.statistics import PairedDifference, bootstrap_interval, paired_ratio
from phonemi.workers import Workers


class Recogniser(Protocol):
    """Anything that turns speech into words; picklable, if it is to be used with several processes."""

    @property
    def name(self) -> str:
        """What to call it in a report."""

    @property
    def settings(self) -> dict[str, Any]:
        """JSON: all that its output depends on."""

    def transcribe(self, waveform: NDArray[np.float32]) -> str:
        """Words in `[sample]` at 16 kHz; the same waveform always gives the same words."""

    def normalise(self, text: str) -> list[str]:
        """Words of a transcript, spelt so that they can be compared with those of a reference treated alike."""


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be transcribed, and why."""

    reason: str


@runtime_checkable
class BatchRecogniser(Protocol):
    """What a recogniser has besides if it is too large to be in memory several times: it stays in this process."""

    batch: int  # waveforms that it is given together

    def transcribe_batch(self, waveforms: Sequence[NDArray[np.float32]]) -> list[str | Failure]:
        """What `transcribe` gives for each, in order; a `Failure` where that raises an `AudioError`."""


@dataclass(frozen=True)
class WordCounts:
    """Alignment of one hypothesis with its reference, in words."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def reference_words(self) -> int:
        """Words that were said."""
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Errors per reference word; without reference words 0 if nothing was heard, else infinity.

        >>> WordCounts(hits=2, substitutions=1, deletions=1, insertions=1).wer
        0.75
        """
        if self.reference_words:
            return self.errors / self.reference_words
        return math.inf if self.insertions else 0.0


def normalise_words(text: str) -> list[str]:
    """Lower-case words without punctuation, so that spelling habits do not count as errors.

    Hyphens and dashes separate words; apostrophes inside a word stay; accents are dropped; digits are left as digits.

    >>> normalise_words("“Well-known,” said O’Brien: 'tis Zoë!")
    ['well', 'known', 'said', "o'brien", 'tis', 'zoe']
    """
    text = unicodedata.normalize("NFKD", text.replace("’", "'").replace("‘", "'")).lower()
    text = "".join(character for character in text if not unicodedata.combining(character))
    text = re.sub(r"[-‐‑‒–—―/\s]+", " ", text)
    words = (re.sub(r"[^\w']|_", "", word).strip("'") for word in text.split())
    return [word for word in words if word]


def count_words(reference: str, hypothesis: str, normalise: Callable[[str], list[str]] = normalise_words) -> WordCounts:
    """Align two transcripts with the fewest errors (Levenshtein, through jiwer).

    Args:
        reference: what was said.
        hypothesis: what was heard.
        normalise: text -> words, for both of them; that of the recogniser.

    Raises:
        MissingExtra: if jiwer is not installed.
    """
    jiwer = require_extra("jiwer", "eval")
    said, heard = normalise(reference), normalise(hypothesis)
    if not said or not heard:
        return WordCounts(hits=0, substitutions=0, deletions=len(said), insertions=len(heard))
    alignment = jiwer.process_words(" ".join(said), " ".join(heard))
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
        `wer`, `wer_low`, `wer_high`, `wer_insertions` (per reference word: words that were never said), `wer_scored`,
        `wer_total`, `wer_words`, and `wer_reasons` when any utterance failed. NaN without reference words.

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
    """Corpus word error rate of a minus that of b, over the utterances that both systems have.

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
            found = f"{first.reference_words} and {second.reference_words} reference words"
            raise DataError(f"paired WER: utterance {index} has {found}: give both systems the same utterances")
        differences[index], words[index] = first.errors - second.errors, first.reference_words
    return paired_ratio(differences, words, clusters=clusters, seed=seed, resamples=resamples)


def checked(waveform: NDArray[np.float32]) -> NDArray[Any]:
    """The waveform, if it can be transcribed.

    Raises:
        AudioError: if a sample is not finite.
        DataError: if it is not `[sample]`.
    """
    waveform = np.asarray(waveform)
    if waveform.ndim != 1:
        raise DataError(f"waveform {list(waveform.shape)} to transcribe must be [sample]")
    if not np.isfinite(waveform).all():
        raise AudioError("waveform not finite")
    return waveform


def transcribe_all(
    recogniser: Recogniser,
    waveforms: Iterable[NDArray[np.float32]],
    processes: int = 2,
    progress: Callable[[int], None] | None = None,
) -> list[str | Failure]:
    """Transcribe many waveforms, in order; an utterance that cannot be transcribed becomes a `Failure`.

    Args:
        recogniser: what to listen with; sent to every process once.
        waveforms: `[sample]` at 16 kHz each; taken lazily, a few ahead of the work, so a generator keeps memory flat.
        processes: 1 works in this process; more are spawned, though never for a `BatchRecogniser`.
        progress: called with the number of utterances done so far, after each.

    Raises:
        MissingExtra: if the recogniser's package is not installed.
        PhonemiError: if a process dies.
    """
    transcripts = []
    with Workers(partial(_transcribe, recogniser), processes, recogniser.name) as workers:
        if isinstance(recogniser, BatchRecogniser):
            outcomes = _in_batches(recogniser, waveforms)
        else:
            outcomes = workers.over((waveform,) for waveform in waveforms)
        for outcome in outcomes:
            transcripts.append(outcome)
            if progress is not None:
                progress(len(transcripts))
    return transcripts


def _in_batches(recogniser: BatchRecogniser, waveforms: Iterable[NDArray[np.float32]]) -> Iterator[str | Failure]:
    waiting = iter(waveforms)
    while batch := list(itertools.islice(waiting, recogniser.batch)):
        yield from recogniser.transcribe_batch(batch)


def _transcribe(recogniser: Recogniser, waveform: NDArray[np.float32]) -> str | Failure:
    try:
        return recogniser.transcribe(waveform)
    except AudioError as error:
        return Failure(str(error))
    except PhonemiError:
        raise  # a missing package or a wrong grammar fails everywhere
    except Exception as error:
        return Failure(f"{recogniser.name} failed: {type(error).__name__}")
