"""Six vocal tract variables in mm from the pellets of an articulograph or an X-ray microbeam.

The frame of reference is that of the X-ray microbeam database and of HPRC: the origin is the tip of the upper central
incisors, x runs along the occlusal plane with the lips on its positive side (behind the incisors x is negative), y
points up, and everything is in mm. A corpus with another origin gives positions (LP, TTCL, TBCL) that are off by a
constant of the speaker.

| variable | in words | definition |
|---|---|---|
| LA | lip aperture | distance between the pellets of the upper and the lower lip |
| LP | lip protrusion | x of the lower lip |
| TTCL | where the tongue tip constricts | x of T1 |
| TTCD | how much it does | smallest distance from T1 to the palate |
| TBCL | where the tongue body constricts | x of the point of the tongue body that is nearest to the palate |
| TBCD | how much it does | its distance to the palate |

The tongue body is the arc of the circle through T2, T3 and T4, from T2 to T4. After Attia, Tiede and Espy-Wilson,
"Enhancing speech articulation analysis using a geometric transformation of the X-ray microbeam dataset", 2023,
arXiv 2305.10775; where summaries of it are silent, the choices are those of this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

VARIABLES = ("LA", "LP", "TTCL", "TTCD", "TBCL", "TBCD")
PELLETS = ("UL", "LL", "T1", "T2", "T3", "T4")
"""Upper and lower lip; tongue from its tip (T1) to the dorsum (T4). A corpus of three tongue sensors has no T2."""

ARC_POINTS = 41
"""Points of the tongue body that are compared with the palate, about 1 mm apart."""

MIN_POSITIONS = 100
"""Positions of the tongue from which a palate is estimated; with fewer there is none."""

_MIN_LENGTH_MM = 10.0  # of an estimated palate: shorter, the tongue has not been seen to move
_BIN_MM = 2.0
_HIGHEST = 0.99  # share of the positions of a bin below the palate: the highest may be mistracked
_STRAIGHT = 1e-6  # sine of the angle at the middle pellet from which three pellets are on a line
_CHUNK = 256  # frames at a time, to bound memory


class TractVariables(NamedTuple):
    """Variables of each frame, and why some are not there.

    Attributes:
        values: float64 `[frame, 6]` in mm, in the order of `VARIABLES`; NaN where a pellet is, or where there is
            nothing to measure from.
        reasons: for each variable that is NaN in all frames, why.
    """

    values: np.ndarray
    reasons: dict[str, str]


def tract_variables(pellets: Mapping[str, np.ndarray], palate: np.ndarray | None) -> TractVariables:
    """The six variables of each frame.

    Args:
        pellets: float `[frame, 2]` in mm (x, y) by the names of `PELLETS`, NaN where mistracked; any may be missing.
            Without T2 the circle goes through T1, T3 and T4, and the body is its arc from T3 to T4.
        palate: vertices `[vertex, 2]` in mm of the palate, best extended to the pharynx (`join_traces`); or None.

    Three pellets on a line, or two in one place, have no circle: then the body is the line from pellet to pellet. So it
    is where the arc would be more than half a circle, as it never is on a tongue.

    >>> still = {name: np.array([[x, y]]) for name, x, y in (("UL", 10, 5), ("LL", 8, -5), ("T1", -10, 0))}
    >>> tract_variables(still, np.array([[0, 12], [-40, 12]])).values.round(1)[0, :4].tolist()
    [10.2, 8.0, -10.0, 12.0]
    """
    positions = {name: np.asarray(value, dtype=np.float64) for name, value in pellets.items() if name in PELLETS}
    frames = max((len(value) for value in positions.values()), default=0)
    if any(value.shape != (frames, 2) for value in positions.values()):
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in positions.items())
        raise ValueError(f"pellets must be [frame, 2], all of the same length: {shapes}")
    values = np.full((frames, len(VARIABLES)), np.nan)
    reasons: dict[str, str] = {}
    absent = {name for name in PELLETS if name not in positions or not np.isfinite(positions[name]).any()}

    def missing(variables: Iterable[str], needed: Iterable[str], with_palate: bool = False) -> bool:
        lost = [name for name in needed if name in absent]
        reason = f"no {', '.join(lost)}" if lost else "no palate" if with_palate and palate is None else None
        reasons.update(dict.fromkeys(variables, reason) if reason else {})
        return reason is not None

    if not missing(["LA"], ["UL", "LL"]):
        values[:, 0] = np.linalg.norm(positions["UL"] - positions["LL"], axis=1)
    if not missing(["LP"], ["LL"]):
        values[:, 1] = positions["LL"][:, 0]
    if not missing(["TTCL"], ["T1"]):
        values[:, 2] = positions["T1"][:, 0]
    if not missing(["TTCD"], ["T1"], with_palate=True) and palate is not None:
        values[:, 3], _ = nearest(positions["T1"][:, None], palate)
    first = "T1" if "T2" in absent else "T2"
    if not missing(["TBCL", "TBCD"], [first, "T3", "T4"], with_palate=True) and palate is not None:
        body = arc(positions[first], positions["T3"], positions["T4"], from_middle=first == "T1")
        values[:, 5], index = nearest(body, palate)
        values[:, 4] = np.where(np.isnan(values[:, 5]), np.nan, body[np.arange(frames), index, 0])
    return TractVariables(values, reasons)


def arc(a: np.ndarray, b: np.ndarray, c: np.ndarray, *, from_middle: bool = False) -> np.ndarray:
    """Points of the arc of a circle from `a` through `b` to `c`, or of the line from one to the next.

    Args:
        a, b, c: `[frame, 2]`.
        from_middle: only the part from `b` to `c`.

    Returns:
        `[frame, ARC_POINTS, 2]`; NaN in frames where one of the three is.
    """
    u, v = b - a, c - a
    cross = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(c - b, axis=1)
        squares = np.stack([np.sum(u * u, axis=1), np.sum(v * v, axis=1)], axis=1)
        offset = np.stack(
            [v[:, 1] * squares[:, 0] - u[:, 1] * squares[:, 1], u[:, 0] * squares[:, 1] - v[:, 0] * squares[:, 0]],
            axis=1,
        ) / (2 * cross[:, None])
        centre = a + offset
        angles = [np.arctan2(point[:, 1] - centre[:, 1], point[:, 0] - centre[:, 0]) for point in (a, b, c)]
        turn = np.sign(cross)  # 1: counter-clockwise
        to_b, to_c = (turn * np.mod(turn * (angle - angles[0]), 2 * np.pi) for angle in angles[1:])
        straight = ~(np.abs(cross) > _STRAIGHT * lengths) | (np.abs(to_c) > np.pi)
        start = to_b if from_middle else np.zeros_like(to_b)
        steps = np.linspace(0, 1, ARC_POINTS)
        angle = angles[0][:, None] + start[:, None] + (to_c - start)[:, None] * steps
        radius = np.linalg.norm(offset, axis=1)[:, None, None]
        curve = centre[:, None] + radius * np.stack([np.cos(angle), np.sin(angle)], axis=2)
    half = steps[:, None]
    if from_middle:
        line = b[:, None] + (c - b)[:, None] * half
    else:
        line = np.where(
            half < 0.5, a[:, None] + u[:, None] * (2 * half), b[:, None] + (c - b)[:, None] * (2 * half - 1)
        )
    points: np.ndarray = np.where(straight[:, None, None], line, curve)
    return points


def nearest(points: np.ndarray, trace: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How near the nearest of several points of a frame is to a trace, and which of them it is.

    Args:
        points: `[frame, point, 2]`.
        trace: vertices of a line `[vertex, 2]`, the same in all frames, or `[frame, vertex, 2]`; two or more.

    Returns:
        The distance `[frame]`, 0 or more; NaN where any coordinate is. And the index of the point `[frame]`.
    """
    distances, indices = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    trace = np.asarray(trace, dtype=np.float64)
    moving = np.broadcast_to(trace, (len(points), *trace.shape[-2:]))
    for begin in range(0, len(points), _CHUNK):
        chunk = points[begin : begin + _CHUNK, :, None]
        line = moving[begin : begin + _CHUNK]
        start, step = line[:, None, :-1], np.diff(line, axis=1)[:, None]
        squared = np.sum(step * step, axis=3)
        along = np.sum((chunk - start) * step, axis=3) / np.where(squared > 0, squared, 1)
        foot = start + np.clip(along, 0, 1)[..., None] * step
        of_points = np.linalg.norm(chunk - foot, axis=3).min(axis=2)  # NaN wins every comparison
        distances.append(of_points.min(axis=1))
        indices.append(of_points.argmin(axis=1))
    return np.concatenate(distances), np.concatenate(indices)


def join_traces(palate: np.ndarray, pharynx: np.ndarray | None) -> np.ndarray:
    """The palate from front to back, continued by a straight line to the rear wall of the pharynx and down it.

    The velum has no trace of its own: the line from the end of the hard palate to the top of the pharynx stands for it.

    Args:
        palate: `[vertex, 2]`, x from the incisors (high) to the back (low), in any order.
        pharynx: `[vertex, 2]`, in any order; None: the palate alone.
    """
    palate = palate[np.argsort(-palate[:, 0], kind="stable")]
    if pharynx is None:
        return palate
    return np.concatenate([palate, pharynx[np.argsort(-pharynx[:, 1], kind="stable")]])


def estimate_palate(positions: np.ndarray) -> np.ndarray | None:
    """A palate for a speaker without a trace: the upper envelope of where the tongue has been.

    The highest positions (the 99th percentile) of bins of 2 mm along x, and the upper convex hull of these. The tongue
    touches the palate in many places in a few minutes of speech, and the dome of a palate is convex from above. It lies
    too low where the tongue never touched, so that distances to it are too small there by a constant of the place. The
    tongue has no pellet at its very tip, and an estimated palate ends where the pellets do.

    Args:
        positions: `[position, 2]` of all pellets of the tongue in all recordings of the speaker, in mm; NaN: left out.

    Returns:
        `[vertex, 2]` from front to back; None from fewer than `MIN_POSITIONS`, or where they are within 10 mm.
    """
    positions = positions[np.isfinite(positions).all(axis=1)]
    if len(positions) < MIN_POSITIONS or np.ptp(positions[:, 0]) < _MIN_LENGTH_MM:
        return None
    bins = np.floor(positions[:, 0] / _BIN_MM)
    tops = np.array([_top(positions[bins == number]) for number in np.unique(bins)[::-1]])
    hull: list[np.ndarray] = []
    for point in tops:  # from front to back, the upper hull turns left all the way
        while len(hull) > 1 and _cross(hull[-1] - hull[-2], point - hull[-2]) <= 0:
            hull.pop()
        hull.append(point)
    return np.array(hull) if len(hull) > 1 else None


def _top(positions: np.ndarray) -> np.ndarray:
    """The position that is as high as the given share of them."""
    order = np.argsort(positions[:, 1])
    top: np.ndarray = positions[order[int(_HIGHEST * (len(order) - 1))]]
    return top


def _cross(u: np.ndarray, v: np.ndarray) -> float:
    return float(u[0] * v[1] - u[1] * v[0])
