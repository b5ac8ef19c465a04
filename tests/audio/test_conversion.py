"""What libsndfile cannot read goes through ffmpeg: right, safely, and with a clear word when it is not there."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.audio import conversion
from phonemi.errors import AudioError

Convert = Callable[..., Path]


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    """Make a tone of half a second, 44.1 kHz stereo, into another format with ffmpeg."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed: apt install ffmpeg, brew install ffmpeg, or https://ffmpeg.org")

    def call(name: str, *options: str) -> Path:
        audio.save(tmp_path / "tone.flac", _tone(), 44_100)
        made = tmp_path / "made" / Path(name).name
        made.parent.mkdir(exist_ok=True)
        source = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(tmp_path / "tone.flac")]
        subprocess.run([*source, *options, f"file:{made}"], check=True)
        return made

    return call


def _tone() -> np.ndarray:
    left = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 44_100)
    return np.stack([left, left / 2]).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "options", "rate"),
    [
        ("a.m4a", (), 44_100),
        ("a.mp4", ("-c:a", "alac"), 44_100),
        ("a.aac", (), 44_100),
        ("a.webm", ("-c:a", "libopus"), 48_000),
        ("a.wma", (), 44_100),
        ("a.mka", ("-c:a", "ac3"), 44_100),
        ("a.wav", ("-c:a", "ac3"), 44_100),  # a name that libsndfile knows, a coding that it does not
    ],
)
def test_other_formats_are_read_like_any(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: tuple[str, ...], rate: int
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = convert(name, *options)
    info = audio.probe(path)
    assert (info.path, info.sample_rate, info.channels, info.subtype) == (str(path), rate, 2, "FLOAT")
    assert info.is_converted
    assert 0.45 < info.duration_s < 0.6  # some codings fill or lose their last block
    read, _ = audio.load_channels(path)
    assert read.shape == (2, info.samples)
    assert audio.level_db(read[0]) - audio.level_db(read[1]) == pytest.approx(6.02, abs=0.3)
    assert not list(tmp_path.glob("phonemi-*"))


def test_lossless_sound_comes_through_unchanged_in_every_way_of_reading(convert: Convert) -> None:
    path = convert("a.m4a", "-c:a", "alac")
    read, _ = audio.load_channels(path)
    np.testing.assert_allclose(read, _tone(), atol=2**-15)
    np.testing.assert_array_equal(np.concatenate(list(audio.blocks(path, 5_000)), axis=1), read)
    assert audio.load(path).shape == (8_000,)


def test_a_flac_file_without_a_length_stays_one_of_24_bits(convert: Convert, tmp_path: Path) -> None:
    convert("a.m4a")  # is ffmpeg there?
    written = np.round(_tone().astype(np.float64) * 2**23) / 2**23
    with audio.Writer(tmp_path / "a.flac", 44_100, 2, "FLAC", "PCM_24", {"title": "Grüße"}) as writer:
        writer.write(written)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # the 36 bits of the total in STREAMINFO
    content[22:26] = bytes(4)
    with audio.from_stream(io.BytesIO(content)) as path:
        info = audio.probe(path)
        assert (info.format, info.subtype, info.samples, info.is_converted) == ("FLAC", "PCM_24", 22_050, False)
        assert info.metadata["title"] == "Grüße"
        np.testing.assert_allclose(audio.load_channels(path)[0], written, atol=2**-24)


def test_texts_come_through(convert: Convert, tmp_path: Path) -> None:
    path = convert("a.m4a", "-metadata", "title=Grüße", "-metadata", "artist=me")
    metadata = audio.probe(path).metadata
    assert (metadata["title"], metadata["artist"]) == ("Grüße", "me")


@pytest.mark.parametrize("name", ["-i.m4a", "concat:a.m4a", "http:a.m4a", "a%03d b'\".m4a", "*.m4a"])
def test_no_name_is_an_option_or_a_protocol(
    convert: Convert, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(convert(name).parent)
    assert audio.probe(name).channels == 2


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile tone.m4a\n", "#EXTM3U\n#EXTINF:1,\ntone.m4a\n", "<MPD>tone.m4a</MPD>"]
)
def test_a_playlist_opens_no_other_file(convert: Convert, text: str) -> None:
    tone = convert("tone.m4a")
    (tone.parent / "a.m4a").write_text(text)
    with pytest.raises(AudioError, match="nor can ffmpeg"):
        audio.load(tone.parent / "a.m4a")


def test_decoded_once_for_many_readings(convert: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls, run = convert("a.m4a"), [], subprocess.run
    monkeypatch.setattr(conversion.subprocess, "run", lambda *a, **k: calls.append(a) or run(*a, **k))
    with audio.decoded(path) as wav:
        assert wav.suffix == ".wav"
        assert audio.probe(wav).samples == audio.load_channels(wav)[0].shape[1]
    assert not wav.exists()
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["a.m4a", "a.webm", "a.aac", "a.wma"])
def test_damaged_files_are_named_and_not_shortened_in_silence(convert: Convert, name: str) -> None:
    path = convert(name, "-movflags", "faststart") if name == "a.m4a" else convert(name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(AudioError, match=r"nor can ffmpeg: |ffmpeg finds it damaged \(") as caught:
        audio.load(path)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_a_video_without_sound(convert: Convert) -> None:
    path = convert("a.mp4", "-f", "lavfi", "-i", "color=size=16x16:duration=0.2", "-map", "1:v")
    with pytest.raises(AudioError, match="nor can ffmpeg: Stream map '0:a:0' matches no streams"):
        audio.load(path)


def test_text_is_no_sound_for_ffmpeg_either(convert: Convert, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("this is not sound " * 20)
    with pytest.raises(AudioError, match=r"a\.wav is not sound that libsndfile can read: .*; nor can ffmpeg: Invalid"):
        audio.probe(tmp_path / "a.wav")


def test_without_ffmpeg_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x1cftypM4A " + bytes(100))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match=r"a\.m4a is not sound that libsndfile can read: .*; install ffmpeg to read"):
        audio.load(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    ("script", "message"),
    [("exec sleep 60", "ffmpeg did not finish in 1 s"), ("exit 3", "nor can ffmpeg: it ended with code 3"), (None, "")],
)
def test_a_program_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script, message) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n" if script else "no program")
    program.chmod(0o755)
    (tmp_path / "a.m4a").write_bytes(bytes(100))
    monkeypatch.setattr(conversion, "_LEAST_LIMIT_S", 1)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(AudioError, match=message or "ffmpeg cannot be started: Exec format error"):
        audio.load(tmp_path / "a.m4a")
