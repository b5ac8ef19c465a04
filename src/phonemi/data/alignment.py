"""Phone alignments: reading alignment files (TextGrid, CTM, HTK labels), and one phone class for each 20 ms frame.

Classes are the 39 ARPAbet phones of CMUdict and silence. Frames are those of HuBERT, WavLM and wav2vec 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from phonemi.constants import IGNORE as IGNORE  # the label of `frame_labels` for an unknown phone
from phonemi.constants import SAMPLE_RATE
from phonemi.data.manifest import OVERLAP_TOLERANCE_S, Interval, Recording, interval_problems
from phonemi.errors import DataError, nearest

Parsed = TypeVar("Parsed")

PHONES: tuple[str, ...] = (
    "SIL",
    *("AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F"),
    *("G", "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P"),
    *("R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH"),
)
_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
STRESSED_PHONES: tuple[str, ...] = tuple(
    name for phone in PHONES for name in ([f"{phone}{stress}" for stress in "012"] if phone in _VOWELS else [phone])
)

_CLASSES = {phone: index for index, phone in enumerate(PHONES)}
_STRESSED_CLASSES = {phone: index for index, phone in enumerate(STRESSED_PHONES)}
_SILENCE_LABELS = ("", "SIL", "SP", "SILENCE", "[SIL]")
# What aligners write where they know no phone, if it is letters alone: noise, laughter, breath, an unknown word.
_NOISE_LABELS = ("SPN", "NSN", "NOISE", "NS", "LG", "LAU", "BR", "LS", "CG", "OOV", "UNK")
# Samples between frames, and from the start of a frame to the centre of its receptive field. `signal` has the same
# grid, but importing it would load torch in every process that aligns.
_HOP, _CENTRE = 320, 200

# Start and end, then the label: how a line of an HTK label file begins.
_LABEL_LINE = re.compile(r"\s*([\d.]+)\s+([\d.]+)\s+\S")
# A TextGrid as Praat itself reads it: quoted text and free-standing numbers are values, all else ("xmin =") is comment.
_TEXTGRID_VALUE = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)')


def inventory(stress: bool) -> tuple[str, ...]:
    """Names of the classes: silence and 39 phones, or silence, 24 consonants and 15 vowels in three stresses each."""
    return STRESSED_PHONES if stress else PHONES


@lru_cache(maxsize=4096)
def phone_class(label: str, stress: bool = False) -> int | None:
    """Index in `inventory(stress)` of an aligner's label; None for a label that is no ARPAbet phone ("spn").

    Case and a position suffix (_B, _I, _E, _S) do not matter. A stress digit matters only with `stress`, where a vowel
    without one is unstressed. An empty label is silence.

    >>> [phone_class(label) for label in ("AE1_B", "ae", "sp", "", "spn")]
    [2, 2, 0, 0, None]
    >>> [STRESSED_PHONES[phone_class(label, stress=True)] for label in ("AE1_B", "ae", "t")]
    ['AE1', 'AE0', 'T']
    """
    name = re.sub(r"_[BIES]$", "", label.strip().upper())
    if name in _SILENCE_LABELS:
        return 0
    phone = re.sub(r"(?<=[A-Z])[0-2]$", "", name)
    if stress and phone in _VOWELS:
        return _STRESSED_CLASSES[phone + (name[len(phone) :] or "0")]
    return (_STRESSED_CLASSES if stress else _CLASSES).get(phone)


def frame_labels(
    intervals: Sequence[Interval],
    frames: int,
    at: Literal["centre", "start"] = "centre",
    silence: bool = True,
    stress: bool = False,
) -> np.ndarray:
    """Phone class of each 20 ms frame.

    Frame t has the phone whose interval [start, end) contains the centre of its receptive field,
    (320 t + 200) / 16000 s. Outside all intervals it is silence; where the phone is unknown it is `IGNORE`.

    Args:
        intervals: in any order, without overlap.
        frames: their number, (samples - 400) // 320 + 1.
        at: "start" takes the phone at the first sample of a frame, 320 t / 16000 s, instead of its centre.
        silence: False makes silence `IGNORE` too.
        stress: classes of `STRESSED_PHONES` instead of `PHONES`.

    Returns:
        int64 `[frame]`, 0 .. 39 (69) or -100.

    >>> frame_labels([Interval(0.0, 0.03, "HH"), Interval(0.03, 0.06, "spn")], 4).tolist()
    [16, -100, -100, 0]
    """
    labels = np.zeros(frames, dtype=np.int64)
    if not intervals:
        return labels if silence else np.full(frames, IGNORE, dtype=np.int64)
    intervals = sorted(intervals)
    classes = [phone_class(phone, stress) for *_, phone in intervals]
    starts_s, ends_s = np.array([interval[:2] for interval in intervals], dtype=np.float64).T
    times_s = (_HOP * np.arange(frames) + (_CENTRE if at == "centre" else 0)) / SAMPLE_RATE
    current = np.searchsorted(starts_s, times_s, side="right") - 1
    inside = (current >= 0) & (times_s < ends_s[current])
    labels[inside] = np.array([IGNORE if index is None else index for index in classes])[current[inside]]
    return labels if silence else np.where(labels == PHONES.index("SIL"), IGNORE, labels)


def check_fit(recording: Recording) -> Recording:
    """The recording, if its alignment can belong to it.

    Raises:
        DataError: if there is no interval, one is wrong (`manifest.interval_problems`), or labels are not ARPAbet.
    """
    name = f"alignment of {recording.id}"
    if not recording.phones:
        raise DataError(f"{name} has no interval")
    for problem in interval_problems(recording):
        raise DataError(f"{name}: {problem}")
    if foreign := foreign_labels(phone for *_, phone in recording.phones):
        raise DataError(f"{name} is not in ARPAbet: {', '.join(map(repr, foreign[:5]))}")
    return recording


def foreign_labels(labels: Iterable[str]) -> list[str]:
    """The labels that show, taken together, that these are not ARPAbet phones; none if they are, or all are silence.

    Marks of noise ("spn", "<unk>") may be among phones. Words are not phones, although a few look like them.

    >>> foreign_labels(["HH", "IY1", "spn"]), foreign_labels(["", "sil"]), foreign_labels(["uh", "he", "was"])
    ([], [], ['he', 'was'])
    """
    names = sorted(set(labels))
    # Half of the consonants of the IPA look like ARPAbet; its vowels do not, they are not ASCII.
    if ipa := [name for name in names if not name.isascii()]:
        return ipa
    unknown = [name for name in names if phone_class(name) is None]
    words = [name for name in unknown if name.isalpha() and name.upper() not in _NOISE_LABELS]
    phones = {phone_class(name) for name in names} - {None, 0}
    return (words or unknown) if len(words) >= len(phones) else []


def read_textgrid(path: str | Path, tier: str = "phones", *, content: bytes | None = None) -> list[Interval]:
    """Read one tier of a Praat TextGrid, in the long or the short text format, UTF-8 or UTF-16.

    Labels are as written: silence usually has an empty one. Of several speakers with a tier each, what they say is
    joined, and their silences are left out.

    Args:
        path: the file.
        tier: name of an interval tier; case does not matter, and "SPEAKER - phones" (Montreal Forced Aligner) is
            found as "phones".
        content: bytes of the file, if it is not on disk but in an archive.

    Raises:
        DataError: if the file is missing, is not a TextGrid, is cut short, or has no such interval tier, or if two
            speakers talk at the same time.
    """
    names, tiers = [], []
    for is_interval_tier, name, entries in _textgrid_tiers(path, content):
        if is_interval_tier and name.lower().split(" - ")[-1] == tier.lower():
            tiers.append((name, [Interval(start_s, end_s, label) for (start_s, end_s), label in entries]))
        names.append(name)
    if not tiers:
        raise DataError(f"{path} has no interval tier {tier!r}; {nearest(tier, names)}")
    return tiers[0][1] if len(tiers) == 1 else _join_speakers(path, tiers)


def read_textgrid_points(path: str | Path) -> dict[str, list[tuple[float, str]]]:
    """Read the point tiers of a Praat TextGrid, in the formats of `read_textgrid`: (time in s, mark) by name of a tier.

    Raises:
        DataError: if the file is missing, is not a TextGrid, or is cut short.
    """
    return {
        name: [(time_s, mark) for (time_s,), mark in entries]
        for is_interval_tier, name, entries in _textgrid_tiers(path)
        if not is_interval_tier
    }


def _textgrid_tiers(
    path: str | Path, content: bytes | None = None
) -> Iterator[tuple[bool, str, list[tuple[list[float], str]]]]:
    """Whether a tier has intervals rather than points, its name, and the times and text of each of its entries."""
    values = _TextGridValues(path, content)
    if "TextGrid" not in (values.text(), values.text()):
        raise DataError(f"{path} is not a TextGrid: its first lines do not say so")
    values.numbers(2)
    for _ in range(values.count()):
        is_interval_tier, name = values.text() == "IntervalTier", values.text()
        values.numbers(2)
        # An interval has two times, a mark of a point tier has one.
        yield (
            is_interval_tier,
            name,
            [(values.numbers(2 if is_interval_tier else 1), values.text()) for _ in range(values.count())],
        )


def _join_speakers(path: str | Path, tiers: Sequence[tuple[str, list[Interval]]]) -> list[Interval]:
    """What is said on any of the tiers; DataError where two say something at the same time."""
    spoken = sorted(
        (interval, name) for name, intervals in tiers for interval in intervals if phone_class(interval.phone) != 0
    )
    for (before, name), (after, other) in pairwise(spoken):
        if after.start_s < before.end_s - OVERLAP_TOLERANCE_S:
            both = f"{after.start_s:.3f}-{min(before.end_s, after.end_s):.3f} s"
            raise DataError(f"{path}: the tiers {name!r} and {other!r} both have phones at {both}: a frame has one")
    return [interval for interval, _ in spoken] or tiers[0][1]


def read_ctm(path: str | Path) -> dict[str, list[Interval]]:
    """Read a CTM file: the intervals of each utterance, in order of their start.

    Raises:
        DataError: naming file and line, if the file is missing or a line has another form; naming the channels of an
            utterance that is on several: they are several signals, and a recording has one sequence of phones.
    """

    def parse(fields: list[str]) -> tuple[str, str, Interval]:
        name, channel, start, duration, phone = fields[:5]
        return name, channel, Interval(float(start), round(float(start) + float(duration), 6), phone)

    utterances: dict[str, list[Interval]] = {}
    channels: dict[str, str] = {}
    for name, channel, interval in parse_lines(path, parse, "utterance channel start_s duration_s phone"):
        if channels.setdefault(name, channel) != channel:
            both = f"the channels {channels[name]} and {channel}"
            raise DataError(f"{path}: {name!r} is on {both}: keep the lines of the channel that the recording has")
        utterances.setdefault(name, []).append(interval)
    return {name: sorted(intervals) for name, intervals in utterances.items()}


def read_htk(path: str | Path) -> list[Interval]:
    """Read an HTK label file, lines of "start end phone [score ...]" in units of 100 ns.

    Raises:
        DataError: naming file and line, if the file is missing or a line has another form.
    """

    def parse(fields: list[str]) -> Interval:
        start, end, phone = fields[:3]
        return Interval(int(start) / 1e7, int(end) / 1e7, phone)

    return list(parse_lines(path, parse, "start end phone"))


def is_htk(path: str | Path) -> bool:
    """Whether a file with the extension .lab has HTK labels; otherwise it is a transcript, or cannot be read."""
    try:
        line = _LABEL_LINE.match(read_text(path))
        return line is not None and float(line[1]) < float(line[2])
    except (DataError, ValueError):  # ValueError: "1.2.3" is no number
        return False


def parse_lines(path: str | Path, parse: Callable[[list[str]], Parsed], form: str) -> Iterator[Parsed]:
    """What `parse` makes of the fields of each line that is neither blank nor a comment, ";; ...".

    Raises:
        DataError: naming file and line, if the file cannot be read, or `parse` raises ValueError for want of `form`.
    """
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split()
        if fields and not fields[0].startswith(";;"):
            try:
                yield parse(fields)
            except ValueError:
                raise DataError(f"{path}:{number}: expected {form!r}, found {line.strip()[:80]!r}") from None


def read_text(path: str | Path, content: bytes | None = None) -> str:
    """The text of a UTF-8 file, or of a UTF-16 file as Praat writes it.

    Raises:
        DataError: if the file cannot be read, or is not text.
    """
    try:
        data = Path(path).read_bytes() if content is None else content
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\0" in data[:2]:
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise DataError(f"{path} is not {name} text ({error.reason} at byte {error.start})") from None


class _TextGridValues:
    """The texts and numbers of a TextGrid one after the other, in the long or the short format."""

    def __init__(self, path: str | Path, content: bytes | None) -> None:
        self._path = path
        self._values = _TEXTGRID_VALUE.finditer(read_text(path, content))

    def text(self) -> str:
        return self._next(1, "a text in quotes").replace('""', '"')

    def numbers(self, count: int) -> list[float]:
        return [float(self._next(2, "a number")) for _ in range(count)]

    def count(self) -> int:
        return int(self.numbers(1)[0])

    def _next(self, group: int, kind: str) -> str:
        match = next(self._values, None)
        if match is None or match[group] is None:
            actual = "its end" if match is None else match[0]
            raise DataError(f"{self._path} is not a complete TextGrid: expected {kind}, found {actual}")
        return match[group]
