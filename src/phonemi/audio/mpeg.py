"""Bytes of an mp3 file -> the frames that it holds and how many it promises; a copy that promises as many as it holds.

libsndfile takes the length of an mp3 file from the count in its first frame (Xing, Info or VBRI), or guesses it from
the first frames and the size of the file; it reads no further than that. Here the frames are counted, from header to
header (ISO 11172-3, ISO 13818-3, and the lower rates called MPEG 2.5).
"""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from phonemi.audio.headers import from_sevens

_KBIT_S = {  # (is MPEG 1, layer): bit rates of the indices from 1 on
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)  # of MPEG 1, in Hz
_SLOWER = {0b11: 1, 0b10: 2, 0b00: 4}  # bits of MPEG 1, 2 and 2.5: what divides the rates
_TAG = re.compile(rb"ID3[\x02-\x04]..([\x00-\x7f]{4})", re.DOTALL)
_FRAME_OR_TAG = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]|" + _TAG.pattern, re.DOTALL)
_COUNT = re.compile(rb"(?:Xing|Info)...(.)(....)", re.DOTALL)  # flags, number of frames
_COUNT_ENDS = 50  # bytes from the start of the frame, at the latest
_HEADER_BYTES = 4
_BLOCK_BYTES = 1 << 20
_MARGIN_BYTES = 1 << 13  # more than two frames
_MOST_TRIES = 100_000  # tags, and bytes that look like a frame and are none: a file of them would take hours
_SPARE_FRAMES = 2  # some encoders count one more or less, and the last one may be lost: padding fills most of it


class _Frame(NamedTuple):
    size: int  # in bytes
    samples: int
    kind: int  # the bits of its header that say version, layer and rate


@dataclass
class Frames:
    """What was found; counts are for each channel."""

    samples: int = 0  # of all frames but the one that holds the count
    promised: int | None = None  # samples
    frame_samples: int = 0
    changes: bool = False  # rate or channels differ on the way
    header: bytes = b""  # of the first frame
    runs: list[list[int]] = field(default_factory=list)  # first byte and last + 1 of frames without a gap
    _kinds: Counter[tuple[int, bool]] = field(default_factory=Counter)
    _in_step: bool = False  # a frame ended where the walk has arrived
    _tries: int = 0

    @property
    def missing(self) -> int:
        """Samples that were promised and are not there; negative: there are more. 0 within what may differ."""
        missing = 0 if self.promised is None else self.promised - self.samples
        return missing if abs(missing) > _SPARE_FRAMES * self.frame_samples else 0


def spare_samples(sample_rate: int) -> int:
    """How many samples may be missing from an mp3 file."""
    return _SPARE_FRAMES * (1152 if sample_rate >= min(_RATES) else 576)


def read_frames(raw: BinaryIO) -> Frames:
    """Walk through the frames of an open file in blocks; `samples` is 0 where there are none or too much else."""
    length = os.fstat(raw.fileno()).st_size
    found, at = Frames(), 0
    while at < length:
        raw.seek(at)
        if not (block := raw.read(_BLOCK_BYTES)):
            break  # it was made shorter meanwhile
        at += _walk(found, block, at, is_last=at + len(block) >= length)
        if found._tries > _MOST_TRIES:
            return Frames()
    found.changes = found._kinds.total() - max(found._kinds.values(), default=0) > _SPARE_FRAMES
    return found


def write_counted(raw: BinaryIO, found: Frames, target: BinaryIO) -> None:
    """Copy the frames of a file, without what lies between them, behind one that says how many they are (layer III)."""
    version, rate, mode = (found.header[place] for place in (1, 2, 3))
    header = bytes([0xFF, version | 1, 0xE0 | rate & 0b1100, mode])  # no checksum; the longest frame without padding
    frame = _frame(header, 0)
    assert frame
    is_mono, is_first_version = mode >> 6 == 0b11, version >> 3 & 0b11 == 0b11
    side_bytes = (17 if is_mono else 32) if is_first_version else (9 if is_mono else 17)
    count = struct.pack(">4sII", b"Xing", 1, found.samples // found.frame_samples)
    target.write((header + bytes(side_bytes) + count).ljust(frame.size, b"\0"))
    for start, end in found.runs:
        raw.seek(start)
        for at in range(start, end, _BLOCK_BYTES):
            target.write(raw.read(min(_BLOCK_BYTES, end - at)))


def _walk(found: Frames, block: bytes, at: int, is_last: bool) -> int:
    """Add the frames of a block that begins at byte `at` of the file; the byte of it, or behind it, to go on from."""
    place, end = 0, len(block) - (0 if is_last else _MARGIN_BYTES)
    while place < end and found._tries <= _MOST_TRIES:
        frame = _frame(block, place) if found._in_step else None
        if frame and place + frame.size <= len(block):
            _add(found, frame, block, place, at)
            place += frame.size
        elif tag := _TAG.match(block, place):
            found._in_step, found._tries = False, found._tries + 1
            place = tag.end() + from_sevens(tag[1])
        else:
            place = _next_frame(found, block, place, end)
    return place


def _next_frame(found: Frames, block: bytes, place: int, end: int) -> int:
    """Where from `place` on a tag begins, or a frame that another or the end of the block follows; otherwise `end`."""
    found._in_step = False
    for match in _FRAME_OR_TAG.finditer(block, place):
        if (place := match.start()) >= end or found._tries > _MOST_TRIES:
            break
        if match[0][0] != 0xFF:
            return place
        found._tries += 1
        if (frame := _frame(block, place)) and (after := place + frame.size) <= len(block):
            following = _frame(block, after)
            if after == len(block) or (following and following.kind == frame.kind):
                found._in_step = True
                return place
    return end


def _add(found: Frames, frame: _Frame, block: bytes, place: int, at: int) -> None:
    if not found.header:
        found.header = block[place : place + _HEADER_BYTES]
        found.frame_samples = frame.samples
        content = block[place : place + frame.size]
        count = content[50:54] if content[36:40] == b"VBRI" else None
        if match := _COUNT.search(content, _HEADER_BYTES, _COUNT_ENDS):
            count = match[2] if match[1][0] & 1 else bytes(4)
        if count is not None:
            found.promised = int.from_bytes(count) * frame.samples or None
            return
    found.samples += frame.samples
    found._kinds[frame.kind, block[place + 3] >> 6 == 0b11] += 1
    if not found.runs or found.runs[-1][1] != at + place:
        found.runs.append([at + place, at + place])
    found.runs[-1][1] += frame.size


def _frame(block: bytes, place: int) -> _Frame | None:
    """What the header at a place says; None where there is none, or one without the length of its frame."""
    if place + _HEADER_BYTES > len(block) or block[place] != 0xFF:
        return None
    return _FRAMES.get((block[place + 1] & 0xFE) << 8 | block[place + 2] & 0xFE)


def _frames() -> dict[int, _Frame]:
    """All frames by the second and third byte of their headers, without the bits for a checksum and private use."""
    found = {}
    for version, divisor in _SLOWER.items():
        for layer in (1, 2, 3):
            samples = 384 if layer == 1 else 576 if layer == 3 and divisor > 1 else 1152
            for rate_index, rate in enumerate(_RATES):
                kind = (0xE0 | version << 3 | (4 - layer) << 1) << 8 | rate_index << 2
                for index, kbit_s in enumerate(_KBIT_S[divisor == 1, layer], start=1):
                    unit = 4 if layer == 1 else 1  # bytes
                    units = samples // 8 // unit * kbit_s * 1000 * divisor // rate
                    for padding in (0, 1):
                        size = unit * (units + padding)
                        found[kind | index << 4 | padding << 1] = _Frame(size, samples, kind)
    return found


_FRAMES = _frames()
