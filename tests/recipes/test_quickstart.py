from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonemi import audio
from phonemi.aggregations import WeightedSum
from phonemi.config import load_config
from phonemi.data.manifest import read_manifest
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.errors import ConfigError, ModelError
from phonemi.files import read_json
from phonemi.progress import Progress
from phonemi.recipes import quickstart
from phonemi.recipes.quickstart import as_setting, new_run, synthetic_data
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.representations.names import load_representation


@pytest.mark.slow
def test_it_ends_with_what_to_look_at_and_how_to_go_on(
    phonemi: Callable[..., Any], corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr("phonemi.weights.shipped.WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr("phonemi.recipes.quickstart.UTTERANCES", 18)
    monkeypatch.setattr("phonemi.recipes.quickstart.SPEAKERS", 6)
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
    expected = default.enhance(audio.load(noisy), 16_000)
    np.testing.assert_allclose(audio.load(folder / "enhanced.flac"), expected, atol=1e-4)
    alone = phonemi("enhance", noisy, "-o", tmp_path / "enhanced.flac")
    assert alone.code == 0, alone.stderr
    assert (tmp_path / "enhanced.flac").read_bytes() == (folder / "enhanced.flac").read_bytes()


def test_a_setting_keeps_every_character() -> None:
    paths = ["a 'b\".jsonl", "[c], d: é # 名前"]
    assert load_config(None, [as_setting("data.speech", paths)]).data.speech == tuple(paths)
    assert load_config(None, [as_setting("representation", "no")]).representation == "no"


def test_a_new_run_that_names_its_speech_gets_none(tmp_path: Path) -> None:
    said = io.StringIO()
    settings = new_run(tmp_path, ["data.speech=[mine.jsonl]"], Progress(file=said))
    config = load_config(None, settings)
    assert (config.representation, config.data.speech, config.data.noise) == ("mini", ("mine.jsonl",), ())
    asked = new_run(tmp_path, ["data.speech=[mine.jsonl]", "representation=mini-kmeans"], Progress(file=said))
    assert load_config(None, asked).representation == "mini-kmeans"
    assert (said.getvalue(), list(tmp_path.iterdir())) == ("", [])


def test_a_setting_that_does_not_exist_is_found_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        new_run(tmp_path, ["data.speach=[]"], Progress(enabled=False))
    assert list(tmp_path.iterdir()) == []


def test_so_is_an_encoder_that_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no encoder 'maxi'"):
        new_run(tmp_path, ["representation=maxi"], Progress(enabled=False))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_new_run_without_speech_gets_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(quickstart, "UTTERANCES", 4)
    monkeypatch.setattr(quickstart, "SPEAKERS", 2)
    said = io.StringIO()
    data = load_config(None, new_run(tmp_path, [], Progress(file=said))).data
    assert said.getvalue().splitlines()[0] == (
        f"no speech is named: 4 synthetic utterances in {tmp_path / 'corpus'}; --speech takes yours"
    )
    assert (data.speech, data.noise) == ((f"{tmp_path}/corpus/speech.jsonl",), (f"{tmp_path}/corpus/noise.jsonl",))
    speech = read_manifest(data.speech[0])
    assert len({recording.speaker for recording in speech}) == 2
    assert all(recording.phones for recording in speech)
    assert {recording.fold for recording in read_manifest(data.noise[0])} == {1, 2, 3, 4, 5}
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").rglob("*.*")}
    assert load_config(None, synthetic_data(tmp_path, Progress(enabled=False))).data == data
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").rglob("*.*")} == written
    mine = load_config(None, new_run(tmp_path, ["data.noise=[mine.jsonl]"], Progress(enabled=False))).data
    assert (mine.speech, mine.noise) == (data.speech, ("mine.jsonl",))
