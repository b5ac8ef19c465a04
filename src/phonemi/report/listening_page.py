"""The page of `phonemi listen`: a table of enhanced recordings, what got worse first, with players and spectrograms."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from phonemi import audio
from phonemi.constants import DEFAULT_WHISPER
from phonemi.devices import choose_device
from phonemi.errors import ConfigError, MissingExtra, one_line, require_extra
from phonemi.information.phones_kept import PhoneJudge
from phonemi.metrics.composite import Variant
from phonemi.metrics.non_intrusive import missing_packages
from phonemi.metrics.score import NOT_FINITE
from phonemi.metrics.words import RecogniserOptions, choose_recogniser
from phonemi.metrics.words.pocketsphinx import PocketsphinxRecogniser
from phonemi.metrics.words.recogniser import Recogniser
from phonemi.progress import Progress
from phonemi.report.cards import Card, Sound, data_address, marked_words, score_texts, sound_addresses
from phonemi.report.folder_comparison import (
    LENGTH_TOLERANCE_S,
    SCORED_S,
    RecordingPair,
    compare_recordings,
    read_recording,
    worst_first,
)
from phonemi.report.pages import require_writable, write_page
from phonemi.report.row_style import explain
from phonemi.report.spectrograms import pictures, time_ticks
from phonemi.results.metrics import METRIC, METRICS, RANKING, Metric
from phonemi.signal import SAMPLE_RATE
from phonemi.tables import Cell, Column, Table, duration_text, number, plural

MAX_PICTURED = 12  # recordings with spectrograms, the worst ones
MAX_EMBEDDED_BYTES = 20_000_000  # sound in the page; further sounds are linked
MAX_EMBEDDED_S = 30.0  # a longer recording is linked
JUDGE = "phone-judge"  # of the package
SIDES = {"noisy": "Before", "enhanced": "After", "removed": "Removed", "clean": "Clean"}
NOT_INSTALLED = "is not installed"  # end of the reason of a score that needs another package


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
    variant: Variant = False,
) -> Path:
    """Score two files, or the recordings of two folders (see `compare_recordings`), and write the page about them.

    Ranked by the first of `RANKING` that could be measured, or else by clipping and the level of the loud parts.

    Args:
        output: the page; sounds that are too long for it are linked relatively to where it is. It is returned.
        whisper: size, hub id or folder of the Whisper that recognises the words; None: large-v3 where there is a GPU
            and the model is on this machine, otherwise pocketsphinx.
        words: whether words are recognised, which takes longer than all other scores together.
        variant: of the composite measures that are computed against the clean speech; False: none.

    Raises:
        MissingExtra: if there is a table of transcripts, or a Whisper, and the recogniser is not installed.
        ConfigError: if there is a Whisper and no words are to be recognised, a variant and nothing clean, or the page
            has the name of a sound file.
        OSError: if the page cannot be written; before anything is scored, where that is known.
    """
    if output.suffix.lower() in audio.EXTENSIONS:
        raise ConfigError(f"{output} has the name of a sound file, and the page is HTML: -o {output.stem}.html")
    require_writable(output)
    if whisper and not words:
        raise ConfigError(f"{whisper} would hear the words, but none are to be heard: leave one of the two options out")
    if variant and clean is None:
        raise ConfigError("the composite measures compare with clean speech, and there is none: give it with --clean")
    recogniser, notes = _recogniser(whisper, is_needed=bool(transcripts or whisper)) if words else (None, [])
    judge = PhoneJudge.load(JUDGE) if clean else None
    pairs, skipped = compare_recordings(
        noisy, enhanced, clean, transcripts, recogniser, suffix, progress, judge, variant
    )
    if not any(pair.text for pair in pairs):
        notes = []
    ranked_by = next((METRIC[key] for key in RANKING if any(pair.change(key) for pair in pairs)), None)
    pairs = worst_first(pairs, ranked_by)
    columns, absent = measured_metrics(pairs)
    columns.sort(key=lambda metric: metric != ranked_by)  # the ranking first, the others in their order
    if ranked_by is None and missing_packages():
        notes.append(
            "Nothing here judges the sound: install DNSMOS (pip install 'phonemi[dnsmos]'), or give clean versions "
            "(--clean), to rank by that."
        )
    return write_page(
        output,
        "listening.html",
        linked_sounds=True,
        name=enhanced.resolve().name,
        headlines=summary_sentences(pairs, columns),
        sections={"files": "All recordings" if len(pairs) > 1 else "Scores", "listen": "Listen"},
        noisy=noisy,
        enhanced=enhanced,
        order=_order_sentence(ranked_by),
        hears_words=recogniser.name if recogniser and ranked_by == METRIC["wer"] else "",
        notes=[*skipped, *absent, *notes],
        recordings=recordings_table(pairs, columns),
        terms=explain([], [metric.key for metric in columns]),
        pictured=MAX_PICTURED if len(pairs) > MAX_PICTURED else 0,
        scored_s=SCORED_S,
        cards=_cards(pairs, output),
    )


def _order_sentence(ranked_by: Metric | None) -> str:
    if ranked_by is not None:
        return f"First what got worse by most in {ranked_by.title}, after against before"
    return "First what clips more than before, then what lost most of its loud parts, which are mostly speech"


def measured_metrics(pairs: Sequence[RecordingPair]) -> tuple[list[Metric], list[str]]:
    """The metrics that have a column, and a sentence about those that have none because a package is missing."""
    columns, absent = [], []
    for metric in METRICS:
        scores = [side.scores[metric.key] for pair in pairs for side in pair.sides if metric.key in side.scores]
        reasons = [score.reason for score in scores if score.reason and score.reason.endswith(NOT_INSTALLED)]
        if reasons and not any(score.ok for score in scores):
            absent.append(f"{metric.title} is not measured: {reasons[0]} (pip install 'phonemi[eval]').")
        elif scores:
            columns.append(metric)
    return columns, absent


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
    sentences = [f"{plural(len(pairs), 'recording')}, {duration_text(total_s)}."]
    if wrong := [pair for pair in pairs if pair.problem]:
        several = f"{len(wrong)} of them with a problem, for instance {wrong[0].name}"
        sentences.append(f"{several if len(pairs) > 1 else 'A problem'}: {wrong[0].problem}.")
    whole = [(pair.before, pair.after) for pair in pairs if pair.before and pair.after]
    if whole and not columns:
        levels = [(old.loud_db, new.loud_db, old.quiet_db, new.quiet_db) for old, new in whole]
        old_loud, new_loud, old_quiet, new_quiet = (number(level, 1) for level in np.mean(levels, axis=0))
        sentences.append(f"Loud parts, mostly speech: {old_loud} dB before, {new_loud} dB after.")
        sentences.append(f"Quiet parts, mostly noise: {old_quiet} dB before, {new_quiet} dB after.")
    for metric in columns:
        changes = [change for pair in pairs if (change := pair.change(metric.key)) is not None]
        if not changes:
            continue
        # Word errors are those of all words together, as everywhere.
        before, after = _corpus_wer(pairs) if metric.key == "wer" else np.mean(changes, axis=0)
        gains = [metric.gain(new - old) for old, new in changes]
        better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        first, last = (f"{number(value, metric.digits)} {metric.unit}".strip() for value in (before, after))
        sentence = f"{metric.title[0].upper()}{metric.title[1:]}: {first} before, {last} after"
        if len(pairs) > 1:
            sentence += f"; better in {better} and worse in {worse} of {len(gains)}"
        elif first != last:
            sentence += ", better" if better else ", worse"
        sentences.append(f"{sentence}.")
    return sentences


def _corpus_wer(pairs: Sequence[RecordingPair]) -> tuple[float, float]:
    """Word error rate before and after, of the pairs whose words were counted on both sides."""
    sides = [[side.counts for side in pair.sides if side.counts] for pair in pairs]
    counts = [(side[0], side[1]) for side in sides if len(side) == 2]
    words = sum(before.reference_words for before, _ in counts) or 1
    return sum(before.errors for before, _ in counts) / words, sum(after.errors for _, after in counts) / words


def recordings_table(pairs: Sequence[RecordingPair], columns: Sequence[Metric]) -> Table:
    """One recording a line: each score after enhancement, and below it the score before.

    Where there is no score, the levels of the loud and the quiet parts.
    """
    facts = [
        Column("Duration", "s"),
        Column("Level", "dB", meaning="re full scale"),
        Column("Clipped", "%", higher_is_better=False, meaning="share of the samples at full scale"),
    ]
    parts = [
        Column("Loud parts", "dB", meaning="level of the loudest tenth, mostly speech"),
        Column("Quiet parts", "dB", meaning="level of the quietest tenth, mostly noise"),
    ]
    scores = [metric.column for metric in columns] or parts
    heads: list[Column | str] = ["Recording", *scores, *facts]
    return Table(heads, [_row(index, pair, columns) for index, pair in enumerate(pairs)], "metrics sortable files")


def _row(index: int, pair: RecordingPair, columns: Sequence[Metric]) -> list[Cell]:
    before, after = pair.before, pair.after
    cells = [Cell(pair.name, link=f"#r{index}", details=(pair.problem,) if pair.problem else ())]
    for metric in columns:
        score = after.scores.get(metric.key) if after else None
        reason = (score.reason or NOT_FINITE) if score and not score.ok else ""
        old, new = (side.value(metric.key) if side else None for side in (before, after))
        cells.append(_change_cell(old, new, metric.digits, reason))
    if not columns:
        levels = [(side.loud_db, side.quiet_db) if side else (None, None) for side in (before, after)]
        cells += [_change_cell(first, last, 1) for first, last in zip(*levels, strict=True)]
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
        links = {name: _link(path, page) for name, path in files.items()}
        addresses, waveforms = dict(links), dict[str, NDArray[np.float32]]()
        is_short = pair.sides and max(side.duration_s for side in pair.sides) <= MAX_EMBEDDED_S
        is_pictured = index < MAX_PICTURED and len(pair.sides) == 2
        if is_pictured or (is_short and bytes_left > 0):
            waveforms = _with_removed({name: read_recording(path)[1] for name, path in files.items()})
        if waveforms and bytes_left > 0:
            # Of a long recording, what was removed in the first minute, which is no file that could be linked.
            kept = {name: waveform for name, waveform in waveforms.items() if is_short or name == "removed"}
            embedded = sound_addresses(kept)
            size = sum(map(len, embedded.values()))
            addresses |= embedded if size <= bytes_left else {}
            bytes_left -= size
        images: dict[str, str] = {}
        if is_pictured:
            images = {name: data_address("image/png", file) for name, file in pictures(waveforms).items()}
        pictured_s = max((len(waveform) for waveform in waveforms.values()), default=0) / SAMPLE_RATE
        sounds = []
        for name in filter(addresses.__contains__, SIDES):
            side = sides.get(name)
            scores = {key: score.value for key, score in side.scores.items()} if side else {}
            sounds.append(
                Sound(
                    title=SIDES[name],
                    file=str(files.get(name, "")),
                    address=addresses[name],
                    words=marked_words(pair.text or "", side.words) if side else None,
                    scores=score_texts(scores),
                    is_bound=name != "enhanced",
                    picture=images.get(name, ""),
                    picture_text=f"Spectrogram, 0 to 8 kHz, {pictured_s:.1f} s",
                )
            )
        link_texts = [(SIDES[name], address) for name, address in links.items()]
        card = Card(pair.name, sounds, pair.text or "", problem=pair.problem or "", links=link_texts)
        cards.append(replace(card, pictured_s=pictured_s, ticks=time_ticks(pictured_s)))
    return cards


def _link(path: Path, page: Path) -> str:
    """Address of a file as seen from the page; its name need not be UTF-8."""
    return "./" + quote(os.fsencode(Path(os.path.relpath(path, page.parent)).as_posix()))


def _with_removed(waveforms: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The waveforms and noisy minus enhanced, "removed", where both are there and equally long."""
    noisy, enhanced = (waveforms.get(name, np.zeros(0, np.float32)) for name in ("noisy", "enhanced"))
    samples = min(len(noisy), len(enhanced))
    if not samples or abs(len(noisy) - len(enhanced)) > LENGTH_TOLERANCE_S * SAMPLE_RATE:
        return dict(waveforms)
    return {**waveforms, "removed": noisy[:samples] - enhanced[:samples]}
