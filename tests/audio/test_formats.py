"""Names of sound files: which are found, and what is written under them."""

from __future__ import annotations

from pathlib import Path

import pytest

from phonemi import audio
from phonemi.errors import AudioError


def test_find_recordings_is_sorted_and_skips_hidden_and_unfinished(tmp_path: Path) -> None:
    wanted = ["B.WAV", "a/1.flac", "a/b/2.opus", "call.m4a", "z.mp3"]
    for name in [*wanted, ".hidden.wav", ".git/x.wav", "a/._1.flac", "a/.1.77.part.wav", "c.part.wav", "note.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in audio.find_recordings(tmp_path)] == wanted
    with pytest.raises(AudioError, match="is not a folder"):
        audio.find_recordings(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("format", "subtype", "target", "expected"),
    [
        ("WAV", "FLOAT", "a.wav", ("WAV", "FLOAT")),
        ("RF64", "PCM_24", "A.WAV", ("RF64", "PCM_24")),
        ("OGG", "OPUS", "a.ogg", ("OGG", "OPUS")),
        ("WAV", "MPEG_LAYER_III", "a.wav", ("WAV", None)),  # libsndfile reads it, but does not write it
        ("FLAC", "PCM_24", "a.aiff", ("AIFF", "PCM_24")),
        ("MP3", "MPEG_LAYER_III", "a.flac", ("FLAC", None)),
        ("WAVEX", "FLOAT", "a.m4a", (None, None)),
    ],
)
def test_a_recording_is_written_as_it_was_where_that_can_be(format, subtype, target, expected) -> None:
    assert audio.output_coding(format, subtype, target) == expected


def test_what_cannot_be_written_becomes_wav() -> None:
    endings = {extension: audio.output_suffix(f"a{extension}") for extension in audio.EXTENSIONS}
    assert {extension for extension, ending in endings.items() if ending == extension} == set(audio.WRITABLE)
    assert {ending for extension, ending in endings.items() if ending != extension} == {".wav"}
