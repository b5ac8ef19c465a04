"""The systems of BSSE and the switches of its training, on a tiny run with the shipped encoder `mini`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from phonemi import audio, load_representation
from phonemi.aggregations import NormalisedWeightedSum, SingleLayer
from phonemi.config import load_config
from phonemi.data.manifest import write_manifest
from phonemi.enhancers.bsse_enhancer import BsseEnhancer
from phonemi.enhancers.enhancer import Enhancer
from phonemi.errors import ConfigError
from phonemi.files import read_json, read_jsonl
from phonemi.stages.evaluate import evaluate_systems
from phonemi.stages.information import measure_information
from phonemi.stages.run import Run
from phonemi.stages.train import train_systems
from phonemi.stages.training_batches import enhancement_mixtures, mixtures_by_draw

ROWS = ["bsse-raw", "bsse-last", "bsse-ws+log1p+tuned-partial", "bsse-ws+tuned-entire"]
QUIRKS = [
    "enhance.select_on=loss", "enhance.redraw=always", "enhance.shuffle=false", "enhance.gradient_clip=null",
    "enhance.encoder_learning_rate=0.0001", "enhance.recompute_blocks=true", "enhance.crop_s=0.5",
    "enhance.augment.gain_db=[0, 7.96]", "enhance.augment.gain_in_amplitude=true", "enhance.augment.validation=false",
]  # fmt: skip


@pytest.fixture
def bsse(finished: Any, tmp_path: Path) -> Run:
    """A run that trains four rows of BSSE with its quirks, for four steps."""
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.rmtree(folder / "rows")
    changes = ["representation=mini", f"enhance.rows=[{', '.join(ROWS)}]", "enhance.steps=4", *QUIRKS]
    changes += ["enhance.validate_every=2", "enhance.train_mixtures=4", "enhance.batch=2", "evaluate.recogniser=none"]
    return Run(folder, load_config(folder / "config.yaml", [*changes, "aggregate.aggregations=[]"]))


@pytest.mark.slow
def test_the_rows_are_trained_saved_and_evaluated(bsse: Run, tmp_path: Path) -> None:
    measure_information(bsse)
    train_systems(bsse)
    evaluate_systems(bsse)
    rows = {row["row"]: row for row in read_json(bsse.folder / "metrics.json")["rows"]}
    assert set(ROWS) < rows.keys()
    assert all(np.isfinite(rows[name]["si_sdri_db"]) for name in ROWS)
    protocol = read_json(bsse.folder / "metrics.json")["protocol"]["enhancers"]
    assert "lowest loss on 1 validation mixture," in protocol
    assert "other ones in every epoch, AdamW at 0.001, the encoder at 0.0001" in protocol
    log = read_jsonl(bsse.folder / "log.jsonl")
    assert {row["label"] for row in log if row["stage"] == "validate" and "loss" in row} == set(ROWS)

    shipped = load_representation("mini").state_dict()
    for name, expected in (("bsse-ws+log1p+tuned-partial", False), ("bsse-ws+tuned-entire", True)):
        trained = load_file(bsse.folder.model(name) / "encoder" / "model.safetensors")
        moved = {key for key in shipped if not torch.equal(trained[key].to(shipped[key]), shipped[key])}
        assert any(key.startswith("embedding.") for key in moved) == expected
        assert {"position.weight", "blocks.0.query_key_value.weight"} < moved

    enhancers = {name: Enhancer.from_pretrained(bsse.folder.model(name)) for name in ROWS}
    assert all(isinstance(enhancer.network, BsseEnhancer) for enhancer in enhancers.values())
    last, ws = enhancers["bsse-last"].aggregation, enhancers["bsse-ws+tuned-entire"].aggregation
    assert isinstance(last, SingleLayer)
    assert last.layer == last.layers - 1
    assert isinstance(ws, NormalisedWeightedSum)
    audio.save(tmp_path / "noisy.wav", 0.1 * np.random.default_rng(0).standard_normal(48_000), 48_000)
    for enhancer in enhancers.values():
        enhancer.enhance_file(tmp_path / "noisy.wav", tmp_path / "enhanced.wav", chunk_s=0.5)
        assert len(audio.load(tmp_path / "enhanced.wav", 48_000)) == 48_000


@pytest.mark.slow
def test_a_training_that_draws_anew_continues_exactly(bsse: Run, tmp_path: Path, monkeypatch: Any) -> None:
    row = "bsse-ws+tuned-entire"
    other = Run(shutil.copytree(bsse.folder.path, tmp_path / "other"), bsse.config, save=False)
    train_systems(bsse, only=row)

    class Stop(BaseException):
        pass

    from phonemi.training import state

    updates = 0
    update = state.TrainingState.update

    def stopping(self: Any, batches: list[Any]) -> None:
        nonlocal updates
        updates += 1
        if updates == 4:
            raise Stop
        update(self, batches)

    monkeypatch.setattr(state.TrainingState, "update", stopping)
    with pytest.raises(Stop):
        train_systems(other, only=row)
    monkeypatch.undo()
    train_systems(other, only=row)
    for file in ("model.safetensors", "encoder/model.safetensors"):
        whole, resumed = load_file(bsse.folder.model(row) / file), load_file(other.folder.model(row) / file)
        assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_what_is_drawn_anew_is_never_the_same(bsse: Run) -> None:
    for split in ("train", "validation"):
        by_draw = mixtures_by_draw(bsse, split, {})
        first = enhancement_mixtures(bsse.config.enhance, bsse.data, split)[0]
        found = [by_draw(draw)[0] for draw in (0, 1, 2)]
        assert len({mixture.noisy.tobytes() for mixture in (first, *found)}) == 4
        assert by_draw(1)[0].noisy.tobytes() == found[1].noisy.tobytes()
        kept = mixtures_by_draw(bsse, split, {split: [first]})
        assert kept(0)[0] is kept(7)[0] is first


def test_validation_mixtures_have_no_gain(bsse: Run) -> None:
    without = load_config(bsse.folder / "config.yaml", ["enhance.augment.gain_db=[0, 0]"]).enhance
    for split, is_changed in (("train", True), ("validation", False)):
        mixtures = enhancement_mixtures(bsse.config.enhance, bsse.data, split)
        plain = enhancement_mixtures(without, bsse.data, split)
        assert np.array_equal(mixtures[0].noisy, plain[0].noisy) != is_changed


def test_validation_pairs_are_a_share_of_the_training_pairs(bsse: Run, tmp_path: Path) -> None:
    recordings = [replace(recording, clean=recording.path) for recording in bsse.data.speech["train"]]
    write_manifest(tmp_path / "pairs.jsonl", recordings)
    changes = [f"data.train_pairs=[{tmp_path / 'pairs.jsonl'}]", "data.validation_pairs_share=0.4"]
    paired = Run(bsse.folder.path, load_config(bsse.folder / "config.yaml", changes), save=False)
    train, validation = ({pair.id for pair in paired.data.pairs(split)} for split in ("train", "validation"))
    assert len(validation) == round(0.4 * len(recordings)) > 0
    assert train | validation == {recording.id for recording in recordings}
    assert not train & validation
    assert paired.data.pairs("test") == []
    whole = enhancement_mixtures(paired.config.enhance, paired.data, "train")[0]
    cut = load_config(bsse.folder / "config.yaml", [*changes, "enhance.crop_pairs=true"]).enhance
    assert len(enhancement_mixtures(cut, paired.data, "train")[0].noisy) == 8000 != len(whole.noisy)
    with pytest.raises(ConfigError, match="set one of it and validation_pairs"):
        load_config(None, [*changes, f"data.validation_pairs=[{tmp_path / 'pairs.jsonl'}]"])


@pytest.mark.slow
def test_a_network_in_the_waveform_domain_is_trained_with_its_encoder(bsse: Run, tmp_path: Path) -> None:
    row = "ws-acoustic+waveform+tuned-5"
    train_systems(bsse, only=row)
    enhancer = Enhancer.from_pretrained(bsse.folder.model(row))
    assert enhancer.network.kind == "waveform"
    audio.save(tmp_path / "noisy.wav", 0.1 * np.random.default_rng(0).standard_normal((2, 20_000)), 22_050)
    enhancer.enhance_file(tmp_path / "noisy.wav", tmp_path / "limited.wav", attenuation_limit_db=0.0)
    noisy, limited = (audio.load(tmp_path / f"{name}.wav", 22_050) for name in ("noisy", "limited"))
    np.testing.assert_allclose(limited, noisy, atol=1e-3)
