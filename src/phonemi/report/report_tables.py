"""Rows of results -> HTML, all text escaped: the metrics table, tested differences, players, worst utterances."""

from __future__ import annotations

import base64
import difflib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from phonemi import audio
from phonemi.report.headlines import is_significant
from phonemi.report.results import METRICS, Metric, number, snr_text

_PLAYER_BYTES = 200_000
_PLAYER_RATE = 16_000
_WORST = 10
# What makes an utterance bad, the first column that is there: (column, whether larger is worse).
WORST_BY = (
    *(("wer", True), ("stoi", False), ("pesq_wb_lqo", False), ("si_sdri_db", False), ("si_sdr_db", False)),
    ("dnsmos_ovrl", False),
)

# Word -> where it occurs, in names of rows and keys of metrics; what it means.
_TERMS = {
    "WS": (r"\bd?ws\b", "weighted sum of the encoder's layers"),
    "DWS": (r"\bdws\b", "the same, with weights that change with every frame"),
    "acoustic": (r"ws-acoustic", "weights learned with the enhancer"),
    "linguistic": (r"ws-linguistic", "learned to tell phones, then frozen"),
    "hybrid": (r"ws-hybrid", "starts linguistic, layer 0's weight is learned with the enhancer"),
    "log1p": (r"\blog1p\b", "the plain spectrum"),
    "DNSMOS SIG, BAK, OVRL": (r"\bdnsmos_", "estimated quality of speech, background and all, 1 to 5"),
}


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Table 1 of the run: noisy above, clean below, the rows to compare between, the best of each column marked."""
    rows = metrics["rows"]
    columns = [metric for metric in METRICS if any(row.get(metric.key) is not None for row in rows)]
    compared = [row for row in rows if row["row"] not in ("noisy", "clean")]
    best = {metric.key: _best(compared, metric) for metric in columns}
    head = '<th scope="col"><button type="button">Row</button></th>' + "".join(
        f'<th scope="col" title="{escape(metric.meaning)}"><button type="button">{metric.title} '
        f"<span>{metric.unit} {'↑' if metric.higher_is_better else '↓'}</span></button></th>"
        for metric in columns
    )
    bodies = "".join(
        f'<tbody class="{kind}">'
        + "".join(
            f'<tr><th scope="row">{escape(str(row.get("label", row["row"])))}</th>'
            + "".join(_metric_cell(row, metric, best[metric.key]) for metric in columns)
            + "</tr>"
            for row in body
        )
        + "</tbody>"
        for kind, body in (
            ("bound", [row for row in rows if row["row"] == "noisy"]),
            ("compared", compared),
            ("bound", [row for row in rows if row["row"] == "clean"]),
        )
        if body
    )
    return f'<div class="scroll"><table class="metrics sortable"><thead><tr>{head}</tr></thead>{bodies}</table></div>'


def terms_note(rows: Iterable[str], metrics: Iterable[str] = ()) -> str:
    """What the words in the names of rows and in the titles of metrics mean, as one paragraph; only those that occur.

    >>> terms_note(["noisy", "log1p"])
    '<p class="note">log1p: the plain spectrum.</p>'
    """
    names = " ".join([*rows, *metrics])
    said = [f"{word}: {meaning}" for word, (pattern, meaning) in _TERMS.items() if re.search(pattern, names)]
    return f'<p class="note">{escape("; ".join(said))}.</p>' if said else ""


def _best(rows: Sequence[Mapping[str, Any]], metric: Metric) -> float | None:
    """Best value at the printed digits, so that equal numbers are marked equally; None with nothing to compare."""
    values = [round(row[metric.key], metric.digits) for row in rows if row.get(metric.key) is not None]
    if len(values) < 2:
        return None
    return max(values) if metric.higher_is_better else min(values)


def _metric_cell(row: Mapping[str, Any], metric: Metric, best: float | None) -> str:
    value = row.get(metric.key)
    if value is None and row["row"] == "clean":
        return '<td class="none">–</td>'
    details = []
    low, high = row.get(f"{metric.key}_low"), row.get(f"{metric.key}_high")
    if value is not None and low is not None and high is not None:
        details.append(f"[{number(low, metric.digits)}, {number(high, metric.digits)}]")
    if row.get(f"{metric.key}_spread") is not None:
        over = "several probes" if metric.key == "mi_bits" else f"{row['models']} models"
        details.append(f"±{number(row[f'{metric.key}_spread'], metric.digits + 1)} over {over}")
    scored, total = row.get(f"{metric.key}_scored"), row.get(f"{metric.key}_total")
    if scored is not None and total is not None and scored < total:
        details.append(f"<em>{int(scored)} of {int(total)} scored</em>")
    if metric.key == "wer" and value is not None and row.get("wer_insertions") is not None:
        details.append(f"insertions {number(row['wer_insertions'], 3)}")
    is_best = value is not None and best is not None and row["row"] != "noisy" and round(value, metric.digits) == best
    shown = (
        f"<strong>{number(value, metric.digits)}</strong>"
        if is_best and row["row"] != "clean"
        else number(value, metric.digits)
    )
    small = "".join(f"<small>{detail}</small>" for detail in details)
    marked = ' class="best"' if is_best and row["row"] != "clean" else ""
    key = "" if value is None else f' data-value="{float(value)!r}"'
    return f"<td{marked}{key}>{shown}{small}</td>"


def comparisons_table(metrics: Mapping[str, Any]) -> str:
    """The paired differences with their intervals; empty when nothing was compared."""
    comparisons = metrics.get("comparisons") or []
    labels = {row["row"]: str(row.get("label", row["row"])) for row in metrics["rows"]}
    known = {metric.key: metric for metric in METRICS}
    lines = []
    for found in comparisons:
        metric = known.get(found["metric"], Metric(found["metric"], found["metric"], "", 3, True, ""))
        difference = found["difference"]
        better = difference is not None and (difference > 0) == metric.higher_is_better
        verdict = ("better" if better else "worse") if is_significant(found) else "not significant"
        low, high = (number(found[key], metric.digits, signed=True) for key in ("low", "high"))
        lines.append(
            f'<tr><th scope="row">{escape(labels.get(found["row"], found["row"]))}</th>'
            f"<td>{escape(labels.get(found['against'], found['against']))}</td><td>{escape(metric.title)}</td>"
            f"<td>{number(difference, metric.digits, signed=True)}</td><td>[{low}, {high}]</td>"
            f"<td>{_p_value(found.get('p_value'))}</td><td>{escape(str(found.get('pairs', '–')))}</td>"
            f'<td class="verdict {verdict.split()[0]}">{verdict}</td></tr>'
        )
    titles = ("Row", "Against", "Metric", "Difference", "95 % interval", "p", "Pairs", "Verdict")
    return _table(titles, lines) if lines else ""


def _p_value(value: float | None) -> str:
    return "&lt; 0.001" if value is not None and value < 0.001 else number(value, 3)


def _table(titles: Sequence[str], lines: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table class="plain">{body}</table></div>'


def worst_utterances(rows: Sequence[Mapping[str, str]], labels: Mapping[str, str]) -> str:
    """For each row of the tables, its ten worst utterances, folded; `labels` name the rows."""
    if not rows or "row" not in rows[0]:
        return ""
    found = next(((key, larger) for key, larger in WORST_BY if any(_value(row, key) is not None for row in rows)), None)
    if found is None:
        return ""
    key, larger = found
    columns = [name for name in rows[0] if name != "row"]
    blocks = []
    for name in dict.fromkeys(row["row"] for row in rows):
        scored = [row for row in rows if row["row"] == name and _value(row, key) is not None]
        scored.sort(key=lambda row: _value(row, key) or 0.0, reverse=larger)
        lines = ["<tr>" + "".join(_plain_cell(row[column]) for column in columns) + "</tr>" for row in scored[:_WORST]]
        blocks.append(f"<details><summary>{escape(labels.get(name, name))}</summary>{_table(columns, lines)}</details>")
    return f'<p class="note">The {_WORST} worst of each row by <code>{key}</code>.</p>' + "".join(blocks)


def _value(row: Mapping[str, str], key: str) -> float | None:
    try:
        value = float(row.get(key, ""))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _plain_cell(text: str) -> str:
    try:
        return f"<td>{number(float(text), 3).removesuffix('.000')}</td>"
    except ValueError:
        return f'<td class="text">{escape(text) or "–"}</td>'


def timings_table(timings: Mapping[str, Any]) -> str:
    """Seconds of each stage, and their sum."""
    stages = [(str(row["stage"]), float(row["seconds"] or 0)) for row in timings["stages"]]
    stages.append(("all", sum(seconds for _, seconds in stages)))
    return _table(
        ("Stage", "Time"),
        [
            f'<tr><th scope="row">{escape(stage)}</th><td>{duration_text(seconds)}</td></tr>'
            for stage, seconds in stages
        ],
    )


def duration_text(seconds: float) -> str:
    """A duration a person can read.

    >>> duration_text(4.2), duration_text(75), duration_text(7380)
    ('4.2 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def example_card(
    example: Mapping[str, Any],
    run_dir: Path,
    sounds: Mapping[str, str] | None = None,
    pictures: Mapping[str, str] | None = None,
) -> str:
    """One utterance: a player for each row with the words the recogniser heard, wrong ones marked.

    Args:
        example: as in examples.json.
        run_dir: what its files are relative to.
        sounds: row -> address of its sound; None: the sound itself, as `embedded`.
        pictures: row -> HTML to show above its player.
    """
    files = {row: run_dir / path for row, path in example["files"].items()}
    sounds = embedded(files) if sounds is None else sounds
    text = example.get("text") or ""
    items = []
    for row in files:
        label = escape(str(example.get("labels", {}).get(row, row)))
        scores = example.get("scores", {}).get(row) or {}
        shown = [
            f"{metric.title} {number(scores[metric.key], metric.digits)}" for metric in METRICS if metric.key in scores
        ]
        heard = example.get("words", {}).get(row)
        player = (
            f'<audio controls preload="{"metadata" if sounds[row].startswith("data:") else "none"}" '
            f'aria-label="{label}" src="{escape(sounds[row])}"></audio>'
            if row in sounds
            else f'<p class="missing">{escape(str(example["files"][row]))} is missing</p>'
        )
        items.append(
            f'<div class="sound {"bound" if row in ("noisy", "clean") else ""}"><h4>{label}</h4>'
            + f"{(pictures or {}).get(row, '')}{player}"
            + (f'<p class="heard">{marked_words(text, heard)}</p>' if heard is not None else "")
            + f'<p class="scores">{" · ".join(shown)}</p></div>'
        )
    level = "" if example.get("snr_db") is None else f"<span>{snr_text(example['snr_db'])} dB SNR</span>"
    spoken = f'<p class="spoken">“{escape(text)}”</p>' if text else ""
    return (
        f'<article class="example"><header><h3>{escape(str(example["id"]))}</h3>{level}</header>{spoken}'
        f'<div class="sounds">{"".join(items)}</div></article>'
    )


def marked_words(spoken: str, heard: str) -> str:
    """The heard words, those that differ from the spoken ones marked, missed ones struck out.

    Capitals and punctuation, which some recognisers write, are no difference.

    >>> marked_words("turn it off", "turn of")
    'turn <mark>of</mark>'
    >>> marked_words("turn it off", "Turn off.")
    'Turn <del>it</del> off.'
    """
    said, words = spoken.lower().split(), heard.split()
    plain_said, plain_heard = (["".join(filter(str.isalnum, word.lower())) for word in side] for side in (said, words))
    pieces = []
    matcher = difflib.SequenceMatcher(None, plain_said, plain_heard, autojunk=False)
    for kind, start, end, first, last in matcher.get_opcodes():
        phrase = escape(" ".join(words[first:last]))
        if kind == "equal":
            pieces.append(phrase)
        elif kind == "delete":
            pieces.append(f"<del>{escape(' '.join(said[start:end]))}</del>")
        else:
            pieces.append(f"<mark>{phrase}</mark>")
    return " ".join(pieces) or '<span class="missing">nothing heard</span>'


def embedded(files: Mapping[str, Path]) -> dict[str, str]:
    """Sound files -> `data:` addresses of at most 200 kB of Ogg each, all with one gain so that none clips."""
    waveforms = {row: audio.load(path, _PLAYER_RATE) for row, path in files.items() if path.is_file()}
    peak = max((float(np.abs(waveform).max()) for waveform in waveforms.values()), default=0.0)
    gain = np.float32(min(1.0, 0.99 / peak) if peak > 0 else 1.0)
    return {
        row: f"data:audio/ogg;base64,{base64.b64encode(_ogg(gain * waveform)).decode()}"
        for row, waveform in waveforms.items()
    }


def _ogg(waveform: np.ndarray) -> bytes:
    """Vorbis (about 5 kB a second); Opus (3 kB a second) for what is longer; beyond that only the beginning."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".ogg", ".opus"):
            path = Path(folder) / f"sound{suffix}"
            audio.save(path, waveform, _PLAYER_RATE)
            if path.stat().st_size <= _PLAYER_BYTES:
                return path.read_bytes()
    return _ogg(waveform[: len(waveform) // 2])
