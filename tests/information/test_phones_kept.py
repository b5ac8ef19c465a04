"""Bits that a frozen probe finds: cases whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from phonemi.constants import IGNORE
from phonemi.information.phones_kept import NO_PHONES, TOO_SHORT, PhoneJudge
from phonemi.metrics.score import ESTIMATE_NOT_FINITE
from phonemi.probes.layer_probes import LayerProbes
from phonemi.representations.log1p import Log1p
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
    mini = load_representation("mini")
    beside = PhoneJudge(mini, 0, LayerProbes(1, mini.dim, 3), DISTRIBUTION)
    assert beside.bits(NOISE[:10], torch.ones(0)).reason == TOO_SHORT
