"""PyAV reads what soundfile cannot: right, safely, and with a clear message where it is not installed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.errors import AudioError
from phonemi.inference.streams import from_stream

Encode = Callable[..., Path]
RATE = 44_100


def _tone(samples: int = 22_050, rate: int = RATE) -> np.ndarray:
    left = 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / rate)
    return np.stack([left, left / 2]).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "codec", "format", "rate"),
    [
        ("a.m4a", "aac", "ipod", 44_100),
        ("a.mp4", "alac", "mp4", 44_100),
        ("a.aac", "aac", "adts", 44_100),
        ("a.webm", "libopus", "webm", 48_000),
        ("a.mka", "ac3", "matroska", 44_100),
        ("a.mp2", "mp2", "mp2", 44_100),
        ("a.wav", "ac3", "wav", 44_100),  # a name that libsndfile knows, a coding that it does not
    ],
)
def test_other_formats_are_read_like_any(
    encode: Encode, tmp_path: Path, name: str, codec: str, format: str, rate: int
) -> None:
    path = encode(tmp_path / name, _tone(rate // 2, rate), rate, codec, format)
    info = audio.probe(path)
    assert (info.path, info.sample_rate, info.channels) == (str(path), rate, 2)
    assert (info.subtype, info.is_converted) == (("MPEG_LAYER_II", False) if codec == "mp2" else ("FLOAT", True))
    assert 0.45 < info.duration_s < 0.6  # some codings fill or lose their last block
    read, _ = audio.load_channels(path)
    assert read.shape == (2, info.samples)
    assert audio.level_db(read[0]) - audio.level_db(read[1]) == pytest.approx(6.02, abs=0.3)
    np.testing.assert_array_equal(np.concatenate(list(audio.blocks(path, 5_000)), axis=1), read)


def test_lossless_sound_is_read_unchanged(encode: Encode, tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", _tone(), RATE, "alac", "ipod")
    np.testing.assert_allclose(audio.load_channels(path)[0], _tone(), atol=2**-15)
    assert audio.load(path).shape == (8_000,)


def test_a_reader_can_be_closed_and_read_again(encode: Encode, tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", _tone(), RATE, "alac", "ipod")
    with audio.Reader(path) as reader:
        assert next(reader.blocks(100)).shape == (2, 100)
        first = np.concatenate(list(reader.blocks(777)), axis=1)
        reader.close()
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks(5_000)), axis=1), first)


def test_a_flac_file_without_a_length_stays_one_of_24_bits(tmp_path: Path) -> None:
    pytest.importorskip("av")
    written = np.round(_tone().astype(np.float64) * 2**23) / 2**23
    with audio.Writer(tmp_path / "a.flac", 44_100, 2, "FLAC", "PCM_24", {"title": "Grüße"}) as writer:
        writer.write(written)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # the 36 bits of the total in STREAMINFO
    content[22:26] = bytes(4)
    with from_stream(io.BytesIO(content)) as path:
        info = audio.probe(path)
        assert (info.format, info.subtype, info.samples, info.is_converted) == ("FLAC", "PCM_24", 22_050, False)
        assert info.metadata["title"] == "Grüße"
        np.testing.assert_allclose(audio.load_channels(path)[0], written, atol=2**-24)


@pytest.mark.parametrize(
    ("name", "codec", "format"), [("a.m4a", "aac", "ipod"), ("a.webm", "libopus", "webm"), ("a.wav", "ac3", "wav")]
)
def test_texts_are_kept(encode: Encode, tmp_path: Path, name: str, codec: str, format: str) -> None:
    texts = {"title": "Grüße", "artist": "me", "track": "3"}
    metadata = audio.probe(encode(tmp_path / name, _tone(24_000, 48_000), 48_000, codec, format, texts)).metadata
    assert (metadata["title"], metadata["artist"], metadata["tracknumber"]) == ("Grüße", "me", "3")


@pytest.mark.parametrize(
    "name", ["-i.m4a", "concat:a.m4a", "http:a.m4a", "a%03d b'\".m4a", "*.m4a", os.fsdecode(b"caf\xe9.m4a")]
)
def test_no_name_is_an_option_or_a_protocol(
    encode: Encode, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(tmp_path / name, _tone(), RATE, "aac", "ipod")
    monkeypatch.chdir(tmp_path)
    assert audio.probe(name).channels == 2


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile tone.m4a\n", "#EXTM3U\n#EXTINF:1,\ntone.m4a\n", "<MPD>tone.m4a</MPD>"]
)
def test_a_playlist_opens_no_other_file(encode: Encode, tmp_path: Path, text: str) -> None:
    encode(tmp_path / "tone.m4a", _tone(), RATE, "aac", "ipod")
    (tmp_path / "a.m4a").write_text(text)
    with pytest.raises(AudioError, match="nor can FFmpeg"):
        audio.load(tmp_path / "a.m4a")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "format"),
    [("a.m4a", "aac", "ipod"), ("a.webm", "libopus", "webm"), ("a.aac", "aac", "adts"), ("a.mka", "ac3", "matroska")],
)
def test_damaged_files_are_named_and_not_shortened_in_silence(
    encode: Encode, tmp_path: Path, name: str, codec: str, format: str
) -> None:
    options = {"movflags": "faststart"} if format == "ipod" else {}
    path = encode(tmp_path / name, _tone(144_000, 48_000), 48_000, codec, format, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(
        AudioError, match=r"nor can FFmpeg: |is cut short: its header promises 14\d{4} samples"
    ) as caught:
        audio.load(path)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_a_video_without_sound(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    with pytest.raises(AudioError, match="FFmpeg finds no sound in it"):
        audio.load(tmp_path / "a.mp4")


def test_text_is_no_sound_for_ffmpeg_either(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "a.wav").write_text("this is not sound " * 20)
    with pytest.raises(AudioError, match=r"a\.wav is not sound that libsndfile can read: .*; nor can FFmpeg: Invalid"):
        audio.probe(tmp_path / "a.wav")


@pytest.mark.usefixtures("no_pyav")
def test_without_pyav_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x1cftypM4A " + bytes(100))
    with pytest.raises(
        AudioError, match=r"a\.m4a is not sound that libsndfile can read: .*pip install 'phonemi\[av\]'"
    ):
        audio.load(tmp_path / "a.m4a")


@pytest.mark.slow
def test_pyav_is_imported_only_where_it_is_needed(tmp_path: Path) -> None:
    for extension in (".wav", ".flac", ".mp3", ".ogg"):
        audio.save(tmp_path / f"a{extension}", _tone(), RATE)
    code = (
        "import sys; from phonemi import audio; [audio.load(path) for path in sys.argv[1:]]; print('av' in sys.modules)"
    )
    files = sorted(map(str, tmp_path.iterdir()))
    ended = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
