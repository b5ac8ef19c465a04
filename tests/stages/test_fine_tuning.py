"""A system that trains the last blocks of its encoder: trained, killed, resumed, saved, loaded, enhanced, evaluated."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from phonemi import load_representation
from phonemi.config import load_config
from phonemi.enhancers.enhancer import Enhancer
from phonemi.errors import DataError
from phonemi.files import read_json
from phonemi.results.information import Information, LayerBound
from phonemi.results.record import read_record
from phonemi.results.tables import fine_tuning_table
from phonemi.stages.evaluate import evaluate_systems
from phonemi.stages.run import Run
from phonemi.stages.showcase import write_showcase
from phonemi.stages.train import train_systems
from phonemi.systems import find_system
from phonemi.weights.training_record import find_training_record

SYSTEM = "ws-acoustic+tuned-5"  # the last two of the six blocks of `mini`


@pytest.fixture
def untrained(finished: Any, tmp_path: Path) -> Run:
    """A run with the shipped encoder `mini` that trains `SYSTEM` for eight steps."""
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.rmtree(folder / "rows")
    changes = ["representation=mini", f"enhance.rows=[{SYSTEM}]", "enhance.steps=8", "enhance.validate_every=2"]
    changes += ["enhance.train_mixtures=4", "evaluate.recogniser=none", "aggregate.aggregations=[]"]
    return Run(folder, load_config(folder / "config.yaml", changes))


@pytest.mark.slow
def test_a_fine_tuned_system_survives_a_kill_and_is_saved_with_its_encoder(untrained: Run, tmp_path: Path) -> None:
    killed = shutil.copytree(untrained.folder.path, tmp_path / "killed")
    train_systems(untrained)
    model = untrained.folder.model(SYSTEM)

    # What was trained: the blocks from 5 on, and nothing below.
    trained, shipped = load_file(model / "encoder" / "model.safetensors"), load_representation("mini").state_dict()
    moved = {name for name in shipped if not torch.equal(trained[name].to(shipped[name]), shipped[name])}
    assert moved
    assert all(name.startswith(("blocks.4.", "blocks.5.")) for name in moved), moved

    # The same weights after a kill in the middle. Sums depend on how many threads share them.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "phonemi.cli", "train", "--run", str(killed)]
    training = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | threads)
    deadline_s = time.monotonic() + 120
    while not list(killed.glob("rows/*/checkpoints/*/last.pt")):
        assert training.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    training.send_signal(signal.SIGKILL)
    training.wait()
    assert not (killed / "rows" / SYSTEM / "result.json").exists()
    train_systems(Run(killed, load_config(killed / "config.yaml")))
    for file in ("model.safetensors", "encoder/model.safetensors"):
        alone, resumed = load_file(model / file), load_file(killed / "rows" / SYSTEM / "model" / file)
        assert all(torch.equal(resumed[name], value) for name, value in alone.items()), file

    # Loaded, it enhances with the encoder that was trained, not with the one that its name stands for.
    enhancer = Enhancer.from_pretrained(model)
    noisy = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    enhanced = enhancer.enhance(noisy, 16_000)
    assert np.isfinite(enhanced).all()
    assert enhancer.representation is not None
    enhancer.representation.load_state_dict(shipped)
    assert np.abs(enhancer.enhance(noisy, 16_000) - enhanced).max() > 1e-6


@pytest.mark.slow
def test_a_fine_tuned_system_is_evaluated_by_its_own_hidden_states(untrained: Run, monkeypatch: Any) -> None:
    from phonemi.stages.information import measure_information

    measure_information(untrained)
    train_systems(untrained)
    evaluate_systems(untrained)
    write_showcase(untrained)
    rows = {row["row"]: row for row in read_json(untrained.folder / "metrics.json")["rows"]}
    assert np.isfinite(rows[SYSTEM]["mi_bits"])
    assert rows[SYSTEM]["label"] == find_system(SYSTEM).label
    assert (untrained.folder / "cache" / f"information.{SYSTEM}.test.bin").exists()
    weights = read_json(untrained.folder / "layer_weights.json")["rows"]
    assert [row["row"] for row in weights] == [SYSTEM]

    before = read_json(untrained.folder / "metrics.json")
    for name in ("metrics.json", "aggregated_information.json"):
        (untrained.folder / name).unlink()
    monkeypatch.setattr("phonemi.stages.evaluate.labelled_frames", None)  # each system's was kept as it was measured
    evaluate_systems(untrained)
    assert read_json(untrained.folder / "metrics.json") == before


@pytest.mark.slow
def test_what_fine_tuning_did_to_the_layers_can_be_measured(untrained: Run, tmp_path: Path) -> None:
    from phonemi.stages.information import measure_information

    train_systems(untrained)
    encoder = untrained.folder.model(SYSTEM) / "encoder"
    record = find_training_record(str(encoder))
    assert record is not None
    heard = {recording.speaker for recording in untrained.data.speech["train"]}
    assert heard < set(record.speakers), "and those who trained `mini`"
    assert f"then fine-tuned for enhancement (row {SYSTEM})" in record.method
    tuned = load_config(untrained.folder / "config.yaml", [f"representation={encoder}"])
    after = Run(tmp_path / "after", tuned)
    measure_information(after)
    measure_information(untrained)
    bits = {}
    for run in (untrained, after):
        rows = read_json(run.folder / "information.json")["average"]
        bits[run] = [row["mi_bits"] for row in rows if row["representation"] != "log1p"]
    assert bits[untrained][:5] == pytest.approx(bits[after][:5], abs=1e-6), "the blocks below were frozen"
    assert bits[untrained][5:] != bits[after][5:]


@pytest.mark.slow
def test_what_fine_tuning_did_is_measured_in_the_run_itself(
    untrained: Run, monkeypatch: Any, phonemi: Any, blank_figures: None
) -> None:
    from phonemi.stages.fine_tuning import RESULT, measure_fine_tuned
    from phonemi.stages.information import measure_information

    with pytest.raises(DataError, match="run `phonemi information"):
        measure_fine_tuned(untrained)
    measure_information(untrained)
    with pytest.raises(DataError, match="no trained row of this run changes its encoder"):
        measure_fine_tuned(untrained)
    train_systems(untrained)
    measure_fine_tuned(untrained)
    before, after = (read_record(untrained.folder / name, Information) for name in ("information.json", RESULT))
    assert {bound.representation for bound in after.average} == {SYSTEM}
    levels = {
        which: {(bound.layer, bound.snr_db): bound.mi_bits for bound in (*result.rows, *result.average)}
        for which, result in (
            ("before", replace(before, rows=before.rows[: 7 * 2], average=before.average[:7])),
            ("after", after),
        )
    }
    assert levels["before"].keys() == levels["after"].keys()
    for (layer, snr_db), bits in levels["before"].items():
        is_frozen = layer < 5
        assert (levels["after"][layer, snr_db] == pytest.approx(bits, abs=1e-6)) == is_frozen

    table = fine_tuning_table(before, after)
    assert [column.title for column in table.columns] == ["layer", "before", SYSTEM]
    monkeypatch.setattr("phonemi.stages.fine_tuning.labelled_frames", None)  # nothing is done twice
    (untrained.folder / RESULT).unlink()  # as if it had been killed after the last model
    outcome = phonemi("information", "--run", untrained.folder.path, "--measure", "fine-tuning")
    assert outcome.code == 0, outcome.stderr
    assert SYSTEM in outcome.stdout
    assert "bits that fine-tuning added to each layer" in (untrained.folder / "results.md").read_text()
    assert phonemi("report", untrained.folder.path).code == 0
    assert "Bits that fine-tuning added" in (untrained.folder / "report.html").read_text()


def test_a_difference_is_tested_over_models_and_speakers() -> None:
    """Three models add half a bit to each of four speakers, give or take little, and one model adds as much."""

    def bound(representation: str, bits_a_frame: Sequence[float]) -> LayerBound:
        frames = (100, 200, 150, 120)
        bits = tuple(bit * count for bit, count in zip(bits_a_frame, frames, strict=True))
        mean = sum(bits) / sum(frames)
        return LayerBound(
            mi_bits=mean, representation=representation, layer=0, cluster_bits=bits, cluster_frames=frames
        )

    before = Information(rows=(), average=(bound("mini", (1.0, 1.2, 0.9, 1.1)), bound("log1p", (0.5, 0.5, 0.5, 0.5))))
    changed = [bound(name, (1.5 + e, 1.69, 1.4 - e, 1.61)) for name, e in (("a", 0.0), ("a@2", 0.01), ("a@3", -0.01))]
    after = Information(rows=(), average=(*changed, bound("b", (1.5, 1.7, 1.4, 1.6))), protocol={"before": "mini"})
    (row,) = fine_tuning_table(before, after).rows
    name, level, tested, single = row.cells
    assert name.value == "mini layer 0"
    assert level.value == pytest.approx(607 / 570)
    assert tested.value == pytest.approx(0.5, abs=0.01)
    assert tested.bold
    assert "p" in tested.details[0]
    assert single.value == pytest.approx(0.5, abs=1e-6)
    assert not single.bold
    assert single.details == ("1 model",)
