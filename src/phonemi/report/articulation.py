"""Articulation to look at: a mouth that moves with the sound, on a page, and the tracks over a spectrogram."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phonemi import audio
from phonemi.errors import DataError
from phonemi.inversion.source_features import VOICED
from phonemi.inversion.tracks import RATE_HZ, Tracks, fit_to_audio
from phonemi.report import midsagittal
from phonemi.report.cards import data_address, sound_addresses
from phonemi.report.figure_style import THEME, WIDE_IN, figure_style
from phonemi.report.pages import render, write_page
from phonemi.report.plots import heat, panels_over_time
from phonemi.report.spectrograms import pictures, scale_db, spectrogram_db, time_ticks
from phonemi.signal import SAMPLE_RATE

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

MEANINGS = {
    "LA": "lip aperture",
    "LP": "lip protrusion",
    "TTCL": "place of the tongue tip",
    "TTCD": "distance of the tongue tip from the palate",
    "TBCL": "place of the tongue body",
    "TBCD": "distance of the tongue body from the palate",
    "JA": "angle of the jaw",
    "VO": "opening of the velum",
    "NAS": "nasalance",
    "PER": "periodicity, how much voice there is",
    "APER": "aperiodicity, how much noise there is",
    "F0": "pitch of the voice",
}
SHOWN_FIRST = ("LA", "TTCD", "TBCD")
"""Drawn over the spectrogram before a reader chooses: how near what articulates comes."""

MAX_SHOWN_S = 60.0
"""Of a longer recording a page shows only the beginning: a second takes about 25 kB."""

_COLOURS = ("#ffffff", "#ff9df0", "#ffb08a", "#ffd84d", "#b9b2ff", "#5ee6ff", "#8dff73", "#5dffc8")  # on a dark ground
_STEPS_PER_MM = 50  # of coordinates on a page
_NEEDED = {"body": "tongue body", "tip": "tongue tip", "lips": "lips", "velum": "velum", "voice": "voice"}


class Articulation(NamedTuple):
    """A recording whose articulation is shown; see `articulation_section`."""

    title: str
    tracks: Tracks
    waveform: np.ndarray
    sample_rate: int
    text: str = ""


def articulation_section(
    tracks: Tracks,
    waveform: np.ndarray,
    sample_rate: int,
    title: str = "",
    text: str = "",
    closed_mm: Mapping[str, float] = midsagittal.CLOSED_MM,
) -> Markup:
    """A part of a page, with all that it needs in it: the moving mouth, spectrogram and tracks, and a player.

    Args:
        tracks: as long as the sound, or up to 0.1 s longer or shorter; in their units or in "range".
        waveform: float `[sample]` or `[channel, sample]`.
        sample_rate: in Hz, of the waveform.
        title: of the recording.
        text: what is said.
        closed_mm: see `midsagittal.outlines`.

    Raises:
        DataError: if sound and tracks differ in length by more, or there is no sound.
    """
    from markupsafe import Markup

    sound = _sound(waveform, sample_rate)
    tracks = fit_to_audio(tracks, len(sound) / SAMPLE_RATE, title or "the recording")
    is_cut = len(sound) > MAX_SHOWN_S * SAMPLE_RATE
    if is_cut:
        sound = sound[: round(MAX_SHOWN_S * SAMPLE_RATE)]
        tracks = replace(tracks, values=tracks.values[: round(MAX_SHOWN_S * RATE_HZ)])
    duration_s = len(sound) / SAMPLE_RATE
    outlines = midsagittal.outlines(tracks, closed_mm)
    data = {
        "duration_s": duration_s,
        "rate_hz": midsagittal.RATE_DRAWN_HZ,
        "steps_per_mm": _STEPS_PER_MM,
        "tip_start": midsagittal.TIP_START,
        "lines": {name: {"points": line.shape[1], "steps": _packed(line)} for name, line in outlines.lines.items()},
        "known": {part: "".join("01"[int(value)] for value in known) for part, known in outlines.known.items()},
        "voiced": VOICED,
        "voice": [round(float(value), 2) for value in outlines.voice],
        "tracks_rate_hz": RATE_HZ,
        "values": [[_rounded(value) for value in column] for column in tracks.values.T],
    }
    unknown = [words for part, words in _NEEDED.items() if not outlines.known[part].any()]
    variables = [
        {
            "name": name,
            "unit": "" if unit in ("range", "0..1") else unit.replace("mm2", "mm²").replace("degrees", "°"),
            "meaning": MEANINGS.get(name, ""),
            "colour": _COLOURS[index % len(_COLOURS)],
            "is_shown": name in SHOWN_FIRST,
            "reason": tracks.reasons.get(name, ""),
            "is_known": bool(tracks.mask[:, index].any()),
        }
        for index, (name, unit) in enumerate(zip(tracks.names, tracks.units, strict=True))
    ]
    return Markup(
        render(
            "articulation.html",
            title=title,
            text=text,
            address=sound_addresses({"": sound})[""],
            picture=data_address("image/png", pictures({"": sound})[""]),
            duration_s=duration_s,
            ticks=time_ticks(duration_s),
            fixed={name: _path(line, name != "incisors") for name, line in midsagittal.FIXED.items()},
            variables=variables,
            unknown=unknown,
            shown_s=MAX_SHOWN_S if is_cut else 0,
            is_in_range="range" in tracks.units,
            data=data,
        )
    )


def articulation_page(title: str, recordings: Sequence[Articulation]) -> str:
    """The HTML of a page of recordings, which asks for nothing from elsewhere; to be shown in an `iframe` as well."""
    return render("articulation_page.html", media="data:", **_page(title, recordings))


def write_articulation_page(path: str | Path, title: str, recordings: Sequence[Articulation]) -> Path:
    """Write the page of recordings; returns its path.

    Raises:
        DataError: if sound and tracks of a recording differ in length.
        OSError: if the page cannot be written.
    """
    return write_page(path, "articulation_page.html", **_page(title, recordings))


def _page(title: str, recordings: Sequence[Articulation]) -> dict[str, Any]:
    parts = [articulation_section(each.tracks, *each[2:4], each.title, each.text) for each in recordings]
    return {"name": title, "headlines": [], "sections": {}, "parts": parts}


@figure_style()
def articulation_figure(
    waveform: np.ndarray,
    sample_rate: int,
    tracks: Tracks,
    second: Tracks | None = None,
    labels: tuple[str, str] = ("estimate", "truth"),
) -> Figure:
    """Spectrogram, and below it a panel for each variable; nothing is drawn where a value is unknown.

    Args:
        waveform, sample_rate, tracks: see `articulation_section`.
        second: other tracks of the recording, dashed; variables that only they have are left out.
        labels: of the two, for the legend.

    Raises:
        DataError: if the lengths of sound and tracks differ by more than 0.1 s.
    """
    sound = _sound(waveform, sample_rate)
    duration_s = len(sound) / SAMPLE_RATE
    tracks = fit_to_audio(tracks, duration_s, labels[0])
    figure, panels = panels_over_time([1.7, *[0.75] * len(tracks.names)], 0.95, WIDE_IN)
    spectrogram = spectrogram_db(sound)
    heat(panels[0], spectrogram, (0, duration_s, 0, SAMPLE_RATE / 2000), "magma").set_clim(*scale_db(spectrogram))
    panels[0].set(ylabel="kHz", yticks=range(0, 9, 4))
    times_s = np.arange(len(tracks.values)) / RATE_HZ
    lines = {}
    for axes, name, unit in zip(panels[1:], tracks.names, tracks.units, strict=True):
        lines[labels[0]] = axes.plot(times_s, tracks.column(name), color=THEME["linguistic"], linewidth=1.5)[0]
        if second is not None and name in second.names:
            values = fit_to_audio(second, duration_s, labels[1]).column(name)
            style: dict[str, Any] = {"color": THEME["ink"], "linestyle": (0, (4, 2)), "linewidth": 1.2}
            lines[labels[1]] = axes.plot(times_s, values, **style)[0]
        if not np.isfinite(tracks.column(name)).any():
            reason = tracks.reasons.get(name, "")
            note = f"unknown: {reason}" if reason else "unknown"
            axes.text(0.01, 0.5, note, transform=axes.transAxes, va="center", color=THEME["muted"])
        axes.set_ylabel(f"{name}\n{unit}", rotation=0, ha="right", va="center")
        axes.locator_params(axis="y", nbins=3)
    figure.align_ylabels(panels)
    panels[-1].set(xlabel="Time (s)", xlim=(0, duration_s))
    if second is not None:
        figure.legend(lines.values(), lines.keys(), loc="outside upper right", ncols=2)
    return figure


def _sound(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """One channel at 16 kHz: the mean of all."""
    waveform = np.atleast_2d(np.asarray(waveform, dtype=np.float32))
    if not waveform.size:
        raise DataError("there is no articulation to show: the recording has no samples")
    return audio.resample(waveform.mean(axis=0), sample_rate, SAMPLE_RATE)


def _packed(line: np.ndarray) -> str:
    """Coordinates `[frame, point, 2]` as base64 of 16-bit integers, little-endian."""
    return base64.b64encode(np.round(line * _STEPS_PER_MM).astype("<i2").tobytes()).decode()


def _rounded(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None


def _path(line: np.ndarray, is_smooth: bool) -> str:
    """A closed outline as the `d` of an SVG path, as articulation.js draws those that move."""

    def text(point: np.ndarray) -> str:
        return " ".join(f"{value:.2f}".rstrip("0").rstrip(".") for value in point)

    if not is_smooth:
        return "M" + "L".join(map(text, line)) + "Z"
    middles = (line + np.roll(line, -1, axis=0)) / 2
    curves = (f"Q{text(point)} {text(middle)}" for point, middle in zip(line, middles, strict=True))
    return f"M{text(middles[-1])}{''.join(curves)}Z"
