from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonemi import audio
from phonemi.aggregations import WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.files import read_json
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.representations.names import load_representation


@pytest.mark.slow
def test_it_ends_with_what_to_look_at_and_how_to_go_on(
    phonemi: Callable[..., Any], corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr("phonemi.weights.shipped.WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr("phonemi.recipes.corpus.UTTERANCES", 18)
    monkeypatch.setattr("phonemi.recipes.corpus.SPEAKERS", 6)
    torch.manual_seed(0)
    config = MelTransformerConfig(mels=20, dim=16, blocks=1, heads=2, feedforward=8, position_kernel=3)
    MelTransformer(config).save(tmp_path / "weights" / "mini")
    default = Enhancer(load_representation("mini"), WeightedSum(2), MaskEnhancer(16, hidden=4, layers=1), "default")
    default.save_pretrained(tmp_path / "weights" / "default", shipped_encoder="mini")

    folder = tmp_path / "run"
    changes = ["representation=mini", "enhance.rows=[log1p]", "evaluate.utterances=2", "evaluate.recogniser=none"]
    changes += [*corpus.settings[2:], *changes, "aggregate.aggregations=[ws]", "enhance.steps=30"]
    outcome = phonemi("quickstart", "--run", folder, *[word for change in changes for word in ("--set", change)])
    assert outcome.code == 0, outcome.stderr
    assert "pretrain: nothing to do, the representation is mini\n" in outcome.stderr
    noisy = folder / read_json(folder / "examples.json")[0]["files"]["noisy"]
    shown = outcome.stdout.splitlines()
    assert shown[0].startswith("Phonetic information in mini peaks at layer ")
    assert shown[-3:] == [
        f"Report:     {folder / 'report.html'}",
        f"Enhanced:   {noisy} -> {folder / 'enhanced.flac'}",
        "Your files: phonemi enhance YOUR_FILE_OR_FOLDER -o OUT",
    ]
    assert (folder / "report.html").is_file()
    expected = default.enhance(audio.load(noisy))
    np.testing.assert_allclose(audio.load(folder / "enhanced.flac"), expected, atol=1e-4)
    alone = phonemi("enhance", noisy, "-o", tmp_path / "enhanced.flac")
    assert alone.code == 0, alone.stderr
    assert (tmp_path / "enhanced.flac").read_bytes() == (folder / "enhanced.flac").read_bytes()
