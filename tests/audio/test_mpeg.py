"""Mp3 files are as long as the frames in them, whatever their first one says, and whatever lies between them."""

from __future__ import annotations

import io
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.audio.mpeg import read_frames, write_counted
from phonemi.errors import AudioError

RATE = 16_000
FRAME = 576  # samples at this rate
PICTURE_BYTES = 1 << 14


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def _mp3(path: Path, waveform: np.ndarray, rate: int = RATE, counted: bool = True) -> bytes:
    """Content of an mp3 file, without the frame that counts the others if it should not be there."""
    audio.save(path, waveform, rate)
    with open(path, "rb") as raw:
        first, _ = read_frames(raw).runs[0]
    content = path.read_bytes()
    path.write_bytes(content if counted else content[first:])
    return path.read_bytes()


@pytest.fixture
def halves() -> tuple[np.ndarray, np.ndarray]:
    """Four seconds of noise, which takes many bytes, and of silence, which takes few."""
    return _noise(4 * RATE), np.zeros(4 * RATE, np.float32)


def _levels_db(read: np.ndarray) -> list[float]:
    return [audio.level_db(read[second * RATE : (second + 1) * RATE]) for second in range(len(read) // RATE)]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("programs", ["", None])
def test_without_a_count_all_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, halves, order: int, programs: str | None
) -> None:
    if programs is not None:
        monkeypatch.setenv("PATH", programs)  # ffmpeg is not needed
    _mp3(tmp_path / "a.mp3", np.concatenate(halves[::order]), counted=False)
    info = audio.probe(tmp_path / "a.mp3")
    assert (info.format, info.subtype, info.is_converted) == ("MP3", "MPEG_LAYER_III", False)
    assert 8 * RATE - 100 <= info.samples < 8 * RATE + 3 * FRAME
    read = audio.load(tmp_path / "a.mp3")
    assert len(read) == info.samples
    assert [level_db > -20 for level_db in _levels_db(read)] == 4 * [order > 0] + 4 * [order < 0]
    assert sum(block.shape[1] for block in audio.blocks(tmp_path / "a.mp3", 5_000)) == info.samples


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(
    "between",
    [b"", b"TAG" + bytes(125), b"ID3\4\0\0\0\1\0\0" + b"\xff\xf3\x90\0" * (PICTURE_BYTES // 4), bytes(5_000)],
    ids=["nothing", "ID3v1", "ID3v2", "zeros"],
)
def test_files_behind_each_other_are_one_recording(tmp_path: Path, counted: bool, between: bytes) -> None:
    first = _mp3(tmp_path / "a.mp3", _noise(2 * RATE), counted=counted)
    second = _mp3(tmp_path / "a.mp3", _noise(3 * RATE), counted=counted)
    (tmp_path / "a.mp3").write_bytes(first + between + second)
    read = audio.load(tmp_path / "a.mp3")
    assert 5 * RATE - 100 <= len(read) < 5 * RATE + 8 * FRAME
    assert min(_levels_db(read)) > -20
    with audio.decoded(tmp_path / "a.mp3") as once:
        np.testing.assert_array_equal(audio.load(once), read)


def test_the_copy_is_gone_and_the_texts_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with audio.Writer(tmp_path / "a.mp3", RATE, 1, metadata={"title": "Grüße"}) as writer:
        writer.write(_noise(1, 2 * RATE))
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(2 * content)
    assert audio.probe(tmp_path / "a.mp3").metadata["title"] == "Grüße"
    assert audio.probe(tmp_path / "a.mp3").samples > 4 * RATE
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp3"]


def test_some_of_the_end_missing_is_cut_short(tmp_path: Path) -> None:
    content = _mp3(tmp_path / "a.mp3", _noise(20 * RATE))
    (tmp_path / "a.mp3").write_bytes(content[: len(content) * 92 // 100])
    with pytest.raises(AudioError, match=r"cut short: its header promises 320000 samples, 29\d\d\d\d can be read"):
        audio.probe(tmp_path / "a.mp3")


def test_another_rate_on_the_way_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    content = _mp3(tmp_path / "a.mp3", _noise(RATE)) + _mp3(tmp_path / "b.mp3", _noise(44_100), 44_100)
    (tmp_path / "a.mp3").write_bytes(content)
    with pytest.raises(AudioError, match="its rate or channels change; install ffmpeg"):
        audio.probe(tmp_path / "a.mp3")


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_every_rate_is_counted_to_the_sample(tmp_path: Path, rate: int, channels: int) -> None:
    waveform = _noise(channels, 3 * rate + 123)
    _mp3(tmp_path / "counted.mp3", waveform, rate)
    assert audio.load_channels(tmp_path / "counted.mp3")[0].shape == waveform.shape
    _mp3(tmp_path / "a.mp3", waveform, rate, counted=False)
    with open(tmp_path / "a.mp3", "rb") as raw, open(tmp_path / "b.mp3", "wb") as copy:
        found = read_frames(raw)
        write_counted(raw, found, copy)
    assert found.promised is None
    assert audio.load_channels(tmp_path / "a.mp3")[0].shape == (channels, audio.probe(tmp_path / "a.mp3").samples)
    with open(tmp_path / "b.mp3", "rb") as raw:
        again = read_frames(raw)
    assert again.promised == again.samples == found.samples >= waveform.shape[1]
    assert audio.load_channels(tmp_path / "b.mp3")[0].shape == (channels, audio.probe(tmp_path / "b.mp3").samples)


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xfb\x90\0", b"ID3\3\0\0\0\0\0\0", bytes(4), b"\xff\xfb\xe0\0"])
def test_a_file_of_anything_is_walked_through_soon(tmp_path: Path, filling: bytes) -> None:
    (tmp_path / "a.mp3").write_bytes(filling * ((16 << 20) // len(filling)))
    began_s = time.perf_counter()
    with open(tmp_path / "a.mp3", "rb") as raw:
        read_frames(raw)
    assert time.perf_counter() - began_s < 10


def test_blocks_hide_no_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = _mp3(tmp_path / "a.mp3", np.tile(_noise(RATE), 20), counted=False)
    whole = read_frames(_file(tmp_path, content))
    monkeypatch.setattr("phonemi.audio.mpeg._BLOCK_BYTES", 10_007)
    assert read_frames(_file(tmp_path, content)) == whole
    assert len(content) > 5 * 10_007


def _file(folder: Path, content: bytes) -> io.BufferedReader:
    (folder / "b.mp3").write_bytes(content)
    return open(folder / "b.mp3", "rb")


@pytest.mark.parametrize("codec", ["libmp3lame", "mp2"])
def test_what_ffmpeg_writes_to_a_pipe(tmp_path: Path, halves, codec: str) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    audio.save(tmp_path / "a.wav", np.concatenate(halves), RATE)
    quality = ("-q:a", "4") if codec == "libmp3lame" else ()
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(tmp_path / "a.wav"), "-c:a", codec, *quality]
    made = subprocess.run(
        [*command, "-f", codec.replace("libmp3lame", "mp3"), "-"], capture_output=True, check=True
    ).stdout
    with audio.from_stream(io.BytesIO(made)) as path:
        read = audio.load(path)
        assert 8 * RATE - 100 <= len(read) < 8 * RATE + 4 * 1152
        assert [level_db > -20 for level_db in _levels_db(read)] == 4 * [True] + 4 * [False]
