"""phonemi.inference.remote: recordings behind URLs come out as files do, and are enhanced once."""

from __future__ import annotations

import itertools
import json

import fsspec
import pytest

from phonemi.errors import AudioError, MissingExtra
from phonemi.inference.corpus import enhance_corpus
from phonemi.inference.plan import plan
from phonemi.inference.recordings import enhance_files
from phonemi.inference.remote import plan_urls

BUCKETS = itertools.count()


@pytest.fixture
def folder(tmp_path, written):
    """Three recordings and a text, as files."""
    for name in ("a.wav", "x/b.flac", "x/c.wav"):
        written(tmp_path / "in" / name, 9000)
    (tmp_path / "in" / "notes.txt").write_text("hello")
    return tmp_path / "in"


@pytest.fixture(params=["memory", "file", "dir"])
def place(request, tmp_path, folder):
    """Gives URLs below a place of each kind that holds the folder at in/, and that place as a file system."""
    fs = fsspec.filesystem("memory")
    root = f"/bucket{next(BUCKETS)}"
    if request.param == "memory":
        fs.put(str(folder), f"{root}/", recursive=True)
        return (lambda name: f"memory:/{root}/{name}"), fs, root
    if request.param == "file":
        return (lambda name: f"file://{tmp_path}/{name}"), fsspec.filesystem("file"), str(tmp_path)
    return (lambda name: f"dir://{name}::file://{tmp_path}"), fsspec.filesystem("file"), str(tmp_path)


def enhance(enhancer, url, **options):
    return list(enhance_corpus(enhancer, plan_urls([url("in")], url("out")), **options))


def states(outcomes):
    return [outcome.state for outcome in outcomes]


def test_what_comes_out_is_what_files_would_be(tmp_path, folder, place, encoder_enhancer):
    url, fs, root = place
    outcomes = enhance(encoder_enhancer, url)
    names = ["a.wav", "x/b.flac", "x/c.wav"]
    assert [(outcome.source, outcome.target, outcome.state) for outcome in outcomes] == [
        (url(f"in/{name}"), url(f"out/{name}"), "done") for name in names
    ]
    enhance_files(encoder_enhancer, plan([folder], tmp_path / "alone"))
    for name in names:
        assert fs.cat_file(f"{root}/out/{name}") == (tmp_path / "alone" / name).read_bytes()
    assert outcomes[0].duration_s == 9000 / 16_000
    assert states(enhance(encoder_enhancer, url)) == ["skipped"] * 3
    assert states(enhance(encoder_enhancer, url, mix=0.5)) == ["done"] * 3


def test_a_recording_that_fails_or_changes_is_alone_in_it(place, recorder):
    url, fs, root = place
    fs.pipe_file(f"{root}/in/bad.wav", b"not sound")
    outcomes = enhance(recorder, url)
    assert states(outcomes) == ["done", "failed", "done", "done"]
    assert outcomes[1].reason.startswith(f"{url('in/bad.wav')} is not sound")
    assert not fs.exists(f"{root}/out/bad.wav")
    fs.pipe_file(f"{root}/in/a.wav", fs.cat_file(f"{root}/in/a.wav")[:-2000] + bytes(2000))
    assert states(enhance(recorder, url)) == ["done", "failed", "skipped", "skipped"]
    fs.rm_file(f"{root}/out/x/c.wav")
    assert states(enhance(recorder, url)) == ["skipped", "failed", "skipped", "done"]


def test_what_phonemi_did_not_make_stays(place, recorder):
    url, fs, root = place
    enhance(recorder, url)
    fs.pipe_file(f"{root}/out/a.wav", b"of another program")
    outcomes = enhance(recorder, url, mix=0.5)
    assert states(outcomes) == ["failed", "done", "done"]
    assert "no mark says that phonemi made it" in outcomes[0].reason
    assert fs.cat_file(f"{root}/out/a.wav") == b"of another program"
    assert states(enhance(recorder, url, overwrite=True)) == ["done"] * 3


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_between_mark_and_output_is_made_good(place, recorder, monkeypatch, moment):
    from phonemi.inference import remote

    url, fs, root = place
    put = remote._put

    def end(file, *where):
        if file.name == "mark.json":
            return put(file, *where)
        if moment == "after":
            put(file, *where)
        raise KeyboardInterrupt

    with monkeypatch.context() as then:
        then.setattr(remote, "_put", end)
        with pytest.raises(KeyboardInterrupt):
            enhance(recorder, url)
    assert json.loads(fs.cat_file(f"{root}/out/.phonemi-enhanced/a.wav.json"))["written"] is None
    assert states(enhance(recorder, url)) == ["done"] * 3
    assert states(enhance(recorder, url)) == ["skipped"] * 3


def test_plans_of_urls(place, folder):
    url, *_ = place
    everything = [(url(f"in/{name}"), url(f"out/{name}")) for name in ("a.wav", "x/b.flac", "x/c.wav")]
    assert plan_urls([url("in")], url("out/")) == everything
    assert plan_urls([url("in/x/*.wav")], url("out")) == [(url("in/x/c.wav"), url("out/c.wav"))]
    assert plan_urls([url("in/a.wav")], url("b.wav")) == [(url("in/a.wav"), url("b.wav"))]
    assert plan_urls([url("in/a.wav")], url("b")) == [(url("in/a.wav"), url("b/a.wav"))]
    assert plan_urls([url("in/a.wav")], "b", "-x", "flac") == [(url("in/a.wav"), "b/a-x.flac")]
    assert plan_urls([str(folder / "a.wav")], url("b")) == [(str(folder / "a.wav"), url("b/a.wav"))]
    for nothing in ("nothing", "in/*.mp3"):
        with pytest.raises(AudioError, match="no recordings in"):
            plan_urls([url(nothing)], url("out"))


def test_places_that_cannot_be_reached():
    with pytest.raises(AudioError, match="cannot reach nowhere://x: Protocol not known: nowhere"):
        plan_urls(["nowhere://x"], "out")
    fsspec.register_implementation("far", "far_fs.Far", errtxt="Install far_fs")
    with pytest.raises(MissingExtra, match="far://x: Install far_fs"):
        plan_urls(["far://x"], "out")
