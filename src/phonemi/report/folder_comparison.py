"""Score recordings before and after enhancement, two files or those of two folders, for the page of `phonemi listen`.

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
from phonemi.data.corpora.corpus import Omissions, read_transcript
from phonemi.data.corpora.folder import prepare_folder
from phonemi.errors import AudioError, ConfigError
from phonemi.information.phones_kept import PhoneJudge
from phonemi.metrics.composite import Variant, composite, composite_keys
from phonemi.metrics.intrusive import pesq_wb, si_sdr, stoi
from phonemi.metrics.non_intrusive import dnsmos, missing_packages
from phonemi.metrics.score import Score
from phonemi.metrics.words.recogniser import Failure, Recogniser, transcribe_all
from phonemi.metrics.words.word_errors import WordCounts, count_words
from phonemi.progress import Progress
from phonemi.results.metrics import METRIC, Metric
from phonemi.signal import SAMPLE_RATE
from phonemi.tables import plural

SCORED_S = 60  # of a longer recording only the beginning is scored; level and clipping are those of all of it
LENGTH_TOLERANCE_S = 0.01
FULL_SCALE = 1 - 2**-15  # the largest number of 16 bits
OTHER_LENGTH = "not as long as the clean recording"
BLOCK_S = 10
LEVEL_FRAME = 400  # samples, 25 ms
SILENCE_DB = -120.0  # what the level of digital silence counts for where levels are compared

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
    loud_db: float = SILENCE_DB  # level of the loudest tenth of the first minute
    quiet_db: float = SILENCE_DB  # level of its quietest tenth

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


def compare_recordings(
    noisy: Path,
    enhanced: Path,
    clean: Path | None = None,
    transcripts: Path | None = None,
    recogniser: Recogniser | None = None,
    suffix: str = "",
    progress: Progress | None = None,
    judge: PhoneJudge | None = None,
    variant: Variant = False,
) -> tuple[list[RecordingPair], list[str]]:
    """Pair two files, or the recordings of two folders by relative path, and score both sides.

    DNSMOS where its packages are installed; SI-SDR, STOI and PESQ where there is clean speech, with a variant of the
    composite measures, and the phones kept if there is a judge, of those that it recognises in the clean speech; word
    errors where there are transcripts and a recogniser. Of a recording longer than a minute the first one is scored,
    without its words.

    Args:
        noisy: a file or a folder, and `enhanced` and `clean` are the same.
        enhanced: the results, whatever their audio extension; their folder may lie in `noisy`.
        clean: the clean counterparts, under the same relative paths.
        transcripts: CSV file with the columns path (relative to `noisy`) and text; recordings that it does not list are
            left out. None: "<stem>.txt" beside a recording, where there is one.
        suffix: what the stems of the enhanced files have at their end.

    Returns:
        The pairs, and sentences about files that were left out.

    Raises:
        ConfigError: if files and folders are mixed, or there are options of folders for two files.
        AudioError: if one of two files cannot be read; if `enhanced` holds nothing that belongs to `noisy`.
        DataError: if `noisy` holds no recordings, the table cannot be read, or clean counterparts are missing.
    """
    given = [path for path in (noisy, enhanced, clean) if path is not None]
    for path in given:
        if path.exists() and path.is_dir() != noisy.is_dir():
            kinds = ("a folder", "a file") if noisy.is_dir() else ("a file", "a folder")
            raise ConfigError(f"{noisy} is {kinds[0]}, {path} is {kinds[1]}: give files only, or folders only")
    if noisy.is_dir():
        pairs, notes = _pairs_of_folders(noisy, enhanced, clean, transcripts, suffix)
    elif transcripts or suffix:
        option = "--transcripts" if transcripts else "--suffix"
        raise ConfigError(f"{option} is for folders, and {noisy} is no folder: leave it out")
    else:
        pairs, notes = _pair_of_files(noisy, enhanced, clean)
    for source, output, pair in (progress or Progress(False)).over(pairs, "listening", len(pairs)):
        _score_pair(source, output, pair, recogniser, judge, variant)
    return [pair for _, _, pair in pairs], notes


_Pairs = list[tuple[Path, Path | None, RecordingPair]]  # the files before and after, and what is to be said of them


def _pair_of_files(noisy: Path, enhanced: Path, clean: Path | None) -> tuple[_Pairs, list[str]]:
    for path in filter(None, (noisy, enhanced, clean)):
        audio.probe(path)  # of a folder a file may be broken; here there would be nothing left
    unread, transcript = Omissions(), noisy.with_suffix(".txt")
    text = read_transcript(transcript, unread) if transcript.exists() else None
    return [(noisy, enhanced, RecordingPair(noisy.name, None, None, clean, text))], unread.notes(
        "transcript", "ignored"
    )


def _pairs_of_folders(
    noisy: Path, enhanced: Path, clean: Path | None, transcripts: Path | None, suffix: str
) -> tuple[_Pairs, list[str]]:
    results = {path.relative_to(enhanced): path for path in audio.find_recordings(enhanced)}
    # An output may have another extension, but one of the same name belongs to its recording alone.
    results = {name.with_suffix(""): path for name, path in results.items()} | results
    prepared = prepare_folder(noisy, table=transcripts, clean=clean, any_name=True)
    inside = Path(os.path.abspath(enhanced))
    pairs: _Pairs = []
    for recording in prepared.recordings:
        if inside in Path(recording.path).parents:
            continue
        name = Path(os.path.relpath(recording.path, noisy))
        stem = name.with_name(name.stem + suffix)
        output = results.get(name.with_name(stem.name + name.suffix)) or results.get(stem)
        counterpart = Path(recording.clean) if recording.clean else None
        pair = RecordingPair(name.as_posix(), None, None, counterpart, recording.text)
        pairs.append((Path(recording.path), output, pair))
    if not any(output for _, output, _ in pairs):
        raise AudioError(
            f"none of {plural(len(pairs), 'recording')} in {noisy} is in {enhanced} under the same relative path"
            + (f" with {suffix!r} at the end" if suffix else " (--suffix, if the names have something at their end)")
        )
    return pairs, prepared.notes


def worst_first(pairs: Sequence[RecordingPair], metric: Metric | None) -> list[RecordingPair]:
    """Pairs with a problem, then those that got worse by most in a metric; pairs without both scores come last.

    Of two that changed by as much, the one that is worse afterwards comes first. None: what clips in more of its
    samples than before, by a thousandth or more, and then what lost most of its loud parts, where the speech is.
    """

    def order(pair: RecordingPair) -> tuple[bool, float, float]:
        if pair.before is None or pair.after is None:
            return False, 0.0, 0.0  # a missing file is a problem
        if metric is None:
            is_whole, clipped = pair.problem is None, round(pair.after.clipped - pair.before.clipped, 3)
            return is_whole, -max(0.0, clipped), pair.after.loud_db - pair.before.loud_db
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
    clipped_share, (quiet_db, loud_db) = clipped / samples / info.channels, outer_levels_db(waveform)
    recording = ScoredRecording(path, samples / info.sample_rate, level_db, clipped_share)
    recording.loud_db, recording.quiet_db = loud_db, quiet_db
    return recording, waveform


def outer_levels_db(waveform: NDArray[np.float32]) -> tuple[float, float]:
    """Levels of the quietest and of the loudest tenth of `[sample]` at 16 kHz, by 25 ms: `SILENCE_DB` or more.

    Of a recording of speech in noise, the one is that of the noise between the words, the other that of the vowels.
    """
    frame = min(LEVEL_FRAME, len(waveform))
    frames = waveform[: len(waveform) // frame * frame].reshape(-1, frame)
    powers = np.sort(np.square(frames, dtype=np.float64).mean(axis=1))
    tenth = max(1, len(powers) // 10)
    quiet_db, loud_db = (
        10 * math.log10(max(float(part.mean()), 10 ** (SILENCE_DB / 10))) for part in (powers[:tenth], powers[-tenth:])
    )
    return quiet_db, loud_db


def _score_pair(
    source: Path,
    output: Path | None,
    pair: RecordingPair,
    recogniser: Recogniser | None,
    judge: PhoneJudge | None,
    variant: Variant,
) -> None:
    if output is None:
        pair.problem = "no enhanced file"
    try:
        clean = read_recording(pair.clean)[1] if pair.clean else None
        criteria = clean, _pair_metrics(clean, judge), variant, pair.text, recogniser
        pair.before = _score_recording(source, *criteria)
        pair.after = _score_recording(output, *criteria) if output else None
    except AudioError as error:
        pair.problem = str(error)
    if pair.before and pair.after and abs(pair.after.duration_s - pair.before.duration_s) > LENGTH_TOLERANCE_S:
        pair.problem = f"{pair.before.duration_s:.2f} s before, {pair.after.duration_s:.2f} s after"


def _score_recording(
    path: Path,
    clean: NDArray[np.float32] | None,
    metrics: Mapping[str, PairMetric],
    variant: Variant,
    text: str | None,
    recogniser: Recogniser | None,
) -> ScoredRecording:
    recording, waveform = read_recording(path)
    recording.scores = compute_scores(waveform, clean, metrics, variant)
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
    waveform: NDArray[np.float32],
    clean: NDArray[np.float32] | None,
    metrics: Mapping[str, PairMetric],
    variant: Variant = False,
) -> dict[str, Score]:
    """Every score but word errors, of `[sample]` at 16 kHz: DNSMOS always, and where there is clean speech others.

    These are the `metrics`, and a variant of the composite measures, for which PESQ must be one of them.
    """
    scores = {} if missing_packages() else dnsmos(waveform)
    if clean is None:
        return scores
    if abs(len(clean) - len(waveform)) > LENGTH_TOLERANCE_S * SAMPLE_RATE:
        return scores | dict.fromkeys((*metrics, *composite_keys(variant)), Score.failed(OTHER_LENGTH))
    samples = min(len(clean), len(waveform))
    pair = waveform[:samples], clean[:samples]
    scores |= {key: metric(*pair) for key, metric in metrics.items()}
    return scores | (composite(*pair, scores["pesq_wb_lqo"], variant) if variant else {})


def _pair_metrics(clean: NDArray[np.float32] | None, judge: PhoneJudge | None) -> dict[str, PairMetric]:
    """What is measured against the clean speech; the phones kept too, if there is a judge."""
    metrics: dict[str, PairMetric] = {"si_sdr_db": si_sdr, "stoi": stoi, "pesq_wb_lqo": pesq_wb}
    if judge is not None and clean is not None:
        phones = judge.recognise(clean)  # here, once for both sides
        metrics["phone_bits"] = lambda estimate, _: judge.bits(estimate, phones)
    return metrics
