"""Draw matplotlib figures from arrays: MI by layer and SNR, layer weights, and curves."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phonemi.report.figure_style import NARROW_IN, THEME, WIDE_IN, axes_grid, figure_style
from phonemi.report.robustness import COMPARED, LayerProfile, tuning_of
from phonemi.report.row_style import SeriesStyle, encoder_styles, series_styles
from phonemi.results.information import InformationTable
from phonemi.results.weights import RowWeights
from phonemi.tables import snr_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_MI = "MI with the phones (bits)"
_HEAT = "cividis"
Panels = Mapping[str, Mapping[str, tuple[str, Sequence[float], Sequence[float]]]]
"""Title of a panel -> row -> (label, x, y)."""
_SNR_RAMP = ("#5d4fc0", "#2f80bd", "#2fa595", "#93b83f")


@figure_style()
def information_by_layer(tables: Sequence[InformationTable]) -> Figure:
    """Fig. 1a: MI `[layer]` averaged over the SNRs, its interval as a band, the peak marked; log1p is a dashed line.

    The band averages the bounds of the single SNRs, as if their errors were the same: the careful side, since the
    test utterances are.
    """
    figure, ((axes,),) = axes_grid(NARROW_IN, 3.5)
    layered = [table for table in tables if table.has_layers]
    last = max((len(table.mi_bits) - 1 for table in layered), default=1)
    for table, style in zip(layered, encoder_styles(len(layered)), strict=False):
        mean, layers = table.by_layer, np.arange(len(table.mi_bits))
        line = _curve(axes, layers, mean, table.low_bits.mean(1), table.high_bits.mean(1), style)
        line.set_label(table.representation)
        if not np.isfinite(mean).any():
            continue
        peak = int(np.nanargmax(mean))
        text = f"layer {peak}: {mean[peak]:.2f} bits"
        line.set_label(f"{table.representation}, {text}")
        axes.plot(peak, mean[peak], "o", markersize=13, markerfacecolor="none", color=THEME["ink"])
        if len(layered) == 1:
            side = "right" if peak > last / 2 else "left"
            _label(axes, text, (peak, mean[peak]), (0, 12), fontweight="bold", ha=side)
    for table in tables:
        if not table.has_layers:
            level = float(table.by_layer[0])
            axes.axhline(level, color=THEME["muted"], linestyle="--", linewidth=1.6)
            text = f"{table.representation}: {level:.2f} bits"
            _label(axes, text, (last, level), (0, -5), ha="right", va="top", color=THEME["muted"])
    averages = [part.mean(axis=1) for table in tables for part in (table.mi_bits, table.low_bits, table.high_bits)]
    axes.set(xlabel="Layer", ylabel=_MI, xticks=np.arange(last + 1), ylim=_limits(averages))
    if len(layered) > 1:
        figure.legend(loc="outside upper left")
    else:
        axes.set_title("".join(table.representation for table in layered))
    return figure


def _spread(values: np.ndarray, gap: float) -> np.ndarray:
    """Move label positions apart to at least `gap`, keeping their order and as near to `values` as that allows.

    >>> _spread(np.array([1.0, 1.1, 3.0]), 0.5).tolist()
    [0.8, 1.3, 3.0]
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(values, kind="stable")
    # Label k is shifted down by k * gap: then labels only must not cross, and neighbours that do meet at their mean.
    shifts = gap * np.arange(len(values))
    spread = np.empty(len(values))
    spread[order] = isotonic_regression(values[order] - shifts).x + shifts
    return spread.round(6)


@figure_style()
def information_by_snr(table: InformationTable) -> Figure:
    """Fig. 1b: MI `[layer]`, one line per SNR, named at its right end; lighter is cleaner."""
    from matplotlib.colors import LinearSegmentedColormap

    figure, ((axes,),) = axes_grid(NARROW_IN, 3.5)
    ramp = LinearSegmentedColormap.from_list("snr", _SNR_RAMP)
    layers, snrs = table.mi_bits.shape
    bottom, top = _limits([table.mi_bits])
    labels = _spread(np.nan_to_num(table.mi_bits[-1]), 0.062 * (top - bottom))
    for index, snr_db in enumerate(table.snrs_db):
        colour = ramp(index / max(snrs - 1, 1))
        axes.plot(np.arange(layers), table.mi_bits[:, index], color=colour, marker="o", markersize=4)
        end = (layers - 1, np.nan_to_num(table.mi_bits[-1, index]))
        axes.annotate(
            f"{snr_text(snr_db)} dB", end, xytext=(layers - 1 + 0.045 * layers, labels[index]), va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 1, "shrinkA": 1, "shrinkB": 4},
            annotation_clip=False,
        )  # fmt: skip
    axes.set(xlabel="Layer", ylabel=_MI, xticks=np.arange(layers), ylim=(bottom, top))
    axes.set(title=table.representation, xlim=(-0.3, layers - 1 + 0.17 * layers))
    return figure


@figure_style()
def information_heatmap(table: InformationTable) -> Figure:
    """MI `[layer, snr]` as numbers on colours; the best layer of every SNR is boxed."""
    from matplotlib.patches import Rectangle

    layers, snrs = table.mi_bits.shape
    figure, ((axes,),) = axes_grid(NARROW_IN, max(3.5, 1.2 + 0.3 * layers))
    image = heat(axes, table.mi_bits, (-0.5, snrs - 0.5, -0.5, layers - 0.5))
    peaks = table.peak_layers
    # Black and near-white are outside THEME on purpose: they sit on the cells, not on the page.
    black, white = "#000000", "#fdfdfd"
    for (layer, index), value in np.ndenumerate(table.mi_bits):
        is_dark = np.isfinite(value) and image.norm(value) < 0.55
        axes.text(
            index, layer, f"{value:.2f}" if np.isfinite(value) else "–", ha="center", va="center",
            color=white if is_dark else black, weight="bold" if peaks[index] == layer else "normal",
        )  # fmt: skip
    for index, layer in enumerate(peaks):
        if layer >= 0:
            for colour, width in ((black, 4), (white, 2)):
                place = (index - 0.47, layer - 0.46)
                axes.add_patch(Rectangle(place, 0.94, 0.92, fill=False, edgecolor=colour, linewidth=width))
    axes.set_xticks(range(snrs), [snr_text(snr_db) for snr_db in table.snrs_db])
    axes.set(title=table.representation, xlabel="SNR (dB)", ylabel="Layer", yticks=range(layers))
    add_scale(image, axes, "MI (bits)", pad=0.02)
    return figure


@figure_style()
def information_peak(tables: Sequence[InformationTable]) -> Figure:
    """Fig. 1c: MI of the best layer against the SNR, the layer's number at each point, with log1p beside it."""
    figure, ((axes,),) = axes_grid(NARROW_IN, 3.5)
    layered = [table for table in tables if table.has_layers]
    drawn = [bound for table in layered for bound in (_peaks(table), *_peak_interval(table))]
    limits = _limits([*drawn, *(table.mi_bits for table in tables if not table.has_layers)])
    styles = encoder_styles(len(layered))
    points = [(snr_db, peak) for table in layered for snr_db, peak in zip(table.snrs_db, _peaks(table), strict=True)]
    for index, table in enumerate(layered):
        style, layers, peaks = styles[index], table.peak_layers, _peaks(table)
        low, high = _peak_interval(table)
        _curve(axes, table.snrs_db, peaks, low, high, style).set_label(f"{table.representation}, best layer")
        for snr_db, peak, layer in zip(table.snrs_db, peaks, layers, strict=True):
            if layer >= 0:
                colour = THEME["ink"] if len(layered) == 1 else style.colour
                is_close_below = any(at == snr_db and 0 < other - peak < 0.12 * limits[1] for at, other in points)
                offset = (0, -17 if is_close_below else 8)
                _label(axes, f"L{layer}", (snr_db, peak), offset, ha="center", fontsize=9, color=colour)
    for table in tables:
        if not table.has_layers:
            axes.plot(
                table.snrs_db, table.mi_bits[0], color=THEME["muted"], marker="v", linestyle="--",
                label=table.representation,
            )  # fmt: skip
    snrs_db = tables[0].snrs_db
    axes.set_xticks(snrs_db, [snr_text(snr_db) for snr_db in snrs_db])
    axes.set(xlabel="SNR (dB)", ylabel=_MI, ylim=limits)
    figure.legend(loc="outside upper left", ncols=2 if len(tables) == 2 else 1)
    return figure


def _peaks(table: InformationTable) -> np.ndarray:
    """MI of the best layer at each SNR, [snr]; NaN where nothing was measured."""
    layers = table.peak_layers
    peaks: np.ndarray = np.where(layers >= 0, table.mi_bits[layers, np.arange(len(layers))], np.nan)
    return peaks


def _peak_interval(table: InformationTable) -> list[np.ndarray]:
    """Ends of the interval of these, [snr] each."""
    layers = table.peak_layers
    return [bound[layers, np.arange(len(layers))] for bound in (table.low_bits, table.high_bits)]


@figure_style()
def layer_robustness(profiles: Sequence[LayerProfile], note: str = "") -> Figure:
    """How far noise moves each layer, what it tells of the phones, and the weight it gets, over one axis of layers.

    One encoder has bands for intervals and a line for each of its weights. Several, such as one before and after
    fine-tuning, have a colour each, bars for intervals beside each other, and hollow markers for weights that are
    learned to tell phones. What was not measured has no panel.

    Args:
        profiles: of the encoders.
        note: what to read from it, below the panels.
    """
    panels = {
        "distance_sd": ("How far noise moves each layer: lower is more robust", "CN distance (SD)"),
        "mi_bits": ("What each layer tells of the phones in noise: higher is more", "MI (bits)"),
        "weights": ("Where the learned weights go, which sum to 1", "Weight"),
    }
    drawn = [part for part in panels if any(len(values) for p in profiles if (values := getattr(p, part)) is not None)]
    lines = textwrap.wrap(note, 100)
    is_one = len(profiles) == 1
    width_in = 6.6
    columns = _legend_columns([profile.label for profile in profiles], width_in)
    height_in = 0.9 + 2.1 * len(drawn) + 0.17 * len(lines) + (0 if is_one else 0.2 * len(profiles) / columns)
    figure, grid = axes_grid(width_in, height_in, len(drawn), sharex=True)
    axes = dict(zip(drawn, grid[:, 0], strict=True))
    last = max(profile.distance_sd.shape[1] for profile in profiles) - 1
    encoders = [SeriesStyle(THEME["ink"], "o", "-", ""), *encoder_styles(len(profiles) - 1)][: len(profiles)]
    legend: list[Line2D] = []
    rows = series_styles([row.row for profile in profiles for row in profile.weights])
    for number, (profile, style) in enumerate(zip(profiles, encoders, strict=True)):
        layers = np.arange(profile.distance_sd.shape[1])
        beside = layers + 0.07 * (number - (len(profiles) - 1) / 2)
        for part in ("distance_sd", "mi_bits"):
            if (values := getattr(profile, part)) is not None:
                mean, low, high = values
                line = _curve(axes[part], layers if is_one else beside, mean, low, high, style, as_bars=not is_one)
                line.set_label(profile.label)
                legend += [line] if part == "distance_sd" else []
        for row in profile.weights:
            look = rows[row.row] if is_one else style._replace(hollow=tuning_of(row) == "linguistic")
            weights = np.array(row.weights)
            line = _curve(axes["weights"], layers if is_one else beside, weights, weights, weights, look)
            line.set_label(row.title if is_one else "")
    for part, of_panel in axes.items():
        title, ylabel = panels[part]
        of_panel.set(title=title, ylabel=ylabel, ylim=_limits([of_panel.dataLim.intervaly]))
    grid[-1, 0].set(xlabel="Layer", xticks=np.arange(last + 1), xlim=(-0.4, last + 0.4))
    if "weights" in axes:
        axes["weights"].axhline(1 / (last + 1), color=THEME["muted"], linestyle=":", linewidth=1.2)
        _label(axes["weights"], "equal", (last + 0.4, 1 / (last + 1)), (2, 0), va="center", fontsize=9)
    if is_one and "weights" in axes:
        axes["weights"].legend(loc="best", fontsize=9)
    elif not is_one:
        for tuning in COMPARED if len({tuning_of(row) for profile in profiles for row in profile.weights}) > 1 else ():
            mark = SeriesStyle(THEME["ink"], "o", "", "", tuning == "linguistic")
            nothing = np.empty(0)
            legend.append(_curve(axes["weights"], nothing, nothing, nothing, nothing, mark))
            legend[-1].set_label(f"{tuning} weights")
        figure.legend(handles=legend, loc="outside upper left", ncols=columns, fontsize=9)
    if lines:
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=9)
    return figure


@figure_style()
def layer_weights(rows: Sequence[RowWeights]) -> Figure:
    """Fig. 2: share of each layer in the fused representation."""
    figure, ((axes,),) = axes_grid(WIDE_IN, 3.6)
    layers = max(len(row.weights) for row in rows)
    width = 0.84 / len(rows)
    styles = series_styles([row.row for row in rows])
    for index, row in enumerate(rows):
        style = styles[row.row]
        positions = np.arange(len(row.weights)) + (index - (len(rows) - 1) / 2) * width
        axes.bar(
            positions, np.asarray(row.weights, float), 0.9 * width, label=row.title, color=style.colour,
            hatch=style.hatch, edgecolor=THEME["paper"], linewidth=0,
        )  # fmt: skip
    axes.axhline(1 / layers, color=THEME["ink"], linestyle=":", linewidth=1.2)
    _label(axes, "equal", (layers - 0.5, 1 / layers), (3, 0), va="center", fontsize=9)
    axes.set(xlabel="Layer", ylabel="Weight (sums to 1)", xticks=np.arange(layers), xlim=(-0.5, layers - 0.5))
    figure.legend(loc="outside upper left", ncols=_legend_columns([row.title for row in rows]))
    return figure


@figure_style()
def dynamic_weights(
    log_mel: np.ndarray,
    local_snr_db: np.ndarray,
    rows: Sequence[tuple[str, np.ndarray]],
    frame_s: float = 0.02,
) -> Figure:
    """Fig. 3: one noisy utterance and how the layer weights follow it, on one time axis.

    Args:
        log_mel: `[2 * frame, mel]`.
        local_snr_db: `[2 * frame]`, NaN where undefined.
        rows: (label, layer weights `[frame, layer]`).
        frame_s: seconds from one weight frame to the next; spectrum and SNR have half of it.
    """
    figure, panels = panels_over_time([1.5, 0.9, *[1.15] * len(rows)], 1.15)
    # Frame t is centred at (320 t + 200) / 16000 s, so its cell begins 2.5 ms after 0.02 t.
    start_s, step_s = 0.125 * frame_s, 0.5 * frame_s
    end_s = start_s + step_s * len(log_mel)
    spectrum = heat(panels[0], np.asarray(log_mel).T, (start_s, end_s, 0, log_mel.shape[1]), "magma")
    panels[0].set(title="Noisy speech", ylabel="Mel band")
    times_s = start_s + step_s * (np.arange(len(local_snr_db)) + 0.5)
    panels[1].plot(times_s, local_snr_db, color=THEME["ink"], linewidth=1.4)
    panels[1].axhline(0, color=THEME["muted"], linewidth=0.8)
    panels[1].set(title="Local SNR", ylabel="dB")
    add_scale(spectrum, panels[0], "log power")
    peak = max((float(np.nanmax(weights)) for _, weights in rows), default=1.0)
    for axes, (label, weights) in zip(panels[2:], rows, strict=True):
        image = heat_of_layers(axes, weights, start_s, frame_s, peak)
        axes.set_title(label)
    if rows:
        add_scale(image, panels[2:], "weight")
    panels[-1].set(xlabel="Time (s)", xlim=(0, end_s))
    return figure


@figure_style()
def small_multiples(panels: Panels, xlabel: str, markers: bool = True) -> Figure:
    """One panel per quantity, one line per row, one legend: metrics by SNR, and training curves.

    Models of a row (NAME@2, ...) look the same; a label is in the legend once.
    """
    columns = min(len(panels), 2 if len(panels) in (2, 4) else 3)
    lines = -(-len(panels) // columns)
    labels = {row: label for curves in panels.values() for row, (label, _, _) in curves.items()}
    styles, entries = series_styles(list(labels)), set(labels.values())
    legend_lines = -(-len(entries) // _legend_columns(entries))
    figure, grid = axes_grid(WIDE_IN, 2.8 * lines + 0.3 * legend_lines, lines, columns)
    handles = {}
    for axes, (title, curves) in zip(grid.flat, panels.items(), strict=False):
        for row, (label, x, y) in curves.items():
            style = styles[row]
            (handles[label],) = axes.plot(
                np.asarray(x, float), np.asarray(y, float), color=style.colour, linestyle=style.dash, label=label,
                marker=style.marker if markers else None, linewidth=1.8, markersize=5,
                markerfacecolor=THEME["paper"] if style.hollow else style.colour,
            )  # fmt: skip
        axes.set(title=title, xlabel=xlabel)
        positions = np.unique([float(value) for _, x, _ in curves.values() for value in x])
        # Measured SNRs may be too near each other to be named.
        if markers and len(positions) <= 8 and np.diff(positions).min(initial=np.inf) > 0.1 * np.ptp(positions):
            axes.set_xticks(positions, [snr_text(position) for position in positions])
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=_legend_columns(handles))
    return figure


def _limits(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Vertical limits of an MI axis: zero is in it, and what is below zero too, with room for a label on top."""
    low = min(float(np.nanmin(array, initial=0.0)) for array in values)
    high = max(float(np.nanmax(array, initial=0.0)) for array in values) or 1.0
    return low - (0.05 * (high - low) if low < 0 else 0.0), high + 0.15 * (high - low)


def _label(axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], **style: Any) -> None:
    """Write a text beside a point, `offset` points away."""
    axes.annotate(text, place, xytext=offset, textcoords="offset points", **style)


def _legend_columns(labels: Collection[str], width_in: float = WIDE_IN) -> int:
    """Columns of a legend no wider than the page: three for five, six and nine, so that related rows stay together."""
    entries, column_in = len(labels), 0.6 + 0.08 * max(map(len, labels), default=0)
    return max(1, min(3 if entries in (3, 5, 6, 9) else 4, entries, int(width_in / column_in)))


def heat(axes: Axes, values: np.ndarray, extent: tuple[float, float, float, float], colours: str = _HEAT) -> Any:
    """Draw values `[row, column]`, the first row below, over the rectangle `extent`; the image, to give it a scale."""
    axes.grid(False)
    return axes.imshow(values, origin="lower", aspect="auto", extent=extent, cmap=colours, interpolation="nearest")


def heat_of_layers(axes: Axes, weights: np.ndarray, start_s: float, frame_s: float, peak: float) -> Any:
    """Draw layer weights `[frame, layer]` over time on a scale from 0 to `peak`."""
    frames, layers = weights.shape
    image = heat(axes, weights.T, (start_s, start_s + frame_s * frames, -0.5, layers - 0.5))
    image.set_clim(0, peak)
    axes.set(ylabel="Layer", yticks=range(0, layers, 1 if layers < 8 else 3))
    return image


def add_scale(image: Any, axes: Any, label: str, pad: float = 0.01) -> None:
    """Say what the colours of an image mean, beside one or several axes."""
    image.figure.colorbar(image, ax=axes, label=label, pad=pad).outline.set_visible(False)


def panels_over_time(heights: list[float], unit_in: float, width_in: float = WIDE_IN) -> tuple[Figure, list[Axes]]:
    """A figure with axes below each other that share their time."""
    height_in, ratios = 0.7 + unit_in * sum(heights), {"height_ratios": heights}
    figure, grid = axes_grid(width_in, height_in, len(heights), sharex=True, gridspec_kw=ratios)
    return figure, list(grid[:, 0])


def _curve(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    style: SeriesStyle,
    as_bars: bool = False,
) -> Line2D:
    """Draw a curve, and its interval as a band or as bars."""
    if as_bars:
        axes.vlines(x, low, high, color=style.colour, linewidth=1.2)
    else:
        axes.fill_between(x, low, high, color=style.colour, alpha=0.2, linewidth=0)
    return axes.plot(
        x, y, color=style.colour, marker=style.marker, linestyle=style.dash,
        markerfacecolor=THEME["paper"] if style.hollow else style.colour,
    )[0]  # fmt: skip
