"""Files that hold several recordings behind each other, as `cat a.flac b.flac` and radio stations leave them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from sounds import uniform_noise

from phonemi import audio
from phonemi.audio import headers, pyav
from phonemi.errors import AudioError

RATE = 48_000


def _join(folder: Path, name: str, lengths: tuple[int, ...], rates: tuple[int, ...] = (RATE, RATE, RATE)) -> Path:
    """One file of several, of noise that grows louder from one to the next."""
    path, content = folder / name, b""
    for number, (samples, rate) in enumerate(zip(lengths, rates, strict=False), start=1):
        audio.save(path, number / 4 * uniform_noise(samples), rate)
        content += path.read_bytes()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("lengths", [(9_600, 9_600), (9_600, 5_000, 7_000), (500, 20_000)])
@pytest.mark.parametrize(("name", "subtype"), [("a.ogg", "VORBIS"), ("a.opus", "OPUS")])
def test_all_of_them_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, subtype: str, lengths: tuple[int, ...]
) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr(headers, "_BLOCK_BYTES", 1_000)
    path = _join(tmp_path, name, lengths)
    info = audio.probe(path)
    assert (info.format, info.subtype, info.sample_rate) == ("OGG", subtype, RATE)
    assert abs(info.samples - sum(lengths)) < 4096  # where two meet, FFmpeg joins their blocks
    read, _ = audio.load_channels(path)
    assert read.shape == (1, info.samples)
    assert sum(block.shape[1] for block in audio.blocks(path, 3_000)) == info.samples
    last = read[0, -lengths[-1] // 2 :]
    assert audio.level_db(last) == pytest.approx(audio.level_db(len(lengths) / 4 * uniform_noise(5000)), abs=2.5)


def test_another_rate_in_the_second_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = _join(tmp_path, "a.ogg", (9_600, 3_200), (48_000, 16_000))
    with pytest.raises(AudioError, match=r"several recordings|its sample rate or channels change on the way"):
        audio.probe(path)


@pytest.mark.usefixtures("no_pyav")
@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_without_pyav_they_are_refused(tmp_path: Path, name: str) -> None:
    path = _join(tmp_path, name, (9_600, 5_000))
    message = r"it holds several recordings behind each other; to read further formats, pip install 'phonemi\[av\]'$"
    with pytest.raises(AudioError, match=message):
        audio.probe(path)


@pytest.mark.parametrize("extension", ["flac", "wav", "aiff", "au", "w64", "rf64"])
@pytest.mark.parametrize("lengths", [(9_601, 5_000), (9_600, 9_600), (500, 20_000)])
def test_of_other_formats_they_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str, lengths: tuple[int, ...]
) -> None:
    monkeypatch.setattr(headers, "_BLOCK_BYTES", 1_000)
    path = _join(tmp_path, f"a.{extension}", lengths)
    with pytest.raises(AudioError, match=r"a\.\w+ holds several recordings behind each other: split it$"):
        audio.probe(path)


def _pages(sizes: list[int], stream: int = 1) -> bytes:
    """A stream in Ogg of pages with so many segments of 255 bytes."""
    return b"".join(
        struct.pack("<4sBBqIIIB", b"OggS", 0, 2 * (number == 0), 0, stream, number, 0, size) + bytes([255]) * size
        + bytes(255 * size)
        for number, size in enumerate(sizes)
    )  # fmt: skip


LONG = [1, *[200] * 40]


@pytest.mark.parametrize(
    ("content", "is_chain"),
    [
        (_pages(LONG), False),
        (_pages(LONG) + _pages([1, *[0] * 60, *[200] * 40]), True),  # numbers rise from before the middle to behind it
        (_pages(LONG) + _pages([1, 1]) + _pages(LONG), True),
        (_pages(LONG)[:-9000] + _pages([1, *[1] * 40]), True),  # its last page is cut short
        (_pages(LONG) + bytes(999) + _pages(LONG), True),
        (bytes(99) + _pages(LONG) + _pages(LONG), True),
        (_pages(LONG) + bytes(999), False),
        (_pages(LONG)[:-9000], False),
        (_pages([1], 1) + _pages(LONG, 2), False),  # side by side
        (_pages([1], 1) + _pages(LONG, 2) + _pages([1], 3), True),
    ],
)
def test_where_a_stream_in_ogg_ends_does_not_matter(tmp_path: Path, content: bytes, is_chain: bool) -> None:
    (tmp_path / "a.ogg").write_bytes(content)
    with open(tmp_path / "a.ogg", "rb") as raw:
        assert headers.is_chain(raw, "OGG") == is_chain


def test_silence_where_flac_streams_meet_hides_nothing(tmp_path: Path) -> None:
    """The frames of both have rising numbers from before the middle to behind it, up to the number of the first."""
    loud, silent = uniform_noise(2, 9 * RATE), np.zeros((2, 60 * RATE), np.float32)
    content = b""
    for parts in ((loud, silent), (silent, loud)):
        audio.save(tmp_path / "a.flac", np.concatenate(parts, axis=1), RATE)
        content += (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(AudioError, match="several recordings"):
        audio.probe(tmp_path / "a.flac")


class CountingFile(io.FileIO):
    """A file that counts the bytes that are read from it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.count += len(content or b"")
        return content


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_of_a_long_recording_in_ogg_a_part_is_read(tmp_path: Path, subtype: str, channels: int) -> None:
    path = tmp_path / "a"
    with audio.Writer(path, RATE, channels, "OGG", subtype) as writer:
        for _ in range(20):
            writer.write(0.5 * uniform_noise(channels, RATE))
    for ending in (b"", bytes(999)):  # what some programs leave there
        with open(path, "ab") as file:
            file.write(ending)
        with CountingFile(path, "rb") as raw:
            assert not headers.is_chain(raw, "OGG")
            assert raw.count < 0.5 * path.stat().st_size


@pytest.mark.parametrize("extension", audio.WRITABLE)
@pytest.mark.usefixtures("no_pyav")
def test_one_recording_is_none_of_them(tmp_path: Path, extension: str) -> None:
    audio.save(tmp_path / f"a{extension}", uniform_noise(2, 20_001), RATE)
    with open(tmp_path / f"a{extension}", "ab") as file:
        file.write(bytes(999))  # what some programs leave at the end
    if extension != ".mp3":
        assert audio.probe(tmp_path / f"a{extension}").samples == 20_001


def test_ffmpeg_reads_all_of_flac_in_ogg(encode, tmp_path: Path) -> None:
    path = encode(tmp_path / "a.oga", uniform_noise(1, 9_600), RATE, "flac", "ogg")
    path.write_bytes(2 * path.read_bytes())
    assert audio.probe(path).samples == 19_200
    assert pyav.FFmpegFile(path, "").samples == 19_200
