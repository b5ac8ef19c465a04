"""What wav, RF64 and aiff files hold beside sound and texts: from the noisy recording to its enhanced version.

Notes of broadcasters (`bext`, `iXML`), markers (`cue `, `LIST adtl`, `MARK`), tags (`id3 `, `_PMX`) and whatever else a
program has put into chunks of its own, and the speakers of the channels (the mask of an extensible wav file). Chunks
are copied as they are: recording and enhanced version have the same rate and length, so that places in one are places
in the other. Formats: as in `headers`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

# Written by libsndfile, padding, or about the samples themselves: peaks and checksums.
_NOT_COPIED = {
    *(b"fmt ", b"data", b"fact", b"ds64", b"PEAK", b"levl", b"MD5 ", b"JUNK", b"junk", b"PAD ", b"FLLR", b"wavl"),
    *(b"COMM", b"SSND", b"FVER", b"NAME", b"AUTH", b"(c) ", b"ANNO"),
}
_MAX_CHUNKS = 10_000
_MAX_32_BITS = 0xFFFFFFFF
_EXTENSIBLE = 0xFFFE
_MASK_AT = 20  # in the chunk `fmt `
_USUAL_MASKS = (0, 0x3, 0x4, 0x7, 0x33, 0x37, 0x3F, 0x13F, 0x63F)  # of one to eight channels


class _Chunk(NamedTuple):
    name: bytes
    start: int
    size: int


def copy_chunks(source: str | Path, target: str | Path) -> list[str]:
    """Append the chunks of a recording to its enhanced version, a finished file, and set its channel mask.

    Returns:
        What the target has no place for, because it is of another format: names of chunks, "channel mask".
    """
    with open(source, "rb") as raw, open(target, "r+b") as file:
        order, target_order = _byte_order(raw), _byte_order(file)
        if order is None:
            return []
        chunks = [chunk for chunk in _walk(raw, order) if _is_copied(raw, chunk)]
        mask = _mask(raw, order)
        lost = [] if target_order == order else [chunk.name.decode().strip() for chunk in chunks]
        if target_order == order:
            _append(raw, chunks, file, order)
        at = _mask_at(file, target_order) if target_order else None
        if at is not None and mask is not None:
            file.seek(at)
            file.write(struct.pack("<I", mask))
        elif mask not in (None, *_USUAL_MASKS):
            lost.append("channel mask")
        return list(dict.fromkeys(lost))


def _byte_order(file: BinaryIO) -> str | None:
    """Of the sizes of chunks, as in `struct`; None for a format without chunks of this kind."""
    file.seek(0)
    first = file.read(12).ljust(12, b"\0")
    if first[:4] in (b"RIFF", b"RF64") and first[8:] == b"WAVE":
        return "<"
    return ">" if first[:4] == b"FORM" and first[8:] in (b"AIFF", b"AIFC") else None


def _walk(file: BinaryIO, order: str) -> Iterator[_Chunk]:
    at, data_size = 12, _MAX_32_BITS
    length = os.fstat(file.fileno()).st_size
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(24).ljust(24, b"\0")
        name, size = struct.unpack_from(f"{order}4sI", head)
        if name == b"ds64":
            data_size = struct.unpack_from("<Q", head, 16)[0]
        if name == b"data" and size == _MAX_32_BITS:
            size = data_size
        if at + 8 + size > length:
            return
        yield _Chunk(name, at + 8, size)
        at += 8 + size + size % 2


def _is_copied(file: BinaryIO, chunk: _Chunk) -> bool:
    file.seek(chunk.start)
    is_text = chunk.name == b"LIST" and file.read(4) == b"INFO"
    return not is_text and chunk.name not in _NOT_COPIED and chunk.name.isascii() and chunk.name.decode().isprintable()


def _append(source: BinaryIO, chunks: list[_Chunk], file: BinaryIO, order: str) -> None:
    file.seek(0, os.SEEK_END)
    file.write(bytes(file.tell() % 2))
    for chunk in chunks:
        source.seek(chunk.start)
        content = source.read(chunk.size)
        file.write(struct.pack(f"{order}4sI", chunk.name, chunk.size) + content + bytes(chunk.size % 2))
    size = file.tell() - 8
    file.seek(0)
    is_64 = file.read(4) == b"RF64"
    file.seek(20 if is_64 else 4)
    file.write(struct.pack("<Q" if is_64 else f"{order}I", size if is_64 else min(size, _MAX_32_BITS)))


def _mask_at(file: BinaryIO, order: str) -> int | None:
    """Where an extensible wav file has its channel mask, in bytes; None for any other."""
    for chunk in _walk(file, order):
        if chunk.name == b"fmt " and chunk.size >= _MASK_AT + 4:
            file.seek(chunk.start)
            if struct.unpack("<H", file.read(2))[0] == _EXTENSIBLE:
                return chunk.start + _MASK_AT
    return None


def _mask(file: BinaryIO, order: str) -> int | None:
    at = _mask_at(file, order)
    if at is None:
        return None
    file.seek(at)
    mask: int = struct.unpack("<I", file.read(4))[0]
    return mask
