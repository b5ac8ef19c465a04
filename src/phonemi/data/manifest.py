"""Manifests: JSON-lines files with one recording a line, checked against the sound files that they name."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from phonemi import audio
from phonemi.constants import SAMPLE_RATE
from phonemi.data.fingerprints import read_files
from phonemi.errors import DataError, PhonemiError, nearest
from phonemi.files import read_jsonl, write_jsonl
from phonemi.tables import plural

_MAX_NAMED_PROBLEMS = 3
# Aligners round to 10 ms and pad the last frame; an alignment that ends later than this belongs to other audio.
_END_TOLERANCE_S = 0.05
# Start plus duration in decimal text may exceed the next start by a rounding error.
OVERLAP_TOLERANCE_S = 0.001
PAIR_TOLERANCE = SAMPLE_RATE // 100
"""Samples at 16 kHz (10 ms) by which a noisy recording and its clean counterpart may differ; the longer one is cut."""


class Interval(NamedTuple):
    """One phone from `start_s` to `end_s`, in seconds from the start of the recording."""

    start_s: float
    end_s: float
    phone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One sound file and what is known about it; `sample_rate` and `samples` are those of its header."""

    id: str
    path: str
    sample_rate: int
    samples: int
    speaker: str | None = None
    text: str | None = None
    phones: tuple[Interval, ...] | None = None
    clean: str | None = None  # path of the clean counterpart of a noisy recording
    tracks: str | None = None  # path of what the articulators do meanwhile, see `inversion.tracks`
    fold: int | None = None  # noise corpora: cross-validation fold
    noise: str | None = None  # noisy recordings: kind of noise, as the corpus calls it
    snr_db: float | None = None  # noisy recordings: signal-to-noise ratio, as the corpus states it

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.samples / self.sample_rate


def read_manifest(path: str | Path) -> list[Recording]:
    """Read a manifest; relative paths in it start from its own folder.

    Raises:
        DataError: naming file and line, for a line that is not JSON, an unknown or missing key, or a wrong type.
    """
    recordings = []
    for index, row in enumerate(read_jsonl(path)):
        try:
            recordings.append(_recording(row, Path(path).parent))
        except DataError as error:
            raise DataError(f"{path}:{_line_number(path, index)}: {error}") from None
    return recordings


def write_manifest(path: str | Path, recordings: Iterable[Recording]) -> None:
    """Write a manifest atomically; files under its folder are named relative to it, so that the folder can move."""
    folder = Path(os.path.abspath(path)).parent
    write_jsonl(path, (_row(recording, folder) for recording in recordings))


def validate(recordings: Sequence[Recording], *, check_files: bool = True, cache: Path | None = None) -> None:
    """Check that a manifest agrees with itself and, if `check_files`, with the headers of its sound files.

    `cache` is a folder that remembers headers: one is read again only when the size or time of its file has changed.

    Raises:
        DataError: one line with the number of problems and the first few of them: no recordings, an id used twice, a
            file that is missing or has another length or rate, wrong intervals (`interval_problems`).
    """
    if not recordings:
        raise DataError("the manifest is empty: no recordings")
    counts = Counter(recording.id for recording in recordings)
    problems = [f"{id}: used {count} times as an id" for id, count in counts.items() if count > 1]
    advice = ": list each once; of two recordings with one id, change that of one in its manifest" if problems else ""
    headers: dict[str, list[int] | PhonemiError] = {}
    if check_files:
        paths = [path for recording in recordings for path in (recording.path, recording.clean) if path is not None]
        headers = read_files(_read_header, paths, index=cache and cache / "headers.json")
    for recording in recordings:
        problems += [f"{recording.id}: {problem}" for problem in interval_problems(recording)]
        if check_files:
            problems += [f"{recording.id}: {problem}" for problem in _file_problems(recording, headers)]
    if problems:
        named = "; ".join(problems[:_MAX_NAMED_PROBLEMS])
        more = len(problems) - _MAX_NAMED_PROBLEMS
        raise DataError(
            f"{plural(len(problems), 'problem')} in {plural(len(recordings), 'recording')}: {named}"
            + (f"; and {more} more" if more > 0 else "")
            + advice
        )


def interval_problems(recording: Recording) -> Iterator[str]:
    """Why a phone cannot be of the recording. It may overlap the one before by 1 ms and end 50 ms after the audio."""
    previous_end_s = 0.0
    for start_s, end_s, phone in recording.phones or ():
        interval = f"phone {phone!r} at {start_s:.3f}-{end_s:.3f} s"
        if not 0 <= start_s <= end_s < math.inf:
            yield f"{interval} runs backwards or starts before 0"
        elif start_s < previous_end_s - OVERLAP_TOLERANCE_S:
            yield f"{interval} overlaps the one before, which ends at {previous_end_s:.3f} s"
        elif end_s > recording.duration_s + _END_TOLERANCE_S:
            yield f"{interval} ends after the audio ({recording.duration_s:.3f} s)"
        previous_end_s = max(previous_end_s, end_s)


def _read_header(path: str) -> list[int]:
    info = audio.probe(path)
    return [info.samples, info.sample_rate]


def _file_problems(recording: Recording, headers: dict[str, list[int] | PhonemiError]) -> Iterator[str]:
    header = headers[recording.path]
    if isinstance(header, PhonemiError):
        yield str(header)
        return
    samples, sample_rate = header
    if (samples, sample_rate) != (recording.samples, recording.sample_rate):
        yield (
            f"{recording.path} has {samples} samples at {sample_rate} Hz, "
            f"the manifest says {recording.samples} at {recording.sample_rate} Hz"
        )
    if recording.tracks is not None and not os.path.isfile(recording.tracks):
        yield f"its tracks {recording.tracks} do not exist"
    if recording.clean is not None:
        clean = headers[recording.clean]
        if isinstance(clean, PhonemiError):
            yield str(clean)
            return
        clean_samples, clean_rate = clean
        duration_s, clean_s = samples / sample_rate, clean_samples / clean_rate
        if not is_pair(duration_s, clean_s):
            yield f"clean counterpart {recording.clean} lasts {clean_s:.4f} s, not {duration_s:.4f} s"


def is_pair(duration_s: float, clean_s: float) -> bool:
    """Whether a noisy and a clean recording of these durations may be of the same speech: 10 ms apart at most."""
    return abs(round(SAMPLE_RATE * duration_s) - round(SAMPLE_RATE * clean_s)) <= PAIR_TOLERANCE


def speaker_of(recording: Recording) -> str:
    """The speaker; for a recording of an unknown speaker a name that no other recording has."""
    return recording.speaker if recording.speaker is not None else f"unknown:{recording.id}"


def split_by_speaker(
    recordings: Sequence[Recording],
    *,
    test_share: float,
    validation_share: float,
    seed: int,
    keep_in_training: Iterable[str] = (),
) -> dict[str, list[Recording]]:
    """Split so that no speaker is in two parts; the same on every machine.

    Speakers are ordered by a hash of (seed, speaker); the first go to the test part, the next to validation. A share
    above 0 takes round(share * speakers) of them, at least one. Recordings without a speaker are for training only,
    because they might share one with another part.

    Returns:
        `{"train": ..., "validation": ..., "test": ...}`, each in the order of `recordings`.

    Raises:
        DataError: if the shares leave no speaker for training or ask for more speakers than there are.
    """
    if min(test_share, validation_share) < 0 or test_share + validation_share >= 1:
        raise DataError(
            f"test_share {test_share} and validation_share {validation_share} must be at least 0 and sum to less than 1"
        )
    speakers = {recording.speaker for recording in recordings if recording.speaker is not None}
    movable = sorted(
        speakers - set(keep_in_training), key=lambda speaker: hashlib.sha256(f"{seed}\n{speaker}".encode()).digest()
    )
    test, validation = (
        max(1, round(share * len(speakers))) if share else 0 for share in (test_share, validation_share)
    )
    if test + validation > len(movable) or (test + validation and test + validation == len(speakers)):
        raise DataError(
            f"{test} test and {plural(validation, 'validation speaker')} asked for besides one for training, found "
            f"{plural(len(speakers), 'speaker')}, {len(movable)} of whom may be held out: name more speech, or lower "
            "data.test_share and data.validation_share"
        )
    part_of = dict.fromkeys(movable[:test], "test") | dict.fromkeys(movable[test : test + validation], "validation")
    parts: dict[str, list[Recording]] = {"train": [], "validation": [], "test": []}
    for recording in recordings:
        parts[part_of.get(recording.speaker or "", "train")].append(recording)
    return parts


def split_by_fold(
    recordings: Sequence[Recording], train: Iterable[int], validation: Iterable[int], test: Iterable[int]
) -> dict[str, list[Recording]]:
    """Split a noise corpus by its folds, as `split_by_speaker`; a fold that no part names is left out.

    Raises:
        DataError: if a fold is in two parts or does not exist, or a recording has none.
    """
    folds = {"train": set(train), "validation": set(validation), "test": set(test)}
    named = [fold for part in folds.values() for fold in part]
    if len(named) > len(set(named)):
        raise DataError(f"fold {Counter(named).most_common(1)[0][0]} is in two parts")
    without = [recording.id for recording in recordings if recording.fold is None]
    if without:
        raise DataError(
            f"{len(without)} of {plural(len(recordings), 'recording')} without a fold, for instance {without[0]}"
        )
    existing = {recording.fold for recording in recordings if recording.fold is not None}
    if missing := set(named) - existing:
        raise DataError(f"no recording is in fold {min(missing)}; the folds are {sorted(existing)}")
    return {part: [r for r in recordings if r.fold in part_folds] for part, part_folds in folds.items()}


_PATHS = {"path", "clean", "tracks"}
_TYPES: dict[str, Any] = get_type_hints(Recording) | {"phones": list | None, "snr_db": int | float | None}  # in JSON


def _recording(row: dict[str, Any], folder: Path) -> Recording:
    for key, value in row.items():
        if key not in _TYPES:
            raise DataError(f"unknown key {key!r}; {nearest(key, _TYPES)}")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            kinds = get_args(_TYPES[key]) or [_TYPES[key]]
            expected = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
            raise DataError(f"{key} must be {expected}, found {value!r}")
    for key in ("id", "path", "sample_rate", "samples"):
        if key not in row:
            raise DataError(f"missing key {key!r}")
    if row["sample_rate"] < 1 or row["samples"] < 1:
        raise DataError(f"{row['samples']} samples at {row['sample_rate']} Hz: both must be positive")
    values = {key: value for key, value in row.items() if value is not None}
    for key in values.keys() & _PATHS:
        values[key] = os.path.abspath(folder / values[key])
    if "snr_db" in values:
        values["snr_db"] = float(values["snr_db"])
        if not math.isfinite(values["snr_db"]):
            raise DataError(f"snr_db must be a finite number, found {values['snr_db']}")
    if "phones" in values:
        values["phones"] = tuple(_interval(item) for item in values["phones"])
    return Recording(**values)


def _interval(item: Any) -> Interval:
    match item:
        case [int() | float() as start_s, int() | float() as end_s, str() as phone]:
            if math.isfinite(start_s) and math.isfinite(end_s):
                return Interval(float(start_s), float(end_s), phone)
    raise DataError(f"an interval of phones must be [start_s, end_s, phone], found {item!r}")


def _row(recording: Recording, folder: Path) -> dict[str, Any]:
    row = {field.name: getattr(recording, field.name) for field in fields(recording)}
    for key in _PATHS:
        if row[key] is not None:
            absolute = Path(os.path.abspath(row[key]))
            row[key] = (absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute).as_posix()
    return {key: value for key, value in row.items() if value is not None}


def _line_number(path: str | Path, index: int) -> int:
    """Line of the row `index` of a JSON-lines file, which may have blank lines."""
    with open(path, encoding="utf-8") as lines:
        return [number for number, line in enumerate(lines, start=1) if line.strip()][index]
