"""Phone intervals of English speech on a 10 ms grid, by pocketsphinx.

With a transcript by forced alignment; without one by a phone loop, which is much less accurate. The American English
models come with the package: no download, no GPU, twenty to thirty times faster than real time on one core.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from phonemi.constants import SAMPLE_RATE
from phonemi.data.alignment import phone_class
from phonemi.data.manifest import Interval
from phonemi.errors import DataError, require_extra

_FRAMES_PER_S = 100
_MIN_DURATION_S = 0.1  # shorter audio has not enough frames for the three states of a phone
# The search ends at the last complete phone, a few frames before the audio does; if it ends earlier, it has failed.
_MAX_MISSING_FRAMES = 5


class PocketsphinxAligner:
    """Forced alignment of English speech; one object aligns any number of recordings, one at a time.

    Args:
        pronounce: gives the ARPAbet phones of a word that is not in the dictionary; None refuses such words.

    Attributes:
        pronunciations: the phones that `pronounce` gave, by word.

    Raises:
        MissingExtra: if pocketsphinx is not installed.
    """

    def __init__(self, pronounce: Callable[[str], Sequence[str]] | None = None) -> None:
        self._pocketsphinx = require_extra("pocketsphinx", "eval")
        self._decoder = self._new_decoder()
        self._pronounce = pronounce
        self.pronunciations: dict[str, tuple[str, ...]] = {}

    def align(self, waveform: np.ndarray, text: str) -> list[Interval]:
        """Find the interval of each phone of `text`.

        Args:
            waveform: float32 `[sample]` at 16 kHz, full scale 1.
            text: transcript; case and punctuation do not matter, numbers must be words.

        Returns:
            Phones and silences without gaps, from 0 s to the last whole 10 ms; labels of `alignment.PHONES`, or
            "+NSN+" and "+SPN+" for noises.

        Raises:
            DataError: if a word has no pronunciation, the text is empty, the audio is silent or shorter than 0.1 s, or
                no alignment is found.
        """
        words = self._words(text)
        samples = _samples(waveform, "aligned")
        try:
            self._decoder.reinit_feat()  # forget the noise estimate, or the phones would depend on earlier recordings
            # First align the words, then the phones within each word.
            self._decoder.set_align_text(" ".join(words))
            _process(self._decoder, samples)
            self._decoder.set_alignment()
            _process(self._decoder, samples)
            phones = list(self._decoder.get_alignment().phones())
        except RuntimeError:
            # A decoder that has failed cannot be used again.
            self._decoder = self._new_decoder()
            for word, pronunciation in self.pronunciations.items():
                self._decoder.add_word(word, " ".join(pronunciation), True)
            duration_s = len(waveform) / SAMPLE_RATE
            raise DataError(f"no alignment found of {len(words)} words with {duration_s:.2f} s of audio") from None
        return [
            Interval(phone.start / _FRAMES_PER_S, (phone.start + phone.duration) / _FRAMES_PER_S, phone.name)
            for phone in phones
        ]

    def _words(self, text: str) -> list[str]:
        """The words of a transcript as the dictionary spells them; unknown words are added to it.

        Raises:
            DataError: naming the words without a pronunciation.
        """
        words, unknown = [], set()
        for token in re.sub(r"[^\w']+", " ", text.lower().replace("’", "'")).split():
            # "'em" is a word; the apostrophes of 'yes' are quotation marks.
            bare = token.strip("'")
            if bare:
                word = next(filter(self._decoder.lookup_word, (token, bare)), None)
                words.append(word or bare)
                unknown |= {bare} if word is None else set()
        if unknown and self._pronounce is None:
            raise DataError(f"not in the pronunciation dictionary: {', '.join(sorted(unknown))}")
        for word in sorted(unknown):
            phones = tuple(self._pronounce(word)) if self._pronounce else ()
            if not phones:
                raise DataError(f"not in the pronunciation dictionary, and without a pronunciation: {word}")
            self._decoder.add_word(word, " ".join(phones), True)
            self.pronunciations[word] = phones
        if not words:
            raise DataError("the transcript has no word")
        return words

    def _new_decoder(self) -> Any:
        # With bestpath some words get fewer frames than their phones have states, and the second pass fails
        # (github.com/cmusphinx/pocketsphinx/pull/500). Batch normalisation does not depend on earlier recordings.
        return self._pocketsphinx.Decoder(lm=None, samprate=SAMPLE_RATE, bestpath=False, cmn="batch", loglevel="FATAL")


class PocketsphinxPhoneLoop:
    """Phones of English speech without a transcript: any phone may follow any other, weighted by phone trigrams.

    Weights and beams are those that agreed best with forced alignments of 30 LibriSpeech speakers (docs/method.md).
    With a phone language model the insertion penalty has no effect; the acoustic model sets the normalisation.

    Raises:
        MissingExtra: if pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        self._pocketsphinx = require_extra("pocketsphinx", "eval")
        self._decoder = self._new_decoder()

    def decode(self, waveform: np.ndarray) -> list[Interval]:
        """Estimate the phones and their intervals.

        Args:
            waveform: float32 `[sample]` at 16 kHz, full scale 1.

        Returns:
            Phones and silences without gaps, from 0 s to the last whole 10 ms; labels as those of
            `PocketsphinxAligner.align`.

        Raises:
            DataError: if the audio is silent or shorter than 0.1 s, there is no phone in it, or the search ends before
                the audio does.
        """
        samples = _samples(waveform, "decoded")
        duration_s, frames = len(waveform) / SAMPLE_RATE, len(samples) * _FRAMES_PER_S // SAMPLE_RATE
        try:
            self._decoder.reinit_feat()  # forget the noise estimate, or the phones would depend on earlier recordings
            _process(self._decoder, samples)
            segments = list(self._decoder.seg() or ())
        except RuntimeError:
            segments = []
        ends = [segment.end_frame + 1 for segment in segments]
        decoded_frames = ends[-1] if ends else 0
        if decoded_frames < frames - _MAX_MISSING_FRAMES:
            self._decoder = self._new_decoder()
            raise DataError(f"phones found in only {decoded_frames / _FRAMES_PER_S:.2f} of {duration_s:.2f} s of audio")
        if not any(phone_class(segment.word) for segment in segments):
            raise DataError(f"no phone found in {duration_s:.2f} s of audio")
        ends[-1] = frames
        return [
            Interval(segment.start_frame / _FRAMES_PER_S, end / _FRAMES_PER_S, segment.word)
            for segment, end in zip(segments, ends, strict=True)
        ]

    def _new_decoder(self) -> Any:
        return self._pocketsphinx.Decoder(
            allphone=self._pocketsphinx.get_model_path("en-us/en-us-phone.lm.bin"),
            lm=None,
            samprate=SAMPLE_RATE,
            lw=1.0,
            beam=1e-20,
            pbeam=1e-20,
            loglevel="FATAL",
        )


def _samples(waveform: np.ndarray, purpose: Literal["aligned", "decoded"]) -> np.ndarray:
    """The waveform as 16-bit samples.

    Raises:
        DataError: if it is silent or too short.
    """
    duration_s = len(waveform) / SAMPLE_RATE
    if duration_s < _MIN_DURATION_S:
        raise DataError(f"{duration_s:.3f} s of audio cannot be {purpose}, at least {_MIN_DURATION_S} s are needed")
    samples: np.ndarray = (np.clip(waveform, -1, 1) * 32767).astype("<i2")
    if not samples.any():
        raise DataError(f"silent audio cannot be {purpose}")
    return samples


def _process(decoder: Any, samples: np.ndarray) -> None:
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
