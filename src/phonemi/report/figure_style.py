"""One look for every figure, and figures as files.

Figures are drawn with the object-oriented interface of matplotlib, so that no global setting changes and no display is
needed. The colours of `THEME` are used for nothing else, so that a page can exchange them for its own.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phonemi.errors import ConfigError
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
# Without a date the same numbers give the same bytes.
_DATES: dict[str, Any] = {".svg": {"Date": None}, ".png": None, ".pdf": {"CreationDate": None}}


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


def save_figure(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write `folder/name.png` (200 dots per inch) and `folder/name.svg`, each complete or absent; return the paths."""
    paths = [Path(folder) / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        write_figure(figure, path)
        figure.set_layout_engine("none")  # one layout serves both files
    return paths


@figure_style()
def write_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as what the suffix says, .svg, .png (200 dots per inch) or .pdf: whole, or not at all.

    Raises:
        ConfigError: for another suffix.
    """
    kind = Path(path).suffix.lower()
    if kind not in _DATES:
        raise ConfigError(f"{path}: a figure is written as {', '.join(_DATES)}, not as {kind or 'nothing'}")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=kind[1:], metadata=_DATES[kind])


@figure_style()
def svg_text(figure: Figure, dots_per_inch: int = 110) -> str:
    """A figure as the text of an SVG file; images in it have `dots_per_inch`."""
    with io.StringIO() as file:
        figure.savefig(file, format="svg", dpi=dots_per_inch, metadata={"Date": None})
        return file.getvalue()
