from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phonemi.data.corpora import CORPORA
from phonemi.data.corpora.corpus import Corpus, Listing
from phonemi.data.manifest import Interval, Recording, read_manifest
from phonemi.errors import ConfigError, DataError
from phonemi.stages import prepare
from phonemi.tables import duration_text


def test_a_corpus_becomes_a_manifest(corpus: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"alignments": [corpus.data / "librispeech" / "alignments" / "phones.ctm"], "subset": ["dev-clean"]}
    prepare.run("librispeech", corpus.data / "librispeech", tmp_path / "speech.jsonl", False, options)
    listed, expected = read_manifest(tmp_path / "speech.jsonl"), read_manifest(corpus.speech)
    assert [(r.id, r.speaker, r.samples) for r in listed] == [(r.id, r.speaker, r.samples) for r in expected]
    for recording, other in zip(listed, expected, strict=True):
        assert [p.phone for p in recording.phones or ()] == [p.phone for p in other.phones or ()]
        assert (recording.text or "").lower() == other.text
    seconds = sum(recording.duration_s for recording in listed)
    phones = sum(interval.phone != "SIL" for recording in listed for interval in recording.phones or ())
    speakers = len({recording.speaker for recording in listed})
    assert capsys.readouterr().err == (
        f"{tmp_path / 'speech.jsonl'}: 12 recordings, {duration_text(seconds)}, {speakers} speakers, {phones} phones\n"
    )


def recording(id: str, seconds: float, **more: Any) -> Recording:
    return Recording(id=id, path=f"{id}.wav", sample_rate=1000, samples=round(1000 * seconds), **more)


HE = (Interval(0, 0.1, ""), Interval(0.1, 0.2, "HH"), Interval(0.2, 0.3, "IY1"))


@pytest.mark.parametrize(
    ("recordings", "text"),
    [
        ([recording("a", 3)], "1 recording, 3.0 s, no speaker known, no phones"),
        ([recording("a", 3, speaker="x", phones=HE)], "1 recording, 3.0 s, 1 speaker, 2 phones"),
        ([recording("a", 3, speaker="x", phones=HE[:1])], "1 recording, 3.0 s, 1 speaker, no phones"),
        (
            [recording(f"{i}", 3700, speaker="xyz"[i], phones=HE if i else None) for i in range(3)],
            "3 recordings, 3 h 5 min, 3 speakers, 4 phones in 2 of them",
        ),
        (
            [recording("a", 60, speaker="x"), recording("b", 0.5)],
            "2 recordings, 1 min 0 s, 1 speaker (1 recording without one), no phones",
        ),
        ([recording("a", 5, fold=1), recording("b", 5, fold=1)], "2 recordings, 10.0 s, 1 fold"),
    ],
)
def test_what_is_listed_in_one_line(recordings: list[Recording], text: str) -> None:
    assert prepare.describe(recordings) == text


def test_noise_keeps_its_folds(corpus: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.run("esc50", corpus.data / "esc10", tmp_path / "noise.jsonl", False, {})
    assert [recording.fold for recording in read_manifest(tmp_path / "noise.jsonl")] == [1, 2, 3, 4, 5]
    assert capsys.readouterr().err.endswith(" s, 5 folds\n")


def test_a_table_of_more_speech(corpus: Any, tmp_path: Path) -> None:
    prepare.run("folder", corpus.data, tmp_path / "more.jsonl", False, {"table": corpus.data / "speech.csv"})
    listed = read_manifest(tmp_path / "more.jsonl")
    assert len(listed) == 13
    assert (listed[-1].id, listed[-1].speaker, listed[-1].text) == ("201", "201", "see me")


@pytest.mark.parametrize(
    ("corpus_name", "options", "download", "message"),
    [
        ("librispech", {}, False, "unknown corpus 'librispech'; did you mean 'librispeech'?"),
        ("esc50", {"table": "a.csv"}, True, "--table does not apply to esc50, which takes no option"),
        (
            "synthetic",
            {"subset": ["a"]},
            False,
            "--subset does not apply to synthetic, which takes --utterances, --seed",
        ),
        ("folder", {}, True, "folder is not downloaded: give the folder where it is"),
    ],
)
def test_wrong_options_are_found_first(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    corpus_name: str,
    options: dict[str, Any],
    download: bool,
    message: str,
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setitem(CORPORA, "esc50", CORPORA["esc50"]._replace(download=never))
    with pytest.raises(ConfigError) as error:
        prepare.run(corpus_name, tmp_path, tmp_path / "a.jsonl", download, options)
    assert str(error.value) == message


@pytest.mark.parametrize(("megabytes", "line"), [(0, ""), (9, "downloading invented (MB): 9/9 in less than 0.1 s\n")])
def test_a_download_with_nothing_to_do_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
    corpus: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    megabytes: int,
    line: str,
) -> None:
    def download(folder: Path, *, progress: Any) -> list[str]:
        progress(megabytes * 10**6, megabytes * 10**6)
        return []

    monkeypatch.setitem(CORPORA, "invented", Corpus(lambda folder: Listing(read_manifest(corpus.speech), []), download))
    prepare.run("invented", tmp_path, tmp_path / "a.jsonl", True, {})
    assert capsys.readouterr().err.startswith(f"{line}{tmp_path / 'a.jsonl'}: 12 recordings, ")


def test_a_download_is_told_what_it_needs(monkeypatch: pytest.MonkeyPatch, corpus: Any, tmp_path: Path) -> None:
    seen = {}

    def download(folder: Path, *, subset: list[str], progress: Any) -> list[str]:
        progress(3_000_000, 9_000_000)
        progress(9_000_000, 9_000_000)
        seen.update(folder=folder, subset=subset)
        return ["a note"]

    def list_it(folder: Path, *, subset: list[str], alignments: tuple[str, ...] = ()) -> Listing:
        return Listing(read_manifest(corpus.speech), [])

    monkeypatch.setitem(CORPORA, "invented", Corpus(list_it, download))
    prepare.run("invented", tmp_path, tmp_path / "a.jsonl", True, {"subset": ["one"]})
    assert seen == {"folder": tmp_path, "subset": ["one"]}
    assert len(read_manifest(tmp_path / "a.jsonl")) == 12


def test_a_corpus_that_contradicts_itself_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = Recording(id="a", path=str(tmp_path / "absent.wav"), sample_rate=16_000, samples=10)
    monkeypatch.setitem(CORPORA, "invented", Corpus(lambda folder: Listing([gone, gone], [])))
    with pytest.raises(DataError, match="3 problems in 2 recordings: a: used 2 times as an id"):
        prepare.run("invented", tmp_path, tmp_path / "a.jsonl", False, {})
    assert not (tmp_path / "a.jsonl").exists()
