"""Waveform `[sample]`, with or without its transcript -> phone intervals in seconds, on a 10 ms grid.

With one by forced alignment, without one by a phone loop, which is much less accurate. Both are pocketsphinx with the
American English models that its package brings: no download, no GPU, twenty to thirty times faster than real time on
one core.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from phonemi.data.alignment import phone_class
from phonemi.data.manifest import Interval
from phonemi.errors import DataError, require_extra

_FRAMES_PER_S = 100
_SAMPLE_RATE = 16_000
# Shorter than three states of one phone there is nothing to align.
_MINIMUM_S = 0.1
# The search may end a few frames early, where no phone is complete; earlier than that it has lost its way.
_MISSING_FRAMES = 5


class PocketsphinxAligner:
    """Forced alignment of English speech; one instance serves any number of recordings, one at a time.

    Args:
        pronounce: gives the ARPAbet phones of a word that the dictionary lacks; None refuses such words.

    Attributes:
        pronounced: the words that `pronounce` was asked for, with their phones.

    Raises:
        MissingExtra: if pocketsphinx is not installed.
    """

    def __init__(self, pronounce: Callable[[str], Sequence[str]] | None = None) -> None:
        self._pocketsphinx = require_extra("pocketsphinx", "eval")
        self._decoder = self._new_decoder()
        self._pronounce = pronounce
        self.pronounced: dict[str, tuple[str, ...]] = {}

    def align(self, waveform: np.ndarray, text: str) -> list[Interval]:
        """Find when each phone of `text` is said.

        Args:
            waveform: float32 `[sample]` at 16 kHz, full scale 1.
            text: what is said in it; case and punctuation do not matter, numbers must be words.

        Returns:
            phones and silences without gaps, from 0 s to the last whole 10 ms; labels of `alignment.PHONES`, or
            "+NSN+" and "+SPN+" for noises.

        Raises:
            DataError: if a word is neither in the dictionary nor pronounced, the text is empty, the audio is silent or
                shorter than 0.1 s, or no alignment is found.
        """
        words = self._words(text)
        samples = _samples(waveform, "aligned")
        try:
            _forget(self._decoder)
            # The words first; then the phones within each word.
            self._decoder.set_align_text(" ".join(words))
            _process(self._decoder, samples)
            self._decoder.set_alignment()
            _process(self._decoder, samples)
            phones = list(self._decoder.get_alignment().phones())
        except RuntimeError:
            # A decoder that failed refuses all later work.
            self._decoder = self._new_decoder()
            for word, added in self.pronounced.items():
                self._decoder.add_word(word, " ".join(added), True)
            duration_s = len(waveform) / _SAMPLE_RATE
            raise DataError(f"no alignment found of {len(words)} words with {duration_s:.2f} s of audio") from None
        return [
            Interval(phone.start / _FRAMES_PER_S, (phone.start + phone.duration) / _FRAMES_PER_S, phone.name)
            for phone in phones
        ]

    def _words(self, text: str) -> list[str]:
        """Dictionary words of a transcript.

        Raises:
            DataError: naming the words that are not in the dictionary.
        """
        tokens = re.sub(r"[^\w']+", " ", text.lower().replace("’", "'")).split()
        # "'em" is a word; the apostrophes of 'yes' are quotation marks.
        known = [next(filter(self._decoder.lookup_word, (token, token.strip("'"))), None) for token in tokens]
        spoken = [(token.strip("'"), word) for token, word in zip(tokens, known, strict=True) if token.strip("'")]
        unknown = sorted({token for token, word in spoken if word is None})
        if unknown and self._pronounce is None:
            raise DataError(f"not in the pronunciation dictionary: {', '.join(unknown)}")
        for token in unknown:
            self._add(token)
        words = [word or token for token, word in spoken]
        if not words:
            raise DataError("the transcript has no word")
        return words

    def _add(self, word: str) -> None:
        phones = tuple(self._pronounce(word)) if self._pronounce else ()
        if not phones:
            raise DataError(f"not in the pronunciation dictionary, and without a pronunciation: {word}")
        self._decoder.add_word(word, " ".join(phones), True)
        self.pronounced[word] = phones

    def _new_decoder(self) -> Any:
        # bestpath gives some words fewer frames than their phones have states, and the second pass then fails
        # (github.com/cmusphinx/pocketsphinx/pull/500). Batch normalisation: no memory of the recordings before.
        return self._pocketsphinx.Decoder(lm=None, samprate=_SAMPLE_RATE, bestpath=False, cmn="batch", loglevel="FATAL")


class PocketsphinxPhoneLoop:
    """Phones of English speech whose words are not known: any phone may follow any other, weighed by phone trigrams.

    Weights and beams are those that agreed best with forced alignments of 30 LibriSpeech speakers (docs/method.md).
    The insertion penalty plays no part beside a phone language model, and the acoustic model sets the normalisation.

    Raises:
        MissingExtra: if pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        self._pocketsphinx = require_extra("pocketsphinx", "eval")
        self._decoder = self._new_decoder()

    def decode(self, waveform: np.ndarray) -> list[Interval]:
        """Guess which phones are said, and when.

        Args:
            waveform: float32 `[sample]` at 16 kHz, full scale 1.

        Returns:
            phones and silences without gaps, from 0 s to the last whole 10 ms; labels as those of
            `PocketsphinxAligner.align`.

        Raises:
            DataError: if the audio is silent or shorter than 0.1 s, there is no phone in it, or the search ends before
                the audio does.
        """
        samples = _samples(waveform, "decoded")
        frames = len(samples) * _FRAMES_PER_S // _SAMPLE_RATE
        try:
            _forget(self._decoder)
            _process(self._decoder, samples)
            found = [
                (segment.start_frame, segment.end_frame + 1, segment.word) for segment in self._decoder.seg() or ()
            ]
        except RuntimeError:
            found = []
        duration_s, decoded_frames = len(waveform) / _SAMPLE_RATE, found[-1][1] if found else 0
        if decoded_frames < frames - _MISSING_FRAMES:
            self._decoder = self._new_decoder()
            raise DataError(f"phones found in only {decoded_frames / _FRAMES_PER_S:.2f} of {duration_s:.2f} s of audio")
        if not any(phone_class(phone) for *_, phone in found):
            raise DataError(f"no phone found in {duration_s:.2f} s of audio")
        found[-1] = (found[-1][0], frames, found[-1][2])
        return [Interval(start / _FRAMES_PER_S, end / _FRAMES_PER_S, phone) for start, end, phone in found]

    def _new_decoder(self) -> Any:
        return self._pocketsphinx.Decoder(
            allphone=self._pocketsphinx.get_model_path("en-us/en-us-phone.lm.bin"),
            lm=None,
            samprate=_SAMPLE_RATE,
            lw=1.0,
            beam=1e-20,
            pbeam=1e-20,
            loglevel="FATAL",
        )


def _samples(waveform: np.ndarray, purpose: Literal["aligned", "decoded"]) -> np.ndarray:
    """16-bit samples, as long as there is something to find in them."""
    duration_s = len(waveform) / _SAMPLE_RATE
    if duration_s < _MINIMUM_S:
        raise DataError(f"{duration_s:.3f} s of audio cannot be {purpose}, at least {_MINIMUM_S} s are needed")
    samples = (np.clip(waveform, -1, 1) * 32767).astype("<i2")
    if not samples.any():
        raise DataError(f"silent audio cannot be {purpose}")
    return samples


def _forget(decoder: Any) -> None:
    """Drop the estimate of the noise, or the phones would depend on the recordings before."""
    decoder.reinit_feat()


def _process(decoder: Any, samples: np.ndarray) -> None:
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
