"""What the headers of wav, RF64, W64, aiff, au and mp3 files say about their length, and whether another file follows.

libsndfile silently reduces the length that a header states to what the file holds, and counts the padding at the end of
codings that work in blocks (ADPCM, GSM). Formats: RIFF WAVE (Microsoft 1991), EBU Tech 3306 (RF64), Sony Wave64, AIFF-C
(Apple 1991), Sun au, ID3v2.4; the count of an mp3 file is that of Xing and LAME.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

# Programs that write to a pipe state 0x7F000000 bytes (sox, aiff), 0x7FFFF000 (sox, wav), 0x7FFFFFFF or 0xFFFFFFFF
# (ffmpeg): as long as the file is.
_MIN_PIPE_BYTES = 0x7F000000
_MAX_32_BITS = 0xFFFFFFFF
_MAX_BYTES = 1 << 62  # no file is longer
_MAX_CHUNKS = 10_000  # a file of nothing but empty chunks would take hours
_CONTENT_BYTES = 32  # all that is needed of a chunk
_SAMPLE_CODINGS = (1, 3, 6, 7, 0xFFFE)  # PCM, float, A-law, mu-law, extensible: a fixed number of bytes per sample
_MPEG_CODINGS = (0x50, 0x55)
_MAX_BLOCK = 320  # samples, of the codings that do not state theirs (GSM 6.10)
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # per sample, by coding
_MP3_COUNT = re.compile(rb"(?:Xing|Info)...[\x03\x07\x0b\x0f](....)(....)", re.DOTALL)  # frames, bytes
_MP3_COUNT_END = 52  # bytes from the start of the first frame, at the latest

# Where an Ogg page begins, with its flags, and where a flac stream does, with the head of its first block.
_STARTS = {"OGG": re.compile(rb"OggS\0[\0-\7]"), "FLAC": re.compile(rb"fLaC[\0\x80]\0\0\x22")}
_FIRST_PAGE = 2  # the flag of the first page of a stream
_BLOCK_BYTES = 1 << 20
_PAGE_HEAD_BYTES = 27 + 255  # at most: the last byte of 27 says how many follow, each the length of a segment

NO_LENGTH = "its header does not say how long it is"
SEVERAL = "it holds several recordings behind each other"
MORE_THAN_32_BITS = "it holds more sound than the 4 GiB that its header can count"


@dataclass
class Header:
    """What a header says about length; the defaults stand for nothing."""

    samples: int | None = None  # of each channel
    padding: int = 0  # fewer samples than this may follow the last true one
    present: float = 1.0  # share of the stated sound that the file holds, below 1 if it is cut short
    doubt: str | None = None  # why libsndfile does not know the length
    samples_at: int | None = None  # where in the file `samples` is stated, in bytes, if it is a number of its own
    byte_order: str = "<"  # of that number, as in `struct`


class _Chunk(NamedTuple):
    start: int = 0
    size: int = 0
    content: bytes = bytes(_CONTENT_BYTES)


def read_header(raw: BinaryIO) -> Header:
    """Read the header of an open file; for a file of any other kind an empty `Header`."""
    length = os.fstat(raw.fileno()).st_size
    raw.seek(0)
    first = raw.read(40).ljust(40, b"\0")
    if first[:4] in (b"RIFF", b"RF64") and first[8:12] == b"WAVE":
        stated = struct.unpack_from("<I", first, 4)[0] + 8 if first[:4] == b"RIFF" else length
        return _read_wave(_read_chunks(raw, "<4sI", 12, alignment=2), length, is_whole=stated == length)
    if first[:4] == b"riff" and first[24:28] == b"wave":
        return _read_wave(_read_chunks(raw, "<16sQ", 40, alignment=8, size_includes=24), length, is_whole=True)
    if first[:4] == b"FORM" and first[8:12] in (b"AIFF", b"AIFC"):
        return _read_aiff(_read_chunks(raw, ">4sI", 12, alignment=2), length)
    if first[:4] == b".snd":
        start, size, coding, _, channels = struct.unpack_from(">5I", first, 4)
        sample_bytes = _AU_BYTES.get(coding, 0) * channels
        if not sample_bytes or size == _MAX_32_BITS:
            return Header()
        return Header(size // sample_bytes, present=_share(size, length - start))
    return Header()


def is_chain(raw: BinaryIO, format: str) -> bool:
    """Whether Ogg or flac streams follow each other in an open file: libsndfile reads the first of them.

    Of Ogg the heads of pages are read, as long as each page ends where another one begins (RFC 3533, section 6); flac
    is read to its end, since its frames do not say how long they are.
    """
    page = end = 0
    is_begun = False  # the first stream has more than its first page
    while format == "OGG":
        raw.seek(end)
        head = raw.read(_PAGE_HEAD_BYTES)
        if not _STARTS["OGG"].match(head) or len(head) < 27:
            break
        if head[5] & _FIRST_PAGE and is_begun:
            return True
        is_begun |= not head[5] & _FIRST_PAGE
        page, end = end, end + 27 + head[26] + sum(head[27 : 27 + head[26]])
    return _has_later_start(raw, format, page, is_begun)


def _has_later_start(raw: BinaryIO, format: str, begin: int, is_begun: bool) -> bool:
    """Whether another stream starts after the first one, which `is_begun`, anywhere from a byte of an open file on."""
    rest = b""
    raw.seek(begin)
    while block := raw.read(_BLOCK_BYTES):
        content = rest + block
        for match in _STARTS[format].finditer(content):
            is_first = format == "FLAC" or match[0][-1] & _FIRST_PAGE
            if is_first and is_begun:
                return True
            is_begun |= format == "FLAC" or not is_first  # streams side by side in Ogg begin with all first pages
        rest = content[-5 if format == "OGG" else -7 :]
    return False


def is_followed(raw: BinaryIO) -> bool:
    """Whether another file of its kind begins where the header of a wav, RF64, W64, aiff or au file says it ends."""
    raw.seek(0)
    first = raw.read(40).ljust(40, b"\0")
    ends = {
        b"RIFF": 8 + struct.unpack_from("<I", first, 4)[0],
        b"RF64": 8 + struct.unpack_from("<Q", first, 20)[0],
        b"riff": struct.unpack_from("<Q", first, 16)[0],
        b"FORM": 8 + struct.unpack_from(">I", first, 4)[0],
        b".snd": sum(struct.unpack_from(">II", first, 4)),
    }
    end = ends.get(first[:4], 0)
    if not 0 < end < os.fstat(raw.fileno()).st_size:
        return False
    raw.seek(end)
    return first[:4] in raw.read(12)[:12]  # after at most 8 bytes of padding


def read_mp3_header(raw: BinaryIO) -> Header:
    """Read the count of frames and bytes that encoders write into the first frame of an mp3 file.

    Without it libsndfile guesses the length. With it libsndfile reads no further, though more files may follow.
    """
    length = os.fstat(raw.fileno()).st_size
    raw.seek(0)
    tag = raw.read(10)
    start = 10 + _from_sevens(tag[6:10]) if tag[:3] == b"ID3" and len(tag) == 10 else 0
    raw.seek(start)
    match = _MP3_COUNT.search(raw.read(_MP3_COUNT_END))
    if match is None:
        return Header(doubt=NO_LENGTH)
    frames, size = (int.from_bytes(number) for number in match.groups())
    behind = length - start - size
    raw.seek(start + size)
    if behind > 0 and not (behind == 128 and raw.read(3) == b"TAG"):  # an ID3v1 tag
        return Header(doubt="it holds more than its header says")
    spare_bytes = 2 * size / max(1, frames)  # some encoders count one frame more, and the last one may be lost
    return Header(present=1.0 if behind >= -spare_bytes else (length - start) / size)


def _read_chunks(raw: BinaryIO, layout: str, at: int, alignment: int, size_includes: int = 0) -> dict[bytes, _Chunk]:
    """The first chunk of each name; `layout`: of name and size, which count as `size_includes` bytes of the size."""
    head = struct.Struct(layout)
    chunks: dict[bytes, _Chunk] = {}
    for _ in range(_MAX_CHUNKS):
        raw.seek(at)
        packed = raw.read(head.size)
        if len(packed) < head.size:
            break
        name, size = head.unpack(packed)
        size = max(0, size - size_includes)
        content = raw.read(min(size, _CONTENT_BYTES)).ljust(_CONTENT_BYTES, b"\0")
        chunks.setdefault(name[:4], _Chunk(at + head.size, size, content))
        at += head.size + -(-size // alignment) * alignment
        if at >= _MAX_BYTES:  # seek would fail
            break
    return chunks


def _read_wave(chunks: dict[bytes, _Chunk], length: int, is_whole: bool) -> Header:
    """Wav, RF64 and W64; `is_whole`: the file is as long as stated, so that zero bytes of sound are meant."""
    data = chunks.get(b"data", _Chunk())
    coding, _, _, _, align, _, _, block = struct.unpack_from("<HHIIHHHH", chunks.get(b"fmt ", _Chunk()).content)
    size = data.size
    if size == _MAX_32_BITS and b"ds64" in chunks:
        size = struct.unpack_from("<Q", chunks[b"ds64"].content, 8)[0]
    rest = length - data.start
    if not data.start:
        return Header()
    if _MIN_PIPE_BYTES <= size <= _MAX_32_BITS:
        return Header(doubt=MORE_THAN_32_BITS if rest > _MAX_32_BITS else None)
    if size == 0 and rest > 0 and not is_whole:
        return Header(doubt=NO_LENGTH)  # a program that was killed, or wrote to a pipe, never filled it in
    header = Header(present=_share(size, rest))
    if coding in _MPEG_CODINGS:  # libsndfile guesses the length, and the `fact` chunk counts what encoders add
        return Header(present=header.present, doubt=NO_LENGTH)
    if coding in _SAMPLE_CODINGS and align:
        header.samples = size // align
    elif coding not in _SAMPLE_CODINGS and b"fact" in chunks:
        header.samples_at = chunks[b"fact"].start
        header.samples = struct.unpack_from("<I", chunks[b"fact"].content)[0]
        header.padding = 2 * max(block, _MAX_BLOCK)  # libsndfile may write a block too many
    return header


def _read_aiff(chunks: dict[bytes, _Chunk], length: int) -> Header:
    common, sound = chunks.get(b"COMM", _Chunk()), chunks.get(b"SSND", _Chunk())
    if common.content[18:22] == b"ima4" or sound.size >= _MIN_PIPE_BYTES:  # the former counts packets
        return Header()
    samples = struct.unpack_from(">I", common.content, 2)[0]
    present = _share(sound.size, length - sound.start)
    return Header(samples, _MAX_BLOCK, present, samples_at=common.start + 2, byte_order=">")


def _share(stated: int, present: int) -> float:
    return min(1.0, max(0, present) / stated) if stated else 1.0


def correct(path: str | os.PathLike[str], samples: int) -> None:
    """Correct the header of a finished file: libsndfile counts the padding of wav, W64 and aiff files as samples."""
    with open(path, "r+b") as file:
        header = read_header(file)
        if header.samples_at is not None:
            file.seek(header.samples_at)
            file.write(struct.pack(header.byte_order + "I", min(samples, _MAX_32_BITS)))
        file.seek(0)
        if file.read(5) == b"ID3\3\0":
            _label_as_utf8(file)


def _label_as_utf8(file: BinaryIO) -> None:
    """Make the ID3v2.3 tag of an mp3 file, whose texts are UTF-8 labelled as Latin-1, one of ID3v2.4."""
    file.seek(3)
    file.write(b"\4")
    file.seek(6)
    end = 10 + _from_sevens(file.read(4))
    at = 10
    while at + 11 <= end:
        file.seek(at)
        name, size, _, encoding = struct.unpack(">4sIHB", file.read(11))
        if not name.strip(b"\0"):
            return
        file.seek(at)
        file.write(struct.pack(">4sIHB", {b"TYER": b"TDRC"}.get(name, name), _to_sevens(size), 0, encoding or 3))
        at += 10 + size


def _from_sevens(packed: bytes) -> int:
    """The size in an ID3v2 tag, of 7 bits in a byte.

    >>> _from_sevens(bytes([0, 0, 2, 1])), hex(_to_sevens(257))
    (257, '0x201')
    """
    return sum((byte & 127) << shift for byte, shift in zip(packed, (21, 14, 7, 0), strict=True))


def _to_sevens(number: int) -> int:
    return sum((number >> 7 * place & 127) << 8 * place for place in range(4))
