"""Files that hold several recordings behind each other, as `cat a.flac b.flac` and radio stations leave them."""

from __future__ import annotations

import io
from pathlib import Path

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


@pytest.mark.parametrize("lengths_s", [(9, 9), (9, 1), (1, 9), (1, 9, 1), (9, 9, 9)])
@pytest.mark.parametrize(("format", "level"), [("FLAC", 0.5), ("FLAC", 0.001), ("OGG", 0.5)])
def test_long_ones_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, level: float, lengths_s: tuple[int, ...]
) -> None:
    """Wherever they meet; also if the second takes fewer bytes, and if streams in Ogg have the same number."""
    monkeypatch.setattr(headers, "_LONG_BYTES", 1 << 17)
    path, parts = tmp_path / f"a.{format.lower()}", []
    for number, length_s in enumerate(lengths_s):
        audio.save(path, (level if number else 0.5) * uniform_noise(2, length_s * RATE), RATE)
        parts.append(path.read_bytes())
    chains = [parts]
    if format == "OGG":
        chains.append([part.replace(part[14:18], parts[0][14:18]) for part in parts])
    for chain in chains:
        path.write_bytes(b"".join(chain))
        with open(path, "rb") as raw:
            assert headers.is_chain(raw, format)


class CountingFile(io.FileIO):
    """A file that counts the bytes that are read from it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.count += len(content or b"")
        return content


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("format", "subtype", "length_s"),
    [("FLAC", "PCM_16", 9), ("FLAC", "PCM_24", 9), ("OGG", "VORBIS", 60), ("OGG", "OPUS", 60)],
)
def test_of_a_long_recording_a_part_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, subtype: str, length_s: int, channels: int
) -> None:
    monkeypatch.setattr(headers, "_LONG_BYTES", 1 << 17)
    path = tmp_path / "a"
    for title in {"FLAC": ["short", "x" * 100_000], "OGG": ["short"]}[format]:
        with audio.Writer(path, RATE, channels, format, subtype, {"title": title}) as writer:
            for _ in range(length_s):
                writer.write(0.5 * uniform_noise(channels, RATE))
        for ending in (b"", bytes(999)):  # what some programs leave there
            with open(path, "ab") as file:
                file.write(ending)
            with CountingFile(path, "rb") as raw:
                assert not headers.is_chain(raw, format)
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
