"""Tracks as a TextGrid of point tiers, to look at beside the sound in Praat."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phonemi.files import write_text
from phonemi.inversion.tracks import RATE_HZ, Tracks


def write_textgrid_points(path: str | Path, tracks: Tracks) -> None:
    """Write a TextGrid in the long text format, with a point tier for each variable: whole, or not at all.

    A tier is named as in "LA (mm)". It has a point for each known value, at the time of its frame and marked with the
    number; where a value is unknown there is none.

    Args:
        path: the file.
        tracks: at least one frame; in their units or in "range".
    """
    end_s = f"{tracks.duration_s:.2f}"
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end_s}"]
    lines += ["tiers? <exists>", f"size = {len(tracks.names)}", "item []:"]
    for tier, (name, unit) in enumerate(zip(tracks.names, tracks.units, strict=True), start=1):
        column = tracks.column(name)
        frames = np.flatnonzero(np.isfinite(column))
        title = (f"{name} ({unit})" if unit else name).replace('"', '""')
        lines += [f"    item [{tier}]:", '        class = "TextTier"', f'        name = "{title}"']
        lines += ["        xmin = 0", f"        xmax = {end_s}", f"        points: size = {len(frames)}"]
        for point, frame in enumerate(frames, start=1):
            lines += [f"        points [{point}]:", f"            number = {frame / RATE_HZ:.2f}"]
            lines += [f'            mark = "{column[frame]:.4g}"']
    write_text(path, "\n".join(lines) + "\n")
