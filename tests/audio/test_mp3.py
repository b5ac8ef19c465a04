"""Mp3 files are as long as the frames in them, whatever their first one says, and whatever lies between them."""

from __future__ import annotations

import io
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import uniform_noise

from phonemi import audio
from phonemi.errors import AudioError
from phonemi.inference.streams import from_stream

RATE = 16_000
FRAME = 576  # samples at this rate
PICTURE_BYTES = 1 << 14


def _mp3(path: Path, waveform: np.ndarray, rate: int = RATE, counted: bool = True) -> bytes:
    """Content of an mp3 file, without the frame that counts the others if it should not be there."""
    audio.save(path, waveform, rate)
    content = path.read_bytes()
    frame_header = content[:4]
    kbit_s = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG 2
    if rate >= 32_000:
        kbit_s = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    samples = 1152 if rate >= 32_000 else 576
    counting_frame = samples // 8 * kbit_s[(frame_header[2] >> 4) - 1] * 1000 // rate + (frame_header[2] >> 1 & 1)
    path.write_bytes(content if counted else content[counting_frame:])
    return path.read_bytes()


@pytest.fixture
def halves() -> tuple[np.ndarray, np.ndarray]:
    """Four seconds of noise, which takes many bytes, and of silence, which takes few."""
    return uniform_noise(4 * RATE), np.zeros(4 * RATE, np.float32)


def _levels_db(read: np.ndarray) -> list[float]:
    return [audio.level_db(read[second * RATE : (second + 1) * RATE]) for second in range(len(read) // RATE)]


@pytest.mark.parametrize("order", [1, -1])
def test_without_a_count_all_is_read(tmp_path: Path, halves, order: int) -> None:
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
    first = _mp3(tmp_path / "a.mp3", uniform_noise(2 * RATE), counted=counted)
    second = _mp3(tmp_path / "a.mp3", uniform_noise(3 * RATE), counted=counted)
    (tmp_path / "a.mp3").write_bytes(first + between + second)
    read = audio.load(tmp_path / "a.mp3")
    assert 5 * RATE - 100 <= len(read) < 5 * RATE + 8 * FRAME
    assert min(_levels_db(read)) > -20
    blocks = list(audio.blocks(tmp_path / "a.mp3", 1_000))
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1)[0], read)


def test_texts_of_files_behind_each_other_are_kept(tmp_path: Path) -> None:
    with audio.Writer(tmp_path / "a.mp3", RATE, 1, metadata={"title": "Grüße"}) as writer:
        writer.write(uniform_noise(1, 2 * RATE))
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(2 * content)
    assert audio.probe(tmp_path / "a.mp3").metadata["title"] == "Grüße"
    assert audio.probe(tmp_path / "a.mp3").samples > 4 * RATE


@pytest.mark.usefixtures("no_pyav")
@pytest.mark.parametrize("counted", [True, False])
def test_without_pyav_no_length_is_guessed(tmp_path: Path, counted: bool) -> None:
    content = _mp3(tmp_path / "a.mp3", uniform_noise(2 * RATE), counted=counted)
    (tmp_path / "a.mp3").write_bytes(2 * content)
    message = "it holds more than its header says" if counted else "its header does not say how long it is"
    with pytest.raises(AudioError, match=rf"{message}; to read further formats, pip install 'phonemi\[av\]'$"):
        audio.probe(tmp_path / "a.mp3")


@pytest.mark.usefixtures("no_pyav")
def test_an_id3v1_tag_at_the_end_is_no_sound(tmp_path: Path) -> None:
    content = _mp3(tmp_path / "a.mp3", uniform_noise(2 * RATE))
    (tmp_path / "a.mp3").write_bytes(content + b"TAG" + bytes(125))
    assert len(audio.load(tmp_path / "a.mp3")) == 2 * RATE


def test_soundfile_and_pyav_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delay and padding of the encoder are cut off by both; what follows the count makes PyAV read the file."""
    waveform = 0.3 * np.sin(np.arange(3 * RATE + 123) / 20).astype(np.float32)
    content = _mp3(tmp_path / "a.mp3", waveform)
    with_soundfile = audio.load(tmp_path / "a.mp3")
    (tmp_path / "a.mp3").write_bytes(content + b"TAG" + bytes(125) + b"\0")
    with_pyav = audio.load(tmp_path / "a.mp3")
    assert len(with_soundfile) == len(with_pyav) == len(waveform)
    np.testing.assert_allclose(with_pyav, with_soundfile, atol=1e-4)


def test_some_of_the_end_missing_is_cut_short(tmp_path: Path) -> None:
    content = _mp3(tmp_path / "a.mp3", uniform_noise(20 * RATE))
    (tmp_path / "a.mp3").write_bytes(content[: len(content) * 92 // 100])
    with pytest.raises(AudioError, match=r"cut short: its header promises 320000 samples, 29\d\d\d\d can be read"):
        audio.probe(tmp_path / "a.mp3")


@pytest.mark.parametrize("samples", [20 * RATE, 1_000])
def test_mp3_in_a_wav_file_is_read_whole(tmp_path: Path, encode, samples: int) -> None:
    path = encode(tmp_path / "a.wav", uniform_noise(1, samples), RATE, "libmp3lame", "wav")
    info = audio.probe(path)
    assert (info.format, info.subtype) == ("WAV", "MPEG_LAYER_III")
    assert samples <= info.samples < samples + 4 * 1152
    assert len(audio.load(path)) == info.samples
    if samples > RATE:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(AudioError, match="cut short"):
            audio.probe(path)


def test_a_damaged_file_makes_no_library_speak(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(_mp3(tmp_path / "a.mp3", uniform_noise(4 * RATE)))
    rng = np.random.default_rng(0)
    for place in rng.integers(2_000, len(content), 200):
        content[place] = rng.integers(256)
    (tmp_path / "a.mp3").write_bytes(content)
    with suppress(RuntimeError):
        soundfile.read(tmp_path / "a.mp3")
    assert "mpg123" in capfd.readouterr().err, "it did not speak"
    with suppress(AudioError):
        audio.load(tmp_path / "a.mp3")
    assert capfd.readouterr().err == ""
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


def test_another_rate_on_the_way_is_refused(tmp_path: Path) -> None:
    content = _mp3(tmp_path / "a.mp3", uniform_noise(RATE)) + _mp3(tmp_path / "b.mp3", uniform_noise(44_100), 44_100)
    (tmp_path / "a.mp3").write_bytes(content)
    with pytest.raises(AudioError, match="its sample rate or channels change on the way"):
        audio.probe(tmp_path / "a.mp3")


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_every_rate_is_counted_to_the_sample(tmp_path: Path, rate: int, channels: int) -> None:
    waveform = uniform_noise(channels, 3 * rate + 123)
    _mp3(tmp_path / "counted.mp3", waveform, rate)
    assert audio.load_channels(tmp_path / "counted.mp3")[0].shape == waveform.shape
    _mp3(tmp_path / "a.mp3", waveform, rate, counted=False)
    samples = audio.probe(tmp_path / "a.mp3").samples
    assert waveform.shape[1] <= samples < waveform.shape[1] + 4 * 1152
    assert audio.load_channels(tmp_path / "a.mp3")[0].shape == (channels, samples)


@pytest.mark.slow
@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xfb\x90\0", b"ID3\3\0\0\0\0\0\0", bytes(4), b"\xff\xfb\xe0\0"])
def test_a_file_of_anything_is_read_or_refused_soon(tmp_path: Path, filling: bytes) -> None:
    (tmp_path / "a.mp3").write_bytes(filling * ((4 << 20) // len(filling)))
    start_s = time.perf_counter()
    with suppress(AudioError):
        audio.load(tmp_path / "a.mp3")
    assert time.perf_counter() - start_s < 20


@pytest.mark.parametrize("codec", ["libmp3lame", "mp2"])
def test_what_ffmpeg_writes_to_a_pipe(tmp_path: Path, halves, codec: str, encode) -> None:
    format = codec.replace("libmp3lame", "mp3")
    path = encode(tmp_path / "a.bin", np.concatenate(halves)[None], RATE, codec, format, write_xing="0")
    with from_stream(io.BytesIO(path.read_bytes())) as path:
        read = audio.load(path)
        assert 8 * RATE - 100 <= len(read) < 8 * RATE + 4 * 1152
        assert [level_db > -20 for level_db in _levels_db(read)] == 4 * [True] + 4 * [False]
