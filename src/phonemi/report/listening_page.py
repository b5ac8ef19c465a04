"""Judged pairs of recordings -> one HTML page: a table to sort, what got worse first, players and spectrograms."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from phonemi.errors import ConfigError, MissingExtra, require_extra
from phonemi.metrics.score import NOT_FINITE, Score
from phonemi.metrics.words.pocketsphinx import PocketsphinxRecogniser
from phonemi.metrics.words.recogniser import Recogniser
from phonemi.metrics.words.whisper import WhisperRecogniser
from phonemi.progress import Progress
from phonemi.report.listening import JUDGED_S, RATE, Heard, Pair, compare, hear, worst_first
from phonemi.report.page import require_writable, write_page
from phonemi.report.report_tables import WORST_BY, duration_text, embedded, example_card, terms_note
from phonemi.report.results import METRICS, Metric, number
from phonemi.report.views import thumbnails

PICTURED = 12  # of the worst, with spectrograms
EMBEDDED_BYTES = 20_000_000  # of sound in the page; what is beyond is linked
SIDES = {"noisy": "Before", "enhanced": "After", "clean": "Clean"}
EMBEDDED_S = 30.0  # of one recording; a longer one is linked


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
    """Judge the recordings of two folders and write the page on them.

    Args:
        noisy, enhanced, clean, transcripts, suffix, progress: see `listening.compare`.
        output: the page; sounds that are too long for it are linked relatively to where it is.
        whisper: folder or hub id of the Whisper that listens for words; None: pocketsphinx.
        words: whether words are listened for, which takes longer than all other scores together.

    Returns:
        The path of the page.

    Raises:
        MissingExtra: if there is a table of transcripts, or a Whisper, and what hears words is not installed.
        ConfigError: if there is a Whisper and no words are to be heard.
        OSError: if the page cannot be written; before anything is judged, where that is known.
    """
    require_writable(output)
    if whisper and not words:
        raise ConfigError(f"{whisper} would hear the words, but none are to be heard: leave one of the two options out")
    recogniser, notes = _recogniser(whisper, needed=bool(transcripts or whisper)) if words else (None, [])
    pairs, left_out = compare(noisy, enhanced, clean, transcripts, recogniser, suffix, progress)
    if not any(pair.text for pair in pairs):
        notes = []
    title = Path(enhanced).resolve().name
    ranked_by = next((key for key, _ in WORST_BY if any(_changed(pair, key) for pair in pairs)), None)
    pairs = worst_first(pairs, ranked_by, higher_is_better=not dict(WORST_BY).get(ranked_by or ""))
    columns = [metric for metric in METRICS if any(metric.key in _scores(pair) for pair in pairs)]
    columns.sort(key=lambda metric: metric.key != ranked_by)  # that one first, the others as they are
    explained = _notes([*left_out, *notes], ranked_by, recogniser)
    body = (
        f'<header class="top"><p class="brand">phonemi</p><h1>{escape(title)}</h1>'
        f'<p class="lead">Before: {escape(str(noisy))}. After: {escape(str(enhanced))}.</p>{_headlines(pairs, columns)}'
        '<nav><a href="#files">All recordings</a><a href="#listen">Listen</a></nav></header><main>'
        f'<section id="files"><h2>All recordings</h2>{explained}{_table(pairs, columns)}</section>'
        f'<section id="listen"><h2>Listen, what got worse first</h2>{_cards(pairs, columns, output)}</section></main>'
        "<footer>Made by phonemi listen. This page asks for nothing from elsewhere.</footer>"
    )
    return write_page(output, f"{title} · phonemi", body, linked_sounds=True)


def _recogniser(whisper: str | None, needed: bool) -> tuple[Recogniser | None, list[str]]:
    """What hears words; what is not `needed` may be missing, which a sentence for the page then says."""
    try:
        require_extra("jiwer", "metrics")
        if whisper is None:
            require_extra("pocketsphinx", "metrics")
            return PocketsphinxRecogniser(), []
    except MissingExtra as error:
        if needed:
            raise
        return None, [f"Words are not judged: {error}."]
    found = WhisperRecogniser(whisper)
    found.load()  # now, not after everything else
    return found, []


def _scores(pair: Pair) -> dict[str, Score]:
    return {key: score for side in (pair.before, pair.after) if side for key, score in side.scores.items()}


def _value(side: Heard | None, key: str) -> float | None:
    score = side.scores.get(key) if side else None
    return score.value if score and score.ok else None


def _changed(pair: Pair, key: str) -> bool:
    """Whether a score is known before and after."""
    return _value(pair.before, key) is not None and _value(pair.after, key) is not None


def _headlines(pairs: Sequence[Pair], columns: Sequence[Metric]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in _sentences(pairs, columns))
    return f'<ul class="headlines">{items}</ul>'


def _sentences(pairs: Sequence[Pair], columns: Sequence[Metric]) -> list[str]:
    total_s = sum(pair.before.duration_s for pair in pairs if pair.before)
    lines = [f"{len(pairs)} recordings, {duration_text(total_s)}."]
    if wrong := [pair for pair in pairs if pair.problem]:
        lines.append(f"{len(wrong)} of them with a problem, for instance {wrong[0].name}: {wrong[0].problem}.")
    for metric in columns:
        values = [(_value(pair.before, metric.key), _value(pair.after, metric.key)) for pair in pairs]
        scored = [(before, after) for before, after in values if before is not None and after is not None]
        if not scored:
            continue
        before, after = np.mean(scored, axis=0)
        if metric.key == "wer":  # of all words together, as everywhere
            before, after = _corpus_wer([pair for pair in pairs if pair.before and pair.after])
        unit = f" {metric.unit}" if metric.unit else ""
        sign = 1 if metric.higher_is_better else -1
        better = sum(sign * two > sign * one for one, two in scored)
        worse = sum(sign * two < sign * one for one, two in scored)
        lines.append(
            f"{metric.title}: {number(before, metric.digits)}{unit} before, "
            f"{number(after, metric.digits)}{unit} after; better in {better} and worse in {worse} of {len(scored)}."
        )
    return lines


def _corpus_wer(pairs: Sequence[Pair]) -> tuple[float, float]:
    counts = [
        (pair.before.counts, pair.after.counts)
        for pair in pairs
        if pair.before and pair.after and pair.before.counts and pair.after.counts
    ]
    words = sum(before.reference_words for before, _ in counts) or 1
    return sum(before.errors for before, _ in counts) / words, sum(after.errors for _, after in counts) / words


def _notes(left_out: Sequence[str], ranked_by: str | None, recogniser: Recogniser | None) -> str:
    titles = {metric.key: metric.title for metric in METRICS}
    order = titles[ranked_by] if ranked_by else "share of clipped samples"
    lines = [
        f"First what got worse by most in {order}, after against before; click a heading to sort. Below each number "
        "what it was before. "
        f"Scores are of the first {JUDGED_S} s of a recording, level and clipping of all of it."
    ]
    if ranked_by == "wer" and recogniser is not None:
        lines[0] += f" Words as {recogniser.name} hears them."
    return "".join(f'<p class="note">{escape(line)}</p>' for line in [*lines, *left_out])


def _table(pairs: Sequence[Pair], columns: Sequence[Metric]) -> str:
    heads = [("Recording", "", "")] + [
        (metric.title, f"{metric.unit} {'↑' if metric.higher_is_better else '↓'}", metric.meaning) for metric in columns
    ]
    heads += [("Duration", "s", ""), ("Level", "dB", "re full scale")]
    heads += [("Clipped", "% ↓", "share of the samples at full scale")]
    head = ""
    for title, unit, meaning in heads:
        label = f"{title} <span>{unit}</span>" if unit else title
        head += f'<th scope="col" title="{escape(meaning)}"><button type="button">{label}</button></th>'
    rows = "".join(_row(index, pair, columns) for index, pair in enumerate(pairs))
    return (
        '<div class="panel"><div class="scroll"><table class="metrics sortable files">'
        f'<thead><tr>{head}</tr></thead><tbody class="compared">{rows}</tbody></table></div>'
        f"{terms_note([], [metric.key for metric in columns])}</div>"
    )


def _row(index: int, pair: Pair, columns: Sequence[Metric]) -> str:
    problem = f"<small><em>{escape(pair.problem)}</em></small>" if pair.problem else ""
    before, after = pair.before, pair.after
    cells = ""
    for metric in columns:
        score = after.scores.get(metric.key) if after else None
        reason = (score.reason or NOT_FINITE) if score and not score.ok else ""
        cells += _cell(_value(before, metric.key), _value(after, metric.key), metric.digits, reason)
    facts = [(side.duration_s, side.level_db, 100 * side.clipped) if side else (None,) * 3 for side in (before, after)]
    for was, now, digits, always in zip(*facts, (1, 1, 2), (False, True, False), strict=True):
        cells += _cell(was, now, digits, always=always)
    return f'<tr><th scope="row"><a href="#r{index}">{escape(pair.name)}</a>{problem}</th>{cells}</tr>'


def _cell(before: float | None, after: float | None, digits: int, reason: str = "", always: bool = True) -> str:
    """What is after, and below what was before; `always`, or only where that is another number."""
    texts = [number(value, digits) for value in (after, before)]
    was = f"<small>was {texts[1]}</small>" if before is not None and (always or texts[0] != texts[1]) else ""
    key = "" if after is None else f' data-value="{float(after)!r}"'
    title = f' title="{escape(reason)}"' if reason else ""
    return f"<td{key}{title}>{texts[0]}{was}</td>"


def _cards(pairs: Sequence[Pair], columns: Sequence[Metric], output: Path) -> str:
    cards, left = [], EMBEDDED_BYTES
    for index, pair in enumerate(pairs):
        heard = {"noisy": pair.before, "enhanced": pair.after}
        files = {side: one.path for side, one in heard.items() if one} | ({"clean": pair.clean} if pair.clean else {})
        sounds = {side: _address(path, output) for side, path in files.items()}
        links = " · ".join(f'<a href="{escape(address)}">{SIDES[side]}</a>' for side, address in sounds.items())
        sides = [side for side in (pair.before, pair.after) if side]
        if left > 0 and sides and max(side.duration_s for side in sides) <= EMBEDDED_S:
            within = embedded(files)
            needed = sum(map(len, within.values()))
            sounds = within if needed <= left else sounds
            left -= needed
        pictures = _pictures(pair, files) if index < PICTURED else {}
        card = example_card(_example(pair, files, columns), Path(), sounds, pictures)
        problem = f'<p class="missing">{escape(pair.problem)}</p>' if pair.problem else ""
        note = f'{problem}<p class="note">Files: {links or "none"}</p>'
        cards.append(f'<div class="panel" id="r{index}">{card}{note}</div>')
    which = f" of the worst {PICTURED}" if len(pairs) > PICTURED else ""
    note = (
        f"Spectrograms{which}: 0 to 8 kHz, the first {JUDGED_S} s at most, one colour scale for before and after. "
        "Players hold sound at 16 kHz; longer recordings are played from their files."
    )
    return f'<p class="note">{note}</p>' + "".join(cards)


def _address(path: Path, output: Path) -> str:
    """Where a file is, seen from the page."""
    return "./" + quote(Path(os.path.relpath(path, Path(output).parent)).as_posix())


def _example(pair: Pair, files: Mapping[str, Path], columns: Sequence[Metric]) -> dict[str, object]:
    """A pair in the form of examples.json."""
    sides = {"noisy": pair.before, "enhanced": pair.after}
    return {
        "id": pair.name,
        "text": pair.text,
        "files": files,
        "labels": SIDES,
        "words": {name: side.words for name, side in sides.items() if side},
        "scores": {
            name: {metric.key: side.scores[metric.key].value for metric in columns if metric.key in side.scores}
            for name, side in sides.items()
            if side
        },
    }


def _pictures(pair: Pair, files: Mapping[str, Path]) -> dict[str, str]:
    if pair.before is None or pair.after is None:
        return {}
    waveforms = {side: hear(path)[1] for side, path in files.items()}
    seconds = max(map(len, waveforms.values())) / RATE
    return {
        side: f'<img class="spectrogram" alt="Spectrogram, 0 to 8 kHz, {seconds:.1f} s" '
        f'src="data:image/png;base64,{base64.b64encode(file).decode()}">'
        for side, file in thumbnails(waveforms).items()
    }
