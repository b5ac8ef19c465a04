"""How a row is shown: its colour and marker, its place in the figures, and the words of its title explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from phonemi.report.figure_style import THEME
from phonemi.results.metrics import METRIC
from phonemi.systems import known_system
from phonemi.systems.han2026 import TERMS


class SeriesStyle(NamedTuple):
    """How a row looks in every figure: colour, marker, dash and hatch of matplotlib, and whether markers are hollow."""

    colour: str
    marker: str
    dash: str
    hatch: str
    hollow: bool = False


_SIGNALS = {
    "noisy": SeriesStyle(THEME["muted"], "x", ":", "xx"),
    "clean": SeriesStyle(THEME["ink"], "+", ":", "++"),
}
_LOG1P = SeriesStyle(THEME["spectrum"], "v", "-.", "--")
_HUE_MARKERS = {"acoustic": "s", "linguistic": "o", "hybrid": "^"}
# For systems that the papers do not have: colour and dash differ, and so do marker and dash, for a print in grey.
_OTHER_STYLES = [
    SeriesStyle(THEME[colour], "DP*Xp<h"[number % 7], dash, ("\\\\", "||", "oo", "**")[number % 4])
    for number, (dash, colour) in enumerate(
        product(("-", "--", "-."), ("single", "linguistic", "acoustic", "hybrid", "spectrum"))
    )
]


def is_other_system(name: str) -> bool:
    """Whether a row is neither a system of a paper nor one of the two signals that these are compared with."""
    return name not in _SIGNALS and known_system(name) is None


def is_dynamic(name: str) -> bool:
    """Whether the layer weights of a row change with time."""
    system = known_system(name)
    return system is not None and system.aggregation == "dynamic_weighted_sum"


def is_in_figure_3(name: str) -> bool:
    """Whether Fig. 3 of the paper shows the row: acoustic and linguistic weights, without a further input."""
    system = known_system(name)
    return system is not None and is_dynamic(name) and system.tuning != "hybrid" and not system.spectrum


def trained_part(label: str) -> tuple[str, str]:
    """What a line of the training log is about, and the row of the tables that it is for.

    >>> trained_part("round 1 (mel)"), trained_part("dws (linguistic)"), trained_part("ws-hybrid@2")
    (('Encoder', 'round 1 (mel)'), ('Aggregation', 'dws-linguistic'), ('Enhancer', 'ws-hybrid@2'))
    """
    if label.startswith("round "):
        return "Encoder", label
    kind, on_phones, _ = label.partition(" (linguistic)")
    return ("Aggregation", f"{kind}-linguistic") if on_phones else ("Enhancer", label)


def row_title(name: str, titles: Mapping[str, str]) -> str:
    """What tables call a row, or the row that it is a further model of; its own name if they do not have it."""
    return titles.get(name.partition("@")[0], name)


def explain(rows: Iterable[str], metrics: Iterable[str] = ()) -> str:
    """One sentence that explains the words in the names of rows and in the titles of metrics; empty if there are none.

    >>> explain(["noisy", "log1p"])
    'log1p: the plain spectrum.'
    """
    terms: dict[str, str] = {}
    for system in filter(None, map(known_system, rows)):
        terms |= system.terms
    for metric in map(METRIC.__getitem__, metrics):
        if metric.title.startswith("DNSMOS"):
            terms["DNSMOS SIG, BAK, OVRL"] = "estimated quality of speech, background and all, 1 to 5"
        elif metric.title.endswith("/32768"):
            words = "the same of waveforms divided by it once more, as in some published tables, about 0.1 too high"
            terms["CSIG /32768, CBAK /32768, COVL /32768"] = words
        elif metric.title in ("CSIG", "CBAK", "COVL"):
            terms["CSIG, CBAK, COVL"] = "ratings of speech, background and all, 1 to 5, predicted from PESQ and others"
        else:
            terms[metric.title] = metric.meaning
    in_order = sorted(terms, key=lambda word: list(TERMS).index(word) if word in TERMS else len(TERMS))
    return "; ".join(f"{word}: {terms[word]}" for word in in_order) + "." if terms else ""


def series_styles(rows: Sequence[str]) -> dict[str, SeriesStyle]:
    """Looks of the rows of one figure. Models of one row (NAME@2, ...) look the same.

    Rows of the paper look the same in every figure: colour and marker tell how the aggregation was tuned, dashes tell
    dynamic from static weights, hollow markers stand for "+ log1p". Other systems take what is left, in their order.
    """
    names = list(dict.fromkeys(name.partition("@")[0] for name in rows))
    looks: dict[str, SeriesStyle] = {}
    for name in names:
        style = _style_of(name)
        if style is not None and style not in looks.values():
            looks[name] = style
    lines = {(style.colour, style.dash) for style in looks.values()}  # all that tells curves without markers apart
    left = [style for style in _OTHER_STYLES if (style.colour, style.dash) not in lines]
    others = [name for name in names if name not in looks]
    looks |= {name: left[number % len(left)] for number, name in enumerate(others)}
    return {name: looks[name.partition("@")[0]] for name in rows}


def encoder_styles(count: int) -> list[SeriesStyle]:
    """Styles of several encoders in one figure."""
    first = ["ws-linguistic", "ws-acoustic", "ws-hybrid"]
    return list(series_styles([*first, *(f"encoder {number}" for number in range(4, count + 1))]).values())


def _style_of(name: str) -> SeriesStyle | None:
    system = known_system(name)
    look = None if system is None else system.look
    if look is None:
        return _SIGNALS.get(name)
    if look.hue == "spectrum":
        return _LOG1P
    dash = "--" if look.dashed else "-"
    if look.hue == "single":
        return SeriesStyle(THEME["single"], "D", dash, "\\\\", look.hollow)
    hatch = ("////" if look.dashed else "") + (".." if look.hollow else "")
    return SeriesStyle(THEME[look.hue], _HUE_MARKERS[look.hue], dash, hatch, look.hollow)
