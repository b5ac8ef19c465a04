"""phonemi.inference.streams: a recording from standard input or to standard output is one like any other."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from phonemi import audio
from phonemi.errors import AudioError
from phonemi.inference.plan import plan
from phonemi.inference.recordings import enhance_file
from phonemi.inference.streams import STREAM, standard_streams


class Pipe(io.TextIOWrapper):
    """A standard stream of bytes."""

    def __init__(self, content=b"", terminal=False):
        super().__init__(io.BytesIO(content))
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.fixture
def pipe(monkeypatch):
    """Puts bytes on standard input; gives what arrives at standard output."""

    def make(content=b"", terminal=False):
        out = Pipe(terminal=terminal)
        monkeypatch.setattr(sys, "stdin", Pipe(content))
        monkeypatch.setattr(sys, "stdout", out)
        return out.buffer

    return make


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS"), ("a.opus", "OPUS"),
     ("a.mp3", "MPEG_LAYER_III"), ("a.aiff", "PCM_16"), ("a.w64", "PCM_16")],
)  # fmt: skip
def test_format_is_kept_from_stream_to_stream(tmp_path, pipe, recorder, written, name, subtype):
    source = written(tmp_path / name, 3000, 2, 48_000, subtype)
    out = pipe(source.read_bytes())
    with standard_streams([STREAM], STREAM) as (inputs, output):
        ((path, target),) = plan(inputs, output)
        enhance_file(recorder, path, target)
        assert out.getvalue() == b"", "nothing is sent before all is well"
    (tmp_path / "found").write_bytes(out.getvalue())
    before, after = audio.probe(source), audio.probe(tmp_path / "found")
    for part in ("sample_rate", "channels", "samples", "format", "subtype"):
        assert getattr(before, part) == getattr(after, part)
    assert not path.exists()
    assert not target.exists()


def test_one_end_may_be_a_file(tmp_path, pipe, recorder, written):
    source = written(tmp_path / "a.wav", 3000)
    pipe(source.read_bytes())
    with standard_streams([STREAM], tmp_path / "b.flac") as (inputs, output):
        enhance_file(recorder, inputs[0], output)
    np.testing.assert_array_equal(audio.load(source), audio.load(tmp_path / "b.flac"))
    out = pipe()
    with standard_streams([source], STREAM, "flac") as (inputs, output):
        enhance_file(recorder, inputs[0], output)
    assert out.getvalue().startswith(b"fLaC")
    with standard_streams([source], tmp_path / "out") as (inputs, output):
        assert (inputs, output) == ([source], tmp_path / "out")


def test_what_pyav_reads_is_written_as_from_a_file(tmp_path, pipe, recorder, sound):
    av = pytest.importorskip("av")
    source = tmp_path / "a.m4a"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(sound(3000), "fltp", "mono")
        frame.sample_rate = 16_000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    enhance_file(recorder, source, tmp_path / "b.wav")
    pipe(source.read_bytes())
    with standard_streams([STREAM], tmp_path / "c.wav") as (inputs, output):
        ((path, target),) = plan(inputs, output)
        enhance_file(recorder, path, target)
    assert audio.probe(tmp_path / "b.wav").subtype == audio.probe(tmp_path / "c.wav").subtype == "PCM_16"
    np.testing.assert_allclose(audio.load(tmp_path / "b.wav"), audio.load(source), atol=2**-14)


def test_what_cannot_go_through_a_stream(tmp_path, pipe, recorder, written):
    source = written(tmp_path / "a.wav", 3000)
    for content, inputs, output, message in [
        (b"x", [STREAM, source], STREAM, "name no other input"),
        (b"", [source, source], STREAM, "takes one recording: name a folder"),
        (b"", [tmp_path], STREAM, "takes one recording: name a folder"),
        (b"", [STREAM], STREAM, "standard input is empty"),
        (b"not sound", [STREAM], tmp_path / "b.wav", "standard input is not sound"),
        (source.read_bytes()[:500], [STREAM], STREAM, "standard input is cut short"),
    ]:
        out = pipe(content)
        with pytest.raises(AudioError, match=message) as caught, standard_streams(inputs, output):
            raise AssertionError("the work was started")
        assert str(tmp_path) not in str(caught.value)
        assert out.getvalue() == b""
    pipe(terminal=True)
    with (
        pytest.raises(AudioError, match="- is standard output, which has no file name: leave out the suffix '-x'"),
        standard_streams([source], STREAM, suffix="-x"),
    ):
        pass
    with pytest.raises(AudioError, match="standard output is a terminal"), standard_streams([source], STREAM):
        pass


def test_a_failure_inside_sends_nothing_and_names_standard_input(pipe, written, tmp_path):
    out = pipe(written(tmp_path / "a.wav", 3000).read_bytes())
    with (
        pytest.raises(AudioError, match=r"^standard input: too quiet$"),
        standard_streams([STREAM], STREAM) as (inputs, _),
    ):
        raise AudioError(f"{inputs[0]}: too quiet")
    assert out.getvalue() == b""
