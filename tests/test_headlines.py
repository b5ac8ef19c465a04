"""Sentences are computed: worked examples whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest

from phonemi.headlines import (
    concentrated_layers,
    dynamic_headlines,
    headlines,
    information_headlines,
    is_significant,
    metrics_headlines,
)


def information_rows(values: dict[str, list[list[float]]]) -> list[dict]:
    return [
        {"representation": name, "layer": layer, "snr_db": snr_db, "mi_bits": value, "entropy_bits": 4.5}
        for name, layers in values.items()
        for layer, row in enumerate(layers)
        for snr_db, value in zip((-10, 20), row, strict=True)
    ]


def test_information_names_peak_baseline_and_what_noise_takes():
    rows = information_rows({"mini": [[0.5, 1.5], [1.2, 1.6], [0.4, 2.0]], "log1p": [[0.1, 0.5]]})
    assert information_headlines({"rows": rows}) == [
        "Phonetic information in mini peaks at layer 1: 1.40 bits of the 4.50 that a phone carries, log1p 0.30 "
        "(averages over −10 to 20 dB SNR).",
        "From 20 to −10 dB SNR, noise takes 40 % of the peak (2.00 to 1.20 bits), which moves from layer 2 to 1.",
    ]


@pytest.mark.parametrize(
    ("weights", "layers"),
    [([0.7, 0.2, 0.1], (0, 0)), ([0.05, 0.05, 0.3, 0.3, 0.3], (2, 3)), ([0.25] * 4, (0, 2)), ([1.0], (0, 0))],
)
def test_concentrated_layers(weights, layers):
    assert concentrated_layers(np.array(weights)) == layers


def test_equal_weights_are_not_called_a_peak():
    rows = [{"row": "ws", "label": "WS", "weights": [0.24, 0.26, 0.25, 0.25]}]
    assert headlines({"layer_weights.json": {"rows": rows}}) == ["WS spreads over 4 layers, most on layer 1."]


def test_dynamic_weights_that_follow_the_snr_correlate():
    snr_db = np.repeat(np.linspace(-5, 10, 12), 2)
    share = np.linspace(0.1, 0.9, 12)
    dynamic = {
        "local_snr_db": [None, *snr_db[1:]],
        "rows": [{"row": "dws", "weights": np.stack([1 - share, share], 1)}],
    }
    assert dynamic_headlines(dynamic) == [
        "Correlation of mean layer and local SNR, in the one utterance shown: dws +1.00."
    ]
    dynamic["rows"][0]["weights"] = np.full((12, 2), 0.5)
    assert dynamic_headlines(dynamic) == []


def test_metrics_say_the_tested_difference_and_whether_it_is_one():
    rates = {"noisy": 0.41, "ws-acoustic": 0.39, "ws-linguistic": 0.38}
    pair = {"row": "ws-linguistic", "against": "ws-acoustic"}
    metrics = {
        "rows": [{"row": row, "wer": rate} for row, rate in rates.items()],
        "comparisons": [
            {**pair, "metric": "pesq_wb_lqo", "difference": -0.1, "low": -0.2, "high": -0.05},
            {**pair, "metric": "wer", "difference": -0.01, "low": -0.02, "high": 0.0},
        ],
    }
    assert metrics_headlines(metrics) == [
        "Word error rate: noisy 0.410, ws-acoustic 0.390, ws-linguistic 0.380.",
        "ws-linguistic against ws-acoustic: WER −0.010 (95 % [−0.020, 0.000], not significant); "
        "PESQ −0.10 (95 % [−0.20, −0.05], significant).",
    ]


def test_a_row_against_the_noisy_input_names_the_latter_once():
    pair = {"row": "mine", "against": "noisy", "difference": 0.31, "low": 0.1, "high": 0.5, "p_value": 0.01}
    metrics = {
        "rows": [{"row": "noisy", "wer": 0.4}, {"row": "mine", "wer": 0.3}],
        "comparisons": [pair | {"metric": "dnsmos_ovrl"}],
    }
    assert metrics_headlines(metrics) == [
        "Word error rate: noisy 0.400, mine 0.300.",
        "mine against noisy: DNSMOS OVRL +0.31 (95 % [+0.10, +0.50], significant).",
    ]


def test_nothing_measured_says_nothing():
    assert headlines({}) == []
    assert metrics_headlines({"rows": [{"row": "noisy", "wer": None}]}) == []


@pytest.mark.parametrize(
    ("by_model", "significant"),
    [([0.1, 0.2, 0.05], True), ([-0.3, -0.1], True), ([0.4, -0.01, 0.2], False), ([0.2, 0.0], False)],
)
def test_a_difference_that_changes_its_sign_with_the_model_is_not_significant(
    by_model: list[float], significant: bool
) -> None:
    found = {"low": 0.01, "high": 0.2, "p_value": 0.01}
    assert is_significant(found)
    assert is_significant({**found, "by_model": by_model}) is significant
