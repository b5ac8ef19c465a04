"""A schematic mouth, cut in the middle: tract variables of each frame -> outlines that can be drawn.

The frame of reference is that of `inversion.tract_variables`: mm, the origin at the edge of the upper incisors, the
lips on the positive side of x, y up. Skull, palate and pharynx are one drawn anatomy. The tongue is the circle of the
classic articulatory models (Coker and Fujimura 1966, Mermelstein 1973), of which the tract variables say where and how
near it comes to the wall, with a blade from there to the tip, of which they say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from phonemi.inversion.tracks import RATE_HZ, Tracks
from phonemi.inversion.tract_variables import nearest

TYPICAL = {
    **{"LA": (6.6, 6.6), "LP": (9.8, 9.2), "TTCL": (-9.3, 27.6), "TTCD": (5.9, 13.0), "TBCL": (-40.0, 35.3)},
    **{"TBCD": (7.3, 6.8), "VO": (2.2, 43.5), "NAS": (0.3, 0.7), "PER": (0.65, 0.65)},
}
"""Mean and reach (largest distance from it) of a typical mouth, for variables in "range": those of eight utterances
by the eight speakers of `prepare articulatory-synthesis`; that of nasalance is a guess."""

CLOSED_MM = {"LA": 0.0, "TTCD": 0.4, "TBCD": 2.0}
"""What `prepare articulatory-synthesis` measures in closures of lips, tongue tip and tongue body."""

WALL = np.array([
    (0, 0), (-1.2, 1), (-4, 4), (-7, 6.5), (-9.5, 8.5), (-12, 12), (-15, 15.8), (-19, 19), (-25, 21.7), (-31, 22),
    (-38, 20.6), (-45, 18.6), (-52, 16.6), (-59, 14.2), (-66, 11), (-72, 7.4), (-77, 3), (-80, -3), (-82, -11),
    (-83.3, -20), (-84, -30), (-84, -42), (-82, -54), (-79, -64), (-77, -76),
])  # fmt: skip
"""Upper incisors, palate, raised velum and rear wall of the pharynx, from front to back, `[vertex, 2]`."""

HARD_PALATE = slice(2, 12)
"""Vertices of `WALL` that are gums and hard palate; the velum follows."""

_NOSE = [(10, 23), (19, 25), (22.5, 29), (21, 33), (15, 41), (12.5, 47), (4, 47), (2, 38), (-4, 29), (-2, 22), (5, 20)]
_NOSE_FLOOR = [(-45.5, 23.5), (-36, 26.5), (-20, 28.5), (-3, 29), (0, 20), (0.9, 10), (-2.5, 6)]
_NECK = [(-77, -84), (-95, -84), (-95, 8), (-90, 24), (-80, 33), (-69, 33), (-70, 25), (-73, 16), (-75, 8)]
FIXED = {
    "face": np.array(_NOSE),
    "palate": np.concatenate([WALL[HARD_PALATE], _NOSE_FLOOR]),
    "incisors": np.array([(0, 0), (0.8, 1.5), (0.9, 10), (-2.5, 6), (-4, 4), (-1.2, 1)]),
    "pharynx": np.concatenate([WALL[17:], _NECK]),
}
"""Closed outlines of what does not move, `[point, 2]` in mm."""

RATE_DRAWN_HZ = 50
"""Frames a second of the outlines: every second one of the tracks; what draws them interpolates."""

_FOCUS = np.array([-34.0, -25.0])  # from here the wall is seen whole, and the tongue's body lies before it
_RADIUS_MM = 20.0  # of the tongue's body
_REAR = np.deg2rad(180)  # its lowest point, seen from its centre
_ROOT = np.array([-65.0, -50.0])
_CIRCLE_POINTS, _BLADE_POINTS = 10, 9
TIP_START = 3 + _CIRCLE_POINTS + _BLADE_POINTS // 2
"""Point of the tongue's outline where its body ends and its tip begins, in the middle of the blade."""

_PLACE_S = 0.2  # window over the places, which jump from one end of the tongue's tip or body to the other
_PLACE_MM = 3.0  # in the window a place counts e times less for each such distance from the wall
_VELUM_OPEN = {"VO": 50.0, "NAS": 1.0}  # values at which the velum hangs down
_RAISED = np.array([(-40, 20), (-45, 18.6), (-52, 16.6), (-59, 14.2), (-66, 11), (-74, 5.8)])
_LOWERED = np.array([(-40, 20), (-45, 18.6), (-52, 14.6), (-58.5, 10), (-64.5, 5), (-69.5, -1)])
_VELUM_MM = 4.5  # its thickness


class Outlines(NamedTuple):
    """What moves.

    Attributes:
        lines: closed outlines, float64 `[frame, point, 2]` in mm: "tongue" (from its root over its back to the tip and
            the floor of the mouth), "lower" (lower lip, chin and jaw), "teeth" (of the jaw), "upper" (upper lip),
            "velum". `RATE_DRAWN_HZ` frames a second.
        known: bool `[frame]` for "body" and "tip" of the tongue, "lips", "velum" and "voice": False where a variable
            of theirs is unknown; the outline is then that of a mouth at rest.
        voice: `[frame]` 0..1, how periodic the voice is; 0 where unknown.
    """

    lines: dict[str, np.ndarray]
    known: dict[str, np.ndarray]
    voice: np.ndarray


def outlines(tracks: Tracks, closed_mm: Mapping[str, float] = CLOSED_MM) -> Outlines:
    """Outlines of every second frame of the tracks.

    Args:
        tracks: with any variables; in mm, mm2, 0..1, or "range", which is taken for that of `TYPICAL`.
        closed_mm: distances in closures, by variable, which are drawn as 0. Those of pellets are others: on the
            outside of the lips, they are about 10 mm apart when these touch.
    """
    step = RATE_HZ // RATE_DRAWN_HZ
    values, known = {}, {}
    for name, (mean, reach) in TYPICAL.items():
        column = np.full(len(tracks.values), np.nan)
        if name in tracks.names:
            column = tracks.column(name).astype(np.float64)
            if tracks.units[tracks.names.index(name)] == "range":
                column = column * reach + mean
        known[name] = np.isfinite(column)[::step]
        values[name] = np.where(np.isfinite(column), column, 0.0 if name in ("VO", "NAS", "PER") else mean)
    for place, degree in (("TTCL", "TTCD"), ("TBCL", "TBCD")):
        values[place] = _smooth(values[place], np.exp(-values[degree].clip(0, 40) / _PLACE_MM))
    values = {name: column[::step] for name, column in values.items()}
    for name in ("LA", "TTCD", "TBCD"):
        values[name] = np.maximum(values[name] - np.where(known[name], closed_mm.get(name, 0.0), 0.0), 0)
    values["LA"], values["LP"] = values["LA"].clip(max=22), values["LP"].clip(2, 22)

    lower, teeth = _jaw(values["LA"], values["LP"])
    openings = [values[name] / full for name, full in _VELUM_OPEN.items() if known[name].any()]
    opening = np.max(openings, axis=0) if openings else np.zeros(len(values["LA"]))
    lines = {
        "tongue": _tongue(values, teeth),
        "lower": lower,
        "teeth": teeth,
        "upper": _upper_lip(values["LP"]),
        "velum": _velum(opening.clip(0, 1)),
    }
    parts = {"body": ("TBCL", "TBCD"), "tip": ("TTCL", "TTCD"), "lips": ("LA", "LP"), "voice": ("PER",)}
    of_parts = {part: np.all([known[name] for name in names], axis=0) for part, names in parts.items()}
    return Outlines(lines, of_parts | {"velum": known["VO"] | known["NAS"]}, values["PER"].clip(0, 1))


def distance_to_wall(points: np.ndarray) -> np.ndarray:
    """Of points `[..., 2]` to `WALL` in mm, negative beyond it; interpolated from a grid of 1 mm.

    >>> distance_to_wall(np.array([[-28.0, 12.0], [-28.0, 32.0]])).round(0).tolist()
    [10.0, -10.0]
    """
    xs, ys, field = _distances()
    at_x = np.clip(points[..., 0] - xs[0], 0, len(xs) - 1.001)
    at_y = np.clip(points[..., 1] - ys[0], 0, len(ys) - 1.001)
    x, y = at_x.astype(int), at_y.astype(int)
    to_x, to_y = at_x - x, at_y - y
    above, below = ((1 - to_x) * field[row, x] + to_x * field[row, x + 1] for row in (y + 1, y))
    distances: np.ndarray = to_y * above + (1 - to_y) * below
    return distances


@cache
def _distances() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid of x and of y in steps of 1 mm, and distances to the wall `[y, x]`."""
    xs, ys = np.arange(-95.0, 16.0), np.arange(-80.0, 36.0)
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    distances, _ = nearest(points[:, None], WALL)
    angles, radii = _polar(WALL)
    order = np.argsort(angles)
    angle, radius = _polar(points)
    is_beyond = radius > np.interp(angle, angles[order], radii[order], left=np.inf, right=np.inf)
    return xs, ys, np.where(is_beyond, -distances, distances).reshape(len(ys), len(xs))


def _polar(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles, from straight down, and distances of points seen from the focus."""
    x, y = (points - _FOCUS).T
    return np.mod(np.arctan2(x, -y), 2 * np.pi), np.hypot(x, y)


def _constriction(place: np.ndarray, degree: np.ndarray) -> np.ndarray:
    """The highest point at x = `place` that is `degree` from the wall, `[frame, 2]`, or as far from it as there is."""
    _, ys, _ = _distances()
    place = place.clip(-76, 0.5)
    down = ys[::-1][ys[::-1] > -40]
    column = distance_to_wall(np.stack(np.broadcast_arrays(place[:, None], down), axis=-1))
    degree = np.minimum(degree, column.max(axis=1) - 1e-6)
    index = np.maximum((column >= degree[:, None]).argmax(axis=1), 1)
    frame = np.arange(len(place))
    above, below = column[frame, index - 1], column[frame, index]
    share = np.clip((degree - above) / np.where(below > above, below - above, 1), 0, 1)
    return np.stack([place, down[index - 1] - share], axis=1)


def _tongue(values: dict[str, np.ndarray], teeth: np.ndarray) -> np.ndarray:
    tip = _constriction(values["TTCL"].clip(-45, 0.5), values["TTCD"])
    # The body is behind the tip; an estimate may have it elsewhere.
    body = _constriction(np.minimum(values["TBCL"], tip[:, 0] - 6), values["TBCD"])
    upwards = _unit(body - _FOCUS)
    centre = body - _RADIUS_MM * upwards
    end = np.arctan2(upwards[:, 1], upwards[:, 0])
    angle = (_REAR + (end - _REAR)[:, None] * np.linspace(0, 1, _CIRCLE_POINTS))[..., None]
    circle = centre[:, None] + _RADIUS_MM * np.concatenate([np.cos(angle), np.sin(angle)], axis=2)
    root = np.broadcast_to(_ROOT, tip.shape)
    low = np.stack([(centre[:, 0] - _RADIUS_MM + _ROOT[0]) / 2, np.full(len(tip), -30.0)], axis=1)
    rear = np.stack([root, (root + low) / 2, low], axis=1)

    # A Bezier curve leaves the circle about along its tangent and arrives at the tip.
    length = np.linalg.norm(tip - body, axis=1, keepdims=True)
    ahead = (tip - body) / length
    forwards = _unit(np.stack([upwards[:, 1], -upwards[:, 0]], axis=1) + ahead)
    arriving = _unit(ahead + np.array([0.6, 0.0]))
    handles = (body, body + length / 3 * forwards, tip - length / 3 * arriving, tip)
    t = np.linspace(0, 1, _BLADE_POINTS + 1)[1:, None]
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    blade = np.sum([weight * handle[:, None] for weight, handle in zip(weights, handles, strict=True)], axis=0)

    # No part of the body is nearer to the wall than its constriction, nor of the blade than both ends allow.
    upper = np.concatenate([rear, circle, blade], axis=1)
    share = np.concatenate([np.zeros(upper.shape[1] - _BLADE_POINTS), t[:, 0]])
    least = (1 - share) * distance_to_wall(body)[:, None] + share * distance_to_wall(tip)[:, None]
    for _ in range(3):  # the way to the focus is not the shortest one from the wall
        lacking = np.maximum(least - distance_to_wall(upper), 0)
        upper = upper + lacking[..., None] * _unit(_FOCUS - upper)

    front_x = np.maximum(tip[:, 0] + 0.5, np.minimum(tip[:, 0] + 3.5, -3.0))
    front = np.stack([front_x, tip[:, 1] - 2.5], axis=1)
    front = front + np.maximum(0.5 - distance_to_wall(front), 0)[:, None] * _unit(_FOCUS - front)
    floor = teeth[:, 3] + np.array([-3.0, -3.0])
    under = np.stack([tip[:, 0] - 1, np.maximum(tip[:, 1] - 7, floor[:, 1] + 1)], axis=1)
    back_floor = floor + np.array([-14.0, -15.0])  # below the floor of the mouth, which is drawn over it
    return np.concatenate([upper, np.stack([front, under, floor, back_floor], axis=1)], axis=1)


def _jaw(la: np.ndarray, lp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of lower lip, chin and floor of the mouth, and of the lower incisors; the jaw follows the lips."""
    lip, jaw, zero = -1 - la, -0.8 - 0.7 * la, np.zeros_like(la)
    back = -0.1 * la  # it opens about its joint, and so backwards
    lower = [
        (zero - 1.5 + back, jaw - 7),
        (0.15 * lp + back, lip - 5),
        (lp - 6.0, lip - 1),
        (lp - 3.2, lip),
        (lp - 0.7, lip - 1.8),
        (lp, lip - 4.5),
        (lp - 1.5, lip - 8),
        (0.3 * lp + 2.5 + back, lip - 12.5),
        (zero + 6 + back, jaw - 22),
        (zero + 5.5 + back, jaw - 29),
        (zero - 1 + back, jaw - 34),
        (zero - 24, 0.6 * jaw - 39),
        (zero - 46, 0.2 * jaw - 49),
        (zero - 51, zero - 84),
        (zero - 65, zero - 84),
        (zero - 65, zero - 62),
        (zero - 63, zero - 50),
        (zero - 40, 0.5 * jaw - 34),
        (zero - 14 + back, jaw - 17),
        (zero - 7 + back, jaw - 9),
        (zero - 5 + back, jaw - 6),
    ]
    teeth = [(back - 3.2, jaw), (back - 2.0, jaw), (back - 0.8, jaw - 7.5), (back - 5.2, jaw - 7.5)]
    outline, incisors = (np.stack([np.stack(point, axis=1) for point in line], axis=1) for line in (lower, teeth))
    return outline, incisors


def _upper_lip(lp: np.ndarray) -> np.ndarray:
    """It comes forward with the lower lip."""
    still = np.array([(10.5, 26), (9.7, 14), (9.3, 7), (10, 3), (8.6, 0), (6.2, -1), (3.6, 0.3), (1.8, 4), (1.3, 12)])
    forward = np.array([0, 0.3, 0.8, 1, 1, 1, 0.6, 0.2, 0])
    line = np.tile(np.concatenate([still, [[1.3, 26]]]), (len(lp), 1, 1))
    line[:, :-1, 0] += forward * 0.8 * (lp - 9)[:, None]
    return line


def _velum(opening: np.ndarray) -> np.ndarray:
    """Between raised (0) and lowered (1)."""
    share = opening[:, None, None]
    below = (1 - share) * _RAISED + share * _LOWERED
    along = _unit(np.gradient(below, axis=1))
    thickness = _VELUM_MM * np.array([1, 1.2, 1.1, 1, 0.9, 0.6])[:, None]
    above = below + thickness * np.stack([along[..., 1], -along[..., 0]], axis=-1)
    return np.concatenate([below, above[:, ::-1]], axis=1)


def _smooth(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean `[frame]` of values in a Hann window."""
    if not len(values):
        return values
    window = np.hanning(round(_PLACE_S * RATE_HZ) + 3)[1:-1]
    total, weight = (
        np.convolve(column, window)[len(window) // 2 :][: len(values)] for column in (values * weights, weights)
    )
    smoothed: np.ndarray = total / weight
    return smoothed


def _unit(vectors: np.ndarray) -> np.ndarray:
    directions: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return directions
