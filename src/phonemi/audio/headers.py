"""First bytes of a wav, RF64, W64, aiff or au file -> what they promise that libsndfile does not say; corrections.

libsndfile cuts the length that a header announces down to what the file holds, without a word, and counts the padding
at the end of codings that work in blocks (ADPCM, GSM). Formats: RIFF WAVE (Microsoft 1991), EBU Tech 3306 (RF64), Sony
Wave64, AIFF-C (Apple 1991), Sun au, ID3v2.4.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

# From a pipe, aiff says 0x7F000000 (sox), wav 0x7FFFF000 (sox), 0x7FFFFFFF or 0xFFFFFFFF (ffmpeg): no promise.
_PIPED_BYTES = 0x7F000000
_MOST_BYTES = 0xFFFFFFFF  # what the 32 bits of a wav header can count
_MOST_CHUNKS = 10_000  # a file of nothing but empty chunks would be walked through for hours
_CONTENT_BYTES = 32  # all that is needed of a chunk
_SAMPLE_CODINGS = (1, 3, 6, 7, 0xFFFE)  # PCM, float, A-law, mu-law, extensible: a fixed number of bytes per sample
_LONGEST_BLOCK = 320  # samples, of the codings that do not say theirs (GSM 6.10)
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # coding: of a sample


@dataclass
class Header:
    """What was found; counts are for each channel, positions in bytes from the start of the file."""

    promised: int | None = None  # samples that the file should hold
    padding: int = 0  # fewer samples than this may follow the last true one
    cut: bool = False  # the file ends before the sound does
    beyond: bool = False  # more sound than the 32 bits of the header can count
    unfilled_at: int | None = None  # where a program that wrote to a pipe left the length at zero
    promised_at: int | None = None  # where the promise is, if it is a number of its own
    order: str = "<"  # of the bytes of that number


class _Chunk(NamedTuple):
    start: int = 0
    size: int = 0
    content: bytes = bytes(_CONTENT_BYTES)


def read_header(raw: BinaryIO) -> Header:
    """Read the chunks of an open file; a file of any other kind gives an empty `Header`."""
    length = os.fstat(raw.fileno()).st_size
    raw.seek(0)
    first = raw.read(40).ljust(40, b"\0")
    if first[:4] in (b"RIFF", b"RF64") and first[8:12] == b"WAVE":
        riff_bytes = struct.unpack_from("<I", first, 4)[0] + 8 if first[:4] == b"RIFF" else length
        return _wave(_chunks(raw, "<4sI", at=12, unit=2), length, whole=riff_bytes == length)
    if first[:4] == b"riff" and first[24:28] == b"wave":
        return _wave(_chunks(raw, "<16sQ", at=40, unit=8, counted=24), length, whole=True)
    if first[:4] == b"FORM" and first[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(_chunks(raw, ">4sI", at=12, unit=2), length)
    if first[:4] == b".snd":
        return _au(first, length)
    return Header()


def _chunks(raw: BinaryIO, layout: str, at: int, unit: int, counted: int = 0) -> dict[bytes, _Chunk]:
    """The first chunk of each name.

    Args:
        raw: the open file.
        layout: of name and size, as in `struct`.
        at: where the first chunk is.
        unit: chunks start at multiples of it.
        counted: bytes of name and size that the size counts too.
    """
    head = struct.Struct(layout)
    found: dict[bytes, _Chunk] = {}
    for _ in range(_MOST_CHUNKS):
        raw.seek(at)
        if len(packed := raw.read(head.size)) < head.size:
            break
        name, size = head.unpack(packed)
        size = max(0, size - counted)
        content = raw.read(min(size, _CONTENT_BYTES)).ljust(_CONTENT_BYTES, b"\0")
        found.setdefault(name[:4], _Chunk(at + head.size, size, content))
        at += head.size + -(-size // unit) * unit
        if at >= 1 << 62:  # W64; no file is longer, and seek would fail
            break
    return found


def _wave(chunks: dict[bytes, _Chunk], length: int, whole: bool) -> Header:
    """Wav, RF64 and W64; `whole`: the length of the file is the one announced, so zero samples are meant."""
    data = chunks.get(b"data", _Chunk())
    coding, _, _, _, align, _, _, block = struct.unpack_from("<HHIIHHHH", chunks.get(b"fmt ", _Chunk()).content)
    size = data.size
    if size == _MOST_BYTES and b"ds64" in chunks:
        size = struct.unpack_from("<Q", chunks[b"ds64"].content, 8)[0]
    rest = length - data.start
    if not data.start:
        return Header()
    if _PIPED_BYTES <= size <= _MOST_BYTES:
        return Header(beyond=rest > _MOST_BYTES)
    unfilled = rest > 0 and size == 0 and not whole
    found = Header(
        cut=size > rest, beyond=unfilled and rest > _MOST_BYTES, unfilled_at=data.start - 4 if unfilled else None
    )
    if coding in _SAMPLE_CODINGS and align:
        found.promised = size // align
    elif coding not in _SAMPLE_CODINGS and b"fact" in chunks:
        found.promised_at = chunks[b"fact"].start
        found.promised = struct.unpack_from("<I", chunks[b"fact"].content)[0]
        found.padding = 2 * max(block, _LONGEST_BLOCK)  # libsndfile may write a block too many
    return found


def _aiff(chunks: dict[bytes, _Chunk], length: int) -> Header:
    common, sound = chunks.get(b"COMM", _Chunk()), chunks.get(b"SSND", _Chunk())
    if common.content[18:22] == b"ima4" or sound.size >= _PIPED_BYTES:  # the former counts packets
        return Header()
    promised = struct.unpack_from(">I", common.content, 2)[0]
    cut = sound.start + sound.size > length
    return Header(promised, _LONGEST_BLOCK, cut, promised_at=common.start + 2, order=">")


def _au(first: bytes, length: int) -> Header:
    start, size, coding, _, channels = struct.unpack_from(">5I", first, 4)
    sample_bytes = _AU_BYTES.get(coding, 0) * channels
    if not sample_bytes or size == _MOST_BYTES:
        return Header()
    return Header(size // sample_bytes, cut=start + size > length)


def correct(path: str | os.PathLike[str], samples: int) -> None:
    """Mend what libsndfile writes wrongly into the header of a finished file.

    The number of samples in wav, W64 and aiff counts padding; the texts of an mp3 file are UTF-8 labelled as Latin-1.
    """
    with open(path, "r+b") as file:
        header = read_header(file)
        if header.promised_at is not None:
            file.seek(header.promised_at)
            file.write(struct.pack(header.order + "I", min(samples, _MOST_BYTES)))
        file.seek(0)
        if file.read(5) == b"ID3\3\0":
            _label_as_utf8(file)


def _label_as_utf8(file: BinaryIO) -> None:
    """ID3v2.3 as LAME writes it -> ID3v2.4, which knows UTF-8: its sizes have 7 bits in a byte."""
    file.seek(3)
    file.write(b"\4")
    file.seek(6)
    end = 10 + from_sevens(file.read(4))
    at = 10
    while at + 11 <= end:
        file.seek(at)
        name, size, _, encoding = struct.unpack(">4sIHB", file.read(11))
        if not name.strip(b"\0"):
            return
        file.seek(at)
        file.write(struct.pack(">4sIHB", {b"TYER": b"TDRC"}.get(name, name), _to_sevens(size), 0, encoding or 3))
        at += 10 + size


def from_sevens(packed: bytes) -> int:
    """The size in an ID3v2 tag, of 7 bits in a byte.

    >>> from_sevens(bytes([0, 0, 2, 1]))
    257
    """
    return sum((byte & 127) << shift for byte, shift in zip(packed, (21, 14, 7, 0), strict=True))


def _to_sevens(number: int) -> int:
    """
    >>> _to_sevens(257) == 0x0201
    True
    """
    return sum((number >> 7 * place & 127) << 8 * place for place in range(4))
