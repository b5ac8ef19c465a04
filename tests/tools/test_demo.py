"""What the page of the demo shows of a recording, without the page: test_in_browser.py has that."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.aggregations import WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.tools.demo import (
    KEPT_S,
    NO_LIMIT_DB,
    enhance_and_show,
    remove_old_results,
    sample_file,
    slider_limit_db,
)

RATE = 16_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders of a model with an encoder, which takes off 12 dB at most, and of one without."""
    folder = tmp_path_factory.mktemp("models")
    encoder = MelTransformer(
        MelTransformerConfig(mels=80, dim=16, blocks=2, heads=2, feedforward=16, position_kernel=31)
    )
    mask = MaskEnhancer(16, hidden=4, layers=1, hop=encoder.hop, attenuation_limit_db=12.0)
    Enhancer(encoder, WeightedSum(3), mask).save_pretrained(folder / "with")
    Enhancer(None, None, MaskEnhancer(0, log1p=True, hidden=4, layers=1)).save_pretrained(folder / "without")
    return str(folder / "with"), str(folder / "without")


def noise(duration_s: float = 1.0) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(round(duration_s * RATE))


@pytest.mark.slow
def test_a_recording_becomes_a_file_and_a_picture(models: tuple[str, str], tmp_path: Path) -> None:
    audio.save(tmp_path / "a <b>.flac", np.stack([np.zeros(2 * RATE), noise(2)]), RATE)
    path, shown = enhance_and_show(tmp_path / "a <b>.flac", models[0], "listening", NO_LIMIT_DB, 1.0, tmp_path / "out")
    enhanced, rate = audio.load_channels(path)
    assert Path(path).name == "a <b>.enhanced.wav"
    assert (enhanced.shape, rate) == ((2, 2 * RATE), RATE)
    assert not enhanced[0].any()
    assert enhanced[1].any()
    assert re.search(r"2\.0 s, 2 channels, 16000 Hz; enhanced in (less than )?[\d.]+ s", shown)
    assert "The pictures show the first 2.0 s." in shown
    assert "in every frame" in shown
    assert shown.count("<svg") == 2, "of a weighted sum, whose weights stay, the layers are bars"


@pytest.mark.slow
def test_a_model_without_an_encoder_has_no_layers_to_show(models: tuple[str, str], tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", noise(), RATE)
    _, shown = enhance_and_show(tmp_path / "a.wav", models[1], "listening", NO_LIMIT_DB, 1.0, tmp_path / "out")
    assert "This model has no encoder" in shown
    assert "Layers" not in shown


def test_silence_has_no_picture(models: tuple[str, str], tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", np.zeros(RATE), RATE)
    path, shown = enhance_and_show(tmp_path / "a.wav", models[0], "listening", NO_LIMIT_DB, 1.0, tmp_path / "out")
    assert "nothing to show" in shown
    assert not audio.load(path).any()


@pytest.mark.slow
def test_limit_and_mix_are_those_of_the_sliders(models: tuple[str, str], tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", noise(), RATE, subtype="FLOAT")
    noisy = audio.load(tmp_path / "a.wav")

    def level_db(limit_db: float, mix: float) -> float:
        path, _ = enhance_and_show(
            tmp_path / "a.wav", models[0], "listening", limit_db, mix, tmp_path / f"{limit_db} {mix}"
        )
        return audio.level_db(audio.load(path)) - audio.level_db(noisy)

    assert level_db(NO_LIMIT_DB, 0.0) == pytest.approx(0, abs=1e-4)
    assert level_db(0.0, 1.0) == pytest.approx(0, abs=1e-3)
    assert level_db(NO_LIMIT_DB, 1.0) < -3
    assert [slider_limit_db(model) for model in models] == [12.0, NO_LIMIT_DB]


def test_results_are_forgotten_after_an_hour(tmp_path: Path) -> None:
    for name, age_s in (("old", KEPT_S + 60), ("new", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    remove_old_results(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_there_is_a_sample_to_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # not every machine has it
    path = sample_file(tmp_path)
    content, info = path.read_bytes(), audio.probe(path)
    assert info.sample_rate == RATE
    assert info.duration_s > 3
    assert sample_file(tmp_path) == path
    assert path.read_bytes() == content


def test_what_is_missing_or_taken_is_one_line(
    phonemi: Callable[..., Any], models: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_RUN_HISTORY", "HF_HUB_DISABLE_TELEMETRY", "no_proxy"):
        monkeypatch.setenv(name, "")  # so that what is set here is taken back
    assert "no enhancer" in phonemi("demo", "--model", tmp_path / "none").error
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'phonemi[demo]'" in phonemi("demo", "--model", models[0]).error


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line(
    phonemi: Callable[..., Any], models: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'phonemi[demo]'")
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_RUN_HISTORY", "HF_HUB_DISABLE_TELEMETRY", "no_proxy"):
        monkeypatch.setenv(name, "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = phonemi("demo", "--model", models[0], "--port", port)
    assert outcome.error == f"port {port} of 127.0.0.1 is not free: choose another with --port"
