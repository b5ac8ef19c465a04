"""Sound files: what is written comes back, lengths are exact, and every broken file is one clear line."""

from __future__ import annotations

import os
import resource
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from phonemi import audio
from phonemi.errors import AudioError

RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)


def _tone(samples: int, sample_rate: int, frequency_hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(samples) / sample_rate)).astype(np.float32)


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def _cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _patch_data_size(path: Path, size: int) -> Path:
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    return path


# --- what is written comes back


@pytest.mark.parametrize("extension", audio.EXTENSIONS)
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
    assert difference_db < (-85 if extension in (".wav", ".flac") else -20)


@pytest.mark.parametrize(("subtype", "error"), [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("FLOAT", 0.0)])
def test_wav_subtypes(tmp_path: Path, subtype: str, error: float) -> None:
    written = _noise(2, 500)
    audio.save(tmp_path / "a.wav", written, 22_050, subtype=subtype)
    read, sample_rate = audio.load_channels(tmp_path / "a.wav")
    assert sample_rate == 22_050
    np.testing.assert_allclose(read, written, atol=error)
    assert audio.probe(tmp_path / "a.wav").subtype == subtype


def test_integer_subtypes_are_clipped_and_float_is_not(tmp_path: Path) -> None:
    loud = np.array([-3.0, 0.0, 3.0], dtype=np.float32)
    audio.save(tmp_path / "integer.wav", loud, 16_000)
    audio.save(tmp_path / "float.wav", loud, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(tmp_path / "integer.wav"), [-1, 0, 1], atol=2**-14)
    np.testing.assert_array_equal(audio.load(tmp_path / "float.wav"), loud)


def test_load_averages_channels(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", np.array([[0.5, 0.5], [-0.25, 0.25]]), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav"), [0.125, 0.375])


def test_opus_at_48_khz_is_resampled_to_the_exact_length(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.opus", _tone(48_000, 48_000), 48_000)
    read = audio.load(tmp_path / "a.opus")
    assert read.shape == (16_000,)
    assert audio.level_db(read[1000:-1000] - _tone(16_000, 16_000)[1000:-1000]) < -35


def test_a_long_ogg_file_is_written_in_pieces(tmp_path: Path) -> None:
    # libsndfile overflows its stack when it is given this in one call.
    audio.save(tmp_path / "a.ogg", np.zeros(16_000 * 300, dtype=np.float32), 16_000)
    assert audio.probe(tmp_path / "a.ogg").duration_s == 300


def test_blocks_are_the_file_in_order(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.flac", _noise(2, 1000), 8_000)
    blocks = list(audio.blocks(tmp_path / "a.flac", 300))
    assert [block.shape for block in blocks] == [(2, 300), (2, 300), (2, 300), (2, 100)]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), audio.load_channels(tmp_path / "a.flac")[0])


def test_a_file_of_many_blocks_is_read_whole(tmp_path: Path) -> None:
    written = np.tile(_noise(1 << 15), 33)
    audio.save(tmp_path / "a.wav", written, 16_000)
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav"), written, atol=2**-15)


def test_writer_joins_blocks_and_names_the_file_at_the_end(tmp_path: Path) -> None:
    path, written = tmp_path / "deep" / "a.wav", _noise(2, 900)
    with audio.Writer(path, 16_000, channels=2, subtype="FLOAT") as writer:
        for start in range(0, 900, 400):
            writer.write(written[:, start : start + 400])
        assert not path.exists()
    np.testing.assert_array_equal(audio.load_channels(path)[0], written)


def test_format_can_differ_from_the_extension(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.bin", _noise(100), 16_000, format="FLAC")
    info = audio.probe(tmp_path / "a.bin")
    assert (info.format, info.subtype) == ("FLAC", "PCM_16")


# --- resampling


@given(
    samples=st.integers(0, 5_000), from_rate=st.sampled_from(RATES), to_rate=st.sampled_from(RATES), pair=st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_length_after_resampling(samples: int, from_rate: int, to_rate: int, pair: bool) -> None:
    waveform = np.ones((2, samples) if pair else samples, dtype=np.float64)
    resampled = audio.resample(waveform, from_rate, to_rate)
    assert resampled.shape == (*waveform.shape[:-1], round(samples * to_rate / from_rate))
    assert resampled.dtype == np.float32
    np.testing.assert_array_equal(np.atleast_2d(resampled)[0], audio.resample(np.ones(samples), from_rate, to_rate))


@pytest.mark.parametrize("from_rate", RATES)
def test_a_tone_stays_where_it_was(from_rate: int) -> None:
    resampled = audio.resample(_tone(from_rate, from_rate), from_rate, 16_000)
    assert audio.level_db((resampled - _tone(16_000, 16_000))[500:-500]) < -80


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    assert audio.level_db(audio.resample(_tone(48_000, 48_000, 12_000), 48_000, 16_000)[500:-500]) < -90


@pytest.mark.parametrize("samples", [1, 160])
def test_very_short_files(tmp_path: Path, samples: int) -> None:
    audio.save(tmp_path / "a.wav", _noise(samples), 16_000)
    assert audio.load(tmp_path / "a.wav").shape == (samples,)
    assert audio.load(tmp_path / "a.wav", 48_000).shape == (3 * samples,)


def test_one_sample_that_vanishes_is_an_error(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", np.ones(1), 48_000)
    with pytest.raises(AudioError, match=r"too short: 1 samples at 48000 Hz are none at 16000 Hz"):
        audio.load(tmp_path / "a.wav")


# --- files that cannot be used


@pytest.mark.parametrize(
    "reader", [audio.probe, audio.load, audio.load_channels, lambda path: list(audio.blocks(path, 9))]
)
def test_missing_directory_empty_and_other_files(tmp_path: Path, reader) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is not sound " * 20)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    cases = {
        "missing.wav": r"cannot read .*missing\.wav: No such file",
        ".": "directory",
        "empty.wav": r"empty\.wav is empty \(0 bytes\)",
        "text.wav": r"text\.wav is not sound that libsndfile can read: ",
        "none.wav": r"none\.wav is empty \(0 samples\)",
    }
    for name, message in cases.items():
        with pytest.raises(AudioError, match=message) as caught:
            reader(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("extension", audio.EXTENSIONS)
def test_a_file_cut_within_its_header(tmp_path: Path, extension: str) -> None:
    audio.save(tmp_path / f"a{extension}", _noise(16_000), 16_000)
    path = tmp_path / f"a{extension}"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(AudioError, match=r"is not sound|empty|cut short"):
        audio.load(path)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_wav_cut_short_names_both_numbers(tmp_path: Path, subtype: str) -> None:
    audio.save(tmp_path / "a.wav", _noise(2, 10_000), 16_000, subtype=subtype)
    path = _cut(tmp_path / "a.wav", 0.5)
    with pytest.raises(AudioError, match=r"its header promises 10000 samples, (49\d\d|5000) can be read"):
        audio.probe(path)
    with pytest.raises(AudioError, match="promises 10000"):
        audio.load(path)


def test_wav_with_a_chunk_before_the_samples(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", _noise(1_000), 16_000)
    content = (tmp_path / "a.wav").read_bytes()
    at = content.index(b"data")
    (tmp_path / "a.wav").write_bytes(content[:at] + b"LIST" + struct.pack("<I", 5) + b"INFO?\0" + content[at:])
    assert audio.load(tmp_path / "a.wav").shape == (1_000,)
    with pytest.raises(AudioError, match="promises 1000 samples"):
        audio.load(_cut(tmp_path / "a.wav", 0.5))


@pytest.mark.parametrize("size", [0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_wav_from_a_pipe_promises_nothing(tmp_path: Path, size: int) -> None:
    audio.save(tmp_path / "a.wav", _noise(1_000), 16_000)
    assert audio.load(_patch_data_size(tmp_path / "a.wav", size)).shape == (1_000,)


def test_flac_cut_short_names_both_numbers(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.flac", _noise(50_000), 16_000)
    path = _cut(tmp_path / "a.flac", 0.5)
    assert audio.probe(path).samples == 50_000
    with pytest.raises(AudioError, match=r"promises 50000 samples, 2\d\d\d\d can be read"):
        audio.load(path)


def test_flac_without_a_length(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.flac", _noise(5_000), 16_000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # the 36 bits of the total in STREAMINFO
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(AudioError, match="does not say how long it is"):
        audio.probe(tmp_path / "a.flac")


def test_mp3_half_gone_is_cut_short_and_a_missing_frame_is_not(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.mp3", _noise(80_000), 16_000)
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(content[:-200])
    assert 75_000 < len(audio.load(tmp_path / "a.mp3")) <= 80_000
    with pytest.raises(AudioError, match="promises 80000 samples"):
        audio.load(_cut(tmp_path / "a.mp3", 0.5))


def test_samples_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    broken = np.zeros((2, 100), dtype=np.float32)
    broken[0, 3], broken[1, 4:6] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", broken.T, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="3 of 200 samples are NaN or infinite"):
        audio.load(tmp_path / "a.wav")


# --- writing: whole or not at all


@pytest.mark.parametrize(
    ("name", "waveform", "sample_rate", "options", "message"),
    [
        ("a.wav", np.array([0.0, np.nan]), 16_000, {}, "1 of 2 samples are NaN"),
        ("a.wav", np.zeros(0), 16_000, {}, "no samples"),
        ("a.wav", np.zeros((2, 3, 4)), 16_000, {}, "expected"),
        ("a.xyz", np.zeros(9), 16_000, {}, r"unknown sound format '\.xyz'; use one of \.wav, \.flac"),
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
    audio.save(path, _noise(10), 16_000)
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


@pytest.mark.parametrize("extension", audio.EXTENSIONS)
def test_a_full_disk_leaves_nothing(tmp_path: Path, extension: str) -> None:
    # A limit on the size of files makes write() fail as a full disk does, in the middle of the file.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        with pytest.raises(AudioError, match="is the disk full"):
            audio.save(tmp_path / f"a{extension}", np.tile(_noise(1 << 16), 4), 16_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_full_disk_noticed_at_the_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AudioError, match=r"cannot write .*a\.wav .*No space left on device"):
        audio.save(tmp_path / "a.wav", _noise(100), 16_000)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AudioError, match="cannot write"):
        audio.save(tmp_path / "file" / "a.wav", _noise(100), 16_000)


# --- folders and levels


def test_find_recordings_is_sorted_and_skips_hidden_and_unfinished(tmp_path: Path) -> None:
    wanted = ["B.WAV", "a/1.flac", "a/b/2.opus", "z.mp3"]
    for name in [*wanted, ".hidden.wav", ".git/x.wav", "a/._1.flac", "a/.1.77.part.wav", "c.part.wav", "note.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in audio.find_recordings(tmp_path)] == wanted
    with pytest.raises(AudioError, match="is not a folder"):
        audio.find_recordings(tmp_path / "nowhere")


def test_level() -> None:
    assert audio.level_db(np.zeros(5)) == -np.inf
    assert audio.level_db(np.zeros(0)) == -np.inf
    assert audio.level_db(_tone(16_000, 16_000)) == pytest.approx(20 * np.log10(0.5) - 10 * np.log10(2), abs=1e-4)
