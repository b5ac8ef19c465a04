"""Sentences are computed: worked examples whose numbers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phonemi.report.headlines import (
    concentrated_layers,
    data_text,
    difference_text,
    dynamic_headlines,
    evaluation_headlines,
    headlines,
    information_headlines,
    protocol_text,
    snrs_text,
    weights_headline,
)
from phonemi.results.evaluation import Comparison, Evaluation
from phonemi.results.information import Information
from phonemi.results.run_folder import RunResults
from phonemi.results.weights import DynamicWeights, LayerWeights


def information_rows(values: dict[str, list[list[float]]]) -> list[dict]:
    return [
        {"representation": name, "layer": layer, "snr_db": snr_db, "mi_bits": value, "entropy_bits": 4.5}
        for name, layers in values.items()
        for layer, row in enumerate(layers)
        for snr_db, value in zip((-10, 20), row, strict=True)
    ]


def test_information_names_peak_baseline_and_what_noise_takes():
    rows = information_rows({"mini": [[0.5, 1.5], [1.2, 1.6], [0.4, 2.0]], "log1p": [[0.1, 0.5]]})
    assert information_headlines(Information.from_json({"rows": rows})) == [
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
    assert headlines(RunResults(layer_weights=LayerWeights.from_json({"rows": rows}))) == [
        "WS spreads over 4 layers, most on layer 1."
    ]


def test_weights_on_few_layers_are_said_with_their_share():
    rows = [{"row": "ws-acoustic", "label": "WS (Acoustic)", "weights": [0.7, 0.2, 0.1]}]
    sentence = weights_headline(LayerWeights.from_json({"rows": rows}))
    assert sentence == "WS (Acoustic) puts 70 % of its weight on layer 0."


def test_dynamic_weights_that_follow_the_snr_correlate():
    snr_db = np.repeat(np.linspace(-5, 10, 12), 2)
    share = np.linspace(0.1, 0.9, 12)

    def dynamic(weights: np.ndarray) -> DynamicWeights:
        rows = [{"row": "dws", "weights": weights.tolist()}]
        return DynamicWeights.from_json({"log_mel": [], "local_snr_db": [None, *snr_db[1:].tolist()], "rows": rows})

    assert dynamic_headlines(dynamic(np.stack([1 - share, share], 1))) == [
        "Correlation of mean layer and local SNR, in the one utterance shown: dws +1.00."
    ]
    assert dynamic_headlines(dynamic(np.full((12, 2), 0.5))) == []


def test_metrics_say_the_tested_difference_and_whether_it_is_one():
    rates = {"noisy": 0.41, "ws-acoustic": 0.39, "ws-linguistic": 0.38}
    pair = {"row": "ws-linguistic", "against": "ws-acoustic"}
    metrics = {
        "rows": [{"row": row, "wer": rate} for row, rate in rates.items()],
        "comparisons": [
            {**pair, "metric": "pesq_wb_lqo", "difference": -0.1, "low": -0.2, "high": -0.05, "p_adjusted": 0.01},
            {**pair, "metric": "wer", "difference": -0.01, "low": -0.02, "high": 0.0, "p_adjusted": 0.06},
        ],
    }
    assert evaluation_headlines(Evaluation.from_json(metrics)) == [
        "Word error rate: noisy 0.410, ws-acoustic 0.390, ws-linguistic 0.380.",
        "ws-linguistic against ws-acoustic: WER −0.010 (95 % [−0.020, 0.000], not significant); "
        "PESQ −0.10 (95 % [−0.20, −0.05], significant).",
    ]


def test_a_row_against_the_noisy_input_names_the_latter_once():
    pair = {
        "row": "mine",
        "against": "noisy",
        "difference": 0.31,
        "low": 0.1,
        "high": 0.5,
        "p_value": 0.01,
        "p_adjusted": 0.01,
    }
    metrics = {
        "rows": [{"row": "noisy", "wer": 0.4}, {"row": "mine", "wer": 0.3}],
        "comparisons": [pair | {"metric": "dnsmos_ovrl"}],
    }
    assert evaluation_headlines(Evaluation.from_json(metrics)) == [
        "Word error rate: noisy 0.400, mine 0.300.",
        "mine against noisy: DNSMOS OVRL +0.31 (95 % [+0.10, +0.50], significant).",
    ]


def compared(**differences: float) -> Evaluation:
    """Systems with their difference of STOI to noisy; all significant, but not their WER."""
    pairs = [{"row": row, "against": "noisy", "p_value": 0.01, "p_adjusted": 0.01} for row in differences]
    comparisons = [
        one
        for pair, value in zip(pairs, differences.values(), strict=True)
        for one in (
            pair | {"metric": "stoi", "difference": value, "low": value - 0.001, "high": value + 0.001},
            pair | {"metric": "wer", "difference": 0.05, "low": -0.1, "high": 0.2, "p_adjusted": 0.3},
        )
    ]
    rows = [{"row": row, "wer": 0.3} for row in ("noisy", *differences)]
    return Evaluation.from_json({"rows": rows, "comparisons": comparisons})


def test_every_system_from_elsewhere_is_said():
    assert evaluation_headlines(compared(theirs=0.02, ours=-0.03)) == [
        "Word error rate: noisy 0.300, theirs 0.300, ours 0.300.",
        "theirs against noisy: better in STOI (+0.020); no significant difference in WER (+0.050: it would be as the "
        "only difference tested).",
        "ours against noisy: worse in STOI (−0.030); no significant difference in WER (+0.050: it would be as the only "
        "difference tested).",
    ]


def test_of_many_systems_the_best_is_said_and_how_many_there_are():
    metrics = compared(**{f"system {number}": 0.01 * number for number in range(1, 8)}).to_json()
    metrics["comparisons"] = [found for found in metrics["comparisons"] if found["metric"] == "stoi"]
    assert evaluation_headlines(Evaluation.from_json(metrics)) == [
        "Word error rate: noisy 0.300.",
        "Of 7 systems, the best in STOI: system 7 against noisy: better in STOI (+0.070).",
    ]


def test_the_question_of_the_paper_comes_before_systems_from_elsewhere():
    metrics = compared(theirs=0.02).to_json()
    asked = {"row": "ws-linguistic", "against": "ws-acoustic", "metric": "stoi", "p_value": 0.01, "p_adjusted": 0.01}
    metrics["comparisons"].append(asked | {"difference": 0.1, "low": 0.05, "high": 0.2})
    metrics["rows"] += [{"row": "ws-linguistic"}, {"row": "ws-acoustic"}]
    sentences = evaluation_headlines(Evaluation.from_json(metrics))
    assert [sentence.partition(":")[0] for sentence in sentences] == [
        "Word error rate", "ws-linguistic against ws-acoustic", "theirs against noisy",
    ]  # fmt: skip


def test_the_data_are_said_in_grammar_and_with_who_is_unknown():
    snrs_db = [5.4272e-06, 4.99999144, 9.99995542]
    metrics = {"rows": [], "data": {"utterances": 1, "speakers": 1, "snrs_db": snrs_db, "recogniser": "none"}}
    assert data_text(Evaluation.from_json(metrics)) == "Test data: 1 utterance; 1 speaker; SNR 0 to 10 dB, measured."
    metrics["by_snr"] = [{"row": "noisy", "snr_db": snr_db} for snr_db in (0.0, 5.0, 10.0)]
    metrics["data"] |= {"utterances": 6, "speakers": 2, "unknown_speakers": 4, "intervals_over": "utterances"}
    assert data_text(Evaluation.from_json(metrics)) == (
        "Test data: 6 utterances; 2 speakers, unknown of 4 utterances; SNR 0 to 10 dB, measured, in the figure at the "
        "nearest of 0, 5, 10 dB; intervals and tests over utterances, so that they hold for these speakers only."
    )
    assert data_text(Evaluation(rows=())) == ""


def test_the_protocol_is_a_sentence():
    protocol = {
        "snrs_db": [0.0], "copies": 2, "train_utterances": None, "most_frames": None, "depth": 3, "hidden": 128,
        "dropout": 0.1, "silence": True, "label_at": "centre", "epochs": 1, "data": "train 20 mixtures",
    }  # fmt: skip
    layers = [{"representation": "mini", "layer": 0, "mi_bits": 1.0, "frames": frames} for frames in (4017, None)]
    information = {"classes": 40, "protocol": protocol, "rows": layers}
    assert protocol_text(Information.from_json(information)) == (
        "A probe for each layer, with 2 hidden layers of 128 units, trained for 1 epoch, tells 40 classes of phones "
        "and silence, on 4 017 test frames at each SNR. Data: train 20 mixtures."
    )
    assert protocol_text(Information(rows=())) == "A probe for each layer tells the phones."


def test_nothing_measured_says_nothing():
    assert headlines(RunResults()) == []
    assert evaluation_headlines(Evaluation.from_json({"rows": [{"row": "noisy", "wer": None}]})) == []


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"p_adjusted": 0.01, "difference": 0.1}, "better"),
        ({"p_adjusted": 0.01, "difference": -0.1}, "worse"),
        ({"p_adjusted": 0.06, "p_value": 0.01}, "not significant"),
        ({"p_value": 0.001, "models": 1}, "not tested, 1 model"),
        ({"p_value": 0.001, "models": 2}, "not tested, 2 models"),
        ({"p_value": 0.001}, "not tested"),  # a result of an earlier version
    ],
)
def test_a_claim_needs_models_and_an_adjusted_p_value(facts: dict[str, Any], verdict: str) -> None:
    values = {"row": "a", "against": "b", "metric": "stoi", "difference": 0.1, "low": 0.0, "high": 0.2} | facts
    assert Comparison(**values).verdict == verdict


@pytest.mark.parametrize(
    ("snrs_db", "text"),
    [
        ([-5.0, 0.0, 12.5], "SNR −5, 0, 12.5 dB"),
        ([5.4272e-06, 5.9677e-05, 4.99999144, 9.99995542], "SNR 0 to 10 dB, measured"),
        ([-0.01, 3.21], "SNR 0 to 3.2 dB, measured"),
        ([4.99999144], "SNR 5 dB, measured"),
    ],
)
def test_measured_snrs_are_a_range(snrs_db: list[float], text: str) -> None:
    assert snrs_text(snrs_db) == text


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"p_value": 0.4, "clusters": 6, "models": 3}, "only 3 models and 6 speakers"),
        ({"p_value": 0.4, "clusters": 40, "models": 3}, "only 3 models"),
        ({"p_value": 0.4, "clusters": 40}, ""),
        ({"p_value": 0.01, "clusters": 40}, "it would be as the only difference tested"),
        ({"p_value": 0.01, "p_adjusted": 0.02, "clusters": 6}, ""),
        ({"p_value": 0.4, "p_adjusted": None, "clusters": 6}, ""),
    ],
)
def test_what_is_not_significant_says_why(facts: dict[str, Any], reason: str) -> None:
    values = {"row": "a", "against": "b", "metric": "stoi", "difference": 0.1, "low": -0.1, "high": 0.3}
    comparison = Comparison(**(values | {"p_adjusted": 0.5} | facts))
    assert comparison.obstacle() == reason
    verdict = "significant" if comparison.is_significant else comparison.verdict
    ending = f"{verdict}: {reason})" if reason else f"{verdict})"
    assert difference_text(comparison, 1).endswith(f"], {ending}")
