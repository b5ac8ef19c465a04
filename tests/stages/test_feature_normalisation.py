"""Rows with feature normalisation: trained, saved, loaded, analysed with their own hidden states."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonemi.config import load_config
from phonemi.enhancers.enhancer import Enhancer
from phonemi.files import read_json
from phonemi.representations.feature_normalisation import FeatureNormalisation, Statistics, measure_statistics
from phonemi.representations.names import load_representation
from phonemi.stages.evaluate import evaluate_systems
from phonemi.stages.information import measure_information
from phonemi.stages.run import Run
from phonemi.stages.system_parts import clean_statistics
from phonemi.stages.train import train_systems

ROWS = ["ws-acoustic+norm-2", "ws-acoustic+norm-0.1+tuned-entire", "ws-linguistic+log1p+norm-0+tuned-5"]


@pytest.fixture
def untrained(finished: Any, tmp_path: Path) -> Run:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.rmtree(folder / "rows")
    changes = [
        "representation=mini",
        f"enhance.rows=[{', '.join(ROWS)}]",
        "enhance.steps=4",
        "enhance.validate_every=2",
    ]
    changes += [
        "enhance.validate_every=2",
        "enhance.train_mixtures=4",
        "evaluate.recogniser=none",
        "enhance.encoder_learning_rate=0.0001",
    ]
    return Run(folder, load_config(folder / "config.yaml", changes))


@pytest.mark.slow
def test_rows_are_trained_saved_and_evaluated(untrained: Run) -> None:
    from phonemi.stages.aggregate import pretrain_aggregations

    measure_information(untrained)
    pretrain_aggregations(untrained)
    train_systems(untrained)
    evaluate_systems(untrained)
    rows = {row["row"]: row for row in read_json(untrained.folder / "metrics.json")["rows"]}
    assert all(np.isfinite(rows[name]["si_sdri_db"]) for name in ROWS)
    assert all(np.isfinite(rows[name]["mi_bits"]) for name in ROWS[:2])
    assert (untrained.folder / "cache" / f"information.{ROWS[0]}.test.bin").exists(), "its own hidden states"
    noisy = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    for name in ROWS:
        enhancer = Enhancer.from_pretrained(untrained.folder.model(name))
        assert isinstance(enhancer.representation, FeatureNormalisation)
        before = enhancer.enhance(noisy, 16_000)
        enhancer.representation.clean.mean.add_(torch.randn(256))
        assert np.abs(enhancer.enhance(noisy, 16_000) - before).max() > 1e-6, "the statistics are used"
        encoder = load_representation(untrained.folder.model(name) / "encoder")
        assert isinstance(encoder, FeatureNormalisation)
    measured = clean_statistics(untrained, load_representation("mini"))
    torch.testing.assert_close(encoder.clean.mean[0], measured.mean[0])


def test_clean_statistics_are_measured_once_and_from_whom_the_settings_say(untrained: Run, monkeypatch: Any) -> None:
    encoder = load_representation("mini")
    found = clean_statistics(untrained, encoder)
    store = untrained.data.enhancer_speech
    from phonemi import audio

    expected = measure_statistics(encoder, (audio.load(recording.path) for recording in store))
    torch.testing.assert_close(found.mean, expected.mean, atol=2e-3, rtol=1e-3)

    def never(*arguments: Any) -> Statistics:
        raise AssertionError

    monkeypatch.setattr("phonemi.stages.system_parts.measure_statistics", never)
    again = clean_statistics(untrained, encoder)
    assert torch.equal(again.std, found.std)
    for change in ("enhance.reference_utterances=1", "enhance.feature_reference=pretraining"):
        other = Run(untrained.folder.path, load_config(untrained.folder / "config.yaml", [change]), save=False)
        with pytest.raises(AssertionError):
            clean_statistics(other, encoder)


@pytest.mark.slow
def test_paired_statistics_are_for_training_alone(untrained: Run, monkeypatch: Any) -> None:
    seen: list[bool] = []
    paired_with = FeatureNormalisation.paired_with

    def watched(self: FeatureNormalisation, *arguments: Any) -> Any:
        seen.append(self.training)
        return paired_with(self, *arguments)

    monkeypatch.setattr(FeatureNormalisation, "paired_with", watched)
    train_systems(untrained, only=ROWS[1])
    assert not seen
    changes = ["enhance.feature_reference=paired"]
    paired = Run(untrained.folder.path, load_config(untrained.folder / "config.yaml", changes), save=False)
    train_systems(paired, only=ROWS[1])
    assert seen == [True] * 4, "once in each update, never at a validation"
