"""Phone intervals of English speech on a 10 ms grid, by pocketsphinx: of one recording, or of all in a manifest.

With a transcript by forced alignment; without one by a phone loop, which is much less accurate. The American English
models come with the package: no download, no GPU, twenty to thirty times faster than real time on one core.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from phonemi import audio
from phonemi.constants import SAMPLE_RATE
from phonemi.data.alignment import check_fit, phone_class
from phonemi.data.manifest import Interval, Recording
from phonemi.errors import DataError, PhonemiError, require_extra
from phonemi.tables import duration_text, plural
from phonemi.workers import Workers

_FRAMES_PER_S = 100
# [NOISE], <unk>, (laughter), {LG} and ++uh++ in a transcript say what is heard, and are not spoken.
_TAG = re.compile(r"\[[^]]*\]|<[^>]*>|\([^)]*\)|\{[^}]*\}|(?<!\S)\++[^\s+]+\++(?!\S)")
_MIN_DURATION_S = 0.1  # shorter audio has not enough frames for the three states of a phone
# The search ends at the last complete phone, a few frames before the audio does; if it ends earlier, it has failed.
_MAX_MISSING_FRAMES = 5
# Starting a process and loading its models takes seconds, as long as aligning some tens of recordings.
_MIN_RECORDINGS_FOR_PROCESSES = 50


class AlignedManifest(NamedTuple):
    """The recordings of a manifest after alignment.

    Attributes:
        recordings: all of them, in their order.
        failures: by id, why a recording has no phones.
        pronunciations: words that are not in the dictionary, with the phones assumed for them.
        decoded: by id, why the phones of a recording are decoded and not aligned.
    """

    recordings: list[Recording]
    failures: dict[str, str]
    pronunciations: dict[str, tuple[str, ...]]
    decoded: dict[str, str]


def align_manifest(
    recordings: Iterable[Recording],
    progress: Callable[[int, int], None] | None = None,
    decode_untranscribed: bool = False,
    processes: int = 1,
) -> AlignedManifest:
    """Add phones to every recording that has none; the others stay as they are.

    Words that are not in the dictionary are pronounced by espeak-ng where it is installed (the extra `synth`).

    Args:
        recordings: with transcripts, or without.
        progress: called with (recordings done, recordings to do) after every recording that had no phones.
        decode_untranscribed: decode the phones of a recording without a transcript, or with one that cannot be aligned.
        processes: more than 1 are started only for at least 50 recordings.

    Raises:
        MissingExtra: if pocketsphinx is not installed.
        PhonemiError: if a process dies.
    """
    require_extra("pocketsphinx", "eval")  # here, because a process that cannot start cannot say why
    recordings = list(recordings)
    result = AlignedManifest([], {}, {}, {})
    without_phones = [recording for recording in recordings if not recording.phones]
    work = len(without_phones) if decode_untranscribed else sum(bool(recording.text) for recording in without_phones)
    processes = processes if work >= _MIN_RECORDINGS_FOR_PROCESSES else 1
    done = 0
    with Workers(_Labeller(decode_untranscribed).label, processes, "aligning") as workers:
        outcomes = workers.over((recording,) for recording in without_phones)
        for recording in recordings:
            if recording.phones:
                result.recordings.append(recording)
                continue
            labelled, problem, pronunciations = next(outcomes)
            result.recordings.append(labelled)
            result.pronunciations.update(pronunciations)
            if problem is not None:
                (result.decoded if labelled.phones else result.failures)[recording.id] = problem
            done += 1
            if progress is not None:
                progress(done, len(without_phones))
    return result


class _Recogniser:
    """A decoder of pocketsphinx. One that has failed cannot be used again, so it is made anew."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._reset()

    def _reset(self) -> None:
        pocketsphinx = require_extra("pocketsphinx", "eval")
        self._decoder = pocketsphinx.Decoder(lm=None, samprate=SAMPLE_RATE, loglevel="FATAL", **self._settings)

    def _process(self, samples: np.ndarray) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()


class PocketsphinxAligner(_Recogniser):
    """Forced alignment of English speech; one object aligns any number of recordings, one at a time.

    Args:
        pronounce: gives the ARPAbet phones of a word that is not in the dictionary; None refuses such words.

    Attributes:
        pronunciations: the phones that `pronounce` gave, by word.

    Raises:
        MissingExtra: if pocketsphinx is not installed.
    """

    def __init__(self, pronounce: Callable[[str], Sequence[str]] | None = None) -> None:
        # With bestpath some words get fewer frames than their phones have states, and the second pass fails
        # (github.com/cmusphinx/pocketsphinx/pull/500). Batch normalisation does not depend on earlier recordings.
        super().__init__(bestpath=False, cmn="batch")
        self._pronounce = pronounce
        self.pronunciations: dict[str, tuple[str, ...]] = {}

    def align(self, waveform: np.ndarray, text: str) -> list[Interval]:
        """Find the interval of each phone of `text`.

        Args:
            waveform: float32 `[sample]` at 16 kHz, full scale 1.
            text: transcript; case and punctuation do not matter, numbers must be words. What stands in brackets is not
                spoken: [NOISE], <unk>, (laughter).

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
            self._process(samples)
            self._decoder.set_alignment()
            self._process(samples)
            phones = list(self._decoder.get_alignment().phones())
        except RuntimeError:
            self._reset()
            for word, pronunciation in self.pronunciations.items():
                self._decoder.add_word(word, " ".join(pronunciation), True)
            duration_s = len(waveform) / SAMPLE_RATE
            raise DataError(
                f"no alignment found of {plural(len(words), 'word')} with {duration_text(duration_s)} of audio"
            ) from None
        return [
            Interval(phone.start / _FRAMES_PER_S, (phone.start + phone.duration) / _FRAMES_PER_S, phone.name)
            for phone in phones
        ]

    def _words(self, text: str) -> list[str]:
        """The words of a transcript as the dictionary spells them; unknown words are added to it."""
        words, unknown = [], set()
        for token in re.sub(r"[^\w']+", " ", _TAG.sub(" ", text).lower().replace("’", "'")).split():
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


class PocketsphinxPhoneLoop(_Recogniser):
    """Phones of English speech without a transcript: any phone may follow any other, weighted by phone trigrams.

    Weights and beams are those that agreed best with forced alignments of 30 LibriSpeech speakers (docs/method.md).
    With a phone language model the insertion penalty has no effect; the acoustic model sets the normalisation.

    Raises:
        MissingExtra: if pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        phones = require_extra("pocketsphinx", "eval").get_model_path("en-us/en-us-phone.lm.bin")
        super().__init__(allphone=phones, lw=1.0, beam=1e-20, pbeam=1e-20)

    def decode(self, waveform: np.ndarray) -> list[Interval]:
        """Estimate the phones and their intervals; `waveform` and the result are as in `PocketsphinxAligner.align`.

        Raises:
            DataError: if the audio is silent or shorter than 0.1 s, there is no phone in it, or the search ends before
                the audio does.
        """
        samples = _samples(waveform, "decoded")
        duration_s, frames = len(waveform) / SAMPLE_RATE, len(samples) * _FRAMES_PER_S // SAMPLE_RATE
        try:
            self._decoder.reinit_feat()  # forget the noise estimate, or the phones would depend on earlier recordings
            self._process(samples)
            segments = list(self._decoder.seg() or ())
        except RuntimeError:
            segments = []
        ends = [segment.end_frame + 1 for segment in segments]
        decoded_frames = ends[-1] if ends else 0
        if decoded_frames < frames - _MAX_MISSING_FRAMES:
            self._reset()
            raise DataError(f"phones found in only {decoded_frames / _FRAMES_PER_S:.2f} of {duration_s:.2f} s of audio")
        if not any(phone_class(segment.word) for segment in segments):
            raise DataError(f"no phone found in {duration_s:.2f} s of audio")
        ends[-1] = frames
        return [
            Interval(segment.start_frame / _FRAMES_PER_S, end / _FRAMES_PER_S, segment.word)
            for segment, end in zip(segments, ends, strict=True)
        ]


def _samples(waveform: np.ndarray, purpose: Literal["aligned", "decoded"]) -> np.ndarray:
    """The waveform as 16-bit samples, if it is neither silent nor too short."""
    duration_s = len(waveform) / SAMPLE_RATE
    if duration_s < _MIN_DURATION_S:
        raise DataError(f"{duration_s:.3f} s of audio cannot be {purpose}, at least {_MIN_DURATION_S} s are needed")
    samples: np.ndarray = (np.clip(waveform, -1, 1) * 32767).astype("<i2")
    if not samples.any():
        raise DataError(f"silent audio cannot be {purpose}")
    return samples


class _Labeller:
    """Aligns recordings, and decodes those that it cannot align if `decode_untranscribed`.

    Its models are loaded when they are first used, so each worker process loads its own.
    """

    def __init__(self, decode_untranscribed: bool) -> None:
        self._decode_untranscribed = decode_untranscribed

    @cached_property
    def _aligner(self) -> PocketsphinxAligner:
        return PocketsphinxAligner(_espeak_pronunciation())

    @cached_property
    def _phone_loop(self) -> PocketsphinxPhoneLoop:
        return PocketsphinxPhoneLoop()

    def label(self, recording: Recording) -> tuple[Recording, str | None, dict[str, tuple[str, ...]]]:
        """The recording, with phones if possible; why it could not be aligned; the pronunciations of new words."""
        no_transcript = "no transcript"
        if not (recording.text or self._decode_untranscribed):
            return recording, no_transcript, {}
        waveform, problem, words_before = None, None, set(self._aligner.pronunciations)
        try:
            waveform = audio.load(recording.path)
            if not recording.text:
                raise DataError(no_transcript)
            phones = self._aligner.align(waveform, recording.text)
            recording = check_fit(replace(recording, phones=tuple(phones)))
        except PhonemiError as error:
            problem = str(error)
        if problem and self._decode_untranscribed and waveform is not None:
            try:
                recording = check_fit(replace(recording, phones=tuple(self._phone_loop.decode(waveform))))
            except PhonemiError as error:
                problem = str(error)
        pronunciations = self._aligner.pronunciations.items()
        return recording, problem, {word: phones for word, phones in pronunciations if word not in words_before}


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
