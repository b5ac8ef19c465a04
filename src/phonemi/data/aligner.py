"""Waveform `[sample]` and its transcript -> phone intervals in seconds, on a 10 ms grid, by forced alignment.

The aligner is pocketsphinx with the American English model and dictionary that its package brings: no download, no
GPU, about thirty times faster than real time on one core.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from phonemi import audio
from phonemi.data.alignment import check_fit
from phonemi.data.manifest import Interval, Recording
from phonemi.errors import DataError, PhonemiError, require_extra

_FRAMES_PER_S = 100
_SAMPLE_RATE = 16_000
# Shorter than three states of one phone there is nothing to align.
_MINIMUM_S = 0.1


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
        duration_s = len(waveform) / _SAMPLE_RATE
        if duration_s < _MINIMUM_S:
            raise DataError(f"{duration_s:.3f} s of audio cannot be aligned, at least {_MINIMUM_S} s are needed")
        samples = (np.clip(waveform, -1, 1) * 32767).astype("<i2")
        if not samples.any():
            raise DataError("silent audio cannot be aligned")
        try:
            # The words first; then the phones within each word.
            self._decoder.set_align_text(" ".join(words))
            self._decode(samples)
            self._decoder.set_alignment()
            self._decode(samples)
            phones = list(self._decoder.get_alignment().phones())
        except RuntimeError:
            # A decoder that failed refuses all later work.
            self._decoder = self._new_decoder()
            for word, added in self.pronounced.items():
                self._decoder.add_word(word, " ".join(added), True)
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

    def _decode(self, samples: np.ndarray) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()


class Aligned(NamedTuple):
    """What became of a manifest."""

    recordings: list[Recording]  # all of them, in their order
    reasons: dict[str, str]  # by id, why a recording has no phones, in one line
    pronounced: dict[str, tuple[str, ...]]  # words that were not in the dictionary, with the phones assumed


def align_manifest(recordings: Iterable[Recording], progress: Callable[[int, int], None] | None = None) -> Aligned:
    """Add phones to every recording that has none; those that have some are passed through.

    Words that the dictionary lacks are pronounced by espeak-ng where it is installed (the extra `synth`).

    Args:
        recordings: with transcripts.
        progress: called with (done, total) after every recording.

    Raises:
        MissingExtra: if pocketsphinx is not installed.
    """
    recordings = list(recordings)
    aligner = PocketsphinxAligner(_espeak_pronunciation())
    aligned: list[Recording] = []
    reasons: dict[str, str] = {}
    for done, recording in enumerate(recordings, start=1):
        try:
            aligned.append(recording if recording.phones else _aligned(aligner, recording))
        except PhonemiError as error:
            reasons[recording.id] = str(error)
            aligned.append(recording)
        if progress is not None:
            progress(done, len(recordings))
    return Aligned(aligned, reasons, aligner.pronounced)


def _espeak_pronunciation() -> Callable[[str], list[str]] | None:
    """American pronunciations by espeak-ng, or None where it is not installed."""
    from phonemi.data.corpora.espeak import Espeak, Voice, phone_intervals

    try:
        espeak = Espeak()
    except PhonemiError:
        return None
    voice = Voice("en-us")

    def pronounce(word: str) -> list[str]:
        intervals = phone_intervals(espeak.speak(word, voice), voice.language)
        return [interval.phone for interval in intervals if interval.phone != "SIL"]

    return pronounce


def _aligned(aligner: PocketsphinxAligner, recording: Recording) -> Recording:
    if not recording.text:
        raise DataError("no transcript")
    phones = aligner.align(audio.load(recording.path), recording.text)
    recording = replace(recording, phones=tuple(phones))
    check_fit(recording)
    return recording
