"""phonemi.inference.plan: trees and names are kept, and what would go wrong is said before the work starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phonemi.errors import AudioError
from phonemi.inference.plan import conflicts, plan


@pytest.fixture
def tree(tmp_path, written):
    """Makes recordings below a folder."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            written(tmp_path / name, 10)
        return tmp_path

    return make


def targets(pairs, output):
    return [str(target.relative_to(output)) for _, target in pairs]


def test_files(tmp_path, written):
    a, b = written(tmp_path / "a.wav"), written(tmp_path / "b.flac")
    out = tmp_path / "out"
    assert plan([a], tmp_path / "clean.flac") == [(a, tmp_path / "clean.flac")]
    assert plan([a], out) == [(a, out / "a.wav")]
    assert plan([a, b], out) == [(a, out / "a.wav"), (b, out / "b.flac")]
    assert plan([tmp_path, a], out) == [(a, out / "a.wav"), (b, out / "b.flac")]  # named twice
    (tmp_path / "folder.wav").mkdir()
    assert plan([a], tmp_path / "folder.wav") == [(a, tmp_path / "folder.wav" / "a.wav")]


def test_a_folder_keeps_its_tree(tree):
    folder = tree("in/a.wav", "in/x/b.wav", "in/x/y/c.flac", "in/.hidden/d.wav", "in/out/old.wav")
    (folder / "in" / "notes.txt").write_text("no sound")
    inside = folder / "in" / "out"  # what lies in the output is no input
    assert targets(plan([folder / "in"], inside), inside) == ["a.wav", "x/b.wav", "x/y/c.flac"]
    assert targets(plan([folder / "in" / "x"], folder), folder) == ["b.wav", "y/c.flac"]  # the output holds the input


def test_a_pattern_keeps_the_tree_below_its_fixed_part(tree):
    folder = tree("in/a.wav", "in/x/b.wav", "in/x/y/c.flac", "in/z/b.wav", "in/out/a.wav")
    for name in ("notes.txt", "notes"):
        (folder / "in" / "x" / name).write_text("no sound")
    out = folder / "out"
    wanted = {
        "in/*.wav": ["a.wav"],
        "in/**/*.wav": ["a.wav", "out/a.wav", "x/b.wav", "z/b.wav"],
        "in/[xz]/b.wav": ["x/b.wav", "z/b.wav"],
        "in/?/*": ["x/b.wav", "x/y/c.flac", "z/b.wav"],  # the notes are no sound, and y is a folder
        "in/**": ["a.wav", "out/a.wav", "x/b.wav", "x/y/c.flac", "z/b.wav"],
        "*/x/y/*": ["in/x/y/c.flac"],
    }
    for pattern, names in wanted.items():
        assert sorted(targets(plan([folder / pattern], out), out)) == names, pattern
    inside = folder / "in" / "out"
    assert targets(plan([folder / "in" / "**" / "a.wav"], inside), inside) == ["a.wav"]
    assert plan([folder / "in" / "y*", folder / "in" / "a.wav"][1:], out) == [(folder / "in" / "a.wav", out / "a.wav")]


def test_patterns_are_relative_to_where_one_is(tree, monkeypatch):
    monkeypatch.chdir(tree("x/a.wav", "x/y/b.wav"))
    assert plan([Path("**/*.wav")], Path("out")) == [
        (Path("x/a.wav"), Path("out/x/a.wav")),
        (Path("x/y/b.wav"), Path("out/x/y/b.wav")),
    ]


def test_a_file_with_the_name_of_a_pattern_is_that_file(tree):
    folder = tree("[a].wav", "a.wav")
    assert plan([folder / "[a].wav"], folder / "out") == [(folder / "[a].wav", folder / "out" / "[a].wav")]


def test_suffix_and_format(tree):
    folder = tree("in/a.wav", "in/x/B.WAV", "in/c.ogg")
    out = folder / "out"
    assert targets(plan([folder / "in"], out, "-clean"), out) == ["a-clean.wav", "c-clean.ogg", "x/B-clean.WAV"]
    assert targets(plan([folder / "in"], out, "", "flac"), out) == ["a.flac", "c.flac", "x/B.flac"]
    assert targets(plan([folder / "in"], out, "_2", ".FLAC"), out) == ["a_2.flac", "c_2.flac", "x/B_2.flac"]
    (folder / "talk.m4a").write_text("what FFmpeg reads is written as wav")
    assert targets(plan([folder / "talk.m4a"], out), out) == ["talk.wav"]


def test_results_beside_their_recordings_are_no_input(tree):
    folder = tree("in/a.wav", "in/x/b.wav")
    first = plan([folder / "in"], folder / "in", "-clean")
    for _, target in first:
        os.link(folder / "in" / "a.wav", target)
    assert plan([folder / "in"], folder / "in", "-clean") == first
    assert plan([folder / "in" / "**"], folder / "in", "-clean") == first


def test_results_of_another_format_beside_their_recordings_are_no_input(tree, written):
    folder = tree("in/a.wav", "in/x/b.wav")
    arguments = (folder / "in", "", "flac")
    first = plan([folder / "in"], *arguments)
    for _, target in first:
        written(target, 10)
    assert plan([folder / "in"], *arguments) == first
    assert plan([folder / "in" / "**"], *arguments) == first
    a, flac, b = (folder / "in" / name for name in ("a.wav", "a.flac", "x/b.wav"))
    both = f"{flac} and {a} would both be written to {flac}: use two outputs"
    named = plan([folder / "in", flac], *arguments)
    assert set(conflicts(named).values()) == {both}
    assert (b, folder / "in" / "x" / "b.flac") in named
    written(flac, 11)  # another recording, for all that can be known
    assert conflicts(plan([folder / "in"], *arguments)) == dict.fromkeys([(flac, flac), (a, flac)], both)


def test_links_that_lead_to_a_file_again_do_not_repeat_it(tree):
    folder = tree("in/z/a.wav", "in/lecture.part.wav")
    (folder / "in" / "again").symlink_to(folder / "in", target_is_directory=True)
    (folder / "in" / "z" / "alias.wav").symlink_to("a.wav")
    out = folder / "out"
    wanted = ["lecture.part.wav", "z/a.wav", "z/alias.wav"]
    assert targets(plan([folder / "in" / "**" / "*.wav"], out), out) == wanted
    assert targets(plan([folder / "in" / "**"], out), out) == wanted
    assert targets(plan([folder / "in" / "again" / "*" / "a.wav"], out), out) == ["z/a.wav"]


def test_an_output_is_a_folder_if_it_ends_with_a_slash(tree):
    folder = tree("a.wav", "b.wav")
    a, b = folder / "a.wav", folder / "b.wav"
    for name in ("clean.sph", "clean.wav", "take.2", "out"):
        assert plan([a], f"{folder}/{name}/") == [(a, folder / name / "a.wav")]
    with pytest.raises(AudioError, match=r"clean\.sph: cannot write \.sph: known: .*; for a folder, end the name"):
        plan([a], folder / "clean.sph")
    assert len(plan([a, b], folder / "take.2")) == 2  # no file could be meant
    (folder / "take.2").mkdir()
    assert plan([a], folder / "take.2") == [(a, folder / "take.2" / "a.wav")]


def test_what_cannot_be_is_refused_before_the_work_starts(tree):
    folder = tree("a.wav", "x/a.wav", "x/a.flac", "y/b.wav")
    a, other, out = folder / "a.wav", folder / "x" / "a.wav", folder / "out"
    (folder / "notes.txt").write_text("no sound")
    (folder / "empty").mkdir()
    absent = [folder / "no.wav", folder / "none" / "*.wav"]
    refused = [
        (([a, *absent], out), r"no such file or folder: \S*no\.wav, \S*none/\*\.wav"),
        (([], out), "no recordings in no input"),
        (([folder / "empty"], out), "no recordings in .*empty"),
        (([a, other], out), r"a\.wav and .*x/a\.wav would both be written to .*out/a\.wav"),
        (([a, folder / "x" / "a.wav"], out), r"a\.wav and .*x/a\.wav would both be written to .*out/a\.wav"),
        (([folder / "x"], out, "", "wav"), r"x/a\.flac and .*x/a\.wav would both be written to .*out/a\.wav"),
        (([a], a), "is an input and would be overwritten"),
        (([a], folder), "is an input and would be overwritten"),
        (([folder], folder), "is an input and would be overwritten"),
        (([folder / "y"], folder / "y"), "is an input and would be overwritten"),
        (([other, a], folder), "would both|is an input"),
        (([a, other], folder / "b.wav"), r"b\.wav is one file: .*name a folder"),
        (([folder / "x"], folder / "b.wav"), "is one file"),
        (([folder / "y"], folder / "b.wav"), "is one file"),
        (([a], folder / "notes.txt"), "is one file"),
        (([a], folder / "b.wav", "-clean"), r"b\.wav is the full name of the output"),
        (([a], folder / "b.wav", "", "flac"), r"b\.wav is the full name of the output"),
        (([a], out, "", "flca"), r"cannot write flca files: did you mean '\.flac'\?"),
        (([a], folder / "b.m4a"), r"cannot write \.m4a files: "),
        (([a], out, "/x"), "'/x' cannot be part of a file name"),
    ]
    for arguments, message in refused:
        with pytest.raises(AudioError, match=message) as caught:
            plan(*arguments)
        assert "\n" not in str(caught.value)
    assert not out.exists()
