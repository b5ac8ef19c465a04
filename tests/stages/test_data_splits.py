from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi.config import load_config
from phonemi.data.manifest import read_manifest, write_manifest
from phonemi.errors import ConfigError, DataError
from phonemi.stages.data_splits import DataSplits
from phonemi.stages.run import Run
from phonemi.weights.shipped import WEIGHTS
from phonemi.weights.training_record import TrainingRecord

MakeRun = Callable[..., Run]


@pytest.fixture
def make(corpus: Any, tmp_path: Path) -> MakeRun:
    """A run on the tiny corpus, with changes to its settings."""

    def make(*changes: str, folder: str = "run", save: bool = True) -> Run:
        return Run(tmp_path / folder, load_config(None, [*corpus.settings, *changes]), save=save)

    return make


def test_no_speaker_and_no_fold_is_in_two_splits(make: MakeRun) -> None:
    run = make()
    speakers = {split: {recording.speaker for recording in found} for split, found in run.data.speech.items()}
    assert {split: len(found) for split, found in speakers.items()} == {"train": 3, "validation": 1, "test": 2}
    assert len(set.union(*speakers.values())) == 6
    folds = {split: {recording.fold for recording in found} for split, found in run.data.noise.items()}
    assert folds == {"train": {1, 2, 3}, "validation": {4}, "test": {5}}
    assert [r.id for r in read_manifest(run.folder / "manifests" / "speech.test.jsonl")] == [
        r.id for r in run.data.speech["test"]
    ]


def test_speech_for_the_encoder_has_nobody_who_is_held_out(make: MakeRun, corpus: Any, tmp_path: Path) -> None:
    run = make()
    trained, held_out = run.data.speech["train"][0], run.data.speech["test"][0]
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
    found = make(f"data.encoder_speech=[{tmp_path / 'more.jsonl'}]").data.encoder_speech
    assert [recording.id for recording in found] == [*(r.id for r in run.data.speech["train"]), "new"]


def test_who_trained_the_encoder_is_never_held_out(make: MakeRun, corpus: Any, tmp_path: Path) -> None:
    run = make()
    held_out = sorted({r.speaker for split in ("validation", "test") for r in run.data.speech[split]} - {None})
    trained = sorted({r.speaker for r in run.data.speech["train"]} - {None})

    def splits(speakers: list[str], *changes: str) -> DataSplits:
        settings = load_config(None, [*corpus.settings, *changes]).data
        return DataSplits(settings, 0, tmp_path / "cache", encoder_speakers=speakers)

    assert splits(trained).version == splits([]).version == run.data.version, "the splits are the same"
    of_one = splits(held_out[:1])
    assert of_one.version != run.data.version
    assert {split: len({r.speaker for r in found}) for split, found in of_one.speech.items()} == {
        "train": 3, "validation": 1, "test": 2
    }  # fmt: skip
    assert held_out[0] in {r.speaker for r in of_one.speech["train"]}
    with pytest.raises(DataError, match=r"1 of whom may be held out.* \(the encoder was trained on 5 of them\)"):
        splits([*trained, *held_out[:2]]).speech  # noqa: B018
    write_manifest(tmp_path / "test.jsonl", [r for r in read_manifest(corpus.speech) if r.speaker in held_out])
    write_manifest(tmp_path / "train.jsonl", [r for r in read_manifest(corpus.speech) if r.speaker in trained])
    own = f"data.speech=[{tmp_path / 'train.jsonl'}]", f"data.test_speech=[{tmp_path / 'test.jsonl'}]"
    assert {r.speaker for r in splits(held_out[:1], *own).speech["test"]} == set(held_out[1:])
    kept = f"data.keep_in_training=[{held_out[0]}]"  # of another encoder that is compared
    assert splits([], *own, kept).version != splits([], *own).version
    assert {r.speaker for r in splits([], *own, kept).speech["test"]} == set(held_out[1:])
    with pytest.raises(DataError, match=r"trained on every speaker of data\.test_speech"):
        splits(held_out, *own).speech  # noqa: B018


def test_who_trained_the_encoder_of_the_phone_judge_is_not_held_out_where_it_teaches(
    make: MakeRun, corpus: Any, tmp_path: Path
) -> None:
    held_out = make().data.speech["test"][0].speaker
    judge = shutil.copytree(WEIGHTS / "phone-judge", tmp_path / "judge")
    shutil.copytree(WEIGHTS / "mini", judge / "encoder")
    TrainingRecord("prediction of phones", 1.0, (str(held_out),)).save(judge / "encoder")
    settings = json.loads((judge / "config.json").read_text())
    (judge / "config.json").write_text(json.dumps(settings | {"encoder": "encoder"}))
    teaches = f"enhance.phone_judge={judge}", "enhance.phone_weight=0.1"
    assert held_out not in {r.speaker for r in make(*teaches, folder="taught").data.speech["test"]}


def read_samples(path: Path) -> int:
    from phonemi import audio

    return audio.probe(path).samples


def test_manifests_are_checked_against_their_files(make: MakeRun, corpus: Any, tmp_path: Path) -> None:
    recordings = read_manifest(corpus.speech)
    recordings[0] = replace(recordings[0], path=str(tmp_path / "absent.flac"))
    write_manifest(tmp_path / "speech.jsonl", recordings)
    with pytest.raises(DataError) as error:
        make(f"data.speech=[{tmp_path / 'speech.jsonl'}]")
    assert str(error.value).startswith(f"data.speech ({tmp_path / 'speech.jsonl'}): 1 problem in 12 recordings: ")
    with pytest.raises(DataError, match="used 2 times as an id"):
        make(f"data.speech=[{corpus.speech}, {corpus.speech}]")
    with pytest.raises(DataError, match=r"data\.noise names no manifest"):
        _ = make("data.noise=[]").data.noise


@pytest.mark.slow
def test_test_speech_of_its_own_leaves_the_rest_for_training(make: MakeRun, corpus: Any, tmp_path: Path) -> None:
    recordings = read_manifest(corpus.speech)
    write_manifest(tmp_path / "train.jsonl", recordings[:8])
    write_manifest(tmp_path / "test.jsonl", recordings[8:])
    own = f"data.speech=[{tmp_path / 'train.jsonl'}]", f"data.test_speech=[{tmp_path / 'test.jsonl'}]"
    run = make(*own)
    assert [r.id for r in run.data.speech["test"]] == [r.id for r in recordings[8:]]
    assert len(run.data.speech["train"]) + len(run.data.speech["validation"]) == 8
    speakers = sorted({str(recording.speaker) for recording in recordings[8:]})
    everyone = f"data.keep_in_training=[{', '.join(speakers)}]"
    with pytest.raises(DataError, match=r"data.keep_in_training names every speaker of data.test_speech: name others"):
        make(*own, everyone, folder="x").data.speech  # noqa: B018
    overlapping = make(f"data.test_speech=[{tmp_path / 'test.jsonl'}]", folder="other")
    with pytest.raises(DataError, match=r"data.test_speech shares 2 speakers with data.speech \(ls-105\): leave"):
        overlapping.data.speech  # noqa: B018


def test_dws_may_learn_from_speech_and_noise_of_its_own(make: MakeRun, corpus: Any, tmp_path: Path) -> None:
    plain = make()
    assert plain.data.dynamic_speech == plain.data.speech["train"]
    assert plain.data.dynamic_noise_store() is plain.data.noise_store("train")
    held_out = plain.data.speech["test"][0]
    new = replace(plain.data.speech["train"][0], id="new", path=str(corpus.data / "more" / "201.flac"), speaker="201")
    new = replace(new, samples=read_samples(corpus.data / "more" / "201.flac"), phones=None)
    write_manifest(tmp_path / "dynamic.jsonl", [held_out, new])
    write_manifest(tmp_path / "hum.jsonl", [replace(read_manifest(corpus.noise)[4], id="hum", fold=None)])
    run = make(f"data.dynamic_speech=[{tmp_path / 'dynamic.jsonl'}]", f"data.dynamic_noise=[{tmp_path / 'hum.jsonl'}]")
    assert [recording.id for recording in run.data.dynamic_speech] == ["new"]
    assert run.data.dynamic_noise_store().draw(100, np.random.default_rng(0))[0] == "hum"


def test_pairs_are_for_training_and_validation_alike(make: MakeRun, corpus: Any) -> None:
    assert make().data.pairs("train") == []
    with pytest.raises(ConfigError, match="train_pairs and validation_pairs belong together"):
        make(f"data.train_pairs=[{corpus.speech}]")
