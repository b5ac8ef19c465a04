"""Tracks: what articulators and voice do, 100 times a second, and what is done to them before a network sees it.

A value that is not known (a mistracked pellet, F0 without voice, no palate to measure from) is NaN, never a number.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from phonemi.errors import DataError, one_line
from phonemi.files import replacing, write_text

RATE_HZ = 100
"""Frames a second: frame t is at t / 100 s."""

CUTOFF_HZ = 10.0
"""Articulators move more slowly than this in speech; what is faster is the noise of the measurement."""

LENGTH_TOLERANCE_S = 0.1
"""By this much a recording of sound and one of movement may differ in length: two machines, started by one hand."""

UNITS = {
    **dict.fromkeys(("LA", "LP", "TTCL", "TTCD", "TBCL", "TBCD"), "mm"),
    **{"PER": "0..1", "APER": "0..1", "F0": "Hz", "NAS": "0..1", "VO": "mm2", "JA": "degrees"},
}
"""Units of the variables that this package computes: those of `tract_variables` and `source_features`, nasalance,
the opening of the velum and the angle of the jaw."""

_TIME = "time_s"
_ORDER = 4  # of the Butterworth filter, which runs forwards and backwards


@dataclass(frozen=True)
class Tracks:
    """Variables over time.

    Attributes:
        values: float32 `[frame, variable]` at `RATE_HZ`; NaN where unknown.
        names: of the variables.
        units: of each, such as "mm", "degrees", "Hz", "0..1", or "range" after `Normalisation`.
        reasons: for variables that are unknown in all frames, why.
    """

    values: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not self.values.shape[1] == len(self.names) == len(self.units):
            raise ValueError(f"{list(self.values.shape)} values, {len(self.names)} names, {len(self.units)} units")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"a name is used twice: {', '.join(self.names)}")
        if np.isinf(self.values).any():
            raise ValueError("an unknown value is NaN, not infinity")

    @property
    def mask(self) -> np.ndarray:
        """Bool `[frame, variable]`: where a value is known."""
        known: np.ndarray = np.isfinite(self.values)
        return known

    @property
    def duration_s(self) -> float:
        """Frames over their rate, in seconds."""
        return len(self.values) / RATE_HZ

    def column(self, name: str) -> np.ndarray:
        """One variable, float32 `[frame]`.

        Raises:
            DataError: if there is none of this name.
        """
        if name not in self.names:
            raise DataError(f"no variable {name!r} in these tracks; there are {', '.join(self.names)}")
        values: np.ndarray = self.values[:, self.names.index(name)]
        return values


def tracks_of(columns: Mapping[str, np.ndarray], reasons: Mapping[str, str] | None = None) -> Tracks:
    """Tracks from a column `[frame]` for each variable; those of another length end with the shortest.

    Units are those of `UNITS`; a variable that is not there has the unit "".
    """
    frames = min(len(column) for column in columns.values())
    values = np.stack([np.asarray(column[:frames], dtype=np.float32) for column in columns.values()], axis=1)
    names = tuple(columns)
    return Tracks(values, names, tuple(UNITS.get(name, "") for name in names), dict(reasons or {}))


def frames_in(duration_s: float) -> int:
    """Frames of a recording: those that begin in it.

    >>> frames_in(1.0), frames_in(1.004), frames_in(0.0)
    (100, 101, 0)
    """
    return int(np.ceil(round(duration_s * RATE_HZ, 6)))


def write_tracks(path: str | Path, tracks: Tracks) -> None:
    """Write .npz or, with that suffix, .csv: whole, or not at all.

    A .csv has the columns time_s and, for each variable, name and unit, as "LA (mm)"; unknown values are empty cells,
    and the reasons are left out.
    """
    if Path(path).suffix.lower() == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([_TIME, *(f"{name} ({unit})" for name, unit in zip(tracks.names, tracks.units, strict=True))])
        for frame, row in enumerate(tracks.values):
            cells = ("" if np.isnan(value) else f"{value:.7g}" for value in row)
            writer.writerow([f"{frame / RATE_HZ:.2f}", *cells])
        write_text(path, text.getvalue())
        return
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            values=tracks.values.astype(np.float32),
            names=np.array(tracks.names, dtype=str),
            units=np.array(tracks.units, dtype=str),
            rate_hz=np.array(RATE_HZ),
            reasons=np.array(json.dumps(dict(tracks.reasons))),
        )


def read_tracks(path: str | Path) -> Tracks:
    """Read what `write_tracks` wrote; nothing is unpickled. A .csv of another rate is resampled.

    Raises:
        DataError: if the file is missing, cut short, or holds something else.
    """
    if Path(path).suffix.lower() == ".csv":
        columns, rate_hz, units = read_columns(path)
        names = tuple(columns)
        values = np.stack([resample(column, rate_hz) for column in columns.values()], axis=1)
        return _checked(path, lambda: Tracks(values.astype(np.float32), names, tuple(units[name] for name in names)))

    def read() -> Tracks:
        with np.load(path, allow_pickle=False) as file:
            if int(file["rate_hz"]) != RATE_HZ:
                raise ValueError(f"{int(file['rate_hz'])} frames a second, not {RATE_HZ}")
            names, units = (tuple(map(str, file[key])) for key in ("names", "units"))
            return Tracks(file["values"].astype(np.float32), names, units, json.loads(str(file["reasons"])))

    return _checked(path, read)


def _checked(path: str | Path, read: Callable[[], Tracks]) -> Tracks:
    try:
        return read()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} does not hold tracks ({one_line(error)})") from None


def read_columns(path: str | Path) -> tuple[dict[str, np.ndarray], float, dict[str, str]]:
    """Columns of numbers from a .csv with a column time_s in even steps, or a .npz with one array each and `rate_hz`.

    Returns:
        Float64 `[frame]` by name, with NaN for empty cells; the rate in Hz; and the units, by name, that stand in
        parentheses behind the names ("LA (mm)"), else those of `UNITS`, else "".

    Raises:
        DataError: in one line.
    """
    try:
        columns, rate_hz = _read_npz(path) if Path(path).suffix.lower() == ".npz" else _read_csv(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, ValueError, KeyError, EOFError, csv.Error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as columns of numbers ({one_line(error)})") from None
    if not np.isfinite(rate_hz) or rate_hz <= 0:
        raise DataError(f"{path} has a rate of {rate_hz} Hz: it must be positive")
    if not columns or len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise DataError(f"{path}: expected columns of one length, found {lengths or 'none'}")
    names, units = {}, {}
    for title, column in columns.items():
        name, _, unit = title.partition(" (")
        names[name] = np.where(np.isfinite(column), column, np.nan)
        units[name] = unit.removesuffix(")") or UNITS.get(name, "")
    return names, rate_hz, units


def _read_npz(path: str | Path) -> tuple[dict[str, np.ndarray], float]:
    with np.load(path, allow_pickle=False) as file:
        if "rate_hz" not in file:
            raise ValueError("no array 'rate_hz'")
        columns = {name: np.asarray(file[name], dtype=np.float64) for name in file.files if name != "rate_hz"}
        if wrong := [name for name, column in columns.items() if column.ndim != 1]:
            raise ValueError(f"array {wrong[0]!r} is not [frame]")
        return columns, float(file["rate_hz"])


def _read_csv(path: str | Path) -> tuple[dict[str, np.ndarray], float]:
    with open(path, encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        titles = [title.strip() for title in next(reader, [])]
        rows = [row for row in reader if row]
    if _TIME not in titles or len(rows) < 2:
        raise ValueError(f"expected a column {_TIME} and two rows or more, found {', '.join(titles[:5]) or 'nothing'}")
    if uneven := next((number for number, row in enumerate(rows, start=2) if len(row) != len(titles)), None):
        raise ValueError(f"line {uneven} has {len(rows[uneven - 2])} cells, not {len(titles)}")
    table = np.array([[float(cell) if cell.strip() else np.nan for cell in row] for row in rows])
    columns = dict(zip(titles, table.T, strict=True))
    steps_s = np.diff(columns.pop(_TIME))
    if not (steps_s > 0).all() or np.ptp(steps_s) > 0.5 * np.median(steps_s):
        raise ValueError(f"{_TIME} does not grow in even steps")
    return columns, float(1 / np.mean(steps_s))


def runs(known: np.ndarray) -> Iterator[slice]:
    """The stretches of a bool `[frame]` that are True.

    >>> list(runs(np.array([False, True, True, False, True])))
    [slice(1, 3, None), slice(4, 5, None)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    yield from (slice(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True))


def smooth(values: np.ndarray, rate_hz: float, cutoff_hz: float = CUTOFF_HZ) -> np.ndarray:
    """Low-pass without delay: a Butterworth filter of order 4, forwards and backwards (-6 dB at the cut-off).

    Each stretch of known values is filtered by itself, so that nothing is smeared over a gap, and no NaN spreads.

    Args:
        values: `[frame]` or `[frame, ...]`; NaN where unknown, and still NaN there in the result.
        rate_hz: at least twice the cut-off; at exactly twice or less nothing is to be filtered, and nothing is.

    Returns:
        Float64, of the same shape.
    """
    from scipy.signal import butter, sosfiltfilt

    values = np.asarray(values, dtype=np.float64)
    if rate_hz <= 2 * cutoff_hz:
        return values.copy()
    sections = butter(_ORDER, cutoff_hz, fs=rate_hz, output="sos")
    padding = max(int(3 * rate_hz / cutoff_hz), 3)  # about the length of its response
    columns = values.reshape(len(values), -1)
    result = np.full_like(columns, np.nan)
    for index, column in enumerate(columns.T):
        for run in runs(np.isfinite(column)):
            length = run.stop - run.start
            filtered = (
                sosfiltfilt(sections, column[run], padlen=min(padding, length - 1)) if length > 1 else column[run]
            )
            result[run, index] = filtered
    return result.reshape(values.shape)


def resample(values: np.ndarray, rate_hz: float, frames: int | None = None) -> np.ndarray:
    """Values at `RATE_HZ`, by cubic splines through each stretch of known values.

    A frame is known if it lies in a stretch, or within half a step of its ends. Values faster than 50 Hz must have been
    filtered (`smooth`).

    Args:
        values: `[frame]` at `rate_hz`, the first at 0 s.
        rate_hz: any rate above 0.
        frames: of the result; None: as many as begin in the duration of `values`.
    """
    from scipy.interpolate import CubicSpline

    frames = frames_in(len(values) / rate_hz) if frames is None else frames
    place = np.arange(frames) * rate_hz / RATE_HZ  # in steps of `values`
    result = np.full(frames, np.nan)
    for run in runs(np.isfinite(values)):
        first, last = run.start, run.stop - 1
        inside = (place >= first - 0.5) & (place <= last + 0.5)
        where = np.clip(place[inside], first, last)
        steps = np.arange(first, last + 1)
        if len(steps) < 4:
            result[inside] = np.interp(where, steps, values[run])
        else:
            result[inside] = CubicSpline(steps, values[run])(where)
    return result


def fit_to_audio(tracks: Tracks, duration_s: float, name: str) -> Tracks:
    """The tracks with as many frames as begin in a recording of sound: cut, or lengthened by unknown frames.

    Raises:
        DataError: if they differ by more than `LENGTH_TOLERANCE_S`; `name` is that of the recording.
    """
    frames = frames_in(duration_s)
    missing = frames - len(tracks.values)
    if abs(missing) > LENGTH_TOLERANCE_S * RATE_HZ:
        raise DataError(
            f"{name}: {duration_s:.2f} s of sound, but {tracks.duration_s:.2f} s of tracks: "
            f"they may differ by {LENGTH_TOLERANCE_S} s"
        )
    values = np.pad(tracks.values, ((0, max(0, missing)), (0, 0)), constant_values=np.nan)[:frames]
    return Tracks(values, tracks.names, tracks.units, tracks.reasons)


@dataclass(frozen=True)
class Normalisation:
    """Brings the variables of one speaker to -1 .. 1 about 0, and back: (value - mean) / reach.

    Mean and reach (the largest distance from the mean) are over the known frames of all his recordings that are given.
    Values of other recordings may lie beyond 1. A variable that never moves is 0; one that is never known stays NaN.

    Attributes:
        names, units: of the tracks.
        mean, reach: float64 `[variable]`, in the units of the tracks.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    mean: np.ndarray
    reach: np.ndarray

    @classmethod
    def of(cls, recordings: Iterable[Tracks]) -> Normalisation:
        """The normalisation of a speaker, from one recording or more, all with the same variables.

        Raises:
            DataError: if there is none, or their variables differ.
        """
        recordings = list(recordings)
        if not recordings:
            raise DataError("no tracks to normalise by")
        first = recordings[0]
        for other in recordings[1:]:
            _check_names(first.names, other)
        values = np.concatenate([tracks.values for tracks in recordings]).astype(np.float64)
        known = np.isfinite(values)
        count = known.sum(axis=0)
        mean = np.where(known, values, 0).sum(axis=0) / np.where(count, count, 1)
        reach = np.where(known, np.abs(values - mean), 0).max(axis=0, initial=0)
        return cls(first.names, first.units, np.where(count, mean, np.nan), np.where(reach > 0, reach, 1.0))

    def normalise(self, tracks: Tracks) -> Tracks:
        """Tracks in "range", without a unit."""
        _check_names(self.names, tracks)
        values = ((tracks.values - self.mean) / self.reach).astype(np.float32)
        return Tracks(values, self.names, ("range",) * len(self.names), tracks.reasons)

    def restore(self, tracks: Tracks) -> Tracks:
        """Tracks in their units again."""
        _check_names(self.names, tracks)
        values = (tracks.values * self.reach + self.mean).astype(np.float32)
        return Tracks(values, self.names, self.units, tracks.reasons)


def _check_names(names: Sequence[str], tracks: Tracks) -> None:
    if tuple(names) != tracks.names:
        raise DataError(f"tracks of {', '.join(tracks.names)} cannot be normalised with those of {', '.join(names)}")
