from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phonemi.data.corpora import CORPORA
from phonemi.data.corpora.corpus import Corpus, Listing
from phonemi.data.manifest import Recording, read_manifest
from phonemi.errors import ConfigError, DataError
from phonemi.stages import prepare


def test_a_corpus_becomes_a_manifest(corpus: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"alignments": [corpus.data / "librispeech" / "alignments" / "phones.ctm"], "subset": ["dev-clean"]}
    prepare.run("librispeech", corpus.data / "librispeech", tmp_path / "speech.jsonl", False, options)
    listed, expected = read_manifest(tmp_path / "speech.jsonl"), read_manifest(corpus.speech)
    assert [(r.id, r.speaker, r.samples) for r in listed] == [(r.id, r.speaker, r.samples) for r in expected]
    for recording, other in zip(listed, expected, strict=True):
        assert [p.phone for p in recording.phones or ()] == [p.phone for p in other.phones or ()]
        assert (recording.text or "").lower() == other.text
    assert f"{tmp_path / 'speech.jsonl'}: 12 recordings" in capsys.readouterr().err


def test_noise_keeps_its_folds(corpus: Any, tmp_path: Path) -> None:
    prepare.run("esc50", corpus.data / "esc10", tmp_path / "noise.jsonl", False, {})
    assert [recording.fold for recording in read_manifest(tmp_path / "noise.jsonl")] == [1, 2, 3, 4, 5]


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
