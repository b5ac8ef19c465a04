"""Bits that a frozen probe finds: cases whose answer is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonemi import audio
from phonemi.constants import IGNORE
from phonemi.data.manifest import read_manifest
from phonemi.errors import ModelError
from phonemi.files import read_json, write_json
from phonemi.information.phones_kept import NO_PHONES, TOO_SHORT, PhoneJudge
from phonemi.metrics.score import ESTIMATE_NOT_FINITE, ESTIMATE_SILENT
from phonemi.probes.layer_probes import LayerProbes
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import MelTransformer
from phonemi.representations.names import load_representation

DISTRIBUTION = torch.tensor([0.5, 0.25, 0.25])
NOISE = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


def judge(biases: list[float]) -> PhoneJudge:
    """A judge whose probe says the same of every frame."""
    encoder = Log1p()
    probe = LayerProbes(1, encoder.dim, 3, depth=1)
    with torch.no_grad():
        probe.kernels[0].zero_()
        probe.biases[0].copy_(torch.tensor(biases))
    return PhoneJudge(encoder, 0, probe.eval(), DISTRIBUTION)


def test_a_probe_that_knows_only_how_often_phones_are_finds_nothing() -> None:
    knows_nothing = judge(DISTRIBUTION.log().tolist())
    frames = knows_nothing.encoder.frames(len(NOISE))
    phones = torch.arange(frames) % 3
    assert knows_nothing.bits(NOISE, phones).value == pytest.approx(0, abs=1e-5)


def test_a_probe_that_is_sure_and_right_finds_all_and_one_that_is_wrong_less_than_nothing() -> None:
    sure = judge([0.0, 20.0, 0.0])
    frames = sure.encoder.frames(len(NOISE))
    right, wrong = torch.full((frames,), 1), torch.full((frames,), 2)
    assert sure.bits(NOISE, right).value == pytest.approx(2, abs=1e-5)  # -log2 p
    assert sure.bits(NOISE, wrong).value == pytest.approx(2 - 20 / math.log(2), abs=1e-4)
    assert torch.equal(sure.recognise(NOISE), right)


def test_frames_without_a_phone_do_not_count() -> None:
    sure = judge([0.0, 20.0, 0.0])
    phones = torch.full((sure.encoder.frames(len(NOISE)),), IGNORE)
    assert sure.bits(NOISE, phones).reason == NO_PHONES
    phones[3] = 1
    assert sure.bits(NOISE, phones).value == pytest.approx(2, abs=1e-5)


def test_what_cannot_be_judged_has_a_reason() -> None:
    sure = judge([0.0, 20.0, 0.0])
    assert sure.bits(np.full(8000, np.nan, np.float32), torch.ones(50)).reason == ESTIMATE_NOT_FINITE
    assert sure.bits(np.zeros(8000, np.float32), torch.ones(50)).reason == ESTIMATE_SILENT
    mini = load_representation("mini")
    beside = PhoneJudge(mini, 0, LayerProbes(1, mini.dim, 3), DISTRIBUTION)
    assert beside.bits(NOISE[:10], torch.ones(0)).reason == TOO_SHORT


def test_in_what_cannot_be_judged_there_are_no_phones() -> None:
    shipped = PhoneJudge.load("phone-judge")
    for clean in (np.full(8000, np.inf, np.float32), np.zeros(8000, np.float32), NOISE[:10]):
        assert len(shipped.recognise(clean)) == 0
        assert shipped.bits(NOISE, shipped.recognise(clean)).reason == NO_PHONES


@pytest.mark.slow
def test_noise_takes_bits_of_speech_until_none_are_left(sentences: list[np.ndarray]) -> None:
    """4.2, 3.8, 2.3 and -1.2 bits were measured; below 0 it is sure of what it does not hear."""
    shipped = PhoneJudge.load("phone-judge")
    clean = np.concatenate(sentences[:3])
    noise = np.random.default_rng(0).normal(0, clean.std(), len(clean)).astype(np.float32)
    phones = shipped.recognise(clean)
    signals = (clean, clean + 0.1 * noise, clean + noise, clean + 10 * noise)
    bits = [shipped.bits(signal, phones).value for signal in signals]
    assert bits == sorted(bits, reverse=True)
    assert bits[0] > 3.5
    assert bits[2] > 1.5
    assert bits[3] < 0.5


@pytest.mark.parametrize("half", [False, True])
def test_a_saved_judge_says_the_same(tmp_path: Path, half: bool) -> None:
    mini = load_representation("mini")
    saved = PhoneJudge(mini, 4, LayerProbes(1, mini.dim, 3, hidden=8, depth=2).eval(), DISTRIBUTION)
    saved.save(tmp_path, half)
    if half:
        with torch.no_grad():
            for parameter in saved.probe.parameters():
                parameter.copy_(parameter.half())
    loaded = PhoneJudge.load(tmp_path)
    assert torch.equal(loaded.log_probabilities(NOISE), saved.log_probabilities(NOISE))
    phones = saved.recognise(NOISE)
    assert loaded.bits(NOISE, phones) == saved.bits(NOISE, phones)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model_type": "bert"}, "it is a 'bert' model"),
        ({"encoder": "mini", "encoder_sha256": "0" * 64}, "an encoder 'mini' with other weights"),
        ({"encoder": "maxi"}, "no encoder 'maxi'"),
        ({"depth": 2}, "does not fit its configuration"),
        ({"layer": None, "depth": "three"}, "does not describe one"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    judge([0.0, 20.0, 0.0]).save(tmp_path)
    write_json(tmp_path / "config.json", read_json(tmp_path / "config.json") | change)
    with pytest.raises(ModelError, match=problem):
        PhoneJudge.load(tmp_path)


def test_the_judges_that_there_are_are_named() -> None:
    with pytest.raises(ModelError, match=r"no phone judge 'mini': expected one that ships \(phone-judge\), or"):
        PhoneJudge.load("mini")


def test_an_encoder_that_was_trained_again_is_refused(tmp_path: Path) -> None:
    mini = load_representation("mini")
    assert isinstance(mini, MelTransformer)
    mini.save(tmp_path / "encoder")
    encoder = load_representation(tmp_path / "encoder")
    PhoneJudge(encoder, 4, LayerProbes(1, mini.dim, 3, hidden=8, depth=2), DISTRIBUTION).save(tmp_path / "judge")
    assert PhoneJudge.load(tmp_path / "judge").layer == 4
    assert isinstance(encoder, MelTransformer)
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    encoder.save(tmp_path / "encoder")
    with pytest.raises(ModelError, match=r"an encoder '\.\./encoder' with other weights"):
        PhoneJudge.load(tmp_path / "judge")


@pytest.mark.slow
def test_of_tones_in_loud_noise_nothing_is_left(corpus: Any) -> None:
    shipped = PhoneJudge.load("phone-judge")
    clean = np.concatenate([audio.load(recording.path) for recording in read_manifest(corpus.speech)[:3]])
    noise = np.random.default_rng(0).normal(0, clean.std(), len(clean)).astype(np.float32)
    phones = shipped.recognise(clean)
    one, other = (shipped.bits(clean + loudness * noise, phones).value for loudness in (1, 10))
    assert one > other + 0.5
    assert other == pytest.approx(0, abs=0.5)
