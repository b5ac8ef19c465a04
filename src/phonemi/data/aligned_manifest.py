"""Recordings, with or without transcripts -> the same with phones, and what became of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
# Starting a process and loading its models takes seconds.
_WORTH_PROCESSES = 50


class Aligned(NamedTuple):
    """What became of a manifest."""

    recordings: list[Recording]  # all of them, in their order
    reasons: dict[str, str]  # by id, why a recording has no phones, in one line
    pronounced: dict[str, tuple[str, ...]]  # words that were not in the dictionary, with the phones assumed
    decoded: dict[str, str]  # by id, why the phones of a recording are decoded and not aligned, in one line


def align_manifest(
    recordings: Iterable[Recording],
    progress: Callable[[int, int], None] | None = None,
    decode_untranscribed: bool = False,
    processes: int = 1,
) -> Aligned:
    """Add phones to every recording that has none; those that have some are passed through.

    Words that the dictionary lacks are pronounced by espeak-ng where it is installed (the extra `synth`).

    Args:
        recordings: with transcripts, or without.
        progress: called with (done, total) after every recording that had no phones.
        decode_untranscribed: decode the phones of what has no transcript, or none that can be aligned.
        processes: 1 works in this process; more are spawned when at least 50 recordings wait.

    Raises:
        MissingExtra: if pocketsphinx is not installed.
        PhonemiError: if a process dies.
    """
    require_extra("pocketsphinx", "eval")  # here, since a process that fails to start cannot say why
    recordings = list(recordings)
    aligned = Aligned([], {}, {}, {})
    without_phones = [recording for recording in recordings if not recording.phones]
    waiting = [recording for recording in without_phones if recording.text or decode_untranscribed]
    done = 0
    used = processes if len(waiting) >= _WORTH_PROCESSES else 1
    with Workers(_Labeller(decode_untranscribed).label, used, "aligning") as workers:
        labelled = workers.over((recording,) for recording in waiting)
        for recording in recordings:
            if recording.phones:
                aligned.recordings.append(recording)
                continue
            outcome = _Labelled(recording, _NO_TRANSCRIPT, {})
            if recording.text or decode_untranscribed:
                outcome = next(labelled)
            aligned.recordings.append(outcome.recording)
            aligned.pronounced.update(outcome.pronounced)
            if outcome.not_aligned:
                (aligned.decoded if outcome.recording.phones else aligned.reasons)[recording.id] = outcome.not_aligned
            done += 1
            if progress is not None:
                progress(done, len(without_phones))
    return aligned


class _Labelled(NamedTuple):
    """A recording, with phones where some were found; why they are not aligned ones; words pronounced on the way."""

    recording: Recording
    not_aligned: str | None
    pronounced: dict[str, tuple[str, ...]]


class _Labeller:
    """Aligns recordings, and decodes those that it cannot align if `decode_untranscribed`.

    Its models are loaded by the process that works with them.
    """

    def __init__(self, decode_untranscribed: bool) -> None:
        self._decodes = decode_untranscribed

    @cached_property
    def _aligner(self) -> PocketsphinxAligner:
        return PocketsphinxAligner(_espeak_pronunciation())

    @cached_property
    def _loop(self) -> PocketsphinxPhoneLoop:
        return PocketsphinxPhoneLoop()

    def label(self, recording: Recording) -> _Labelled:
        waveform, not_aligned, before = None, None, set(self._aligner.pronounced)
        try:
            waveform = audio.load(recording.path)
            if not recording.text:
                raise DataError(_NO_TRANSCRIPT)
            recording = _with_phones(recording, self._aligner.align(waveform, recording.text))
        except PhonemiError as error:
            not_aligned = str(error)
        if not_aligned and self._decodes and waveform is not None:
            try:
                recording = _with_phones(recording, self._loop.decode(waveform))
            except PhonemiError as error:
                not_aligned = str(error)
        words = self._aligner.pronounced
        return _Labelled(recording, not_aligned, {word: words[word] for word in words.keys() - before})


def _with_phones(recording: Recording, phones: Sequence[Interval]) -> Recording:
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
