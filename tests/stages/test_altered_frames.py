from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from phonemi import audio
from phonemi.config import Round, load_config
from phonemi.errors import ConfigError
from phonemi.representations.tera import Tera, TeraConfig
from phonemi.stages import pretrain
from phonemi.stages.altered_frames import SPAN, AlteredCrops, Reconstruction, alter
from phonemi.stages.crops import Crops, Stream
from phonemi.stages.run import Run
from phonemi.weights.training_record import find_training_record

FRAMES, BINS = 400, 20
ONE_ROUND = "encoder.rounds=[{units: frames, steps: 40, learning_rate: 0.003}]"


def altered(seed: int, frequency: float, noise: float, count: int = FRAMES) -> tuple[torch.Tensor, ...]:
    frames = torch.randn(count, BINS, generator=torch.Generator().manual_seed(seed))
    changed, marks = frames.clone(), torch.zeros(frames.shape, dtype=torch.bool)
    alter(changed, marks, frequency, noise, np.random.default_rng(seed))
    return frames, changed, marks


def test_mockingjay_masks_spans_of_seven_frames_over_15_percent() -> None:
    fates = {"zero": 0, "other": 0, "same": 0}
    shares = []
    for seed in range(600):
        frames, changed, marks = altered(seed, 0, 0)
        assert torch.equal(marks, marks[:, :1].expand_as(marks)), "all bins of a frame"
        rows = marks[:, 0]
        assert torch.equal(changed[~rows], frames[~rows])
        steps = np.flatnonzero(np.diff(np.concatenate([[0], rows.int().numpy(), [0]])))
        assert min(steps[1::2] - steps[::2]) >= SPAN
        shares.append(rows.float().mean().item())
        if not changed[rows].any():
            fates["zero"] += 1
        elif torch.equal(changed, frames):
            fates["same"] += 1
        else:
            fates["other"] += 1
            assert all(any(torch.equal(row, frame) for frame in frames) for row in changed[rows][:20])
    # 9 spans of 400 frames would be 15.75 % if none overlapped.
    assert 0.12 < np.mean(shares) < 0.1575
    assert [fates[name] / 600 for name in ("zero", "other", "same")] == pytest.approx([0.8, 0.1, 0.1], abs=0.05)


def test_tera_masks_a_band_too() -> None:
    widths = []
    for seed in range(300):
        frames, changed, marks = altered(seed, 0.2, 0)
        band = marks.all(0)
        widths.append(int(band.sum()))
        assert not changed[:, band].any()
        assert torch.equal(changed[~marks], frames[~marks])
        if widths[-1] > 1:
            assert np.diff(np.flatnonzero(band)).max() == 1
    assert set(widths) == {0, 1, 2, 3, 4}
    assert np.mean(widths) == pytest.approx(2, abs=0.3)


def test_tera_adds_noise_to_some_crops() -> None:
    noisy = []
    for seed in range(300):
        frames, changed, marks = altered(seed, 0.2, 0.15)
        noise = (changed - frames)[~marks]
        noisy.append(bool(noise.any()))
        if noisy[-1]:
            assert noise.std().item() == pytest.approx(0.2, rel=0.1)
    assert np.mean(noisy) == pytest.approx(0.15, abs=0.06)


@given(count=st.integers(32, 200), seed=st.integers(0, 1000))
def test_something_is_always_to_be_found_out(count: int, seed: int) -> None:
    _, _, marks = altered(seed, 0, 0, count)
    assert SPAN <= marks[:, 0].sum() <= SPAN * max(1, round(count * 0.15 / SPAN))


def tiny() -> Tera:
    torch.manual_seed(0)
    return Tera(TeraConfig(mels=BINS, dim=16, blocks=1, heads=2, feedforward=24)).eval()


def test_the_loss_counts_what_is_marked() -> None:
    task = Reconstruction(tiny()).eval()
    frames = torch.randn(2, 30, BINS)
    marks = torch.zeros(frames.shape, dtype=torch.bool)
    marks[0, 5:12] = True
    marks[1, :, 3:6] = True
    states = task.encoder.encode(frames).states[-1]
    head = task.head
    hidden = torch.nn.functional.gelu(states @ head[0].weight.T + head[0].bias)
    hidden = (hidden - hidden.mean(-1, keepdim=True)) / (hidden.var(-1, keepdim=True, correction=0) + 1e-12).sqrt()
    predicted = (hidden * head[2].weight + head[2].bias) @ head[3].weight.T + head[3].bias
    loss, explained = task(frames, marks, frames)
    assert loss.item() == pytest.approx((predicted - frames)[marks].abs().mean().item(), rel=1e-5)
    assert explained.item() == pytest.approx(1 - loss.item() / frames[marks].abs().mean().item(), rel=1e-5)
    elsewhere = torch.where(marks, frames, frames + 1)
    assert torch.equal(task(frames, marks, elsewhere)[0], loss)


def test_a_batch_is_a_function_of_its_step() -> None:
    stream = Stream([torch.randn(900, 2 * BINS).half(), torch.randn(300, 2 * BINS).half()])
    settings = load_config(None, ["encoder.crop_frames=32", "encoder.batch=6"]).encoder
    crops = AlteredCrops(Crops(stream, stream.features, settings, seed=0), BINS, Round())
    first, again, other = crops.batch(3), crops.batch(3), crops.batch(4)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    changed, marks, frames = first
    assert changed.shape == marks.shape == frames.shape == (6, 64, BINS)
    flat = stream.features.view(-1, BINS)
    assert all(any(torch.equal(crop, flat[s : s + 64]) for s in range(0, len(flat) - 63, 2)) for crop in frames)
    assert (changed == frames.float())[~marks].float().mean() > 0.5


@pytest.fixture
def run_stage(corpus: Any, tmp_path: Path) -> Callable[..., Run]:
    def run_stage(folder: str, *changes: str) -> Run:
        run = Run(tmp_path / folder, load_config(None, [*corpus.settings, ONE_ROUND, *changes]))
        pretrain.pretrain_encoder(run)
        return run

    return run_stage


@pytest.mark.slow
def test_a_tera_is_trained_and_can_be_loaded(run_stage: Callable[..., Run]) -> None:
    run = run_stage("run")
    (result,) = json.loads((run.folder / "encoder" / "result.json").read_text())["rounds"]
    assert result["units"] == "frames"
    assert 0.1 < result["validation_explained"] < 1
    encoder = run.encoder
    assert isinstance(encoder, Tera)
    assert (encoder.config.mels, encoder.layers, encoder.dim, encoder.hop) == (20, 3, 16, 160)
    assert encoder(torch.randn(2, 16_000)).states.shape == (3, 2, 101, 16)
    record = find_training_record(str(run.folder / "encoder" / "model"))
    assert record is not None
    assert record.method == "reconstruction of altered log-mel frames (self-supervised)"


@pytest.mark.slow
def test_the_stream_holds_the_frames_that_the_encoder_reads(corpus: Any, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", load_config(None, [*corpus.settings, ONE_ROUND]))
    settings, recordings = run.config.encoder, run.data.encoder_speech
    model = pretrain._new_encoder(settings)
    stream = pretrain._load_stream(settings, model, recordings, run.progress)
    features = model.features(torch.from_numpy(audio.load(recordings[1].path))[None])[0]
    kept = stream.features[stream.starts[1] : stream.starts[2]].view(-1, 20)
    assert len(kept) == len(features) // 2 * 2
    torch.testing.assert_close(kept.float(), features[: len(kept)], atol=0.02, rtol=0)


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights(
    run_stage: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_stage("whole")
    batch = AlteredCrops.batch

    def stopping(self: AlteredCrops, step: int, held_out: bool = False) -> Any:
        if step == 25:
            raise KeyboardInterrupt
        return batch(self, step, held_out)

    monkeypatch.setattr(AlteredCrops, "batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_stage("parts")
    monkeypatch.undo()
    parts = run_stage("parts")
    first, second = (load_file(run.folder / "encoder" / "model" / "model.safetensors") for run in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_dropout_is_that_of_the_settings() -> None:
    for dropout in (0.0, 0.1):
        settings = load_config(None, [ONE_ROUND, f"encoder.dropout={dropout}"]).encoder
        config = pretrain._new_encoder(settings).config
        assert isinstance(config, TeraConfig)
        assert (config.dropout, config.attention_dropout) == (dropout, dropout)
        other = pretrain._new_encoder(load_config(None, [f"encoder.dropout={dropout}"]).encoder)
        assert getattr(other.config, "dropout", None) == dropout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["encoder.rounds=[{units: mel}, {units: frames}]"], "rounds with units 'frames' train another network"),
        ([ONE_ROUND, "encoder.noisy_share=0.5"], "noisy_share must be 0"),
        ([ONE_ROUND, "encoder.speeds=[0.9, 1.1]"], "speeds"),
    ],
)
def test_what_a_tera_cannot_be_trained_with(changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, changes)


def test_mockingjay_is_tera_without_band_and_noise(run_stage: Callable[..., Run]) -> None:
    changes = "encoder.rounds=[{units: frames, steps: 4, frequency_share: 0, noise_share: 0}]"
    run = run_stage("run", changes)
    assert isinstance(run.encoder, Tera)
