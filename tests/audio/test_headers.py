"""What headers promise: exact lengths, files that were cut, lengths that a pipe left open."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from sounds import truncate, uniform_noise

from phonemi import audio
from phonemi.audio.headers import read_header
from phonemi.errors import AudioError


def _patch_sizes(path: Path, riff: int, data: int) -> Path:
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[4:8], content[at : at + 4] = struct.pack("<I", riff), struct.pack("<I", data)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_wav_cut_short_names_both_numbers(tmp_path: Path, subtype: str) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(2, 10_000), 16_000, subtype=subtype)
    path = truncate(tmp_path / "a.wav", 0.5)
    with pytest.raises(AudioError, match=r"its header promises 10000 samples, (49\d\d|5000) can be read"):
        audio.probe(path)
    with pytest.raises(AudioError, match="promises 10000"):
        audio.load(path)


@pytest.mark.parametrize(
    ("extension", "subtype"),
    [("rf64", "PCM_16"), ("w64", "PCM_24"), ("aiff", "PCM_16"), ("aiff", "FLOAT"), ("au", "ULAW"), ("au", "PCM_24")],
)
def test_other_formats_cut_short(tmp_path: Path, extension: str, subtype: str) -> None:
    audio.save(tmp_path / f"a.{extension}", uniform_noise(2, 10_000), 16_000, subtype=subtype)
    with pytest.raises(AudioError, match=r"its header promises 10000 samples, (49\d\d|4[78]\d\d) can be read"):
        audio.probe(truncate(tmp_path / f"a.{extension}", 0.5))


@pytest.mark.parametrize("subtype", ["MS_ADPCM", "IMA_ADPCM"])
def test_wav_in_blocks_cut_short(tmp_path: Path, subtype: str) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(10_000), 16_000, subtype=subtype)
    with pytest.raises(AudioError, match="its header promises 10000 samples"):
        audio.probe(truncate(tmp_path / "a.wav", 0.5))


def test_wav_with_a_chunk_before_the_samples(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(1_000), 16_000)
    content = (tmp_path / "a.wav").read_bytes()
    at = content.index(b"data")
    (tmp_path / "a.wav").write_bytes(content[:at] + b"LIST" + struct.pack("<I", 5) + b"INFO?\0" + content[at:])
    assert audio.load(tmp_path / "a.wav").shape == (1_000,)
    with pytest.raises(AudioError, match="promises 1000 samples"):
        audio.load(truncate(tmp_path / "a.wav", 0.5))


@pytest.mark.parametrize("data", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
def test_wav_from_a_pipe_promises_nothing(tmp_path: Path, riff: int, data: int) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(1_000), 16_000)
    path = _patch_sizes(tmp_path / "a.wav", riff, data)
    assert audio.probe(path).samples == 1_000
    assert audio.load(path).shape == (1_000,)
    assert sum(block.shape[1] for block in audio.blocks(path, 300)) == 1_000


def test_wav_that_is_truly_empty_is_not_read_to_the_end(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(50), 16_000)
    path = _patch_sizes(tmp_path / "a.wav", (tmp_path / "a.wav").stat().st_size - 8, 0)
    with pytest.raises(AudioError, match=r"is empty \(0 samples\)"):
        audio.load(path)


@pytest.mark.usefixtures("no_pyav")
def test_wav_with_more_than_its_header_can_count(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(1_000), 16_000)
    path = _patch_sizes(tmp_path / "a.wav", 0xFFFFFFFF, 0xFFFFFFFF)
    with open(path, "r+b") as file:
        file.truncate(5 << 30)  # no block of the disk is taken
    message = (
        r"more sound than the 4 GiB that its header can count; to read further formats, pip install 'phonemi\[av\]'"
    )
    with pytest.raises(AudioError, match=message):
        audio.probe(path)


def test_a_file_of_nothing_but_chunks_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + (b"junk" + bytes(4)) * 100_000)
    with open(path, "rb") as file:
        assert read_header(file).samples is None
