"""What the name of a row decides in a report: its colour, its explanation, its place in sentences and figures.

Everything that a report derives from the name of a row is in this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from phonemi.errors import ConfigError
from phonemi.report.figure_style import THEME
from phonemi.results.metrics import METRIC
from phonemi.systems.system import Row, parse

QUESTIONS = (("ws-linguistic", "ws-acoustic"), ("dws-linguistic", "dws-acoustic"))
"""The comparisons that the paper is about: a linguistic aggregation against the acoustic one of the same kind."""


class SeriesStyle(NamedTuple):
    """How a row looks in every figure: colour, marker, dash and hatch of matplotlib, and whether markers are hollow."""

    colour: str
    marker: str
    dash: str
    hatch: str
    hollow: bool = False


_NOISY = SeriesStyle(THEME["muted"], "x", ":", "xx")
_CLEAN = SeriesStyle(THEME["ink"], "+", ":", "++")
_LOG1P = SeriesStyle(THEME["spectrum"], "v", "-.", "--")
_LAYER = SeriesStyle(THEME["single"], "D", "-", "\\\\")
_TUNING_MARKERS = {"acoustic": "s", "linguistic": "o", "hybrid": "^"}
# For systems that the papers do not have: colour and dash differ, and so do marker and dash, for a print in grey.
_OTHER_STYLES = [
    SeriesStyle(THEME[colour], "DP*Xp<h"[number % 7], dash, ("\\\\", "||", "oo", "**")[number % 4])
    for number, (dash, colour) in enumerate(
        product(("-", "--", "-."), ("single", "linguistic", "acoustic", "hybrid", "spectrum"))
    )
]


def row_of_the_paper(name: str) -> Row | None:
    """The row of that name in the tables of the paper; None for the noisy and clean signals and for other systems.

    >>> row_of_the_paper("ws-hybrid@2").label, row_of_the_paper("noisy"), row_of_the_paper("theirs")
    ('WS (Hybrid)', None, None)
    """
    try:
        return parse(name)
    except ConfigError:
        return None


def is_other_system(name: str) -> bool:
    """Whether a row is neither of the paper nor one of the two signals that these are compared with."""
    return name not in ("noisy", "clean") and row_of_the_paper(name) is None


def is_dynamic(name: str) -> bool:
    """Whether the layer weights of a row change with time."""
    row = row_of_the_paper(name)
    return row is not None and row.kind == "dws"


def is_in_figure_3(name: str) -> bool:
    """Whether Fig. 3 of the paper shows the row: acoustic and linguistic weights, without a further input."""
    row = row_of_the_paper(name)
    return row is not None and row.kind == "dws" and row.tuning != "hybrid" and not row.log1p


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
    known = [row for name in rows if (row := row_of_the_paper(name)) is not None]
    summed = [row for row in known if row.kind in ("ws", "dws")]
    tunings = {row.tuning for row in summed}
    terms = {
        "WS: weighted sum of the encoder's layers": bool(summed),
        "DWS: the same, with weights that change with every frame": any(row.kind == "dws" for row in summed),
        "acoustic: weights learned with the enhancer": "acoustic" in tunings,
        "linguistic: learned to tell phones, then frozen": "linguistic" in tunings,
        "hybrid: starts linguistic, layer 0's weight is learned with the enhancer": "hybrid" in tunings,
        "log1p: the plain spectrum": any(row.log1p for row in known),
        "DNSMOS SIG, BAK, OVRL: estimated quality of speech, background and all, 1 to 5": any(
            METRIC[key].title.startswith("DNSMOS") for key in metrics
        ),
    }
    words = [term for term, occurs in terms.items() if occurs]
    return "; ".join(words) + "." if words else ""


def series_styles(rows: Sequence[str]) -> dict[str, SeriesStyle]:
    """Looks of the rows of one figure. Models of one row (NAME@2, ...) look the same.

    Rows of the paper look the same in every figure: colour and marker tell how the aggregation was tuned, dashes tell
    dynamic from static weights, hollow markers stand for "+ log1p". Other systems take what is left, in their order.

    >>> looks = series_styles(["ws-linguistic", "theirs", "dws-linguistic+log1p", "ours"])
    >>> looks["ws-linguistic"].colour == looks["dws-linguistic+log1p"].colour, looks["theirs"] == looks["ours"]
    (True, False)
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
    if name in ("noisy", "clean"):
        return _NOISY if name == "noisy" else _CLEAN
    row = row_of_the_paper(name)
    if row is None:
        return None
    if row.kind == "log1p":
        return _LOG1P
    if row.kind == "layer" or row.tuning is None:
        return _LAYER._replace(hollow=row.log1p)
    is_dynamic = row.kind == "dws"
    hatch = ("////" if is_dynamic else "") + (".." if row.log1p else "")
    return SeriesStyle(THEME[row.tuning], _TUNING_MARKERS[row.tuning], "--" if is_dynamic else "-", hatch, row.log1p)
