"""Names of sound files: which are found, and what is written under them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sounds import uniform_noise

from phonemi import audio
from phonemi.errors import AudioError


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in audio.find_recordings(folder)]


def test_find_recordings_is_sorted_and_skips_hidden_and_unfinished(tmp_path: Path) -> None:
    wanted = ["B.WAV", "a/1.flac", "a/b/2.opus", "call.m4a", "film.MOV", "lecture.part.wav", "old.mp2", "z.mp3"]
    _touch(tmp_path, *wanted, ".hidden.wav", ".git/x.wav", "a/._1.flac", "a/.1.77.part.wav", "c.wav.part", "note.txt")
    assert _found(tmp_path) == wanted
    with pytest.raises(AudioError, match="is not a folder"):
        audio.find_recordings(tmp_path / "nowhere")


def test_links_are_followed_once_and_keep_their_names(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    _touch(folder, "deep/er/1.wav")
    _touch(elsewhere, "2.wav", "sub/3.wav", ".hidden/4.wav")
    (folder / "a").symlink_to(folder / "deep" / "er")  # has a name of its own already
    (folder / "b").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)  # a loop
    (folder / "self").symlink_to("self")
    assert _found(folder) == ["b/2.wav", "b/sub/3.wav", "deep/er/1.wav"]
    (tmp_path / "link").symlink_to(folder)
    assert _found(tmp_path / "link") == ["b/2.wav", "b/sub/3.wav", "deep/er/1.wav"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, "1.wav", "closed/2.wav")
    scan = os.scandir

    def refuse(path: str) -> object:  # as it is for whom may not; the tests may run as root, who may
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(AudioError, match=r"cannot read the folder .*closed: Permission denied$"):
        audio.find_recordings(tmp_path)


@pytest.mark.parametrize(
    ("format", "subtype", "target", "expected"),
    [
        ("WAV", "FLOAT", "a.wav", ("WAV", "FLOAT")),
        ("RF64", "PCM_24", "A.WAV", ("RF64", "PCM_24")),
        ("OGG", "OPUS", "a.ogg", ("OGG", "OPUS")),
        ("WAV", "MPEG_LAYER_III", "a.wav", ("WAV", None)),  # libsndfile reads it, but does not write it
        ("FLAC", "PCM_24", "a.aiff", ("AIFF", "PCM_24")),
        ("OGG", "PCM_24", "a.oga", ("OGG", "PCM_24")),
        ("FLAC", "PCM_24", "a.ogg", ("OGG", None)),
        ("MP3", "MPEG_LAYER_III", "a.flac", ("FLAC", None)),
        ("WAVEX", "FLOAT", "a.m4a", (None, None)),
    ],
)
def test_a_recording_is_written_as_it_was_where_that_can_be(format, subtype, target, expected) -> None:
    assert audio.output_coding(format, subtype, target) == expected


@pytest.mark.parametrize(("subtype", "kind"), [("PCM_16", b"sowt"), ("PCM_24", b"42n1"), ("FLOAT", b"FL32")])
def test_aifc_stays_aifc(tmp_path: Path, subtype: str, kind: bytes) -> None:
    audio.save(tmp_path / "a.aifc", uniform_noise(2, 501), 16_000, subtype=subtype)
    assert (tmp_path / "a.aifc").read_bytes()[8:12] == b"AIFC"
    assert kind in (tmp_path / "a.aifc").read_bytes()[:80]
    info = audio.probe(tmp_path / "a.aifc")
    assert (info.format, info.subtype, info.samples) == ("AIFF", subtype, 501)
    np.testing.assert_allclose(audio.load_channels(tmp_path / "a.aifc")[0], uniform_noise(2, 501), atol=2**-15)


@pytest.mark.parametrize(("sample_format", "subtype", "error"), [("s16", "PCM_16", 2**-15), ("s32", "PCM_24", 2**-23)])
def test_flac_in_ogg_stays_so(tmp_path: Path, sample_format: str, subtype: str, error: float) -> None:
    av = pytest.importorskip("av")
    waveform, bits = uniform_noise(2, 9_001), int(sample_format[1:])
    samples = (waveform.astype(np.float64) * 2 ** (bits - 1)).astype(f"int{bits}").T.reshape(1, -1)
    with av.open(str(tmp_path / "a.oga"), "w", format="ogg") as container:
        container.metadata["title"] = "Grüße"
        stream = container.add_stream("flac", rate=16_000)
        stream.layout, stream.format = "stereo", sample_format
        frame = av.AudioFrame.from_ndarray(samples, sample_format, "stereo")
        frame.sample_rate, frame.pts = 16_000, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    info = audio.probe(tmp_path / "a.oga")
    coding = audio.output_coding(info.format, info.subtype, "b.oga")
    with audio.Writer(tmp_path / "b.oga", 16_000, 2, *coding, info.metadata) as writer:
        writer.write(waveform[:, :5_000])
        writer.write(waveform[:, 5_000:])
    assert (tmp_path / "b.oga").read_bytes()[:4] == b"OggS"
    for name in ("a.oga", "b.oga"):
        info = audio.probe(tmp_path / name)
        found = (info.format, info.subtype, info.samples, info.metadata["title"], info.is_converted)
        assert found == ("OGG", subtype, 9_001, "Grüße", False)
        np.testing.assert_allclose(audio.load_channels(tmp_path / name)[0], waveform, atol=error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.oga", "b.oga"]


def test_what_cannot_be_written_becomes_wav() -> None:
    endings = {extension: audio.output_suffix(f"a{extension}") for extension in audio.EXTENSIONS}
    assert {extension for extension, ending in endings.items() if ending == extension} == set(audio.WRITABLE)
    assert {ending for extension, ending in endings.items() if ending != extension} == {".wav"}
