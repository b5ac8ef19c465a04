from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from phonemi import audio
from phonemi.config import load_config
from phonemi.data.alignment import IGNORE
from phonemi.data.manifest import read_manifest, write_manifest
from phonemi.errors import ConfigError, DataError, ModelError
from phonemi.progress import Progress
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.representations.names import load_representation
from phonemi.stages import pretrain
from phonemi.stages.pretrain import MaskedPrediction, cluster
from phonemi.stages.protocol import _heard_before
from phonemi.stages.run import Run
from phonemi.weights.training_record import TrainingRecord, find_training_record


@pytest.fixture
def run_stage(corpus: Any, tmp_path: Path) -> Callable[..., Run]:
    """Pre-train in a folder, with changes to the tiny settings."""

    def run_stage(folder: str, *changes: str) -> Run:
        run = Run(tmp_path / folder, load_config(None, [*corpus.settings, *changes]))
        pretrain.pretrain_encoder(run)
        return run

    return run_stage


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / "encoder" / "model" / "model.safetensors")


def equal(first: Run, second: Run) -> bool:
    one, other = weights_of(first), weights_of(second)
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_an_encoder_is_left_that_can_be_loaded(run_stage: Callable[..., Run]) -> None:
    run = run_stage("run")
    result = json.loads((run.folder / "encoder" / "result.json").read_text())
    assert result["key"] == run.keys.encoder
    assert [(round_["round"], round_["units"]) for round_ in result["rounds"]] == [(1, "mel"), (2, "encoder")]
    assert all(0 <= round_["validation_accuracy"] <= 1 for round_ in result["rounds"])
    states, lengths = run.encoder(torch.randn(2, 16_000))
    assert states.shape == (3, 2, 49, 16)
    assert lengths.tolist() == [49, 49]
    # Its statistics are those of the speech, so that features come out standardised.
    speech = [torch.from_numpy(audio.load(recording.path))[None] for recording in run.data.encoder_speech]
    features = torch.cat([run.encoder.features(waveform)[0] for waveform in speech])
    assert features.mean().item() == pytest.approx(0, abs=0.01)
    assert features.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_weights_are_a_function_of_the_seed(run_stage: Callable[..., Run]) -> None:
    first = run_stage("first")
    torch.manual_seed(12345)  # whatever the process did before
    assert equal(first, run_stage("second"))
    assert not equal(first, run_stage("third", "seed=1", "data.test_share=0.3"))


@pytest.mark.slow
def test_a_finished_round_is_not_repeated(run_stage: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_stage("whole")
    labels: list[str] = []
    fit = pretrain.fit

    def stopped(*arguments: Any, **settings: Any) -> Any:
        labels.append(settings["label"])
        if settings["label"].startswith("round 2"):
            raise KeyboardInterrupt
        return fit(*arguments, **settings)

    monkeypatch.setattr(pretrain, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_stage("run")
    steps = []
    monkeypatch.setattr(pretrain, "fit", lambda *a, **s: fit(*a, **s | {"batch_at": noted(s["batch_at"], steps)}))
    run = run_stage("run")
    assert labels == ["round 1 (mel)", "round 2 (encoder)"]
    assert sorted(set(steps)) == list(range(12)), "only the second round made batches"
    assert equal(whole, run)
    monkeypatch.setattr(pretrain, "fit", None)
    run_stage("run")  # all is done


def noted(batch_at: Callable[[int], Any], steps: list[int]) -> Callable[[int], Any]:
    def noting(step: int) -> Any:
        steps.append(step)
        return batch_at(step)

    return noting


def test_a_long_pretraining_is_announced_once(corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phonemi.training.forecast.LONG_S", 0)
    out = io.StringIO()
    pretrain.pretrain_encoder(Run(tmp_path, load_config(None, corpus.settings), Progress(file=out)))
    lines = [line for line in out.getvalue().splitlines() if "on this machine" in line]
    assert [re.sub(r"\d+ min", "N min", line) for line in lines] == [
        "pretrain: about N min on this machine for 24 updates in 2 rounds; "
        "fewer steps in encoder.rounds for a first look"
    ]


def test_another_encoder_leaves_nothing_to_do(run_stage: Callable[..., Run]) -> None:
    run = run_stage("run", "representation=microsoft/wavlm-base-plus")
    assert not (run.folder / "encoder").exists()


@pytest.mark.slow
def test_phones_as_units(run_stage: Callable[..., Run]) -> None:
    run = run_stage("run", "encoder.rounds=[{units: phones, steps: 4}]")
    rounds = json.loads((run.folder / "encoder" / "result.json").read_text())["rounds"]
    assert rounds[0]["validation_loss"] < 2 * np.log(40)


@pytest.mark.slow
def test_a_teacher_is_imitated(run_stage: Callable[..., Run]) -> None:
    round_ = "{units: teacher, teacher: mini, layers: [6], steps: 60, learning_rate: 0.003, continues: true}"
    changes = [f"encoder.rounds=[{{units: mel, steps: 4}}, {round_}]", "encoder.noisy_share=0.5"]
    run = run_stage("run", *changes)
    first, second = json.loads((run.folder / "encoder" / "result.json").read_text())["rounds"]
    assert "validation_accuracy" in first
    assert 0.3 < second["validation_similarity"] < 1
    record = find_training_record(str(run.folder / "encoder" / "model"))
    assert record is not None
    assert "k-means units (self-supervised; 50 % of the input noisy), then distillation of mini" in record.method
    # The states of the teacher are kept: another training asks it nothing.
    (states,) = (run.folder / "cache" / "teacher").iterdir()
    before = states.stat().st_mtime_ns
    run_stage("run", *changes, "encoder.batch=3")
    assert states.stat().st_mtime_ns == before


def test_the_states_of_the_teacher_lie_at_the_frames_of_the_stream(corpus: Any, tmp_path: Path) -> None:
    round_ = "{units: teacher, teacher: mini, layers: [2, 6]}"
    run = Run(tmp_path / "run", load_config(None, [*corpus.settings, f"encoder.rounds=[{round_}]", "encoder.blocks=3"]))
    recordings = run.data.encoder_speech
    settings = run.config.encoder
    stream = pretrain._load_stream(settings, pretrain._new_encoder(settings), recordings, run.progress)
    teacher = load_representation("mini")
    states = pretrain._teacher_states(run, settings.rounds[0], teacher, stream, recordings)
    assert states.shape == (len(stream.features), 2, 256)
    for index in (0, len(recordings) - 1):
        own = teacher(torch.from_numpy(audio.load(recordings[index].path))[None]).states[[2, 6], 0].transpose(0, 1)
        kept = states[stream.starts[index] : stream.starts[index + 1]]
        torch.testing.assert_close(kept.float(), functional.layer_norm(own, (256,)), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("round_", "message"),
    [
        ("{units: teacher, teacher: mini, layers: [7]}", r"layers \[7\] of mini: it has 0 to 6"),
        ("{units: teacher, teacher: mini, layers: [5, 6]}", "the encoder can predict 1 of them"),
        ("{units: teacher, teacher: mini}", "a round has a teacher and its layers if `units` is 'teacher'"),
        ("{units: mel, teacher: mini}", "a round has a teacher and its layers if `units` is 'teacher'"),
        ("{units: mel, steps: 4}, {units: teacher, teacher: nobody, layers: [1]}", "nobody"),
        ("{units: mel, continues: true}", "the first round has no weights to go on with"),
    ],
)
def test_a_teacher_that_cannot_be_imitated(
    run_stage: Callable[..., Run], round_: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, ModelError), match=message):
        run_stage("run", f"encoder.rounds=[{round_}]")
    assert not (tmp_path / "run" / "encoder").exists(), "no round was begun"


def test_whoever_a_teacher_has_heard_the_pupil_has_heard(corpus: Any, tmp_path: Path) -> None:
    speakers = sorted({recording.speaker or "" for recording in read_manifest(corpus.speech)})
    load_representation("mini").save(tmp_path / "teacher")
    round_ = f"{{units: teacher, teacher: {tmp_path / 'teacher'}, layers: [6], steps: 1}}"
    settings = [*corpus.settings, f"encoder.rounds=[{round_}]"]

    def pupil(folder: str) -> tuple[Run, TrainingRecord]:
        run = Run(tmp_path / folder, load_config(None, settings))
        pretrain.pretrain_encoder(run)
        record = find_training_record(str(run.folder / "encoder" / "model"))
        assert record is not None
        return run, record

    run, record = pupil("of a stranger")
    assert not record.all_speakers_known
    assert _heard_before(run, record) == "whether it has heard the test speakers is not known"
    heard = {recording.speaker for recording in run.data.speech["test"]}
    TrainingRecord("nothing", 1.0, (*heard, "a stranger")).save(tmp_path / "teacher")
    run, record = pupil("of a known one")
    assert not heard & {recording.speaker for recording in run.data.speech["test"]}
    assert record.all_speakers_known
    assert {*heard, "a stranger"} < set(record.speakers) < {*speakers, "a stranger"}
    assert _heard_before(run, record) == "none of the test speakers among them"


def test_phones_that_are_not_there(run_stage: Callable[..., Run], corpus: Any, tmp_path: Path) -> None:
    write_manifest(tmp_path / "speech.jsonl", [replace(r, phones=None) for r in read_manifest(corpus.speech)])
    with pytest.raises(DataError, match="no recording has any: run `phonemi align` first"):
        run_stage("run", "encoder.rounds=[{units: phones}]", f"data.speech=[{tmp_path / 'speech.jsonl'}]")


def test_a_recording_shorter_than_a_frame_is_named(run_stage: Callable[..., Run], corpus: Any, tmp_path: Path) -> None:
    audio.save(tmp_path / "short.wav", np.ones(399) / 2, 16_000)
    short = replace(
        read_manifest(corpus.speech)[0], id="short", path=str(tmp_path / "short.wav"), samples=399, speaker=None
    )
    write_manifest(tmp_path / "more.jsonl", [replace(short, phones=None)])
    with pytest.raises(DataError, match="short has 399 samples, fewer than 400"):
        run_stage("run", f"data.encoder_speech=[{tmp_path / 'more.jsonl'}]")


def test_clusters_are_the_nearest_centroids() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    random = torch.Generator().manual_seed(0)
    wanted = torch.arange(300) % 3
    vectors = (centres[wanted] + 0.1 * torch.randn(300, 2, generator=random)).half()
    units = cluster(vectors, 12, seed=0)
    found = {(int(unit), int(centre)) for unit, centre in zip(units, wanted, strict=True)}
    assert len(found) == len({unit for unit, _ in found}), "no unit has vectors of two centres"
    assert {centre for _, centre in found} == {0, 1, 2}
    assert torch.equal(units, cluster(vectors, 12, seed=0))
    assert int(cluster(vectors[:2], 100, seed=0).max()) <= 1, "never more clusters than vectors"


def test_only_masked_frames_with_a_unit_count() -> None:
    torch.manual_seed(0)
    config = MelTransformerConfig(mels=20, dim=16, blocks=1, heads=2, feedforward=32, position_kernel=5)
    task = MaskedPrediction(MelTransformer(config), 5)
    features, mask = torch.randn(2, 12, 40), torch.zeros(2, 12, dtype=torch.bool)
    mask[:, 3:6] = True
    units = torch.randint(0, 5, (2, 12))
    loss, share = task(features, mask, units)
    elsewhere = torch.where(mask, units, (units + 1) % 5)
    assert torch.equal(task(features, mask, elsewhere)[0], loss)
    assert 0 <= share <= 1
    loss, share = task(features, mask, torch.full_like(units, IGNORE))
    assert (loss.item(), share.item()) == (0, 0)


def test_frames_that_are_seen_count_by_their_weight() -> None:
    torch.manual_seed(0)
    config = MelTransformerConfig(mels=20, dim=16, blocks=1, heads=2, feedforward=32, position_kernel=5)
    encoder = MelTransformer(config)
    masked_only, both = MaskedPrediction(encoder, 5), MaskedPrediction(encoder, 5, unmasked_weight=0.5)
    both.head = masked_only.head
    features, units = torch.randn(2, 12, 40), torch.randint(0, 5, (2, 12))
    mask = torch.zeros(2, 12, dtype=torch.bool)
    mask[:, 3:6] = True
    logits = masked_only.head(encoder.encode(features, mask=mask).states[-1])
    seen = torch.nn.functional.cross_entropy(logits[~mask], units[~mask])
    loss, share = masked_only(features, mask, units)
    weighted, same_share = both(features, mask, units)
    assert weighted.item() == pytest.approx(loss.item() + 0.5 * seen.item(), rel=1e-5)
    assert share == same_share


@pytest.mark.slow
def test_noisy_inputs(run_stage: Callable[..., Run]) -> None:
    run = run_stage("noisy", "encoder.noisy_share=1", "encoder.mixed_share=0.5", "data.babble_share=0.5")
    assert not equal(run, run_stage("clean"))
    assert equal(run, run_stage("again", "encoder.noisy_share=1", "encoder.mixed_share=0.5", "data.babble_share=0.5"))
