from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from phonemi.aggregations import WeightedSum
from phonemi.config import load_config
from phonemi.data.manifest import Interval, Recording, read_manifest, write_manifest
from phonemi.errors import ConfigError, DataError
from phonemi.files import read_json, write_json
from phonemi.information.mutual_information import MutualInformation, measure
from phonemi.report.headlines import protocol_text
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.results.information import Information
from phonemi.stages import aggregate, information
from phonemi.stages.data_splits import draw_evenly
from phonemi.stages.information import best_layer
from phonemi.stages.labelled_frames import labelled_frames, plan_mixtures
from phonemi.stages.run import Run
from phonemi.stages.training_batches import enhancement_mixtures


@pytest.fixture
def run(corpus: Any, tmp_path: Path) -> Run:
    return Run(tmp_path, load_config(None, corpus.settings), save=False)


def recording(number: int, speaker: str | None) -> Recording:
    return Recording(id=str(number), path="a.wav", sample_rate=16_000, samples=16_000, speaker=speaker)


def test_recordings_are_taken_from_all_speakers_alike() -> None:
    talkative = [recording(number, "a" if number < 80 else f"b{number % 4}") for number in range(100)]
    chosen = draw_evenly(talkative, 15, seed=0)
    counts = Counter(one.speaker for one in chosen)
    assert sorted(counts.values()) == [3, 3, 3, 3, 3]
    assert chosen == sorted(chosen, key=lambda one: int(one.id)), "in the order of the manifest"
    assert chosen == draw_evenly(talkative, 15, seed=0)
    assert chosen != draw_evenly(talkative, 15, seed=1)
    assert draw_evenly(talkative, None, seed=0) == draw_evenly(talkative, 100, seed=0) == talkative


def test_recordings_without_a_speaker_are_speakers_of_their_own() -> None:
    assert (
        len(draw_evenly([recording(0, "a"), recording(1, "a"), recording(2, None), recording(3, None)], 3, seed=0)) == 3
    )


def test_mixtures_of_the_splits(run: Run) -> None:
    plans = {split: plan_mixtures(run.config.information, run.data, split) for split in ("train", "validation", "test")}
    assert {split: len(plan) for split, plan in plans.items()} == {"train": 6, "validation": 4, "test": 8}
    test = [plans["test"][index] for index in range(8)]
    assert Counter(mixture.snr_db for mixture in test) == {0.0: 4, 10.0: 4}
    speakers = [{plan[index].speaker for index in range(len(plan))} for plan in plans.values()]
    noises = [{plan[index].noise_id for index in range(len(plan))} for plan in plans.values()]
    for names in (speakers, noises):
        assert sum(map(len, names)) == len(set.union(*names))


def test_speech_without_phones_cannot_be_measured(corpus: Any, tmp_path: Path) -> None:
    settings = [*corpus.settings, f"data.speech=[{tmp_path / 'speech.jsonl'}]"]
    recordings = read_manifest(corpus.speech)
    write_manifest(tmp_path / "speech.jsonl", [replace(one, phones=None) for one in recordings])
    run = Run(tmp_path, load_config(None, settings), save=False)
    with pytest.raises(DataError, match="no recording of the train split has phones: run `phonemi align`"):
        plan_mixtures(run.config.information, run.data, "train")
    foreign = [replace(one, phones=(Interval(0.0, one.duration_s, "ʃ"),)) for one in recordings]
    write_manifest(tmp_path / "speech.jsonl", foreign)
    run = Run(tmp_path, load_config(None, settings), save=False)
    with pytest.raises(DataError, match="no frame of the train split has a phone that is known: expected ARPAbet"):
        labelled_frames(run, Log1p(), "log1p")


def test_every_layer_is_measured_at_every_snr(finished: Any) -> None:
    result = read_json(finished.folder / "information.json")
    assert (result["unit"], result["classes"], result["snrs_db"]) == ("bits", 40, [0, 10])
    assert len(result["rows"]) == 8
    for place in ("average", "validation"):
        assert [(row["representation"], row["layer"]) for row in result[place]] == [
            *(("encoder", layer) for layer in range(3)),
            ("log1p", 0),
        ]
    for row in result["rows"]:
        assert row["mi_bits"] == pytest.approx(row["entropy_bits"] - row["cross_entropy_bits"])
    # The average has the frames of both SNRs.
    frames = {row["snr_db"]: row["frames"] for row in result["rows"]}
    assert result["average"][0]["frames"] == sum(frames.values())


def test_the_best_layer_is_chosen_on_the_validation_split(finished: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    run = Run(folder, load_config(folder / "config.yaml"), save=False)
    result = read_json(folder / "information.json")
    for place in ("rows", "average"):
        for row in result[place]:
            row["mi_bits"] = {("encoder", 0): 3.0}.get((row["representation"], row["layer"]), 0.0)
    for row in result["validation"]:
        row["mi_bits"] = {("encoder", 2): 1.0, ("log1p", 0): 2.0}.get((row["representation"], row["layer"]), 0.0)
    write_json(folder / "information.json", result)
    assert best_layer(run, "row layer") == 2
    write_json(folder / "information.json", {**result, "key": "another"})
    with pytest.raises(DataError, match=r"row layer needs .* another configuration or data"):
        best_layer(run, "row layer")


def test_the_row_of_the_best_layer_has_it(finished: Any) -> None:
    run = Run(finished.folder, load_config(finished.folder / "config.yaml"), save=False)
    saved = json.loads((finished.folder / "rows" / "layer" / "model" / "config.json").read_text())
    assert saved["aggregation"]["layer"] == best_layer(run, "row layer")


def test_a_result_that_is_there_is_not_made_again(finished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(information, "labelled_frames", None)
    run = Run(finished.folder, load_config(finished.folder / "config.yaml"), save=False)
    information.measure_information(run)
    assert run.folder.is_current("information.json", run.keys.information)
    wider = load_config(finished.folder / "config.yaml", ["information.hidden=9"])
    assert not run.folder.is_current("information.json", Run(finished.folder, wider, save=False).keys.information)


@pytest.fixture
def nothing_held_out(finished: Any, tmp_path: Path) -> Run:
    """As the paper's analysis: every speaker and noise that is not tested on is trained on; two probes of each slot."""
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    changes = ["data.validation_share=0", "data.noise_folds={train: [1, 2, 3, 4], validation: [], test: [5]}"]
    changes += ["information.seeds=2", "aggregate.steps=5", f"representation={folder / 'encoder' / 'model'}"]
    return Run(folder, load_config(folder / "config.yaml", changes), save=False)


def test_nothing_need_be_held_out_unless_something_is_chosen(nothing_held_out: Run) -> None:
    run = nothing_held_out
    information.measure_information(run)
    aggregate.pretrain_aggregations(run)
    result = read_json(run.folder / "information.json")
    assert result["validation"] == []
    assert len(result["average"]) == 4
    plan = plan_mixtures(run.config.information, run.data, "train")
    assert len({plan[index].speaker for index in range(len(plan))}) == 4  # of six; two are tested on
    assert isinstance(aggregate.linguistic_aggregation(run, "ws", "a row"), WeightedSum)
    with pytest.raises(ConfigError, match=r"row 'layer' chooses a layer on held-out data, and there is none: set"):
        best_layer(run, "row 'layer'")
    with pytest.raises(ConfigError, match=r"enhancers are chosen on held-out mixtures, and there are none: set"):
        enhancement_mixtures(run.config.enhance, run.data, "validation")


def test_several_probes_of_a_layer_are_one_row_with_a_spread(
    nothing_held_out: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures: list[dict[Any, list[MutualInformation]]] = []

    def noting(*arguments: Any, **options: Any) -> dict[Any, list[MutualInformation]]:
        measures.append(measure(*arguments, **options))
        return measures[-1]

    monkeypatch.setattr(information, "measure", noting)
    information.measure_information(nothing_held_out)
    result = read_json(nothing_held_out.folder / "information.json")
    first, second = ([bound.mi_bits for bounds in one.values() for bound in bounds] for one in measures[:2])
    rows = result["rows"][:6] + result["average"][:3]
    for one, other, row in zip(first, second, rows, strict=True):
        assert one != other
        assert row["mi_bits"] == pytest.approx((one + other) / 2)
        assert row["mi_bits_spread"] == pytest.approx(abs(one - other) / 2**0.5)
        assert row["mi_bits"] == pytest.approx(row["entropy_bits"] - row["cross_entropy_bits"])
    spread = max(row["mi_bits_spread"] for row in result["rows"])
    assert f"the mean of 2 that lie ±{spread:.3f} bits apart at most" in protocol_text(Information.from_json(result))


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny encoder that ships as "mini"; its folder."""
    monkeypatch.setattr("phonemi.weights.shipped.WEIGHTS", tmp_path / "weights")
    save_tiny(tmp_path / "weights" / "mini", seed=0)
    return tmp_path / "weights" / "mini"


def save_tiny(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    config = MelTransformerConfig(mels=20, dim=16, blocks=1, heads=2, feedforward=8, position_kernel=3)
    MelTransformer(config).save(folder, half=True)


@pytest.mark.slow
def test_the_command_measures_a_shipped_encoder(
    phonemi: Callable[..., Any], corpus: Any, mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [word for setting in corpus.settings[2:] for word in ("--set", setting)]
    data = ["--speech", corpus.speech, "--noise", corpus.noise]
    outcome = phonemi("information", "--model", "mini", *data, *settings)
    assert outcome.code == 0, outcome.stderr
    shown = outcome.stdout.splitlines()
    assert [line.split()[0] for line in shown[-5:]] == ["layer", "0", "1", "log1p", "information/information.json"]
    first = (tmp_path / "information" / "information.json").read_bytes()
    again = phonemi("information")
    assert again.stderr == "information: done already\n"
    assert again.stdout == outcome.stdout
    save_tiny(mini, seed=1)  # what a later version brings
    assert phonemi("information").code == 0
    assert (tmp_path / "information" / "information.json").read_bytes() != first
    unknown = phonemi("information", "--model", "maxi")
    assert unknown.error == (
        "no encoder 'maxi': expected one that ships (mini), a folder, a hub id such as microsoft/wavlm-base"
    )
