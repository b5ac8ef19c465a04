"""Names of sound files: which are found, and what is written under them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
