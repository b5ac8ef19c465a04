from __future__ import annotations

import io
from pathlib import Path

import pytest

from phonemi.config import load_config
from phonemi.data.manifest import read_manifest
from phonemi.errors import ConfigError, ModelError
from phonemi.progress import Progress
from phonemi.recipes import corpus
from phonemi.recipes.corpus import as_setting, new_run, synthetic_data


def test_a_setting_keeps_every_character() -> None:
    paths = ["a 'b\".jsonl", "[c], d: é # 名前"]
    assert load_config(None, [as_setting("data.speech", paths)]).data.speech == tuple(paths)
    assert load_config(None, [as_setting("representation", "no")]).representation == "no"


def test_a_new_run_that_names_its_speech_gets_none(tmp_path: Path) -> None:
    said = io.StringIO()
    settings = new_run(tmp_path, ["data.speech=[mine.jsonl]"], Progress(file=said))
    config = load_config(None, settings)
    assert (config.representation, config.data.speech, config.data.noise) == ("mini", ("mine.jsonl",), ())
    asked = new_run(tmp_path, ["data.speech=[mine.jsonl]", "representation=mini-kmeans"], Progress(file=said))
    assert load_config(None, asked).representation == "mini-kmeans"
    assert (said.getvalue(), list(tmp_path.iterdir())) == ("", [])


def test_a_setting_that_does_not_exist_is_found_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        new_run(tmp_path, ["data.speach=[]"], Progress(enabled=False))
    assert list(tmp_path.iterdir()) == []


def test_so_is_an_encoder_that_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no encoder 'maxi'"):
        new_run(tmp_path, ["representation=maxi"], Progress(enabled=False))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_new_run_without_speech_gets_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(corpus, "UTTERANCES", 4)
    monkeypatch.setattr(corpus, "SPEAKERS", 2)
    said = io.StringIO()
    data = load_config(None, new_run(tmp_path, [], Progress(file=said))).data
    assert said.getvalue().splitlines()[0] == (
        f"no speech is named: 4 synthetic utterances in {tmp_path / 'corpus'}; --speech takes yours"
    )
    assert (data.speech, data.noise) == ((f"{tmp_path}/corpus/speech.jsonl",), (f"{tmp_path}/corpus/noise.jsonl",))
    speech = read_manifest(data.speech[0])
    assert len({recording.speaker for recording in speech}) == 2
    assert all(recording.phones for recording in speech)
    assert {recording.fold for recording in read_manifest(data.noise[0])} == {1, 2, 3, 4, 5}
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").rglob("*.*")}
    assert load_config(None, synthetic_data(tmp_path, Progress(enabled=False))).data == data
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").rglob("*.*")} == written
    mine = load_config(None, new_run(tmp_path, ["data.noise=[mine.jsonl]"], Progress(enabled=False))).data
    assert (mine.speech, mine.noise) == (data.speech, ("mine.jsonl",))
