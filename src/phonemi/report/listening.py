"""Folders of noisy and enhanced recordings, clean ones and transcripts if known -> a judged pair for each recording."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from phonemi import audio
from phonemi.data.corpora.folder import prepare_folder
from phonemi.data.manifest import Recording
from phonemi.errors import AudioError
from phonemi.metrics.intrusive import pesq_wb, si_sdr, stoi
from phonemi.metrics.non_intrusive import dnsmos, missing_packages
from phonemi.metrics.score import Score
from phonemi.metrics.words.recogniser import Failure, Recogniser, transcribe_all
from phonemi.metrics.words.word_errors import WordCounts, count_words
from phonemi.progress import Progress

JUDGED_S = 60  # of a longer recording only the beginning is scored, level and clipping are those of all of it
RATE = 16_000  # of everything that is scored
SLACK_S = 0.01  # lengths that differ by less are equal
FULL_SCALE = 1 - 2**-15  # the largest number of 16 bits
ANOTHER_LENGTH = "not as long as the clean recording"
BLOCK_S = 10


@dataclass
class Heard:
    """One recording, listened to once.

    Attributes:
        duration_s: its length.
        level_db: root mean square in dB re full scale, minus infinity for silence.
        clipped: share of the samples at full scale.
        scores: by key of `results.METRICS`.
        words: what the recogniser heard; None if it was not asked.
        counts: those words against the transcript.
    """

    path: Path
    duration_s: float
    level_db: float
    clipped: float
    scores: dict[str, Score] = field(default_factory=dict)
    words: str | None = None
    counts: WordCounts | None = None


@dataclass
class Pair:
    """A recording before and after, called by its path below the folder.

    `problem` says what is wrong with one of them, None is what cannot be read.
    """

    name: str
    before: Heard | None
    after: Heard | None
    clean: Path | None = None
    text: str | None = None
    problem: str | None = None


class Judged(NamedTuple):
    """All pairs, and sentences about what was left out."""

    pairs: list[Pair]
    notes: list[str]


def compare(
    noisy: Path,
    enhanced: Path,
    clean: Path | None = None,
    transcripts: Path | None = None,
    recogniser: Recogniser | None = None,
    suffix: str = "",
    progress: Progress | None = None,
) -> Judged:
    """Pair what two folders hold under the same relative path, with any audio extension, and judge both sides.

    DNSMOS where its packages are installed; SI-SDR, STOI and PESQ where there is clean speech; words where there are
    transcripts and a recogniser. Of recordings longer than a minute the first one is scored, and their words are not.

    Args:
        noisy: folder that was enhanced.
        enhanced: folder of the results; it may lie in `noisy`.
        clean: folder with the clean counterparts, under the same relative paths.
        transcripts: CSV file with the columns path (relative to `noisy`) and text; what it does not list is left out.
            None: "<stem>.txt" beside a recording, where there is one.
        recogniser: what to listen for words with.
        suffix: what the stems of the enhanced files have at their end.
        progress: where to count.

    Raises:
        AudioError: if `enhanced` is no folder or holds nothing that belongs to `noisy`.
        DataError: if `noisy` holds no recordings, the table cannot be read, or clean counterparts are missing.
    """
    results = {path.relative_to(enhanced).with_suffix(""): path for path in audio.find_recordings(enhanced)}
    prepared = prepare_folder(noisy, table=transcripts, clean=clean)
    inside = Path(os.path.abspath(enhanced))
    recordings = [one for one in prepared.recordings if inside not in Path(one.path).parents]
    places = [Path(os.path.relpath(one.path, noisy)) for one in recordings]
    found = [results.get(place.with_name(place.stem + suffix)) for place in places]
    if not any(found):
        raise AudioError(
            f"none of the {len(recordings)} recordings in {noisy} is in {enhanced} under the same relative path"
            + (f" with {suffix!r} at the end" if suffix else " (--suffix, if the names have something at their end)")
        )
    named = zip([place.as_posix() for place in places], recordings, found, strict=True)
    over = (progress or Progress(False)).over(named, "listening", len(recordings))
    return Judged([_judged_pair(*one, recogniser) for one in over], prepared.notes)


def worst_first(pairs: Sequence[Pair], key: str | None, higher_is_better: bool = True) -> list[Pair]:
    """Pairs with a problem, then those that got worse by most; what is not scored before and after comes last.

    Of two that changed by as much, the one that is worse afterwards comes first.

    Args:
        pairs: in any order.
        key: of `results.METRICS`; None: the share of clipped samples.
        higher_is_better: whether a high score is the better one.
    """

    def badness(pair: Pair) -> tuple[bool, float, float]:
        if pair.before is None or pair.after is None:
            return False, 0.0, 0.0
        before, after = (
            -side.clipped if key is None else side.scores.get(key, Score.failed("not scored")).value
            for side in (pair.before, pair.after)
        )
        if key is not None and not higher_is_better:
            before, after = -before, -after
        gain = after - before
        return pair.problem is None, *((math.inf, 0.0) if math.isnan(gain) else (gain, after))

    return sorted(pairs, key=badness)


def hear(path: Path) -> tuple[Heard, np.ndarray]:
    """Read a recording once, in pieces.

    Returns:
        What is known of it without scores, and its first minute: `[sample]` at 16 kHz, the mean of its channels.

    Raises:
        AudioError: as `audio.load`.
    """
    info = audio.probe(path)
    samples, clipped, power = 0, 0, 0.0
    beginning = []
    for block in audio.blocks(path, BLOCK_S * info.sample_rate):
        if samples < JUDGED_S * info.sample_rate:
            beginning.append(block.mean(axis=0))
        samples += block.shape[1]
        clipped += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))
        power += float(np.square(block, dtype=np.float64).sum())
    level_db = 10 * math.log10(power / samples / info.channels) if power else -math.inf
    waveform = audio.resample(np.concatenate(beginning), info.sample_rate, RATE)
    return Heard(path, samples / info.sample_rate, level_db, clipped / samples / info.channels), waveform


def _judged_pair(name: str, recording: Recording, after: Path | None, recogniser: Recogniser | None) -> Pair:
    pair = Pair(name, None, None, Path(recording.clean) if recording.clean else None, recording.text)
    if after is None:
        pair.problem = "no enhanced file"
    try:
        clean = hear(pair.clean)[1] if pair.clean else None
        pair.before = _judged(Path(recording.path), clean, recording.text, recogniser)
        pair.after = _judged(after, clean, recording.text, recogniser) if after else None
    except AudioError as error:
        pair.problem = str(error)
    if pair.before and pair.after and abs(pair.after.duration_s - pair.before.duration_s) > SLACK_S:
        pair.problem = f"{pair.before.duration_s:.2f} s before, {pair.after.duration_s:.2f} s after"
    return pair


def _judged(path: Path, clean: np.ndarray | None, text: str | None, recogniser: Recogniser | None) -> Heard:
    side, waveform = hear(path)
    side.scores = _scores(waveform, clean)
    if recogniser is not None and text and side.duration_s <= JUDGED_S:
        _hear_words(side, waveform, text, recogniser)
    return side


def _scores(waveform: np.ndarray, clean: np.ndarray | None) -> dict[str, Score]:
    scores = {} if missing_packages() else dnsmos(waveform)
    if clean is None:
        return scores
    if abs(len(clean) - len(waveform)) > SLACK_S * RATE:
        return scores | dict.fromkeys(("si_sdr_db", "stoi", "pesq_wb_lqo"), Score.failed(ANOTHER_LENGTH))
    samples = min(len(clean), len(waveform))
    pair = waveform[:samples], clean[:samples]
    return scores | {"si_sdr_db": si_sdr(*pair), "stoi": stoi(*pair), "pesq_wb_lqo": pesq_wb(*pair)}


def _hear_words(side: Heard, waveform: np.ndarray, text: str, recogniser: Recogniser) -> None:
    words = transcribe_all(recogniser, [waveform], processes=1)[0]
    if isinstance(words, Failure):
        side.scores["wer"] = Score.failed(words.reason)
        return
    side.words, side.counts = words, count_words(text, words, recogniser.normalise)
    wer = side.counts.wer
    side.scores["wer"] = Score(wer) if math.isfinite(wer) else Score.failed("no words in the transcript")
