"""The page of `phonemi listen`: a table of enhanced recordings, what got worse first, with players and spectrograms."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from phonemi.constants import DEFAULT_WHISPER
from phonemi.devices import choose_device
from phonemi.errors import ConfigError, MissingExtra, one_line, require_extra
from phonemi.information.phones_kept import PhoneJudge
from phonemi.metrics.score import NOT_FINITE
from phonemi.metrics.words import RecogniserOptions, choose_recogniser
from phonemi.metrics.words.pocketsphinx import PocketsphinxRecogniser
from phonemi.metrics.words.recogniser import Recogniser
from phonemi.progress import Progress
from phonemi.report.cards import Card, Sound, data_address, data_addresses, marked_words, score_texts
from phonemi.report.folder_comparison import (
    SCORED_S,
    RecordingPair,
    compare_folders,
    read_recording,
    worst_first,
)
from phonemi.report.pages import require_writable, write_page
from phonemi.report.row_style import explain
from phonemi.report.spectrograms import thumbnails
from phonemi.results.metrics import METRIC, METRICS, RANKING, Metric
from phonemi.signal import SAMPLE_RATE
from phonemi.tables import Cell, Column, Table, duration_text, number

MAX_PICTURED = 12  # recordings with spectrograms, the worst ones
MAX_EMBEDDED_BYTES = 20_000_000  # sound in the page; further sounds are linked
MAX_EMBEDDED_S = 30.0  # a longer recording is linked
JUDGE = "phone-judge"  # of the package
SIDES = {"noisy": "Before", "enhanced": "After", "clean": "Clean"}


def build_listening_page(
    noisy: Path,
    enhanced: Path,
    output: Path,
    clean: Path | None = None,
    transcripts: Path | None = None,
    whisper: str | None = None,
    suffix: str = "",
    progress: Progress | None = None,
    words: bool = True,
) -> Path:
    """Score the recordings of two folders (see `compare_folders`) and write the page about them; returns its path.

    Args:
        output: the page; sounds that are too long for it are linked relatively to where it is.
        whisper: size, hub id or folder of the Whisper that recognises the words; None: large-v3 where there is a GPU
            and the model is on this machine, otherwise pocketsphinx.
        words: whether words are recognised, which takes longer than all other scores together.

    Raises:
        MissingExtra: if there is a table of transcripts, or a Whisper, and the recogniser is not installed.
        ConfigError: if there is a Whisper and no words are to be recognised.
        OSError: if the page cannot be written; before anything is scored, where that is known.
    """
    require_writable(output)
    if whisper and not words:
        raise ConfigError(f"{whisper} would hear the words, but none are to be heard: leave one of the two options out")
    recogniser, notes = _recogniser(whisper, is_needed=bool(transcripts or whisper)) if words else (None, [])
    judge = PhoneJudge.load(JUDGE) if clean else None
    pairs, skipped = compare_folders(noisy, enhanced, clean, transcripts, recogniser, suffix, progress, judge)
    if not any(pair.text for pair in pairs):
        notes = []
    ranked_by = next((METRIC[key] for key in RANKING if any(pair.change(key) for pair in pairs)), None)
    pairs = worst_first(pairs, ranked_by)
    columns = [metric for metric in METRICS if any(metric.key in side.scores for pair in pairs for side in pair.sides)]
    columns.sort(key=lambda metric: metric != ranked_by)  # the ranking first, the others in their order
    return write_page(
        output,
        "listening.html",
        linked_sounds=True,
        name=Path(enhanced).resolve().name,
        headlines=summary_sentences(pairs, columns),
        sections={"files": "All recordings", "listen": "Listen"},
        noisy=noisy,
        enhanced=enhanced,
        order=ranked_by.title if ranked_by else "share of clipped samples",
        hears_words=recogniser.name if recogniser and ranked_by == METRIC["wer"] else "",
        notes=[*skipped, *notes],
        recordings=recordings_table(pairs, columns),
        terms=explain([], [metric.key for metric in columns]),
        pictured=MAX_PICTURED if len(pairs) > MAX_PICTURED else 0,
        scored_s=SCORED_S,
        cards=_cards(pairs, output),
    )


def _recogniser(whisper: str | None, is_needed: bool) -> tuple[Recogniser | None, list[str]]:
    """The recogniser, loaded, and what the page should say of it; none where it is not installed and not needed."""
    options = RecogniserOptions(whisper or DEFAULT_WHISPER, device=choose_device("auto").type)
    try:
        for package in ("jiwer", "whisper_normalizer"):
            require_extra(package, "metrics")
        recogniser, reason = choose_recogniser("whisper" if whisper else "auto", options)
        try:
            recogniser.load()  # an error should come now, not after everything else
        except Exception as error:  # whatever is wrong with a Whisper that nobody asked for
            if whisper or isinstance(recogniser, PocketsphinxRecogniser):
                raise
            recogniser, reason = PocketsphinxRecogniser(), one_line(error)
            recogniser.load()
    except MissingExtra as error:
        if is_needed:
            raise
        return None, [f"Words are not judged: {error}."]
    return recogniser, [f"Words are judged by {recogniser.name}: {reason}."] if reason else []


def summary_sentences(pairs: Sequence[RecordingPair], columns: Sequence[Metric]) -> list[str]:
    """How many recordings there are, which of them have a problem, and how each score changed."""
    total_s = sum(pair.before.duration_s for pair in pairs if pair.before)
    sentences = [f"{len(pairs)} recordings, {duration_text(total_s)}."]
    if wrong := [pair for pair in pairs if pair.problem]:
        sentences.append(f"{len(wrong)} of them with a problem, for instance {wrong[0].name}: {wrong[0].problem}.")
    for metric in columns:
        changes = [change for pair in pairs if (change := pair.change(metric.key)) is not None]
        if not changes:
            continue
        # Word errors are those of all words together, as everywhere.
        before, after = _corpus_wer(pairs) if metric.key == "wer" else np.mean(changes, axis=0)
        gains = [metric.gain(new - old) for old, new in changes]
        better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        first, last = (f"{number(value, metric.digits)} {metric.unit}".strip() for value in (before, after))
        sentences.append(
            f"{metric.title}: {first} before, {last} after; better in {better} and worse in {worse} of {len(gains)}."
        )
    return sentences


def _corpus_wer(pairs: Sequence[RecordingPair]) -> tuple[float, float]:
    """Word error rate before and after, of the pairs whose words were counted on both sides."""
    sides = [[side.counts for side in pair.sides if side.counts] for pair in pairs]
    counts = [(side[0], side[1]) for side in sides if len(side) == 2]
    words = sum(before.reference_words for before, _ in counts) or 1
    return sum(before.errors for before, _ in counts) / words, sum(after.errors for _, after in counts) / words


def recordings_table(pairs: Sequence[RecordingPair], columns: Sequence[Metric]) -> Table:
    """One recording a line: each score after enhancement, and below it the score before."""
    facts = [
        Column("Duration", "s"),
        Column("Level", "dB", meaning="re full scale"),
        Column("Clipped", "%", higher_is_better=False, meaning="share of the samples at full scale"),
    ]
    rows = [_row(index, pair, columns) for index, pair in enumerate(pairs)]
    return Table(["Recording", *(metric.column for metric in columns), *facts], rows, "metrics sortable files")


def _row(index: int, pair: RecordingPair, columns: Sequence[Metric]) -> list[Cell]:
    before, after = pair.before, pair.after
    cells = [Cell(pair.name, link=f"#r{index}", details=(pair.problem,) if pair.problem else ())]
    for metric in columns:
        score = after.scores.get(metric.key) if after else None
        reason = (score.reason or NOT_FINITE) if score and not score.ok else ""
        old, new = (side.value(metric.key) if side else None for side in (before, after))
        cells.append(_change_cell(old, new, metric.digits, reason))
    # A duration or a share that stays the same is not repeated.
    facts = [(side.duration_s, side.level_db, 100 * side.clipped) if side else (None,) * 3 for side in (before, after)]
    for first, last, digits, always in zip(*facts, (1, 1, 2), (False, True, False), strict=True):
        cells.append(_change_cell(first, last, digits, always=always))
    return cells


def _change_cell(before: float | None, after: float | None, digits: int, reason: str = "", always: bool = True) -> Cell:
    """The number after enhancement, and below it the one before: `always`, or only if it is another one."""
    is_shown = before is not None and (always or number(before, digits) != number(after, digits))
    return Cell(after, digits, details=(f"was {number(before, digits)}",) if is_shown else (), hint=reason)


def _cards(pairs: Sequence[RecordingPair], page: Path) -> list[Card]:
    cards, bytes_left = [], MAX_EMBEDDED_BYTES
    for index, pair in enumerate(pairs):
        sides = {"noisy": pair.before, "enhanced": pair.after}
        files = {name: side.path for name, side in sides.items() if side}
        if pair.clean:
            files["clean"] = pair.clean
        links = {
            name: "./" + quote(Path(os.path.relpath(path, page.parent)).as_posix()) for name, path in files.items()
        }
        addresses = links
        if bytes_left > 0 and pair.sides and max(side.duration_s for side in pair.sides) <= MAX_EMBEDDED_S:
            embedded = data_addresses(files)
            size = sum(map(len, embedded.values()))
            addresses = embedded if size <= bytes_left else links
            bytes_left -= size
        pictures, picture_text = _pictures(pair, files) if index < MAX_PICTURED else ({}, "")
        sounds = []
        for name, file in files.items():
            side = sides.get(name)
            scores = {key: score.value for key, score in side.scores.items()} if side else {}
            sounds.append(
                Sound(
                    title=SIDES[name],
                    file=str(file),
                    address=addresses.get(name, ""),
                    words=marked_words(pair.text or "", side.words) if side else None,
                    scores=score_texts(scores),
                    is_bound=name != "enhanced",
                    picture=pictures.get(name, ""),
                    picture_text=picture_text,
                )
            )
        link_texts = [(SIDES[name], address) for name, address in links.items()]
        cards.append(Card(pair.name, sounds, pair.text or "", problem=pair.problem or "", links=link_texts))
    return cards


def _pictures(pair: RecordingPair, files: Mapping[str, Path]) -> tuple[dict[str, str], str]:
    """Address of each spectrogram, and what they show; none if one side is missing, since they share a colour scale."""
    if len(pair.sides) < 2:
        return {}, ""
    waveforms = {name: read_recording(path)[1] for name, path in files.items()}
    seconds = max(map(len, waveforms.values())) / SAMPLE_RATE
    pictures = {name: data_address("image/png", file) for name, file in thumbnails(waveforms).items()}
    return pictures, f"Spectrogram, 0 to 8 kHz, {seconds:.1f} s"
