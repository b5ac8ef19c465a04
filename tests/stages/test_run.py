from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from phonemi.config import load_config
from phonemi.errors import ConfigError, DataError
from phonemi.stages.run import Run

MakeRun = Callable[..., Run]


@pytest.fixture
def make(corpus: Any, tmp_path: Path) -> MakeRun:
    """A run on the tiny corpus, with changes to its settings."""

    def make(*changes: str, folder: str = "run", save: bool = True) -> Run:
        return Run(tmp_path / folder, load_config(None, [*corpus.settings, *changes]), save=save)

    return make


def test_a_process_of_a_stage_writes_neither_configuration_nor_manifests(make: MakeRun) -> None:
    run = make(save=False)
    assert run.data.speech["train"]
    assert [path.name for path in run.folder.path.iterdir()] == ["cache"]


def test_nothing_is_made_for_a_run_that_cannot_be(make: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    for change, message in {
        "data.speech=[absent.jsonl]": "manifest absent.jsonl does not exist: make it with `phonemi prepare`",
        f"data.speech=[{tmp_path}]": "does not exist: make it with `phonemi prepare`",
        f"data.noise=[{tmp_path / 'binary.jsonl'}]": "binary.jsonl is not a JSON-lines file",
        "enhance.rows=[ws-hybird]": "did you mean 'ws-hybrid'?",
    }.items():
        with pytest.raises((DataError, ConfigError)) as error:
            make(change, folder="none")
        assert message in str(error.value)
    assert not (tmp_path / "none").exists()


def test_devices(make: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert make().device == torch.device("cpu")
    with pytest.raises(ConfigError, match="torch finds no GPU here"):
        _ = make("device=cuda").device


def test_an_encoder_of_another_configuration_is_not_taken(finished: Any, corpus: Any) -> None:
    settings = load_config(finished.folder / "config.yaml")
    assert Run(finished.folder, settings, save=False).encoder.layers == 3
    wider = settings.model_copy(update={"encoder": settings.encoder.model_copy(update={"dim": 32})})
    with pytest.raises(DataError, match=f"run `phonemi pretrain --run {finished.folder}`"):
        _ = Run(finished.folder, wider, save=False).encoder
