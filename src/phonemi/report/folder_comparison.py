"""Score the recordings of two folders, before and after enhancement, for the page of `phonemi listen`.

Recordings may have any length, rate and number of channels; clean counterparts and transcripts are optional.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phonemi import audio
from phonemi.data.corpora.folder import prepare_folder
from phonemi.data.manifest import Recording
from phonemi.errors import AudioError
from phonemi.information.phones_kept import PhoneJudge
from phonemi.metrics.intrusive import pesq_wb, si_sdr, stoi
from phonemi.metrics.non_intrusive import dnsmos, missing_packages
from phonemi.metrics.score import Score
from phonemi.metrics.words.recogniser import Failure, Recogniser, transcribe_all
from phonemi.metrics.words.word_errors import WordCounts, count_words
from phonemi.progress import Progress
from phonemi.results.metrics import METRIC, Metric
from phonemi.signal import SAMPLE_RATE

SCORED_S = 60  # of a longer recording only the beginning is scored; level and clipping are those of all of it
LENGTH_TOLERANCE_S = 0.01
FULL_SCALE = 1 - 2**-15  # the largest number of 16 bits
OTHER_LENGTH = "not as long as the clean recording"
BLOCK_S = 10

PairMetric = Callable[[NDArray[np.float32], NDArray[np.float32]], Score]  # of an estimate and the clean speech


@dataclass
class ScoredRecording:
    """One recording and its scores, by key of a metric."""

    path: Path
    duration_s: float
    level_db: float  # root mean square re full scale; minus infinity for silence
    clipped: float  # share of the samples at full scale
    scores: dict[str, Score] = field(default_factory=dict)
    words: str | None = None  # what the recogniser heard; None: it was not asked
    counts: WordCounts | None = None  # those words against the transcript

    def value(self, key: str) -> float | None:
        score = self.scores.get(key)
        return score.value if score and score.ok else None

    def value_or_worst(self, key: str) -> float | None:
        """The value; the worst there is where a muted or broken recording has none."""
        return METRIC[key].value_of(self.scores[key]) if key in self.scores else None


@dataclass
class RecordingPair:
    """A recording before and after enhancement; a side is None if its file is missing or cannot be read."""

    name: str  # path below the folder
    before: ScoredRecording | None
    after: ScoredRecording | None
    clean: Path | None = None  # counterpart
    text: str | None = None  # transcript
    problem: str | None = None  # what is wrong with one of the files

    @property
    def sides(self) -> list[ScoredRecording]:
        return [side for side in (self.before, self.after) if side]

    def change(self, key: str) -> tuple[float, float] | None:
        """The value of a metric before and after, of silence the worst; None if one of them is missing."""
        before, after = (side.value_or_worst(key) if side else None for side in (self.before, self.after))
        return None if before is None or after is None else (before, after)


def compare_folders(
    noisy: Path,
    enhanced: Path,
    clean: Path | None = None,
    transcripts: Path | None = None,
    recogniser: Recogniser | None = None,
    suffix: str = "",
    progress: Progress | None = None,
    judge: PhoneJudge | None = None,
) -> tuple[list[RecordingPair], list[str]]:
    """Pair the recordings of two folders by relative path, of the same extension or another, and score both sides.

    DNSMOS where its packages are installed; SI-SDR, STOI and PESQ where there is clean speech, and the phones kept if
    there is a judge, of those that it recognises in the clean speech; word errors where there are transcripts and a
    recogniser. Of a recording longer than a minute the first one is scored, without its words.

    Args:
        enhanced: folder of the results; it may lie in `noisy`.
        clean: folder with the clean counterparts, under the same relative paths.
        transcripts: CSV file with the columns path (relative to `noisy`) and text; recordings that it does not list are
            left out. None: "<stem>.txt" beside a recording, where there is one.
        suffix: what the stems of the enhanced files have at their end.

    Returns:
        The pairs, and sentences about files that were left out.

    Raises:
        AudioError: if `enhanced` is no folder or holds nothing that belongs to `noisy`.
        DataError: if `noisy` holds no recordings, the table cannot be read, or clean counterparts are missing.
    """
    files = {path.relative_to(enhanced): path for path in audio.find_recordings(enhanced)}
    results = {name.with_suffix(""): path for name, path in files.items()} | files  # with its extension, and without
    prepared = prepare_folder(noisy, table=transcripts, clean=clean)
    inside = Path(os.path.abspath(enhanced))
    recordings = [recording for recording in prepared.recordings if inside not in Path(recording.path).parents]
    names = [Path(os.path.relpath(recording.path, noisy)) for recording in recordings]
    stems = [name.with_name(name.stem + suffix) for name in names]
    outputs = [
        results.get(stem.with_name(stem.name + name.suffix), results.get(stem))
        for stem, name in zip(stems, names, strict=True)
    ]
    if not any(outputs):
        raise AudioError(
            f"none of the {len(recordings)} recordings in {noisy} is in {enhanced} under the same relative path"
            + (f" with {suffix!r} at the end" if suffix else " (--suffix, if the names have something at their end)")
        )
    items = zip([name.as_posix() for name in names], recordings, outputs, strict=True)
    tasks = (progress or Progress(False)).over(items, "listening", len(recordings))
    return [_score_pair(*item, recogniser, judge) for item in tasks], prepared.notes


def worst_first(pairs: Sequence[RecordingPair], metric: Metric | None) -> list[RecordingPair]:
    """Pairs with a problem, then those that got worse by most in a metric; pairs without both scores come last.

    Of two that changed by as much, the one that is worse afterwards comes first. None: the share of clipped samples.
    """

    def order(pair: RecordingPair) -> tuple[bool, float, float]:
        if pair.before is None or pair.after is None:
            return False, 0.0, 0.0  # a missing file is a problem
        if metric is None:
            return pair.problem is None, pair.before.clipped - pair.after.clipped, -pair.after.clipped
        change = pair.change(metric.key)
        if change is None:
            return pair.problem is None, math.inf, 0.0
        return pair.problem is None, metric.gain(change[1] - change[0]), metric.gain(change[1])

    return sorted(pairs, key=order)


def read_recording(path: Path) -> tuple[ScoredRecording, NDArray[np.float32]]:
    """Read a recording once, in blocks: without scores, and its first minute, the mean of its channels at 16 kHz.

    Raises:
        AudioError: as `audio.load`.
    """
    info = audio.probe(path)
    samples, clipped, power = 0, 0, 0.0
    beginning = []
    for block in audio.blocks(path, BLOCK_S * info.sample_rate):
        if samples < SCORED_S * info.sample_rate:
            beginning.append(block.mean(axis=0))
        samples += block.shape[1]
        clipped += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))
        power += float(np.square(block, dtype=np.float64).sum())
    level_db = 10 * math.log10(power / samples / info.channels) if power else -math.inf
    waveform = audio.resample(np.concatenate(beginning), info.sample_rate, SAMPLE_RATE)
    return ScoredRecording(path, samples / info.sample_rate, level_db, clipped / samples / info.channels), waveform


def _score_pair(
    name: str, recording: Recording, output: Path | None, recogniser: Recogniser | None, judge: PhoneJudge | None
) -> RecordingPair:
    pair = RecordingPair(name, None, None, Path(recording.clean) if recording.clean else None, recording.text)
    if output is None:
        pair.problem = "no enhanced file"
    try:
        clean = read_recording(pair.clean)[1] if pair.clean else None
        criteria = clean, _pair_metrics(clean, judge), recording.text, recogniser
        pair.before = _score_recording(Path(recording.path), *criteria)
        pair.after = _score_recording(output, *criteria) if output else None
    except AudioError as error:
        pair.problem = str(error)
    if pair.before and pair.after and abs(pair.after.duration_s - pair.before.duration_s) > LENGTH_TOLERANCE_S:
        pair.problem = f"{pair.before.duration_s:.2f} s before, {pair.after.duration_s:.2f} s after"
    return pair


def _score_recording(
    path: Path,
    clean: NDArray[np.float32] | None,
    metrics: Mapping[str, PairMetric],
    text: str | None,
    recogniser: Recogniser | None,
) -> ScoredRecording:
    recording, waveform = read_recording(path)
    recording.scores = compute_scores(waveform, clean, metrics)
    if recogniser is not None and text and recording.duration_s <= SCORED_S:
        heard = transcribe_all(recogniser, [waveform], processes=1)[0]
        if isinstance(heard, Failure):
            recording.scores["wer"] = Score.failed(heard.reason)
        else:
            recording.words, recording.counts = heard, count_words(text, heard)
            wer = recording.counts.wer
            recording.scores["wer"] = Score(wer) if math.isfinite(wer) else Score.failed("no words in the transcript")
    return recording


def compute_scores(
    waveform: NDArray[np.float32], clean: NDArray[np.float32] | None, metrics: Mapping[str, PairMetric]
) -> dict[str, Score]:
    """Every score but word errors, of `[sample]` at 16 kHz; `metrics` where there is clean speech, DNSMOS always."""
    scores = {} if missing_packages() else dnsmos(waveform)
    if clean is None:
        return scores
    if abs(len(clean) - len(waveform)) > LENGTH_TOLERANCE_S * SAMPLE_RATE:
        return scores | dict.fromkeys(metrics, Score.failed(OTHER_LENGTH))
    samples = min(len(clean), len(waveform))
    return scores | {key: metric(waveform[:samples], clean[:samples]) for key, metric in metrics.items()}


def _pair_metrics(clean: NDArray[np.float32] | None, judge: PhoneJudge | None) -> dict[str, PairMetric]:
    """What is measured against the clean speech; the phones kept too, if there is a judge."""
    metrics: dict[str, PairMetric] = {"si_sdr_db": si_sdr, "stoi": stoi, "pesq_wb_lqo": pesq_wb}
    if judge is not None and clean is not None:
        phones = judge.recognise(clean)  # here, once for both sides
        metrics["phone_bits"] = lambda estimate, _: judge.bits(estimate, phones)
    return metrics
