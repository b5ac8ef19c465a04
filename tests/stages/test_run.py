from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonemi.config import load_config
from phonemi.data.manifest import read_manifest, write_manifest
from phonemi.errors import ConfigError, DataError
from phonemi.stages.run import Run

MakeRun = Callable[..., Run]


@pytest.fixture
def make(corpus: Any, tmp_path: Path) -> MakeRun:
    """A run on the tiny corpus, with changes to its settings."""

    def make(*changes: str, folder: str = "run", save: bool = True) -> Run:
        return Run(tmp_path / folder, load_config(None, [*corpus.settings, *changes]), save=save)

    return make


def test_no_speaker_and_no_fold_is_in_two_splits(make: MakeRun) -> None:
    run = make()
    speakers = {split: {recording.speaker for recording in found} for split, found in run.speech.items()}
    assert {split: len(found) for split, found in speakers.items()} == {"train": 3, "validation": 1, "test": 2}
    assert len(set.union(*speakers.values())) == 6
    folds = {split: {recording.fold for recording in found} for split, found in run.noise.items()}
    assert folds == {"train": {1, 2, 3}, "validation": {4}, "test": {5}}
    assert [r.id for r in read_manifest(run.folder / "manifests" / "speech.test.jsonl")] == [
        r.id for r in run.speech["test"]
    ]


def test_speech_for_the_encoder_has_nobody_who_is_held_out(make: MakeRun, corpus: Any, tmp_path: Path) -> None:
    run = make()
    trained, held_out = run.speech["train"][0], run.speech["test"][0]
    more = [
        replace(trained, id="same file, other id", speaker=None),
        replace(held_out, id="same speaker, other id"),
        replace(held_out, speaker="same id, other speaker"),
        replace(held_out, id="same file of a test speaker", speaker=None),
        replace(trained, id="new", path=str(corpus.data / "more" / "201.flac"), speaker=None, phones=None),
    ]
    sizes = {"samples": read_samples(corpus.data / "more" / "201.flac")}
    more[-1] = replace(more[-1], **sizes)
    write_manifest(tmp_path / "more.jsonl", more)
    found = make(f"data.encoder_speech=[{tmp_path / 'more.jsonl'}]").encoder_speech
    assert [recording.id for recording in found] == [*(r.id for r in run.speech["train"]), "new"]


def read_samples(path: Path) -> int:
    from phonemi import audio

    return audio.probe(path).samples


def test_keys_change_with_what_results_depend_on(make: MakeRun, corpus: Any, tmp_path: Path) -> None:
    run = make()
    assert run.key("a", run.config.encoder) == make(folder="other").key("a", run.config.encoder)
    assert run.key("a") != run.key("b")
    assert run.key("a") != make("seed=1").key("a")
    assert run.key("a") != make("data.test_share=0.2").key("a")
    assert run.encoder_key != make("encoder.dim=32").encoder_key
    # The same manifest elsewhere is the same data; another recording is not.
    copy = tmp_path / "copy.jsonl"
    write_manifest(copy, read_manifest(corpus.speech))
    copy.write_text(copy.read_text().replace(str(corpus.data) + "/", ""))
    assert copy.read_text() == corpus.speech.read_text()
    assert run.key("a") == make(f"data.speech=[{copy}]").key("a")
    write_manifest(copy, read_manifest(corpus.speech)[:-1])
    assert run.key("a") != make(f"data.speech=[{copy}]").key("a")


def test_results_of_this_configuration(make: MakeRun) -> None:
    run = make()
    assert not run.is_done("a.json", "key")
    run.write("a.json", {"key": "key", "value": 1})
    assert run.is_done("a.json", "key")
    assert not run.is_done("a.json", "other")
    assert run.read("a.json", "key", "the table", "evaluate")["value"] == 1
    with pytest.raises(DataError) as error:
        run.read("a.json", "other", "the table", "evaluate")
    assert "is of another configuration or data" in str(error.value)
    with pytest.raises(DataError) as error:
        run.read("b.json", "key", "the table", "evaluate")
    assert str(error.value) == (
        f"the table needs {run.folder / 'b.json'}, which is not there: run `phonemi evaluate --run {run.folder}` first"
    )
    run.write("c.json", ["not an object"])
    assert not run.is_done("c.json", "key")


def test_times_add_up_over_interruptions(make: MakeRun) -> None:
    run = make()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), run.timed("train"):
            raise KeyboardInterrupt
    with run.timed("evaluate"):
        pass
    stages = json.loads((run.folder / "timings.json").read_text())["stages"]
    assert [stage["stage"] for stage in stages] == ["train", "evaluate"]


def test_a_process_of_a_stage_writes_neither_configuration_nor_manifests(make: MakeRun) -> None:
    run = make(save=False)
    assert run.speech["train"]
    assert [path.name for path in run.folder.iterdir()] == ["log.jsonl"]


def test_nothing_is_made_for_a_run_that_cannot_be(make: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    for change, message in {
        "data.speech=[absent.jsonl]": "manifest absent.jsonl does not exist: make it with `phonemi prepare`",
        f"data.speech=[{tmp_path}]": "does not exist: make it with `phonemi prepare`",
        f"data.noise=[{tmp_path / 'binary.jsonl'}]": "is not a manifest",
        "enhance.rows=[ws-hybird]": "did you mean 'ws-hybrid'?",
    }.items():
        with pytest.raises((DataError, ConfigError)) as error:
            make(change, folder="none")
        assert message in str(error.value)
    assert not (tmp_path / "none").exists()


def test_manifests_are_checked_against_their_files(make: MakeRun, corpus: Any, tmp_path: Path) -> None:
    recordings = read_manifest(corpus.speech)
    recordings[0] = replace(recordings[0], path=str(tmp_path / "absent.flac"))
    write_manifest(tmp_path / "speech.jsonl", recordings)
    with pytest.raises(DataError) as error:
        _ = make(f"data.speech=[{tmp_path / 'speech.jsonl'}]").speech
    assert str(error.value).startswith(f"data.speech ({tmp_path / 'speech.jsonl'}): 1 problem in 12 recordings: ")
    twice = make(f"data.speech=[{corpus.speech}, {corpus.speech}]")
    with pytest.raises(DataError, match="used 2 times as an id"):
        _ = twice.speech
    with pytest.raises(DataError, match=r"data\.noise names no manifest"):
        _ = make("data.noise=[]").noise


def test_devices(make: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert make().device == torch.device("cpu")
    with pytest.raises(ConfigError, match="torch finds no GPU here"):
        _ = make("device=cuda").device


def test_an_encoder_of_another_configuration_is_not_taken(finished: Any, corpus: Any) -> None:
    settings = load_config(finished.folder / "config.yaml")
    assert Run(finished.folder, settings, save=False).representation.layers == 3
    wider = settings.model_copy(update={"encoder": settings.encoder.model_copy(update={"dim": 32})})
    with pytest.raises(DataError, match=f"run `phonemi pretrain --run {finished.folder}`"):
        _ = Run(finished.folder, wider, save=False).representation


def test_results_of_another_version_of_a_shipped_encoder_are_not_current(
    make: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonemi.weights.shipped.WEIGHTS", tmp_path / "weights")
    keys = {make("representation=mini").encoder_key}
    for content in ("first", "second"):
        (tmp_path / "weights" / "mini").mkdir(parents=True, exist_ok=True)
        (tmp_path / "weights" / "mini" / "model.safetensors").write_text(content)
        keys.add(make("representation=mini").encoder_key)
    assert len(keys) == 3
    assert make("representation=mini").encoder_key in keys
    hub = make("representation=microsoft/wavlm-base-plus")
    assert hub.encoder_key == hub.key("microsoft/wavlm-base-plus", None)
    assert hub.representation_name == "wavlm-base-plus"
    assert make("representation=mini-kmeans").representation_name == "mini-kmeans"


def test_test_speech_of_its_own_leaves_the_rest_for_training(make: MakeRun, corpus: Any, tmp_path: Path) -> None:
    recordings = read_manifest(corpus.speech)
    write_manifest(tmp_path / "train.jsonl", recordings[:8])
    write_manifest(tmp_path / "test.jsonl", recordings[8:])
    run = make(f"data.speech=[{tmp_path / 'train.jsonl'}]", f"data.test_speech=[{tmp_path / 'test.jsonl'}]")
    assert [r.id for r in run.speech["test"]] == [r.id for r in recordings[8:]]
    assert len(run.speech["train"]) + len(run.speech["validation"]) == 8
    overlapping = make(f"data.test_speech=[{tmp_path / 'test.jsonl'}]", folder="other")
    with pytest.raises(DataError, match=r"data.test_speech has 2 speakers of data.speech \(ls-105\): leave them out"):
        overlapping.speech  # noqa: B018


def test_dws_may_learn_from_speech_and_noise_of_its_own(make: MakeRun, corpus: Any, tmp_path: Path) -> None:
    plain = make()
    assert plain.dynamic_speech == plain.speech["train"]
    assert plain.dynamic_noise_store() is plain.noise_store("train")
    held_out = plain.speech["test"][0]
    new = replace(plain.speech["train"][0], id="new", path=str(corpus.data / "more" / "201.flac"), speaker="201")
    new = replace(new, samples=read_samples(corpus.data / "more" / "201.flac"), phones=None)
    write_manifest(tmp_path / "dynamic.jsonl", [held_out, new])
    write_manifest(tmp_path / "hum.jsonl", [replace(read_manifest(corpus.noise)[4], id="hum", fold=None)])
    run = make(f"data.dynamic_speech=[{tmp_path / 'dynamic.jsonl'}]", f"data.dynamic_noise=[{tmp_path / 'hum.jsonl'}]")
    assert [recording.id for recording in run.dynamic_speech] == ["new"]
    assert run.dynamic_noise_store().draw(100, np.random.default_rng(0))[0] == "hum"
    assert len({made.key() for made in (plain, run, make(f"data.dynamic_noise=[{tmp_path / 'hum.jsonl'}]"))}) == 3


def test_pairs_are_for_training_and_validation_alike(make: MakeRun, corpus: Any) -> None:
    assert make().pairs("train") == []
    with pytest.raises(ConfigError, match="train_pairs and validation_pairs belong together"):
        make(f"data.train_pairs=[{corpus.speech}]")
