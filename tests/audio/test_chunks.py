"""What a wav or aiff file holds beside sound and texts comes back in its enhanced version, or is named."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import soundfile
from sounds import uniform_noise

from phonemi import audio

BEXT = b"Description of the scene".ljust(602, b"\0")
CHUNKS = {
    **{b"bext": BEXT, b"cue ": struct.pack("<IIIIIII", 1, 1, 40, 0x61746164, 0, 0, 40), b"iXML": b"<BWFXML>x</BWFXML>"},
    **{b"id3 ": b"ID3\4\0\0\0\0\0\0", b"LIST": b"adtllabl\x08\0\0\0\1\0\0\0one\0"},
}


def _pack(order: str, chunks: dict[bytes, bytes]) -> bytes:
    return b"".join(
        name + struct.pack(f"{order}I", len(content)) + content + bytes(len(content) % 2)
        for name, content in chunks.items()
    )


def _with_chunks(path: Path, chunks: dict[bytes, bytes], order: str = "<", first: int = 2) -> Path:
    """Put some chunks in front of those that are there, and the others behind."""
    content = path.read_bytes()
    front, behind = dict(list(chunks.items())[:first]), dict(list(chunks.items())[first:])
    content = content[:12] + _pack(order, front) + content[12:] + _pack(order, behind)
    path.write_bytes(content[:4] + struct.pack(f"{order}I", len(content) - 8) + content[8:])
    return path


def _chunks_of(path: Path, order: str = "<") -> dict[bytes, bytes]:
    content, at, chunks = path.read_bytes(), 12, {}
    while at + 8 <= len(content):
        name, size = struct.unpack_from(f"{order}4sI", content, at)
        chunks[name] = content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    assert at == len(content) == 8 + struct.unpack_from(f"{order}I", content, 4)[0]
    return chunks


@pytest.mark.parametrize("samples", [999, 1000])
def test_chunks_of_a_wav_file_are_kept(tmp_path: Path, samples: int) -> None:
    waveform = uniform_noise(1, samples)
    audio.save(tmp_path / "a.wav", waveform, 16_000, subtype="PCM_24")
    audio.save(tmp_path / "b.wav", waveform, 16_000, subtype="FLOAT")
    before = audio.load(tmp_path / "b.wav")
    assert audio.copy_chunks(_with_chunks(tmp_path / "a.wav", CHUNKS), tmp_path / "b.wav") == []
    assert _chunks_of(tmp_path / "b.wav").items() >= CHUNKS.items()
    assert (audio.load(tmp_path / "b.wav") == before).all()


def test_what_is_about_the_samples_or_a_text_is_not_copied(tmp_path: Path) -> None:
    others = {
        b"PEAK": bytes(16),
        b"MD5 ": bytes(16),
        b"LIST": b"INFOINAM\2\0\0\0a\0",
        b"JUNK": bytes(9),
        b"\0\1\2\3": b"??",
    }
    for name in "ab":
        audio.save(tmp_path / f"{name}.wav", uniform_noise(100), 16_000)
    before = (tmp_path / "b.wav").read_bytes()
    assert audio.copy_chunks(_with_chunks(tmp_path / "a.wav", others), tmp_path / "b.wav") == []
    assert (tmp_path / "b.wav").read_bytes() == before


def test_chunks_of_an_aiff_file_are_kept(tmp_path: Path) -> None:
    chunks = {b"MARK": struct.pack(">HHIBx", 1, 1, 40, 0), b"APPL": b"stocx"}
    for name in "ab":
        audio.save(tmp_path / f"{name}.aiff", uniform_noise(101), 16_000)
    assert audio.copy_chunks(_with_chunks(tmp_path / "a.aiff", chunks, ">", 0), tmp_path / "b.aiff") == []
    assert _chunks_of(tmp_path / "b.aiff", ">").items() >= chunks.items()
    assert audio.probe(tmp_path / "b.aiff").samples == 101


def test_chunks_of_an_rf64_file_are_kept(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(100), 16_000)
    audio.save(tmp_path / "b.wav", uniform_noise(100), 16_000, "RF64")
    size = (tmp_path / "b.wav").stat().st_size
    audio.copy_chunks(_with_chunks(tmp_path / "a.wav", CHUNKS), tmp_path / "b.wav")
    assert (tmp_path / "b.wav").stat().st_size == size + len(_pack("<", CHUNKS))
    audio.save(tmp_path / "c.wav", uniform_noise(100), 16_000)
    assert audio.copy_chunks(tmp_path / "b.wav", tmp_path / "c.wav") == []
    assert _chunks_of(tmp_path / "c.wav").items() >= CHUNKS.items()
    assert audio.probe(tmp_path / "b.wav").samples == 100


def test_the_channel_mask_is_kept(tmp_path: Path) -> None:
    for name, format in (("a", "WAVEX"), ("b", "WAVEX"), ("c", "FLAC")):
        audio.save(tmp_path / name, uniform_noise(2, 100), 16_000, format)
    content = bytearray((tmp_path / "a").read_bytes())
    at = content.index(b"fmt ") + 8 + 20
    content[at : at + 4] = struct.pack("<I", 0x600)  # the left and the right side
    (tmp_path / "a").write_bytes(content)
    assert audio.copy_chunks(tmp_path / "a", tmp_path / "b") == []
    assert struct.unpack_from("<I", (tmp_path / "b").read_bytes(), at)[0] == 0x600
    assert audio.copy_chunks(tmp_path / "a", tmp_path / "c") == ["channel mask"]
    assert soundfile.info(str(tmp_path / "b")).format == "WAVEX"


@pytest.mark.parametrize("extension", ["flac", "ogg", "aiff", "w64", "mp3"])
def test_what_has_no_place_is_named(tmp_path: Path, extension: str) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(16_000), 16_000)
    audio.save(tmp_path / f"b.{extension}", uniform_noise(16_000), 16_000)
    before = (tmp_path / f"b.{extension}").read_bytes()
    lost = audio.copy_chunks(_with_chunks(tmp_path / "a.wav", CHUNKS), tmp_path / f"b.{extension}")
    assert lost == ["bext", "cue", "iXML", "id3", "LIST"]
    assert (tmp_path / f"b.{extension}").read_bytes() == before
    assert audio.copy_chunks(tmp_path / f"b.{extension}", tmp_path / "a.wav") == []
