"""Sound files are read whole and in blocks, with exact lengths; every file that cannot be used is one clear line."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import truncate, uniform_noise

from phonemi import audio
from phonemi.errors import AudioError


def _tone(samples: int, sample_rate: int, frequency_hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(samples) / sample_rate)).astype(np.float32)


def test_load_averages_channels(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", np.array([[0.5, 0.5], [-0.25, 0.25]]), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav"), [0.125, 0.375])


def test_opus_at_48_khz_is_resampled_to_the_exact_length(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.opus", _tone(48_000, 48_000), 48_000)
    read = audio.load(tmp_path / "a.opus")
    assert read.shape == (16_000,)
    assert audio.level_db(read[1000:-1000] - _tone(16_000, 16_000)[1000:-1000]) < -35


def test_blocks_are_the_file_in_order(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.flac", uniform_noise(2, 1000), 8_000)
    blocks = list(audio.blocks(tmp_path / "a.flac", 300))
    assert [block.shape for block in blocks] == [(2, 300), (2, 300), (2, 300), (2, 100)]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), audio.load_channels(tmp_path / "a.flac")[0])


@pytest.mark.parametrize("extension", audio.WRITABLE)
@pytest.mark.parametrize("block_samples", [1_000, 1_152, 10_000])
def test_blocks_of_every_format_are_what_is_read_at_once(tmp_path: Path, extension: str, block_samples: int) -> None:
    audio.save(tmp_path / f"a{extension}", np.stack([_tone(50_000, 48_000), _tone(50_000, 48_000, 700.0)]), 48_000)
    blocks = np.concatenate(list(audio.blocks(tmp_path / f"a{extension}", block_samples)), axis=1)
    np.testing.assert_array_equal(blocks, audio.load_channels(tmp_path / f"a{extension}")[0])
    assert audio.level_db(blocks[0] - _tone(50_000, 48_000)) < -30


def test_a_file_of_many_blocks_is_read_whole(tmp_path: Path) -> None:
    written = np.tile(uniform_noise(1 << 15), 33)
    audio.save(tmp_path / "a.wav", written, 16_000)
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav"), written, atol=2**-15)


@pytest.mark.parametrize("samples", [1, 160])
def test_very_short_files(tmp_path: Path, samples: int) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(samples), 16_000)
    assert audio.load(tmp_path / "a.wav").shape == (samples,)
    assert audio.load(tmp_path / "a.wav", 48_000).shape == (3 * samples,)


def test_one_sample_that_vanishes_is_an_error(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", np.ones(1), 48_000)
    with pytest.raises(AudioError, match=r"too short: 1 sample at 48000 Hz, none at 16000 Hz"):
        audio.load(tmp_path / "a.wav")


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


@pytest.mark.parametrize("extension", audio.WRITABLE)
def test_a_file_cut_within_its_header(tmp_path: Path, extension: str) -> None:
    audio.save(tmp_path / f"a{extension}", uniform_noise(16_000), 16_000)
    path = tmp_path / f"a{extension}"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(AudioError, match=r"is not sound|empty|cut short"):
        audio.load(path)


def test_flac_cut_short_names_both_numbers(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.flac", uniform_noise(50_000), 16_000)
    path = truncate(tmp_path / "a.flac", 0.5)
    assert audio.probe(path).samples == 50_000
    with pytest.raises(AudioError, match=r"promises 50000 samples, 2\d\d\d\d can be read"):
        audio.load(path)


@pytest.mark.usefixtures("no_pyav")
def test_flac_without_a_length(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.flac", uniform_noise(5_000), 16_000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # the 36 bits of the total in STREAMINFO
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(AudioError, match="does not say how long it is"):
        audio.probe(tmp_path / "a.flac")


@pytest.mark.parametrize("subtype", ["DWVW_16", "DWVW_24"])
def test_a_coding_without_places_to_seek_to(tmp_path: Path, subtype: str) -> None:
    written = uniform_noise(40_000)
    audio.save(tmp_path / "a.aiff", written, 16_000, subtype=subtype)
    np.testing.assert_allclose(audio.load(tmp_path / "a.aiff"), written, atol=2**-14)
    np.testing.assert_allclose(np.hstack(list(audio.blocks(tmp_path / "a.aiff", 999)))[0], written, atol=2**-14)
    assert audio.probe(tmp_path / "a.aiff").subtype == subtype
    content = (tmp_path / "a.aiff").read_bytes()
    (tmp_path / "a.aiff").write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="cut short: its header promises 40000 samples"):
        audio.load(tmp_path / "a.aiff")


@pytest.mark.parametrize(
    ("text", "encoding"), [("Grüße", "latin-1"), ("Grüße – 5 €", "cp1252"), ("Grüße – 5 €", "utf-8")]
)
def test_texts_of_old_programs_are_kept(tmp_path: Path, text: str, encoding: str) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(500), 16_000)
    title = text.encode(encoding) + b"\0"
    title += bytes(len(title) % 2)
    content = (tmp_path / "a.wav").read_bytes() + b"LIST" + struct.pack("<I", 12 + len(title)) + b"INFOINAM"
    content += struct.pack("<I", len(title)) + title
    (tmp_path / "a.wav").write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert audio.probe(tmp_path / "a.wav").metadata == {"title": text}


def test_mp3_half_gone_is_cut_short_and_a_missing_frame_is_not(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.mp3", uniform_noise(80_000), 16_000)
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(content[:-200])
    assert 75_000 < len(audio.load(tmp_path / "a.mp3")) <= 80_000
    with pytest.raises(AudioError, match="promises 80000 samples"):
        audio.load(truncate(tmp_path / "a.mp3", 0.5))


def test_samples_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    broken = np.zeros((2, 100), dtype=np.float32)
    broken[0, 3], broken[1, 4:6] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", broken.T, 16_000, subtype="FLOAT")
    message = r"3 of 200 samples are NaN or infinite or above 1e\+15, the first is sample 3 of channel 0$"
    with pytest.raises(AudioError, match=message):
        audio.load(tmp_path / "a.wav")


def test_the_first_sample_that_is_not_finite_is_named_from_the_start_of_the_file(tmp_path: Path) -> None:
    broken = np.zeros(3_000, dtype=np.float32)
    broken[1_234] = broken[1_300] = broken[2_500] = np.nan
    soundfile.write(tmp_path / "a.wav", broken, 16_000, subtype="FLOAT")
    message = r"a\.wav: 2 of 1000 samples are .*, the first is sample 1234; counted from sample 1000 to 2000$"
    with pytest.raises(AudioError, match=message):
        list(audio.blocks(tmp_path / "a.wav", 1_000))
    with pytest.raises(AudioError, match=r"a\.wav: 3 of 3000 samples are .*, the first is sample 1234$"):
        audio.load(tmp_path / "a.wav")
    with audio.Writer(tmp_path / "b.wav", 16_000, 1) as writer:
        writer.write(np.zeros((1, 2_000)))
        with pytest.raises(AudioError, match=r"b\.wav: 1 of 1000 samples are .*, the first is sample 2500$"):
            writer.write(broken[None, 2_000:])


@pytest.mark.parametrize("loud", [2e15, 3e38])
def test_samples_too_large_to_square_and_add_up_are_refused(tmp_path: Path, loud: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((9, 2), loud), 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="18 of 18 samples are NaN or infinite or above"):
        audio.load(tmp_path / "a.wav")
    soundfile.write(tmp_path / "a.wav", np.full((9, 2), -9e14), 16_000, subtype="FLOAT")
    assert audio.load(tmp_path / "a.wav").shape == (9,)


@pytest.mark.parametrize("extension", ["raw", "au", "snd", "vox", "gsm"])
def test_bytes_are_not_samples_because_of_a_name(tmp_path: Path, extension: str) -> None:
    (tmp_path / f"a.{extension}").write_text("this is not sound " * 20)
    with pytest.raises(AudioError, match="is not sound"):
        audio.load(tmp_path / f"a.{extension}")


def test_a_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(2, 500), 16_000, format="FLAC")
    assert audio.probe(tmp_path / "a.wav").format == "FLAC"
    assert audio.load(tmp_path / "a.wav").shape == (500,)


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    audio.save(path, uniform_noise(500), 16_000)
    assert audio.load(path).shape == (500,)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    errors = []

    def attempt() -> None:
        try:
            audio.probe(tmp_path / "a.wav")
        except AudioError as error:
            errors.append(str(error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(10)
    assert "is a pipe or a device" in errors[0]


@pytest.mark.parametrize("rate", [1, 10, 1_000, 192_000, 768_000])
def test_unusual_rates(tmp_path: Path, rate: int) -> None:
    audio.save(tmp_path / "a.wav", uniform_noise(2, 900), rate)
    info = audio.probe(tmp_path / "a.wav")
    assert (info.sample_rate, info.samples, info.duration_s) == (rate, 900, 900 / rate)
    assert sum(block.shape[1] for block in audio.blocks(tmp_path / "a.wav", 30 * rate)) == 900
    if rate < 100:
        with pytest.raises(AudioError, match=f"{rate} Hz cannot become"):
            audio.load(tmp_path / "a.wav")
    else:
        assert len(audio.load(tmp_path / "a.wav")) == round(900 * 16_000 / rate)


@pytest.mark.slow
def test_channels_are_read_in_pieces_that_fit(tmp_path: Path) -> None:
    written = np.tile(uniform_noise(1, 4_000), (1_000, 1))
    audio.save(tmp_path / "a.wav", written, 16_000)
    read, _ = audio.load_channels(tmp_path / "a.wav")
    np.testing.assert_allclose(read, written, atol=2**-15)
