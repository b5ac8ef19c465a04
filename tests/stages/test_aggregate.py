from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from phonemi.aggregations import DynamicWeightedSum, WeightedSum
from phonemi.config import load_config
from phonemi.data.manifest import write_manifest
from phonemi.errors import ConfigError, DataError
from phonemi.files import read_json
from phonemi.probes.aggregation_probe import AggregationProbe
from phonemi.stages import aggregate
from phonemi.stages.aggregate import linguistic_aggregation, new_aggregation
from phonemi.stages.run import Run
from phonemi.stages.system_parts import initial_aggregation
from phonemi.systems import find_system


@pytest.fixture
def run(finished: Any) -> Run:
    return Run(finished.folder, load_config(finished.folder / "config.yaml"), save=False)


def test_an_untrained_aggregation_weighs_all_layers_alike(run: Run) -> None:
    states = torch.randn(3, 2, 5, 16)
    torch.testing.assert_close(
        new_aggregation(run.config.aggregate, run.encoder, "ws").weights(states), torch.full((2, 5, 3), 1 / 3)
    )
    assert isinstance(new_aggregation(run.config.aggregate, run.encoder, "dws"), DynamicWeightedSum)


def test_what_the_paper_does_not_say_of_an_aggregation_can_be_chosen(run: Run) -> None:
    changes = ["aggregate.projection_bias=true", "aggregate.normalise_layers=true"]
    other = Run(run.folder.path, load_config(run.folder / "config.yaml", changes), save=False)
    assert new_aggregation(run.config.aggregate, run.encoder, "dws").settings()["projection_bias"] is False
    assert new_aggregation(other.config.aggregate, other.encoder, "dws").settings()["projection_bias"] is True
    assert new_aggregation(other.config.aggregate, other.encoder, "ws").settings()["normalise_layers"] is True
    assert other.keys.aggregations != run.keys.aggregations
    keys = [each.keys.model(find_system("ws-acoustic")) for each in (run, other)]
    assert keys[0] != keys[1]
    free = Run(run.folder.path, load_config(run.folder / "config.yaml", ["aggregate.renormalise=false"]), save=False)
    assert free.keys.aggregations == run.keys.aggregations  # pre-training is the same
    assert initial_aggregation(free, find_system("ws-hybrid")).settings()["renormalise"] is False
    assert initial_aggregation(run, find_system("ws-hybrid")).settings()["renormalise"] is True


def test_pre_training_has_moved_the_weights(run: Run) -> None:
    found = linguistic_aggregation(run, "ws", "row")
    assert isinstance(found, WeightedSum)
    assert found.logits().detach().unique().numel() == 3
    assert isinstance(linguistic_aggregation(run, "dws", "row"), DynamicWeightedSum)


def test_pre_training_is_a_function_of_the_seed(run: Run, finished: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.rmtree(folder / "aggregations")
    torch.manual_seed(999)
    aggregate.pretrain_aggregations(Run(folder, run.config, save=False))
    for kind in ("ws", "dws"):
        path = Path("aggregations") / kind / "aggregation.safetensors"
        assert (folder / path).read_bytes() == (finished.folder / path).read_bytes()


def test_training_lowers_the_cross_entropy_of_held_out_speakers(run: Run, finished: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    longer = load_config(folder / "config.yaml", ["aggregate.steps=80", "aggregate.aggregations=[ws]"])
    aggregate.pretrain_aggregations(Run(folder, longer, save=False))
    lines = [line for line in (folder / "log.jsonl").read_text().splitlines() if "validation_cross_entropy" in line]
    losses = [float(line.split('"validation_cross_entropy_nats": ')[1].rstrip("}")) for line in lines[-4:]]
    assert losses[-1] < losses[0]


def test_the_checkpoint_is_the_best_on_held_out_speakers(run: Run, finished: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    # At this rate the last weights are seldom the best ones.
    changes = ["aggregate.steps=40", "aggregate.learning_rate=0.5", "aggregate.aggregations=[ws]"]
    aggregate.pretrain_aggregations(Run(folder, load_config(folder / "config.yaml", changes), save=False))
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = {event["step"]: event[aggregate.LOSS] for event in events[-8:] if aggregate.LOSS in event}
    result = read_json(folder / "aggregations" / "ws" / "result.json")
    assert len(losses) == 4
    assert result["step"] == min(losses, key=losses.__getitem__)
    assert result[aggregate.LOSS] == pytest.approx(min(losses.values()))


def test_the_probe_is_a_mean_cross_entropy(run: Run) -> None:
    probe = AggregationProbe(WeightedSum(3), 16, classes=40)
    with torch.no_grad():
        probe.linear.weight.zero_()
        probe.linear.bias.zero_()
    loss = probe(torch.randn(3, 7, 16).half(), torch.arange(7))
    assert loss.item() == pytest.approx(torch.tensor(40.0).log().item())


def test_what_is_done_needs_no_states(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregate, "labelled_frames", None)
    aggregate.pretrain_aggregations(run)


def test_states_are_read_once_for_both(
    run: Run, finished: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.rmtree(folder / "aggregations")
    shutil.rmtree(folder / "cache")
    fresh = Run(folder, run.config, save=False)
    encoded = Counter[str]()
    forward = fresh.encoder.forward

    def counting(waveforms: Any, lengths: Any) -> Any:
        for waveform, length in zip(waveforms, lengths, strict=True):
            encoded[hashlib.sha256(waveform[:length].numpy().tobytes()).hexdigest()] += 1
        return forward(waveforms, lengths)

    monkeypatch.setattr(fresh.encoder, "forward", counting)
    aggregate.pretrain_aggregations(fresh)
    assert set(encoded.values()) == {1}


def test_an_aggregation_that_cannot_be_used(run: Run, finished: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"row ws-hybrid needs the aggregation 'ws': add it to aggregate\.aggregations"
    ):
        linguistic_aggregation(changed(finished, "aggregate.aggregations=[dws]"), "ws", "row ws-hybrid")
    with pytest.raises(DataError, match="of another configuration or data: run `phonemi aggregate"):
        linguistic_aggregation(changed(finished, "aggregate.steps=21"), "ws", "row ws-hybrid")


def test_the_key_is_not_that_of_the_list_of_aggregations(run: Run, finished: Any) -> None:
    assert run.keys.aggregations == changed(finished, "aggregate.aggregations=[ws]").keys.aggregations
    assert run.keys.aggregations != changed(finished, "information.copies=2").keys.aggregations
    assert run.keys.aggregations == changed(finished, "information.hidden=9").keys.aggregations


def changed(finished: Any, *changes: str) -> Run:
    return Run(finished.folder, load_config(finished.folder / "config.yaml", changes), save=False)


def test_dws_is_pre_trained_on_its_own_speech_where_there_is_some(run: Run, finished: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.rmtree(folder / "aggregations")
    write_manifest(tmp_path / "dynamic.jsonl", run.data.speech["train"][:2])
    settings = load_config(
        folder / "config.yaml", ["aggregate.steps=5", f"representation={finished.folder / 'encoder' / 'model'}"]
    )
    data = settings.data.model_copy(update={"dynamic_speech": (str(tmp_path / "dynamic.jsonl"),)})
    aggregate.pretrain_aggregations(Run(folder, settings.model_copy(update={"data": data}), save=False))
    index = read_json(folder / "cache" / "information.encoder.dynamic.json")
    assert len(index["starts"]) - 1 == 2 * settings.information.copies
    assert {path.name for path in (folder / "aggregations").iterdir()} == {"ws", "dws"}
