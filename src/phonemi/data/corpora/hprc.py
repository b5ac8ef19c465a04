"""Haskins production rate comparison database (HPRC): `F01/data/F01_B01_S01_R01_N.mat`, eight speakers at two rates.

Tiede et al., "Quantifying kinematic aspects of reduction in a contrasting rate production task", 2017; its terms were
not found. Each file is a MATLAB structure of channels as the program MVIEW has it (Haskins Laboratories): NAME, SRATE,
SIGNAL, and, of the channel AUDIO, SENTENCE, WORDS and PHONES with LABEL and OFFS (start and end in s). The sensors TR,
TB, TT (tongue from rear to tip), UL, LL and JAW have SIGNAL `[frame, 3 or more]` in mm at 100 Hz: x from back to front,
y from left to right, z up; the origin is the upper incisors and x the occlusal plane.

Sound is in the structure, so that it begins with the movement: it is written as FLAC. Not certain, since no file could
be looked at: the form of the palate, read here from `*palate*.mat` or `*pal.mat` as the largest array of 2 (x, z) or 3
(x, y, z) columns.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phonemi import audio
from phonemi.data.alignment import check_fit
from phonemi.data.corpora.corpus import Listing, Omissions
from phonemi.data.corpora.pellets import Movement, add_tracks
from phonemi.data.manifest import Interval, Recording
from phonemi.errors import DataError, one_line
from phonemi.inversion.tract_variables import join_traces

SOUND = "phonemi-sound"
SENSORS = {"UL": "UL", "LL": "LL", "TT": "T1", "TB": "T3", "TR": "T4"}
"""Pellets of `tract_variables` for the sensors."""


def prepare_hprc(folder: str | Path) -> Listing:
    """List the recordings: id "F01_B01_S01_R01_N" (N normal rate, F fast), speaker "hprc-F01", text, and phones.

    Writes the sound of each to `folder`/phonemi-sound, and tracks to `folder`/phonemi-tracks.

    Raises:
        DataError: if there is no recording that can be read.
    """
    folder, skipped, unlabelled = Path(folder), Omissions(), Omissions()
    paths = sorted(path for path in folder.rglob("*.mat") if not path.name.startswith("."))
    listed, palates = [], {}
    for path in paths:
        speaker = f"hprc-{path.stem.split('_')[0]}"
        try:
            if "pal" in path.stem.lower():
                palates[speaker] = _read_palate(path)
            else:
                listed.append((_recording(path, folder, speaker, unlabelled), partial(read_movement, path)))
        except DataError as error:
            skipped.add("unreadable", str(error))
    recordings, notes = add_tracks(listed, folder, palates, skipped)
    notes += skipped.notes("file", "skipped") + unlabelled.notes("recording", "without phones")
    if not recordings:
        found = "; ".join(notes) or "found no file such as F01/data/F01_B01_S01_R01_N.mat"
        raise DataError(f"no HPRC recordings in {folder}: {found}")
    return Listing(recordings, notes)


def read_movement(path: Path) -> Movement:
    """Sensors in mm from a file of the corpus.

    Raises:
        DataError: if it cannot be read, or its sensors have different rates or no positions.
    """
    channels = {name: channel for name, channel in _channels(path).items() if name in SENSORS}
    rates_hz = {float(channel["SRATE"]) for channel in channels.values()}
    if len(rates_hz) != 1 or not min(rates_hz) > 0:
        raise DataError(f"{path}: expected sensors {', '.join(SENSORS)} of one rate, found rates {sorted(rates_hz)}")
    pellets = {}
    for name, channel in channels.items():
        signal = np.asarray(channel["SIGNAL"], dtype=np.float64)
        if signal.ndim != 2 or signal.shape[1] < 3:
            raise DataError(f"{path}: {name} has a SIGNAL {list(signal.shape)}, not [frame, 3 or more]")
        pellets[SENSORS[name]] = signal[:, [0, 2]]
    frames = min(map(len, pellets.values()))
    return Movement(rates_hz.pop(), {name: positions[:frames] for name, positions in pellets.items()})


def _recording(path: Path, folder: Path, speaker: str, unlabelled: Omissions) -> Recording:
    channel = _channels(path).get("AUDIO")
    if channel is None:
        raise DataError(f"{path} has no channel AUDIO")
    sound = np.asarray(channel["SIGNAL"])
    waveform = sound.astype(np.float32).ravel()
    rate = round(float(channel["SRATE"]))
    if not len(waveform) or not np.isfinite(waveform).all() or rate < 1:
        raise DataError(f"{path}: its sound is empty, or not of finite numbers")
    peak = np.abs(waveform).max()
    waveform = waveform / max(32768.0, peak) if sound.dtype.kind in "iu" or peak > 1 else waveform
    target = folder / SOUND / f"{path.stem}.flac"
    audio.save(target, waveform, rate)
    recording = Recording(
        id=path.stem,
        path=os.path.abspath(target),
        sample_rate=rate,
        samples=len(waveform),
        speaker=speaker,
        text=" ".join(str(channel.get("SENTENCE", "")).split()) or None,
    )
    phones = _phones(channel.get("PHONES"))
    if not phones:
        unlabelled.add("with none in the file", path.name)
        return recording
    try:
        return check_fit(replace(recording, phones=phones))
    except DataError as error:
        unlabelled.add("with labels that do not fit", str(error))
        return recording


def _phones(value: Any) -> tuple[Interval, ...]:
    entries = [value] if isinstance(value, dict) else value if isinstance(value, (list, np.ndarray)) else []
    intervals = []
    for entry in entries:
        if isinstance(entry, dict) and np.size(entry.get("OFFS", ())) == 2:
            start_s, end_s = np.ravel(entry["OFFS"])
            intervals.append(Interval(float(start_s), float(end_s), str(entry.get("LABEL", "")).strip()))
    return tuple(sorted(intervals))


def _read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file (before version 7.3); nothing in it is run or unpickled."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, simplify_cells=True)
    except NotImplementedError:
        raise DataError(f"{path} is a MATLAB 7.3 file: save it with -v7") from None
    except Exception as error:  # whatever a damaged file makes of it
        raise DataError(f"{path} is not a MATLAB file ({one_line(error) or type(error).__name__})") from None
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _channels(path: Path) -> dict[str, dict[str, Any]]:
    content = _read_mat(path)
    value = content.get(path.stem, next(iter(content.values()), None))
    entries = [value] if isinstance(value, dict) else value if isinstance(value, (list, np.ndarray)) else []
    channels = {
        str(entry["NAME"]).strip(): entry
        for entry in entries
        if isinstance(entry, dict) and {"NAME", "SRATE", "SIGNAL"} <= entry.keys()
    }
    if not channels:
        raise DataError(
            f"{path}: expected channels with NAME, SRATE and SIGNAL, found {', '.join(content) or 'nothing'}"
        )
    return channels


def _read_palate(path: Path) -> np.ndarray:
    arrays = [np.asarray(value) for value in _read_mat(path).values()]
    traces = [value for value in arrays if value.ndim == 2 and value.shape[1] in (2, 3) and value.dtype.kind == "f"]
    trace = max(traces, key=len, default=np.zeros((0, 2)))
    trace = trace[np.isfinite(trace).all(axis=1)]
    if len(trace) < 2:
        raise DataError(f"{path}: expected an array of points of the palate, [point, 2 or 3]")
    return join_traces(trace[:, [0, -1]], None)
