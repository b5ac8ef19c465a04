"""phonemi.inference.shards: what comes out of a tar shard is what its recordings are as files, in a shard like it."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from phonemi import audio
from phonemi.errors import AudioError
from phonemi.files import temporary_folder
from phonemi.inference.corpus import enhance_corpus
from phonemi.inference.plan import plan
from phonemi.inference.record import RECORD_FILE
from phonemi.inference.recordings import enhance_files
from phonemi.inference.summary import OTHERWISE


def write_shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size, header.mtime, header.mode = len(content), 12345, 0o640
            shard.addfile(header, io.BytesIO(content))
    return path


def read_shard(path):
    with tarfile.open(path) as shard:
        return [(member.name, shard.extractfile(member).read()) for member in shard if member.isfile()]


@pytest.fixture
def members(tmp_path, written):
    """Samples of a shard: recordings of three forms, with texts."""
    files = [
        written(tmp_path / "files" / "1.wav", 9000),
        written(tmp_path / "files" / "2.flac", 7000, 2, 44_100, "PCM_24"),
        written(tmp_path / "files" / "3.wav", 8000, subtype="PCM_24"),
    ]
    texts = [(f"{number}.json", b'{"text": "hello"}') for number in (1, 2, 3)]
    samples = zip(((file.name, file.read_bytes()) for file in files), texts, strict=True)
    return [member for sample in samples for member in sample]


def enhance(enhancer, tmp_path, source="in", **options):
    pairs = plan([tmp_path / source], tmp_path / "out", extension=options.get("extension"), shards=True)
    return list(enhance_corpus(enhancer, pairs, **options))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_shard_holds_what_the_files_would_be(tmp_path, encoder_enhancer, members, batch_size):
    shard = write_shard(tmp_path / "in" / "x" / "corpus-0001.tar", members)
    outcomes = enhance(encoder_enhancer, tmp_path, batch_size=batch_size)
    target = tmp_path / "out" / "x" / "corpus-0001.tar"
    enhance_files(encoder_enhancer, plan([tmp_path / "files"], tmp_path / "alone"), batch_size=batch_size)
    expected = [
        (name, (tmp_path / "alone" / name).read_bytes() if not name.endswith("json") else content)
        for name, content in members
    ]
    assert read_shard(target) == expected
    assert [(outcome.source, outcome.target, outcome.state) for outcome in outcomes] == [
        (shard / name, target / name, "done") for name in ("1.wav", "2.flac", "3.wav")
    ]
    assert outcomes[0].duration_s == 9000 / 16_000
    with tarfile.open(target) as written_shard:
        assert {(member.mtime, member.mode) for member in written_shard} == {(12345, 0o640)}
    assert sorted(os.listdir(target.parent)) == [RECORD_FILE, "corpus-0001.tar"]


def test_a_second_call_does_nothing_and_says_the_same(tmp_path, recorder, members):
    members[2] = ("2.flac", b"not sound")
    write_shard(tmp_path / "in" / "a.tar", members)
    first = enhance(recorder, tmp_path)
    assert [outcome.state for outcome in first] == ["done", "failed", "done"]
    assert first[1].reason.startswith(f"{tmp_path}/in/a.tar/2.flac is empty")
    assert [name for name, _ in read_shard(tmp_path / "out" / "a.tar")] == ["1.wav", "1.json", "3.wav", "3.json"]
    before, batches = (tmp_path / "out" / "a.tar").stat(), len(recorder.batches)
    again = enhance(recorder, tmp_path)
    assert [outcome.state for outcome in again] == ["skipped", "failed", "skipped"]
    assert [outcome.source for outcome in again] == [outcome.source for outcome in first]
    assert again[1].reason == first[1].reason
    assert ((tmp_path / "out" / "a.tar").stat(), len(recorder.batches)) == (before, batches)
    other = enhance(recorder, tmp_path, mix=0.5)
    assert [(outcome.state, outcome.reason) for outcome in other[::2]] == [("done", OTHERWISE)] * 2


def test_another_format_is_that_of_the_members(tmp_path, recorder, members):
    write_shard(tmp_path / "in" / "a.tar", [("./x.1/1.noisy.wav", members[0][1]), ("./x.1/1.txt", b"hello")])
    enhance(recorder, tmp_path)
    assert [outcome.state for outcome in enhance(recorder, tmp_path, extension="flac")] == ["done"]
    (name, content), text = read_shard(tmp_path / "out" / "a.tar")
    assert (name, text) == ("./x.1/1.noisy.flac", ("./x.1/1.txt", b"hello"))
    (tmp_path / "1.flac").write_bytes(content)
    assert audio.probe(tmp_path / "1.flac").format == "FLAC"


def broken_shard(kind, path, members):
    write_shard(path, members)
    content = path.read_bytes()
    if kind == "cut in a member":
        path.write_bytes(content[:5000])
    elif kind == "cut between members":
        with tarfile.open(path) as shard:
            path.write_bytes(content[: shard.getmembers()[2].offset])
    elif kind == "damaged header":
        with tarfile.open(path) as shard:
            offset = shard.getmembers()[2].offset
        path.write_bytes(content[:offset] + b"x" * 512 + content[offset + 512 :])
    elif kind == "no tar":
        path.write_bytes(b"text" * 1000)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "outside":
        write_shard(path, [*members, ("../4.wav", members[0][1])])
    elif kind == "absolute":
        write_shard(path, [*members, ("/4.wav", members[0][1])])
    elif kind == "link":
        with tarfile.open(path, "w") as shard:
            header = tarfile.TarInfo("1.wav")
            header.type, header.linkname = tarfile.SYMTYPE, "/etc/passwd"
            shard.addfile(header)
    elif kind == "no recordings":
        write_shard(path, members[1:2])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("cut in a member", "is damaged, or no tar file: "),
        ("cut between members", "is damaged, or cut short: there is no end of a tar file at byte "),
        ("damaged header", "is damaged, or cut short: there is no end of a tar file at byte "),
        ("no tar", "is damaged, or no tar file: "),
        ("empty", "is damaged, or no tar file: "),
        ("outside", "holds '../4.wav': expected files with names inside it, no links"),
        ("absolute", "holds '/4.wav': expected "),
        ("link", "holds '1.wav': expected "),
        ("no recordings", "expected members such as 0001.wav"),
    ],
)
def test_a_shard_that_is_no_whole_shard_fails_and_leaves_nothing(tmp_path, recorder, members, kind, reason):
    write_shard(tmp_path / "in" / "good.tar", members)
    broken_shard(kind, tmp_path / "in" / "broken.tar", members)
    broken, *good = enhance(recorder, tmp_path)
    assert (broken.state, broken.source) == ("failed", tmp_path / "in" / "broken.tar")
    assert f"{broken.source}" in broken.reason
    assert reason in broken.reason
    assert [outcome.state for outcome in good] == ["done"] * 3
    assert sorted(os.listdir(tmp_path / "out")) == [RECORD_FILE, "good.tar"]


def test_a_run_that_ends_in_the_middle_of_a_shard_leaves_no_part(tmp_path, recorder, members, monkeypatch):
    write_shard(tmp_path / "in" / "a.tar", members)
    monkeypatch.setattr(recorder, "enhance_chunks", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        enhance(recorder, tmp_path)
    assert os.listdir(tmp_path / "out") == []
    with temporary_folder("shard") as folder:
        assert os.listdir(folder) == []


def test_a_shard_that_phonemi_did_not_make_stays(tmp_path, recorder, members):
    write_shard(tmp_path / "in" / "a.tar", members)
    other = write_shard(tmp_path / "out" / "a.tar", members[:1])
    assert "no record says that phonemi made it" in enhance(recorder, tmp_path)[0].reason
    assert read_shard(other) == members[:1]
    assert len(enhance(recorder, tmp_path, overwrite=True)) == 3


def test_the_plan_of_shards(tmp_path, members):
    shard = write_shard(tmp_path / "in" / "a.tar", members)
    assert plan([shard], tmp_path / "b.tar", shards=True) == [(shard, tmp_path / "b.tar")]
    assert plan([shard], tmp_path / "out", "-clean", "flac", shards=True) == [(shard, tmp_path / "out" / "a-clean.tar")]
    assert plan([tmp_path / "in" / "*.tar"], tmp_path / "out", shards=True) == [(shard, tmp_path / "out" / "a.tar")]
    with pytest.raises(AudioError, match="is a set of recordings"):
        plan([shard], tmp_path / "b.wav", shards=True)
    with pytest.raises(AudioError, match="no recordings"):
        plan([tmp_path / "in"], tmp_path / "out")
