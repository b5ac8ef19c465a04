"""The name of a row -> its colour, marker and dash; figures -> files: one look for every figure, no global state.

Figures are drawn with the object-oriented interface, so nothing global changes and no display is needed. Every
series differs in lightness and in marker, dash or hatch as well as in hue: a grey print and a colour-blind reader
see the same figure. The colours of `THEME` occur nowhere else, so that a page can exchange them for its own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from phonemi.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THEME = {
    "ink": "#1c2126",
    "muted": "#5b6571",
    "rule": "#dfe3e8",
    "paper": "#fffffe",
    "acoustic": "#e08e0b",
    "linguistic": "#0b4f94",
    "hybrid": "#1f8a70",
    "single": "#a3477f",
    "spectrum": "#77695a",
}
NARROW_IN, WIDE_IN = 5.0, 10.4


class SeriesStyle(NamedTuple):
    """How one row of the tables looks in every figure."""

    colour: str
    marker: str
    dash: str
    hatch: str
    hollow: bool


# Of rows that have no look of their own: lists of lengths without a common divisor, so that each round combines them
# anew. Only here are these markers.
_OTHER_COLOURS = ("single", "linguistic", "acoustic", "hybrid", "spectrum")
_OTHER_MARKERS = ("D", "P", "*", "X", "p", "<", "h")
_OTHER_DASHES = ("-", "--", "-.")
_OTHER_HATCHES = ("\\\\", "||", "oo", "**")
_OTHERS = 420  # of them are different


def series_styles(rows: Sequence[str]) -> dict[str, SeriesStyle]:
    """Looks of the rows of one figure, all different; only the models of a row (NAME@2, ...) share one.

    Rows of the papers look the same in every figure: hue and marker tell how a row was tuned, dashes dynamic from
    static, hollow markers "+ log1p". The others take what is left, in their order.

    >>> looks = series_styles(["ws-linguistic", "theirs", "dws-linguistic+log1p", "ours"])
    >>> looks["ws-linguistic"].colour == looks["dws-linguistic+log1p"].colour, looks["theirs"] == looks["ours"]
    (True, False)
    """
    bases = {row: re.sub(r"@\d+$", "", row) for row in rows}
    looks: dict[str, SeriesStyle] = {}
    for base in bases.values():
        look = _own_style(base)
        if look is not None and look not in looks.values():
            looks[base] = look
    for base in bases.values():
        if base not in looks:
            lines = {(look.colour, look.dash) for look in looks.values()}  # all there is where points are not marked
            free = [look for look in map(_other_style, range(_OTHERS)) if look not in looks.values()]
            looks[base] = next((look for look in free if (look.colour, look.dash) not in lines), free[0])
    return {row: looks[base] for row, base in bases.items()}


def _own_style(row: str) -> SeriesStyle | None:
    """Look of a row of the papers' tables; a single layer has the first of the others."""
    if row == "noisy":
        return SeriesStyle(THEME["muted"], "x", ":", "xx", False)
    if row == "clean":
        return SeriesStyle(THEME["ink"], "+", ":", "++", False)
    if row == "log1p":
        return SeriesStyle(THEME["spectrum"], "v", "-.", "--", False)
    kind, log1p = row.removesuffix("+log1p"), row.endswith("+log1p")
    if re.fullmatch(r"layer(-\d+)?", kind):
        return _other_style(0)._replace(hollow=log1p)
    dynamic, tuning = kind.startswith("dws-"), re.sub("^d?ws-", "", kind)
    marker = {"acoustic": "s", "linguistic": "o", "hybrid": "^"}.get(tuning)
    if marker is None:
        return None
    hatch = ("////" if dynamic else "") + (".." if log1p else "")
    return SeriesStyle(THEME[tuning], marker, "--" if dynamic else "-", hatch, log1p)


def _other_style(place: int) -> SeriesStyle:
    colour, marker, dash, hatch = (
        choices[place % len(choices)] for choices in (_OTHER_COLOURS, _OTHER_MARKERS, _OTHER_DASHES, _OTHER_HATCHES)
    )
    return SeriesStyle(THEME[colour], marker, dash, hatch, False)


@contextmanager
def figure_style() -> Iterator[None]:
    """Matplotlib settings of every figure, for the length of a `with` block or, as a decorator, of a call."""
    import matplotlib

    settings: Any = {
        "font.family": "DejaVu Sans", "font.size": 10.5, "axes.titlesize": 11, "axes.titlelocation": "left",
        "text.color": THEME["ink"], "text.parse_math": False, "axes.labelcolor": THEME["ink"],
        "axes.edgecolor": THEME["muted"], "axes.facecolor": "none", "figure.facecolor": THEME["paper"],
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y",
        "grid.color": THEME["rule"], "grid.linewidth": 0.8, "axes.axisbelow": True,
        "xtick.color": THEME["muted"], "ytick.color": THEME["muted"],
        "xtick.labelcolor": THEME["ink"], "ytick.labelcolor": THEME["ink"],
        "legend.frameon": False, "lines.linewidth": 2, "lines.markersize": 6, "hatch.linewidth": 1.1,
        "svg.fonttype": "none", "svg.hashsalt": "phonemi", "savefig.dpi": 200,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        yield


def axes_grid(
    width_in: float, height_in: float, rows: int = 1, columns: int = 1, **settings: Any
) -> tuple[Figure, Any]:
    """An empty figure and its axes, `[row, column]`; `settings` go to `Figure.subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **settings)


@figure_style()
def save_figure(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write `folder/name.png` (200 dots per inch) and `folder/name.svg`, each complete or absent; return the paths."""
    paths = [Path(folder) / f"{name}.png", Path(folder) / f"{name}.svg"]
    for path in paths:
        with replacing(path) as temporary:
            # Without a date the same numbers give the same bytes.
            figure.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


@figure_style()
def svg_text(figure: Figure, dots_per_inch: int = 110) -> str:
    """A figure as the text of an SVG file; images in it have `dots_per_inch`."""
    with io.StringIO() as file:
        figure.savefig(file, format="svg", dpi=dots_per_inch, metadata={"Date": None})
        return file.getvalue()
