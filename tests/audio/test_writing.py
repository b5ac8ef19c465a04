"""What is written comes back, whole or not at all."""

from __future__ import annotations

import os
import resource
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import uniform_noise

from phonemi import audio
from phonemi.audio import writing
from phonemi.errors import AudioError

TEXTS = {
    **{"title": "Grüße 日本", "artist": "Ångström", "album": "B" * 900, "comment": "c" * 300, "date": "2020"},
    **{"genre": "Speech", "tracknumber": "3", "copyright": "me", "license": "CC0"},
}
EXACT = [
    *(("wav", "WAV", coding) for coding in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("wav", "WAV", coding) for coding in ("MS_ADPCM", "IMA_ADPCM")),
    *(("wav", "WAVEX", coding) for coding in ("PCM_16", "PCM_24", "FLOAT", "ULAW")),
    *(("rf64", "RF64", coding) for coding in ("PCM_16", "PCM_24", "FLOAT")),
    *(("flac", "FLAC", coding) for coding in ("PCM_S8", "PCM_16", "PCM_24")),
    *(("ogg", "OGG", coding) for coding in ("VORBIS", "OPUS")),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    *(("aiff", "AIFF", coding) for coding in ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW")),
    *(("caf", "CAF", coding) for coding in ("PCM_16", "PCM_24", "FLOAT", "ALAC_16", "ALAC_24")),
    *(("w64", "W64", coding) for coding in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "IMA_ADPCM")),
    *(("au", "AU", coding) for coding in ("PCM_S8", "PCM_16", "PCM_24", "FLOAT", "ULAW")),
]


def _tone(samples: int, sample_rate: int, frequency_hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(samples) / sample_rate)).astype(np.float32)


@pytest.mark.parametrize("extension", audio.WRITABLE)
def test_every_format_keeps_rate_length_and_waveform(tmp_path: Path, extension: str) -> None:
    written = _tone(16_000, 16_000)
    path = tmp_path / f"a{extension}"
    audio.save(path, written, 16_000)
    info = audio.probe(path)
    assert (info.samples, info.sample_rate, info.channels, info.duration_s) == (16_000, 16_000, 1, 1.0)
    read = audio.load(path)
    assert read.dtype == np.float32
    assert read.shape == written.shape
    difference_db = audio.level_db(read - written) - audio.level_db(written)
    assert difference_db < (
        -85 if extension in (".wav", ".flac", ".aiff", ".aif", ".caf", ".w64", ".rf64", ".au") else -20
    )


@pytest.mark.parametrize(("subtype", "error"), [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("FLOAT", 0.0)])
def test_wav_subtypes(tmp_path: Path, subtype: str, error: float) -> None:
    written = uniform_noise(2, 500)
    audio.save(tmp_path / "a.wav", written, 22_050, subtype=subtype)
    read, sample_rate = audio.load_channels(tmp_path / "a.wav")
    assert sample_rate == 22_050
    np.testing.assert_allclose(read, written, atol=error)
    assert audio.probe(tmp_path / "a.wav").subtype == subtype


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("extension", "format", "subtype"), EXACT)
def test_format_subtype_rate_channels_and_length_are_exact(
    tmp_path: Path, extension: str, format: str, subtype: str, channels: int
) -> None:
    path, written = tmp_path / f"a.{extension}", np.stack([_tone(7_777, 48_000)] * channels)
    with audio.Writer(path, 48_000, channels, format, subtype) as writer:
        writer.write(written[:, :5_000])
        writer.write(written[:, 5_000:])
    info = audio.probe(path)
    found = (info.format, info.subtype, info.sample_rate, info.channels, info.samples)
    assert found == (format, subtype, 48_000, channels, 7_777)
    read, _ = audio.load_channels(path)
    assert audio.level_db((read - written)[:, 1_000:-1_000]) - audio.level_db(written) < -20


@pytest.mark.slow
def test_an_mp3_is_written_with_more_than_what_libsndfile_gives(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.mp3", uniform_noise(2, 441_000), 44_100)
    soundfile.write(tmp_path / "usual.mp3", uniform_noise(2, 441_000).T, 44_100)
    assert (tmp_path / "a.mp3").stat().st_size > 1.5 * (tmp_path / "usual.mp3").stat().st_size


@pytest.mark.parametrize("samples", [1, 2, 575, 1_151, 1_153, 20_011])
@pytest.mark.parametrize(("extension", "rate"), [("mp3", 8_000), ("mp3", 44_100), ("ogg", 16_000), ("opus", 24_000)])
def test_compressed_files_have_the_length_to_the_sample(
    tmp_path: Path, extension: str, rate: int, samples: int
) -> None:
    audio.save(tmp_path / f"a.{extension}", uniform_noise(samples), rate)
    assert audio.probe(tmp_path / f"a.{extension}").samples == samples
    assert audio.load(tmp_path / f"a.{extension}", None).shape == (samples,)


@pytest.mark.parametrize(
    ("extension", "lost"),
    [
        ("wav", {"license"}),
        ("rf64", {"license"}),
        ("flac", set()),
        ("ogg", set()),
        ("opus", set()),
        ("caf", set()),
        ("mp3", {"copyright", "license"}),
        ("aiff", {"album", "date", "genre", "tracknumber", "license"}),
        ("w64", set(TEXTS)),
        ("au", set(TEXTS)),
    ],
)
def test_texts_come_back_where_the_format_can_hold_them(tmp_path: Path, extension: str, lost: set[str]) -> None:
    path = tmp_path / f"a.{extension}"
    with audio.Writer(path, 48_000, 1, metadata=TEXTS) as writer:
        writer.write(uniform_noise(3_000))
    info = audio.probe(path)
    kept = {name: text for name, text in info.metadata.items() if name != "software"}
    assert kept == {name: text for name, text in TEXTS.items() if name not in lost}
    assert info.samples == 3_000


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "opus", "mp3", "aiff", "caf"])
def test_texts_of_any_length_do_no_harm(tmp_path: Path, extension: str) -> None:
    path, text = tmp_path / f"a.{extension}", "é" * 100_000
    with audio.Writer(path, 48_000, 1, metadata=dict.fromkeys((*TEXTS, "software", "other"), text)) as writer:
        writer.write(uniform_noise(3_000))
    info = audio.probe(path)
    assert info.samples == 3_000
    assert info.metadata["artist"] == "é" * 500
    assert "é" not in info.metadata.get("software", "")


def test_wav_that_would_be_too_long_becomes_rf64_or_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_MAX_BYTES", 2_000)
    with audio.Writer(tmp_path / "a.wav", 16_000, 1, samples=1_500) as writer:
        writer.write(uniform_noise(1_500))
    assert audio.probe(tmp_path / "a.wav").format == "RF64"
    with pytest.raises(AudioError, match="it ends at 4 GiB: choose flac, rf64 or w64"):
        audio.save(tmp_path / "b.wav", uniform_noise(1_500), 16_000)
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize(("channels", "rate"), [(1, 200_001), (1, 768_000), (256, 16_000)])
def test_vorbis_is_not_asked_for_what_crashes_it(tmp_path: Path, channels: int, rate: int) -> None:
    with pytest.raises(AudioError, match="Vorbis ends at 200000 Hz and 255 channels"):
        audio.save(tmp_path / "a.ogg", uniform_noise(channels, 100), rate)


def test_integer_subtypes_are_clipped_and_float_is_not(tmp_path: Path) -> None:
    loud = np.array([-3.0, 0.0, 3.0], dtype=np.float32)
    audio.save(tmp_path / "integer.wav", loud, 16_000)
    audio.save(tmp_path / "float.wav", loud, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(tmp_path / "integer.wav"), [-1, 0, 1], atol=2**-14)
    np.testing.assert_array_equal(audio.load(tmp_path / "float.wav"), loud)


@pytest.mark.slow
def test_a_long_ogg_file_is_written_in_pieces(tmp_path: Path) -> None:
    # libsndfile overflows its stack when it is given this in one call.
    audio.save(tmp_path / "a.ogg", np.zeros(16_000 * 300, dtype=np.float32), 16_000)
    assert audio.probe(tmp_path / "a.ogg").duration_s == 300


def test_writer_joins_blocks_and_names_the_file_at_the_end(tmp_path: Path) -> None:
    path, written = tmp_path / "deep" / "a.wav", uniform_noise(2, 900)
    with audio.Writer(path, 16_000, channels=2, subtype="FLOAT") as writer:
        for start in range(0, 900, 400):
            writer.write(written[:, start : start + 400])
        assert not path.exists()
    np.testing.assert_array_equal(audio.load_channels(path)[0], written)


def test_format_can_differ_from_the_extension(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.bin", uniform_noise(100), 16_000, format="FLAC")
    info = audio.probe(tmp_path / "a.bin")
    assert (info.format, info.subtype) == ("FLAC", "PCM_16")


@pytest.mark.parametrize(
    ("name", "waveform", "sample_rate", "options", "message"),
    [
        ("a.wav", np.array([0.0, np.nan]), 16_000, {}, "1 of 2 samples are NaN"),
        ("a.wav", np.zeros(0), 16_000, {}, "no samples"),
        ("a.wav", np.zeros((2, 3, 4)), 16_000, {}, "expected"),
        ("a.xyz", np.zeros(9), 16_000, {}, r"cannot write the sound format '\.xyz'; use one of \.wav, \.flac"),
        ("a.wav", np.zeros(9), 16_000, {"subtype": "VORBIS"}, "cannot write WAV with subtype VORBIS"),
        ("a.wav", np.zeros(9), 16_000, {"format": "NONE"}, "cannot write NONE"),
        ("a.opus", np.zeros(9), 44_100, {}, "44100 Hz.*Opus only supports"),
        ("a.flac", np.zeros((9, 2)), 16_000, {}, "9 channels"),
        ("a.wav", np.zeros(9), 0, {}, "0 Hz"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, name, waveform, sample_rate, options, message) -> None:
    with pytest.raises(AudioError, match=message):
        audio.save(tmp_path / name, waveform, sample_rate, **options)
    assert os.listdir(tmp_path) == []


def test_a_writer_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    audio.save(path, uniform_noise(10), 16_000)
    before = path.read_bytes()

    def interrupted() -> Iterator[np.ndarray]:
        yield np.zeros((1, 100))
        raise KeyError("the work in between failed")

    with pytest.raises(KeyError), audio.Writer(path, 16_000, channels=1) as writer:
        deque(map(writer.write, interrupted()))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.wav"]


def test_writer_wants_its_own_number_of_channels(tmp_path: Path) -> None:
    with (
        pytest.raises(AudioError, match=r"expected \[2, sample\], found an array of shape \(1, 5\)"),
        audio.Writer(tmp_path / "a.wav", 16_000, channels=2) as writer,
    ):
        writer.write(np.zeros(5))
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("extension", audio.WRITABLE)
def test_a_full_disk_leaves_nothing(tmp_path: Path, extension: str) -> None:
    # A limit on the size of files makes write() fail as a full disk does, in the middle of the file.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        with pytest.raises(AudioError, match="is the disk full"):
            audio.save(tmp_path / f"a{extension}", np.tile(uniform_noise(1 << 16), 4), 16_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_full_disk_noticed_at_the_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AudioError, match=r"cannot write .*a\.wav .*No space left on device"):
        audio.save(tmp_path / "a.wav", uniform_noise(100), 16_000)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AudioError, match="cannot write"):
        audio.save(tmp_path / "file" / "a.wav", uniform_noise(100), 16_000)
