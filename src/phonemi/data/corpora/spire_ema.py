"""SPIRE EMA corpus: 38 Indian speakers of English x 460 sentences of MOCHA-TIMIT, sound and articulograph.

Bandekar, Udupa and Ghosh, "Articulatory synthesis using representations learnt through phonetic label-aware contrastive
loss", Interspeech 2024, https://doi.org/10.21437/Interspeech.2024-1756; CC BY 4.0, `SpireLab/SPIRE_EMA_CORPUS` on the
Hugging Face hub: `audios.zip` and `processed.zip`. Unpacked: `audios/spk1/NAME.wav` at 16 kHz, and
`processed/spk1/NAME.pt` with

- `ema_trimmed` (the page of the data set calls it `ema_clipped`): `[frame, 18]` at 100 Hz, x and y of nine sensors:
  upper and lower lip, two corners of the mouth, jaw, throat, tongue tip, body and dorsum;
- `begin_end`: the frames of the recording that these are;
- `phonemes` and `durations` (in frames), from the first of these.

This is what public code that uses the corpus says. Not certain, since no file could be looked at: that positions are in
mm, x forwards and y upwards, and where the origin is. It is not the incisors, so LP, TTCL and TBCL are off by a
constant of the speaker. There is no palate: it is estimated from where the tongue has been. Frames outside `begin_end`
are NaN.
"""

from __future__ import annotations

import codecs
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from phonemi import audio
from phonemi.data.alignment import check_fit
from phonemi.data.corpora.corpus import Listing, Omissions, folder_called, recordings_of
from phonemi.data.corpora.pellets import Movement, add_tracks
from phonemi.data.manifest import Interval, Recording
from phonemi.errors import DataError, one_line
from phonemi.inversion.tracks import RATE_HZ

COLUMNS = {"UL": 0, "LL": 2, "T1": 12, "T3": 14, "T4": 16}
"""Column of x of each pellet; y is the next one."""

_KEYS = ("ema_trimmed", "ema_clipped")
# The labels are those of TIMIT: closures belong to their stop.
_TIMIT = {
    **{"ax": "AH", "ax-h": "AH", "ix": "IH", "axr": "ER", "ux": "UW", "hv": "HH", "dx": "T", "nx": "N", "en": "N"},
    **{"em": "M", "el": "L", "eng": "NG", "bcl": "B", "dcl": "D", "gcl": "G", "pcl": "P", "tcl": "T", "kcl": "K"},
    **{"pau": "SIL", "epi": "SIL", "h#": "SIL", "q": "SIL"},
}


def prepare_spire_ema(folder: str | Path) -> Listing:
    """List the recordings that have a file of sensors: id "spk1_NAME", speaker "spire-spk1", phones where they fit.

    Tracks are written to `folder`/phonemi-tracks.

    Raises:
        DataError: if there is no recording that can be read.
    """
    folder, skipped, unlabelled = Path(folder), Omissions(), Omissions()
    sounds, processed = folder_called("audios", folder), folder_called("processed", folder)
    if sounds is None or processed is None:
        archives = [name for name in ("audios.zip", "processed.zip") if any(folder.rglob(name))]
        hint = f"; unpack {' and '.join(archives)}" if archives else ""
        raise DataError(f"no SPIRE EMA corpus in {folder}: expected folders audios and processed{hint}")
    pairs = {}
    for sound in audio.find_recordings(sounds):
        path = processed / sound.relative_to(sounds).with_suffix(".pt")
        if path.is_file():
            pairs[sound] = path
        else:
            skipped.add("without a file in processed", str(sound.relative_to(sounds)))
    listed = []
    for sound, recording in recordings_of(list(pairs), skipped).items():
        speaker = sound.parent.name
        named = replace(recording, id=f"{speaker}_{sound.stem}", speaker=f"spire-{speaker}")
        read = partial(read_movement, pairs[sound], named.duration_s)
        listed.append((_with_phones(named, pairs[sound], unlabelled), read))
    recordings, notes = add_tracks(listed, folder, {}, skipped)
    notes += skipped.skipped_recordings() + unlabelled.notes("recording", "without phones")
    if not recordings:
        raise DataError(f"no SPIRE EMA recordings in {folder}: {'; '.join(notes) or 'found no sound file'}")
    return Listing(recordings, notes)


def read_movement(path: Path, duration_s: float) -> Movement:
    """Pellets of a recording of this duration, NaN outside of what the file covers.

    Raises:
        DataError: if the file cannot be read or says something else.
    """
    content = _read(path)
    value = next((content[key] for key in _KEYS if key in content), None)
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.shape[1] != 18 or value.dtype.kind != "f":
        raise DataError(f"{path}: expected an array ema_trimmed [frame, 18], found {getattr(value, 'shape', None)}")
    begin, end = _begin_end(path, content)
    if end - begin != len(value):
        raise DataError(f"{path}: begin_end has {end - begin} frames, ema_trimmed {len(value)}")
    positions = np.full((max(end, round(duration_s * RATE_HZ)), 18), np.nan)
    positions[begin:end] = value
    return Movement(RATE_HZ, {name: positions[:, column : column + 2] for name, column in COLUMNS.items()})


def _with_phones(recording: Recording, path: Path, unlabelled: Omissions) -> Recording:
    try:
        content = _read(path)
        begin, _ = _begin_end(path, content)
        labels, durations = content.get("phonemes"), content.get("durations")
        if not isinstance(labels, Sequence) or not isinstance(durations, Sequence) or len(labels) != len(durations):
            raise DataError(f"{path}: expected phonemes, and as many durations")
        edges = (begin + np.concatenate([[0], np.cumsum(np.array(durations, dtype=np.int64))])) / RATE_HZ
        phones = tuple(
            Interval(float(start_s), float(end_s), _TIMIT.get(str(label).lower(), str(label).upper()))
            for start_s, end_s, label in zip(edges[:-1], edges[1:], labels, strict=True)
        )
        return check_fit(replace(recording, phones=phones))
    except (DataError, ValueError, TypeError) as error:
        unlabelled.add("with labels that do not fit", one_line(error))
        return recording


def _begin_end(path: Path, content: dict[str, Any]) -> tuple[int, int]:
    try:
        begin, end = (int(value) for value in content["begin_end"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: expected begin_end, two frames, found {content.get('begin_end')!r}") from None
    if not 0 <= begin < end:
        raise DataError(f"{path}: begin_end is {begin}, {end}")
    return begin, end


def _read(path: Path) -> dict[str, Any]:
    """What torch.save put into a file: arrays of numpy, lists, numbers and texts, and nothing else, which might run."""
    import torch

    try:
        with torch.serialization.safe_globals(_safe_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a file of arrays ({one_line(error)})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected names and arrays, found {type(content).__name__}")
    return content


def _safe_globals() -> list[Any]:
    """What arrays and numbers of numpy are made of, under the names that numpy 1 and numpy 2 write."""
    makers: list[Any] = [np.zeros(1).__reduce__()[0], np.int64(0).__reduce__()[0]]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    named = [(maker, f"{module}.{maker.__name__}") for module in modules for maker in makers]
    kinds = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")]
    return [*named, np.ndarray, np.dtype, codecs.encode, *kinds]
