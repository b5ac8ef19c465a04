"""Standard input and output: bytes in, a file; a file, bytes out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from sounds import uniform_noise

from phonemi import audio
from phonemi.errors import AudioError
from phonemi.inference.streams import from_stream, to_stream


@pytest.mark.parametrize("extension", audio.WRITABLE)
def test_a_stream_is_a_file_for_a_while(tmp_path: Path, extension: str) -> None:
    audio.save(tmp_path / f"a{extension}", uniform_noise(2, 4_000), 48_000)
    content = (tmp_path / f"a{extension}").read_bytes()
    with from_stream(io.BytesIO(content)) as path:
        assert path.read_bytes() == content
        assert audio.probe(path).samples == 4_000
        assert audio.load_channels(path)[0].shape == (2, 4_000)
    assert not path.parent.exists()


def test_an_empty_stream(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="standard input is empty"), from_stream(io.BytesIO()):
        pass


@pytest.mark.parametrize("size", [bytes(4), b"\xff\xff\xff\xff"])
def test_a_wav_file_written_to_a_pipe_has_the_length_of_its_data(tmp_path: Path, size: bytes) -> None:
    if not any(size):
        pytest.importorskip("av")  # libsndfile takes a length of zero at its word
    audio.save(tmp_path / "a.wav", uniform_noise(1_000), 16_000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = size
    with from_stream(io.BytesIO(content)) as path:
        np.testing.assert_allclose(audio.load(path), uniform_noise(1_000), atol=2**-15)


def test_a_stream_takes_little_memory(tmp_path: Path) -> None:
    class Endless(io.RawIOBase):
        left = 64

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= 1 << 20
            self.left -= 1
            return bytes(size) if self.left >= 0 else b""

    stream = Endless()
    with pytest.raises(AudioError, match=r"standard input is not sound"), from_stream(stream):
        pass
    assert stream.left < 0


def test_a_file_is_given_to_a_stream(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.flac", uniform_noise(4_000), 16_000)
    stream = io.BytesIO()
    to_stream(tmp_path / "a.flac", stream)
    assert stream.getvalue() == (tmp_path / "a.flac").read_bytes()


def test_a_stream_that_takes_no_more(tmp_path: Path) -> None:
    class Closed(io.RawIOBase):
        def write(self, _: object) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    audio.save(tmp_path / "a.wav", uniform_noise(4_000), 16_000)
    with pytest.raises(AudioError, match="cannot write to standard output: Broken pipe"):
        to_stream(tmp_path / "a.wav", Closed())
