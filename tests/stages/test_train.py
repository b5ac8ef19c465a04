from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from worker_functions import die

from phonemi import audio
from phonemi.aggregations import SingleLayer, WeightedSum
from phonemi.config import load_config
from phonemi.data.manifest import write_manifest
from phonemi.data.sample import syllables
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.errors import ConfigError, PhonemiError
from phonemi.information.phones_kept import PhoneJudge
from phonemi.metrics.intrusive import si_sdr
from phonemi.progress import Progress
from phonemi.signal import valid_mask
from phonemi.stages import train
from phonemi.stages.aggregate import linguistic_aggregation
from phonemi.stages.run import Run
from phonemi.stages.system_parts import initial_aggregation, new_network
from phonemi.stages.test_sets import find_signal
from phonemi.stages.trained_models import is_trained
from phonemi.stages.training_batches import Batch, StoredInputs, TrainingBatches, enhancement_mixtures, stored_states
from phonemi.stages.training_model import TrainingModel, si_sdr_db
from phonemi.systems import find_system

QUICK = ["enhance.steps=10", "enhance.validate_every=5"]


@pytest.fixture
def run(finished: Any) -> Run:
    return Run(finished.folder, load_config(finished.folder / "config.yaml"), save=False)


@pytest.fixture
def untrained(finished: Any, tmp_path: Path) -> Run:
    """A run whose rows are still to be trained, quickly."""
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.rmtree(folder / "rows")
    settings = load_config(folder / "config.yaml", QUICK)
    return Run(folder, settings, save=False)


def weights_of(folder: Path, row: str) -> dict[str, torch.Tensor]:
    return load_file(folder / "rows" / row / "model" / "model.safetensors")


def test_mixtures_of_the_two_splits_have_nothing_in_common(run: Run) -> None:
    sets = {split: enhancement_mixtures(run.config.enhance, run.data, split) for split in ("train", "validation")}
    assert {split: len(mixtures) for split, mixtures in sets.items()} == {"train": 6, "validation": 1}
    for mixture in (sets["train"][index] for index in range(6)):
        assert len(mixture.noisy) == len(mixture.clean) == 8000
        assert mixture.snr_db == 5
        assert mixture.speaker != sets["validation"][0].speaker
        assert mixture.noise_id != sets["validation"][0].noise_id


def test_an_acoustic_sum_starts_with_equal_logits(run: Run) -> None:
    found = initial_aggregation(run, find_system("ws-acoustic"))
    assert isinstance(found, WeightedSum)
    assert found.logits().tolist() == [0, 0, 0]
    assert all(parameter.requires_grad for parameter in found.parameters())


def test_what_each_row_may_change(run: Run) -> None:
    free = {
        name: {
            key for key, value in initial_aggregation(run, find_system(name)).named_parameters() if value.requires_grad
        }
        for name in ("layer-1", "ws-linguistic", "ws-hybrid", "dws-linguistic", "dws-hybrid")
    }
    assert free == {
        "layer-1": set(),
        "ws-linguistic": set(),
        "ws-hybrid": {"front_logit"},
        "dws-linguistic": set(),
        "dws-hybrid": {"front_bias"},
    }
    assert isinstance(initial_aggregation(run, find_system("layer-1")), SingleLayer)


def test_a_hybrid_row_changes_the_logit_of_layer_0_alone(run: Run) -> None:
    before = linguistic_aggregation(run, "ws", "test").state_dict()
    after = weights_of(run.folder.path, "ws-hybrid")
    assert torch.equal(after["aggregation.block_logits"], before["block_logits"])
    assert not torch.equal(after["aggregation.front_logit"], before["front_logit"])


def test_a_linguistic_row_changes_nothing_and_an_acoustic_row_everything(run: Run) -> None:
    for kind in ("ws", "dws"):
        before = linguistic_aggregation(run, kind, "test").state_dict()
        after = weights_of(run.folder.path, f"{kind}-linguistic")
        assert all(torch.equal(after[f"aggregation.{name}"], value) for name, value in before.items())
    acoustic = weights_of(run.folder.path, "ws-acoustic")
    assert acoustic["aggregation.front_logit"].all()
    assert acoustic["aggregation.block_logits"].all()


def test_rows_start_from_the_same_mask_enhancer(untrained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that rows differ by what conditions them, and by nothing that happened in the process before."""
    first: dict[str, torch.Tensor] = {}

    def noting(model: Any, **settings: Any) -> None:
        first[settings["label"]] = model.network.output.weight.detach().clone()
        raise StopIteration

    monkeypatch.setattr(train, "fit", noting)
    for name in ("layer", "ws-acoustic", "ws-linguistic", "ws-hybrid"):
        with pytest.raises(StopIteration):
            train.train_systems(Run(untrained.folder.path, untrained.config, save=False), name)
    assert len(first) == 4
    assert all(torch.equal(weights, first["layer"]) for weights in first.values())


@pytest.mark.parametrize(
    ("row", "frozen"), [("layer", True), ("ws-linguistic", True), ("ws-hybrid", False), ("ws-acoustic", False)]
)
def test_a_frozen_row_never_runs_its_aggregation_in_a_step(
    untrained: Run, monkeypatch: pytest.MonkeyPatch, row: str, frozen: bool
) -> None:
    calls: Counter[str] = Counter()
    place = "before"
    fit = train.fit
    for kind in (SingleLayer, WeightedSum):
        forward = kind.forward

        def noting(self: Any, states: Any, forward: Any = forward) -> Any:
            calls[place] += 1
            return forward(self, states)

        monkeypatch.setattr(kind, "forward", noting)
    for split in train.SPLITS:
        stored_states(untrained, split)
    monkeypatch.setattr(untrained.encoder, "forward", None)  # from here on, nobody runs the encoder

    def fitting(*arguments: Any, **settings: Any) -> Any:
        nonlocal place
        place = "training"
        try:
            return fit(*arguments, **settings)
        finally:
            place = "after"

    monkeypatch.setattr(train, "fit", fitting)
    train.train_systems(untrained, row)
    assert calls["after"] == 0
    assert calls["before"] == (2 if frozen else 0), "once a split"
    assert calls["training"] == (0 if frozen else 10 + 2), "once a step and a validation"


def test_a_long_training_is_announced_once(corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models of log1p, which needs no other stage."""
    monkeypatch.setattr("phonemi.training.forecast.LONG_S", 0)
    monkeypatch.setattr("phonemi.stages.train.FIRST_LOOK_STEPS", 5)
    out = io.StringIO()
    changes = ["enhance.rows=[log1p]", "enhance.seeds=2", *QUICK]
    train.train_systems(Run(tmp_path, load_config(None, [*corpus.settings, *changes]), Progress(file=out)))
    lines = [line for line in out.getvalue().splitlines() if "on this machine" in line]
    assert [re.sub(r"\d+ min", "N min", line) for line in lines] == [
        "train: about N min on this machine for 10 updates of each of 2 rows; --set enhance.steps=5 for a first look"
    ]


def test_the_length_of_the_paper_is_called_so(corpus: Any, tmp_path: Path) -> None:
    out = io.StringIO()
    run = Run(tmp_path, load_config(None, [*corpus.settings, "enhance.steps=100000"]), save=False)
    train._forecast(run, Progress(file=out), rows=1)(8.0, 100_000)
    assert out.getvalue() == (
        "train: about 222 h on this machine for 100 000 updates, the paper's number; "
        "--set enhance.steps=2000 for a first look\n"
    )


def test_the_number_of_jobs_changes_no_result(untrained: Run) -> None:
    rows = ("log1p", "ws-acoustic")
    weights, keys = [], set()
    for jobs in (1, 2):
        changes = [f"enhance.rows=[{', '.join(rows)}]", f"enhance.jobs={jobs}"]
        settings = load_config(untrained.folder / "config.yaml", [*changes, *QUICK])
        run = Run(untrained.folder.path, settings, save=False)
        train.train_systems(run)
        keys.add(run.keys.model(find_system("ws-acoustic")))
        weights.append({row: weights_of(untrained.folder.path, row) for row in rows})
        shutil.rmtree(untrained.folder / "rows")
    assert len(keys) == 1
    for row in rows:
        assert all(torch.equal(weights[1][row][name], value) for name, value in weights[0][row].items())


def test_batches_of_an_epoch_hold_every_mixture_once(run: Run) -> None:
    mixtures = [enhancement_mixtures(run.config.enhance, run.data, "train")[index] for index in range(5)]
    for cut, mixture in enumerate(mixtures):  # of five lengths
        object.__setattr__(mixture, "noisy", mixture.noisy[: 8000 - 100 * cut])
        object.__setattr__(mixture, "clean", mixture.clean[: 8000 - 100 * cut])
    batches = TrainingBatches(lambda epoch: mixtures, None, 2, seed=0)
    for epoch in range(2):
        made = [batches(3 * epoch + position) for position in range(3)]
        assert [len(batch.lengths) for batch in made] == [2, 2, 1]
        assert sorted(n for batch in made for n in batch.lengths) == [7600, 7700, 7800, 7900, 8000]
        for noisy, clean, lengths, inputs, tracks in made:
            assert noisy.shape == clean.shape == (len(lengths), max(lengths))
            assert inputs is tracks is None
            for row, length in enumerate(lengths):
                (mixture,) = (one for one in mixtures if len(one.noisy) == length)
                assert np.array_equal(noisy[row, :length], mixture.noisy)
                assert np.array_equal(clean[row, :length], mixture.clean)
                assert not noisy[row, length:].any()
    assert all(torch.equal(one, other) for one, other in zip(batches(7)[:2], batches(7)[:2], strict=True))


def test_conditions_stay_with_their_mixtures(run: Run) -> None:
    mixtures = enhancement_mixtures(run.config.enhance, run.data, "train")
    states = stored_states(run, "train")
    chosen = np.array([4, 1])
    hidden = StoredInputs(states, None, run.device)(chosen)
    assert hidden.shape == (3, 2, 24, 16)
    for place, index in enumerate(chosen):
        alone = run.encoder(torch.from_numpy(mixtures[int(index)].noisy)[None]).states[:, 0]
        torch.testing.assert_close(hidden[:, place].float(), alone, atol=4e-3, rtol=4e-3)
    aggregation = linguistic_aggregation(run, "ws", "test").tune("linguistic")
    fused = StoredInputs(states, aggregation, run.device)(chosen)
    torch.testing.assert_close(fused.float(), aggregation(hidden.float()), atol=4e-3, rtol=4e-3)


def test_a_saved_row_does_what_was_validated(run: Run) -> None:
    """The saved enhancer, which runs the encoder itself, against the cached states that it was trained on."""
    enhancer = Enhancer.from_pretrained(run.folder / "rows" / "ws-hybrid" / "model")
    mixtures = enhancement_mixtures(run.config.enhance, run.data, "validation")
    states = StoredInputs(stored_states(run, "validation"), None, run.device)(np.array([0]))
    noisy = torch.from_numpy(mixtures[0].noisy)[None]
    with torch.inference_mode():
        wanted = enhancer.mask_enhancer.enhance(noisy, enhancer.aggregation(states.float()))[0]
        found = enhancer(noisy)[0]
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-2)


def test_one_row_is_trained_and_the_rest_left(untrained: Run) -> None:
    train.train_systems(untrained, "log1p")
    assert [path.name for path in (untrained.folder / "rows").iterdir()] == ["log1p"]
    result = json.loads((untrained.folder / "rows" / "log1p" / "result.json").read_text())
    assert result.keys() == {"key", "label", "row", "si_sdri_db", "best_step"}
    assert result["best_step"] in (5, 10)
    assert is_trained(untrained, find_system("log1p"))
    assert not is_trained(untrained, find_system("layer"))


def test_a_training_goes_on_from_an_enhancer_with_what_it_has(untrained: Run, finished: Any) -> None:
    name = "ws-linguistic"
    start = finished.folder / "rows" / name / "model"
    shutil.rmtree(untrained.folder / "aggregations")  # those of `start` are taken
    settings = untrained.config.enhance.model_copy(update={"start": str(start), "learning_rate": 1e-30})
    config = untrained.config.model_copy(update={"enhance": settings})
    train.train_systems(Run(untrained.folder.path, config, save=False), name)
    before, after = weights_of(finished.folder, name), weights_of(untrained.folder, name)
    assert before.keys() == after.keys()
    assert "phone_probe.linear.weight" in after
    for key, weights in after.items():
        torch.testing.assert_close(weights, before[key])


def test_a_network_for_recognition_stands_beside_that_of_the_start(untrained: Run, finished: Any) -> None:
    name = "ws-linguistic"
    start = finished.folder / "rows" / name / "model"
    settings = untrained.config.enhance.model_copy(update={"start": str(start), "purpose": "recognition"})
    run = Run(untrained.folder.path, untrained.config.model_copy(update={"enhance": settings}), save=False)
    train.train_systems(run, name)
    before, after = weights_of(finished.folder, name), weights_of(untrained.folder, name)
    trained = {key for key in after if key.startswith("recognition_network.")}
    assert trained == {key.replace("mask_enhancer.", "recognition_network.") for key in before if "mask_" in key}
    kept = {key for key in before if not key.startswith("phone_probe.")}  # which such a model does without
    assert after.keys() == kept | trained
    for key in kept:
        torch.testing.assert_close(before[key], after[key], rtol=0, atol=0)
    moved = [
        key
        for key in trained
        if not torch.equal(after[key], before[key.replace("recognition_network", "mask_enhancer")])
    ]
    assert len(moved) > len(trained) / 2
    enhancer = Enhancer.from_pretrained(run.folder.model(name))
    mixture = enhancement_mixtures(settings, run.data, "validation")[0]
    with torch.inference_mode():
        noisy = torch.from_numpy(mixture.noisy)[None]
        wanted = enhancer.with_gains(noisy, purpose="recognition")[0][0].numpy()
        assert np.abs(wanted - enhancer(noisy)[0].numpy()).max() > 1e-5
    np.testing.assert_array_equal(find_signal(run, name)(mixture), wanted, "it is judged for what it was trained")

    first = shutil.copytree(run.folder.model(name), untrained.folder / "first")
    for purpose in ("recognition", "listening"):
        both = settings.model_copy(update={"start": str(first), "purpose": purpose, "learning_rate": 1e-30})
        train.train_systems(Run(run.folder.path, run.config.model_copy(update={"enhance": both}), save=False), name)
        again = weights_of(untrained.folder, name)
        assert again.keys() == after.keys()
        for key, weights in again.items():
            torch.testing.assert_close(weights, after[key])


def test_a_network_for_recognition_needs_features_that_stay(untrained: Run, finished: Any) -> None:
    def train_for_recognition(row: str, start: str | None) -> None:
        settings = untrained.config.enhance.model_copy(update={"start": start, "purpose": "recognition"})
        config = untrained.config.model_copy(update={"enhance": settings})
        train.train_systems(Run(untrained.folder.path, config, save=False), row)

    with pytest.raises(ConfigError, match=r"goes on from one for listening: set enhance\.start"):
        train_for_recognition("ws-linguistic", None)
    with pytest.raises(ConfigError, match="row 'ws-hybrid': its two networks share features"):
        train_for_recognition("ws-hybrid", str(finished.folder / "rows" / "ws-hybrid" / "model"))


def test_a_phone_probe_counts_as_certain_what_it_is_on_held_out_speech(finished: Any) -> None:
    saved = json.loads((finished.folder / "rows" / "ws-linguistic" / "model" / "config.json").read_text())
    learned = json.loads((finished.folder / "aggregations" / "ws" / "result.json").read_text())
    low = learned["validation_cross_entropy_nats"]
    assert saved["phone_probe"] == {**saved["phone_probe"], "low_entropy_nats": low, "high_entropy_nats": low + 1}


def test_a_training_goes_on_from_its_own_row_and_encoder_alone(untrained: Run, finished: Any) -> None:
    rows = finished.folder / "rows"
    for path in untrained.folder.path.glob("cache/enhance.*"):
        path.unlink()

    def train_from(start: str, row: str) -> None:
        settings = untrained.config.enhance.model_copy(update={"start": start})
        config = untrained.config.model_copy(update={"enhance": settings})
        train.train_systems(Run(untrained.folder.path, config, save=False), row)

    with pytest.raises(ConfigError, match=r"start: .*log1p.* is no model of the row 'layer-1'"):
        train_from(str(rows / "log1p" / "model"), "layer-1")
    with pytest.raises(ConfigError, match=r"default has another encoder than .*: set representation"):
        train_from("default", "ws-linguistic+log1p+complex")
    message = r"start: default .* 'ws-linguistic\+log1p': set enhance.rows=\[ws-linguistic\+log1p\+complex\]$"
    with pytest.raises(ConfigError, match=message):
        train_from("default", "ws-linguistic+log1p")
    message = r"without the log1p spectrum\) is no model of the row 'ws-linguistic\+log1p': .*=\[ws-linguistic\]$"
    with pytest.raises(ConfigError, match=message):
        train_from(str(rows / "ws-linguistic" / "model"), "ws-linguistic+log1p")
    assert not list(untrained.folder.path.glob("cache/enhance.*")), "it is said before minutes of encoding"
    with pytest.raises(ConfigError, match="with start, train one"):
        load_config(None, ["enhance.start=default", "enhance.seeds=2"])


def test_another_draw_has_other_mixtures_of_the_same_speakers(run: Run) -> None:
    settings = run.config.enhance
    first, second = (
        enhancement_mixtures(settings.model_copy(update={"draw": draw}), run.data, "train") for draw in (1, 2)
    )
    assert not np.array_equal(first[0].noisy, second[0].noisy)
    assert {first[index].speaker for index in range(6)} | {second[index].speaker for index in range(6)} <= {
        recording.speaker for recording in run.data.speech["train"]
    }


def test_a_single_layer_needs_no_measurement(untrained: Run) -> None:
    (untrained.folder / "information.json").unlink()
    train.train_systems(untrained, "layer-2+log1p")
    saved = json.loads((untrained.folder / "rows" / "layer-2+log1p" / "model" / "config.json").read_text())
    assert saved["aggregation"]["layer"] == 2
    assert saved["mask_enhancer"]["log1p"] is True


def test_wrong_rows(untrained: Run) -> None:
    with pytest.raises(ConfigError, match="row 'layer-3': the encoder has layers 0 to 2"):
        train.train_systems(untrained, "layer-3")
    with pytest.raises(ConfigError, match="unknown row 'layr'"):
        train.train_systems(untrained, "layr")


def test_an_encoder_with_100_frames_a_second_is_heard_as_it_is(untrained: Run) -> None:
    """Stored states have 50: such an encoder runs in every update."""
    settings = untrained.config.model_copy(update={"representation": "log1p"})
    fast = Run(untrained.folder.path, settings, save=False)
    shutil.rmtree(untrained.folder / "cache")
    train.train_systems(fast, "layer-0")
    enhancer = Enhancer.from_pretrained(fast.folder.model("layer-0"))
    assert enhancer.network.hop == 160
    assert not list((untrained.folder / "cache").glob("enhance.*"))
    noisy = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert np.isfinite(enhancer.enhance(noisy, 16_000)).all()
    with pytest.raises(ConfigError, match="'layer-0\\+log1p\\+complex': its network takes a frame every 320 samples"):
        train.train_systems(fast, "layer-0+log1p+complex")


def test_a_process_that_dies_is_one_line(untrained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "_train_in_process", die)
    with pytest.raises(PhonemiError, match=r"training processes died, .* run it again with --set enhance\.jobs=1"):
        train._train_side_by_side(untrained, untrained.systems, 2)


def test_ctrl_c_ends_all_processes_and_leaves_their_checkpoints(untrained: Run) -> None:
    changes = ["enhance.jobs=2", "enhance.rows=[log1p, layer, ws-acoustic]", "enhance.validate_every=100000"]
    command = [sys.executable, "-m", "phonemi.cli", "train", "--run", str(untrained.folder.path)]
    command += [word for change in [*changes, "enhance.steps=100000"] for word in ("--set", change)]
    log = untrained.folder / "log.jsonl"
    log.unlink()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    training = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    deadline_s = time.monotonic() + 120
    try:
        while not all(
            f'"{row}", "step": 50' in (log.read_text() if log.exists() else "") for row in ("log1p", "layer")
        ):
            assert training.poll() is None, training.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        os.killpg(training.pid, signal.SIGINT)  # as a terminal does, to all of them
        _, said = training.communicate(timeout=60)
    finally:
        training.kill()  # its processes end with it
    assert training.returncode == 130
    assert said.endswith("phonemi: interrupted; run the same command again to go on\n")
    assert "Traceback" not in said
    left = sorted(
        path.relative_to(untrained.folder.path).parts[1] for path in untrained.folder.path.glob("rows/*/*/*/last.pt")
    )
    assert left == ["layer", "log1p"]


def test_the_target_keeps_some_noise_where_it_is_asked_for() -> None:
    network = MaskEnhancer(0, True, hidden=4, layers=1).eval()
    noisy, clean = torch.randn(2, 2, 4000, generator=torch.Generator().manual_seed(0))
    batch = Batch(noisy, clean, [4000, 4000], None)
    kept = TrainingModel(network, kept_noise_db=20.0)(batch)
    torch.testing.assert_close(kept, network.loss(noisy, 0.9 * clean + 0.1 * noisy, None, torch.tensor([4000, 4000])))
    everything = network.loss(noisy, noisy, None, torch.tensor([4000, 4000]))
    torch.testing.assert_close(TrainingModel(network, kept_noise_db=0.0)(batch), everything)


def test_the_si_sdr_in_the_loss_is_the_score_of_what_is_enhanced() -> None:
    network, lengths = MaskEnhancer(0, True, hidden=4, layers=1, level_db=-10.0).eval(), [4000, 3100]
    valid = valid_mask(torch.tensor(lengths), 4000)
    noise, clean = torch.randn(2, 2, 4000, generator=torch.Generator().manual_seed(0)) * valid
    batch = Batch(clean + 0.3 * noise, clean, lengths, None)
    with torch.no_grad():
        enhanced = network.enhance(batch.noisy, None, torch.tensor(lengths))
        plain, weighted = (TrainingModel(network, si_sdr_weight=weight)(batch) for weight in (0.0, 2.0))
    scores = [si_sdr(enhanced[row, :n].numpy(), clean[row, :n].numpy()).value for row, n in enumerate(lengths)]
    assert (plain - weighted).item() / 2 == pytest.approx(np.mean(scores), abs=1e-3)


def test_the_si_sdr_in_the_loss_survives_silence_and_perfection() -> None:
    network = MaskEnhancer(0, True, hidden=4, layers=1)
    network.output.bias.data += 1000  # a mask of 1
    clean = torch.randn(2, 1600, generator=torch.Generator().manual_seed(0)) * torch.tensor([[0.0], [1.0]])
    loss = TrainingModel(network, si_sdr_weight=1.0)(Batch(clean, clean, [1600, 1600], None))
    loss.backward()
    assert loss.item() == pytest.approx(-30, abs=0.1)  # nothing said of the silent one, 60 dB at most for the other
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_artefacts_among_the_errors_weigh_more_than_noise_that_is_left() -> None:
    clean, noise, artefact = torch.randn(3, 1, 4000, generator=torch.Generator().manual_seed(0)).double()
    noise -= 0.5 * clean  # what noise shares with the speech is no noise that is left
    basis = torch.linalg.qr(torch.stack([clean[0], noise[0], artefact[0]], 1)).Q.T[:, None]  # orthonormal
    estimate = 3 * basis[0] + 0.3 * basis[1] + 0.1 * basis[2]
    for weight in (1.0, 4.0):
        expected = 10 * np.log10(9 / (0.09 + (weight * 0.1) ** 2 + 9e-6))
        assert si_sdr_db(estimate, clean, noise, weight).item() == pytest.approx(expected, abs=1e-3)
    assert si_sdr_db(estimate, clean).item() == pytest.approx(si_sdr_db(estimate, clean, noise).item(), abs=1e-4)
    silent = si_sdr_db(estimate, 0 * clean, noise, 4.0), si_sdr_db(estimate, clean, 0 * noise, 4.0)
    assert silent[0].item() == 0
    assert silent[1].isfinite().all()


def test_the_loss_weighs_the_artefacts() -> None:
    network, generator = MaskEnhancer(0, True, hidden=4, layers=1).eval(), torch.Generator().manual_seed(0)
    noise, clean = torch.randn(2, 2, 4000, generator=generator)
    batch = Batch(clean + 0.3 * noise, clean, [4000, 4000], None)
    enhanced = network.enhance(batch.noisy, None)
    losses = [TrainingModel(network, si_sdr_weight=2.0, artefact_weight=weight)(batch) for weight in (1.0, 3.0)]
    ratios = [si_sdr_db(enhanced, clean, noise, weight).mean() for weight in (1.0, 3.0)]
    assert (losses[1] - losses[0]).item() == pytest.approx(2 * (ratios[0] - ratios[1]).item(), abs=1e-3)
    assert ratios[1] < ratios[0] - 0.1


@pytest.mark.slow
def test_artefacts_need_the_si_sdr_that_they_weigh_in(untrained: Run) -> None:
    run = Run(
        untrained.folder.path, load_config(untrained.folder / "config.yaml", ["enhance.artefact_weight=2"]), save=False
    )
    with pytest.raises(ConfigError, match=r"set enhance\.si_sdr_weight"):
        train.train_systems(run, "log1p")


def test_the_phones_that_are_lost_are_in_the_loss_and_move_the_network() -> None:
    judge = PhoneJudge.load("phone-judge")
    clean = torch.from_numpy(syllables(6, np.random.default_rng(0)))[None, :16_000]
    noisy, lengths = clean + 0.03 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)), [16_000]
    lost = [judge.phones_lost(sound, clean, torch.tensor(lengths)).item() for sound in (clean, noisy, 0.01 * clean)]
    assert lost[0] == 0
    assert lost[1] > 0.1
    assert lost[2] < 0.01, "the level says nothing of the phones"
    torch.manual_seed(0)
    network = MaskEnhancer(0, True, hidden=8, layers=1, level_db=-6.0)
    model, batch = TrainingModel(network, phone_judge=judge, phone_weight=1000.0), Batch(noisy, clean, lengths, None)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"network"}
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    before = judge.phones_lost(network.enhance(noisy, None), clean, torch.tensor(lengths)).item()
    for _ in range(15):
        optimiser.zero_grad()
        model(batch).backward()
        optimiser.step()
    assert judge.phones_lost(network.enhance(noisy, None), clean, torch.tensor(lengths)).item() < 0.9 * before
    assert all(parameter.grad is None for parameter in judge.encoder.parameters())
    network.zero_grad()
    for silent in (torch.cat([noisy, 0 * noisy]), torch.cat([noisy, noisy])):
        model(Batch(silent, torch.cat([clean, 0 * clean]), 2 * lengths, None)).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_a_network_gets_the_settings_that_it_takes() -> None:
    settings = load_config(None, ["enhance.hidden=7", "enhance.layers=2"]).enhance
    blstm, complex_mask = (new_network(find_system(name), settings, 0) for name in ("log1p", "log1p+complex"))
    assert blstm.architecture() == "BLSTM of 2 layers of 7"
    assert complex_mask.architecture() == "complex mask of 3 dual-path blocks of 48 channels"
    assert [network.settings()["level_db"] for network in (blstm, complex_mask)] == [None, 0.0]
    louder = load_config(None, ["enhance.level_db=-6"]).enhance
    assert new_network(find_system("log1p+complex"), louder, 0).settings()["level_db"] == -6.0


def test_pairs_take_the_place_of_mixtures(untrained: Run, tmp_path: Path) -> None:
    paths = []
    for split in ("train", "validation"):
        recordings = []
        for recording in untrained.data.speech[split][:3]:
            clean = audio.load(recording.path)
            noisy = tmp_path / f"{recording.id}.wav"
            audio.save(noisy, clean + 0.05 * np.sin(np.arange(len(clean))), 16_000)
            recordings.append(replace(recording, path=str(noisy), clean=recording.path, samples=len(clean)))
        write_manifest(tmp_path / f"{split}.jsonl", recordings)
        paths.append(f"data.{split}_pairs=[{tmp_path / f'{split}.jsonl'}]")
    paired = Run(untrained.folder.path, load_config(untrained.folder / "config.yaml", paths), save=False)
    found = enhancement_mixtures(paired.config.enhance, paired.data, "train")
    assert [found[index].id for index in range(len(found))] == [r.id for r in paired.data.speech["train"][:3]]
    np.testing.assert_allclose(found[0].clean, audio.load(paired.data.speech["train"][0].path))
    assert found[0].noisy.shape == found[0].clean.shape  # whole, though crops are asked for
    train.train_systems(paired, only="log1p")
    assert paired.keys.model(find_system("log1p")) != untrained.keys.model(find_system("log1p"))
    assert is_trained(paired, find_system("log1p"))
