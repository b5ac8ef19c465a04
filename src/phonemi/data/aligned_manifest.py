"""Add phones to the recordings of a manifest, by alignment or by decoding, and say why some could not get any."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from phonemi import audio
from phonemi.data.aligner import PocketsphinxAligner, PocketsphinxPhoneLoop
from phonemi.data.alignment import check_fit
from phonemi.data.manifest import Interval, Recording
from phonemi.errors import DataError, PhonemiError, require_extra
from phonemi.workers import Workers

_NO_TRANSCRIPT = "no transcript"
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
        processes: 1 works in this process; more are started when at least 50 recordings have no phones.

    Raises:
        MissingExtra: if pocketsphinx is not installed.
        PhonemiError: if a process dies.
    """
    require_extra("pocketsphinx", "eval")  # here, because a process that cannot start cannot say why
    recordings = list(recordings)
    result = AlignedManifest([], {}, {}, {})
    without_phones = [recording for recording in recordings if not recording.phones]
    to_label = [recording for recording in without_phones if recording.text or decode_untranscribed]
    processes = processes if len(to_label) >= _MIN_RECORDINGS_FOR_PROCESSES else 1
    done = 0
    with Workers(_Labeller(decode_untranscribed).label, processes, "aligning") as workers:
        outcomes = workers.over((recording,) for recording in to_label)
        for recording in recordings:
            if recording.phones:
                result.recordings.append(recording)
                continue
            if recording.text or decode_untranscribed:
                outcome = next(outcomes)
            else:
                outcome = _Outcome(recording, _NO_TRANSCRIPT, {})
            result.recordings.append(outcome.recording)
            result.pronunciations.update(outcome.pronunciations)
            if outcome.problem is not None:
                (result.decoded if outcome.recording.phones else result.failures)[recording.id] = outcome.problem
            done += 1
            if progress is not None:
                progress(done, len(without_phones))
    return result


class _Outcome(NamedTuple):
    recording: Recording  # with phones, if possible
    problem: str | None  # why it could not be aligned
    pronunciations: dict[str, tuple[str, ...]]  # of the words that were new


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

    def label(self, recording: Recording) -> _Outcome:
        waveform, problem, words_before = None, None, set(self._aligner.pronunciations)
        try:
            waveform = audio.load(recording.path)
            if not recording.text:
                raise DataError(_NO_TRANSCRIPT)
            recording = _with_phones(recording, self._aligner.align(waveform, recording.text))
        except PhonemiError as error:
            problem = str(error)
        if problem and self._decode_untranscribed and waveform is not None:
            try:
                recording = _with_phones(recording, self._phone_loop.decode(waveform))
            except PhonemiError as error:
                problem = str(error)
        pronunciations = self._aligner.pronunciations
        new_words = pronunciations.keys() - words_before
        return _Outcome(recording, problem, {word: pronunciations[word] for word in new_words})


def _with_phones(recording: Recording, phones: list[Interval]) -> Recording:
    recording = replace(recording, phones=tuple(phones))
    check_fit(recording)
    return recording


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
