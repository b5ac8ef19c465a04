"""What is said of rows: what a silent output costs, what is tested over models, and what is adjusted for its number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phonemi.config.sections import Endpoint
from phonemi.metrics.score import ESTIMATE_SILENT
from phonemi.metrics.statistics import estimate, holm
from phonemi.metrics.words.word_errors import WordCounts
from phonemi.results.evaluation import Comparison, ScoredUtterance, UtteranceScore
from phonemi.results.information import Bound, RowBound
from phonemi.stages.comparison import Models, adjust, cluster_unit, compare_rows, information_sums, summarise_row
from phonemi.systems import find_systems

SPEAKERS, SNRS_DB = 12, (0, 5)


def utterances(stoi: float, seed: int = 0, errors: int = 3, silent: int = 0) -> list[ScoredUtterance]:
    """A recording of each speaker at two SNRs, with scores about `stoi`; so many of them are silent."""
    random = np.random.default_rng(seed)
    return [
        ScoredUtterance(
            id=f"utterance{speaker}@{snr_db}dB",
            speaker=f"speaker{speaker}",
            snr_db=snr_db,
            scores={
                "stoi": UtteranceScore(value=None, reason=ESTIMATE_SILENT)
                if 2 * speaker + step < silent
                else UtteranceScore(value=stoi + 0.01 * random.standard_normal())
            },
            words=WordCounts(10 - errors, errors, 0, 0),
        )
        for speaker in range(SPEAKERS)
        for step, snr_db in enumerate(SNRS_DB)
    ]


def trained(models: int, difference: float = 0.05) -> Models:
    """Two rows with so many models each, and the noisy input."""
    rows: Models = {"noisy": [utterances(0.5)], "clean": [utterances(1.0, errors=0)]}
    rows["ws-acoustic"] = [utterances(0.6, seed) for seed in range(1, models + 1)]
    rows["ws-linguistic"] = [utterances(0.6 + difference, 50 + seed) for seed in range(1, models + 1)]
    return rows


def of(comparisons: list[Comparison], row: str, against: str, metric: str = "stoi") -> Comparison:
    (found,) = [c for c in comparisons if (c.row, c.against, c.metric) == (row, against, metric)]
    return found


def test_muting_does_not_pay() -> None:
    whole, muted = (summarise_row([utterances(0.9, silent=silent)], "speakers") for silent in (0, 6))
    assert muted["stoi"] == pytest.approx(whole["stoi"] * 18 / 24, abs=0.01)
    assert (muted["stoi_scored"], muted["stoi_total"]) == (18, 24)
    assert muted["stoi_reasons"] == {ESTIMATE_SILENT: 6}
    rows: Models = {"noisy": [utterances(0.8)], "clean": [utterances(1.0)], "theirs": [utterances(0.8, silent=6)]}
    assert of(compare_rows(rows, []), "theirs", "noisy").difference == pytest.approx(-0.2, abs=0.02)


def test_loops_of_the_recogniser_are_counted() -> None:
    loops = {"utterance1@0dB", "utterance2@5dB"}
    heard = [replace(one, heard="it can't be. " * 20 if one.id in loops else "it is") for one in utterances(0.5)]
    assert summarise_row([heard, heard], "utterances")["wer_loops"] == 4
    assert "wer_loops" not in summarise_row([utterances(0.5)], "utterances")


@pytest.mark.parametrize(("models", "verdict"), [(1, "not tested, 1 model"), (2, "not tested, 2 models")])
def test_one_model_or_two_say_nothing_of_a_method(models: int, verdict: str) -> None:
    comparison = of(
        compare_rows(trained(models), find_systems(["ws-acoustic", "ws-linguistic"], models)),
        "ws-linguistic", "ws-acoustic",
    )  # fmt: skip
    assert comparison.verdict == verdict
    assert comparison.low is not None
    assert comparison.low > 0, "for these models there is a difference"


def test_three_models_do_and_the_test_is_that_over_models_and_speakers() -> None:
    rows = trained(3)
    comparisons = compare_rows(rows, find_systems(["ws-acoustic", "ws-linguistic"], 3))
    comparison = of(comparisons, "ws-linguistic", "ws-acoustic")
    values = [
        [[u.scores["stoi"].value for u in model] for model in rows[name]] for name in ("ws-linguistic", "ws-acoustic")
    ]
    expected = estimate(np.subtract(*values), np.ones((3, 24)), [utterance.speaker for utterance in rows["noisy"][0]])
    assert (comparison.difference, comparison.p_value) == pytest.approx((expected.value, expected.p_value))
    assert (comparison.verdict, comparison.models, comparison.clusters) == ("better", 3, SPEAKERS)
    assert comparison.by_model is not None
    assert len(comparison.by_model) == 3


def test_the_endpoint_is_tested_by_itself_and_the_others_together() -> None:
    systems = find_systems(["ws-acoustic", "ws-linguistic"], 3)
    endpoint = Endpoint(row="ws-linguistic", against="ws-acoustic", metric="stoi")
    comparisons = compare_rows(trained(3, difference=0.004), systems, endpoint)
    named = of(comparisons, "ws-linguistic", "ws-acoustic")
    assert named.is_endpoint
    assert named.p_adjusted == named.p_value
    without = of(compare_rows(trained(3, difference=0.004), systems), "ws-linguistic", "ws-acoustic")
    assert not without.is_endpoint
    assert without.p_adjusted is not None
    assert without.p_value is not None
    assert without.p_adjusted > without.p_value
    assert sum(comparison.is_endpoint for comparison in comparisons) == 1


def test_systems_from_elsewhere_are_tested_as_they_are() -> None:
    rows: Models = {"noisy": [utterances(0.5)], "clean": [utterances(1.0)], "theirs": [utterances(0.6, 1, errors=3)]}
    comparison = of(compare_rows(rows, []), "theirs", "noisy")
    assert comparison.verdict == "better"
    assert comparison.models is None
    assert of(compare_rows(rows, []), "theirs", "noisy", "wer").verdict == "not significant"


def test_rows_with_other_numbers_of_models_are_compared_by_what_both_have() -> None:
    rows = trained(5)
    rows["ws-acoustic"] = rows["ws-acoustic"][:3]
    comparison = of(
        compare_rows(rows, find_systems(["ws-acoustic", "ws-linguistic"], 5)), "ws-linguistic", "ws-acoustic"
    )
    assert comparison.models == 3


def test_one_trained_model_beside_three_is_one_model() -> None:
    rows = trained(3)
    rows["ws-acoustic"] = rows["ws-acoustic"][:1]
    systems = find_systems(["ws-acoustic", "ws-linguistic"], 1, {"ws-linguistic": 3})
    comparisons = compare_rows(rows, systems)
    assert of(comparisons, "ws-linguistic", "ws-acoustic").verdict == "not tested, 1 model"
    assert of(comparisons, "ws-linguistic", "noisy").models == 3, "the noisy input exists once"


def test_what_is_adjusted_together_is_what_is_shown_together() -> None:
    comparisons = compare_rows(trained(3), find_systems(["ws-acoustic", "ws-linguistic"], 3))
    shown = [comparison for comparison in comparisons if comparison.against == "ws-acoustic"]
    assert len(shown) < len(comparisons)
    for alone, together in zip(adjust(shown), shown, strict=True):
        assert alone.p_adjusted is not None
        assert together.p_adjusted is not None
        assert alone.p_adjusted <= together.p_adjusted
    two_endpoints = [replace(comparison, is_endpoint=True) for comparison in shown[:2]]
    assert [one.p_adjusted for one in adjust(two_endpoints)] == holm([one.p_value or 0.0 for one in two_endpoints])


def test_differences_of_information_are_paired_by_speaker() -> None:
    random = np.random.default_rng(0)
    of_speaker = random.normal(2, 0.5, SPEAKERS)  # some speakers are easier, for every row
    bounds = [
        RowBound(
            row=name + ("" if model == 1 else f"@{model}"),
            mi_bits=2.0,
            cluster_bits=tuple(100 * (of_speaker + gain + 0.01 * random.standard_normal(SPEAKERS))),
            cluster_frames=(100,) * SPEAKERS,
        )
        for name, gain in (("ws-acoustic", 0.0), ("ws-linguistic", 0.1))
        for model in (1, 2, 3)
    ]
    systems = find_systems(["ws-acoustic", "ws-linguistic"], 3)
    comparisons = compare_rows(trained(3), systems, information=information_sums(bounds, systems))
    comparison = of(comparisons, "ws-linguistic", "ws-acoustic", "mi_bits")
    assert comparison.difference == pytest.approx(0.1, abs=0.01)
    assert comparison.verdict == "better"


def test_information_that_is_not_learned_exists_once() -> None:
    random = np.random.default_rng(0)
    bounds = [
        RowBound(
            row="layer-3",
            mi_bits=2.0,
            cluster_bits=tuple(random.normal(200, 20, SPEAKERS)),
            cluster_frames=(100,) * SPEAKERS,
        )
    ]
    spectrum = Bound(
        mi_bits=1.0, cluster_bits=tuple(random.normal(100, 20, SPEAKERS)), cluster_frames=(100,) * SPEAKERS
    )
    p_values = set()
    for models in (1, 3):
        systems = find_systems(["log1p", "layer-3"], models)
        rows = {**trained(models), "log1p": trained(models)["ws-acoustic"], "layer-3": trained(models)["ws-linguistic"]}
        information = information_sums(bounds, systems, spectrum)
        endpoint = Endpoint(row="layer-3", against="log1p", metric="mi_bits")
        comparison = of(compare_rows(rows, systems, endpoint, information), "layer-3", "log1p", "mi_bits")
        assert comparison.models is None, "it is tested over speakers alone"
        p_values.add(comparison.p_value)
    assert len(p_values) == 1


def test_an_endpoint_the_other_way_round_is_compared_once() -> None:
    systems = find_systems(["ws-acoustic", "ws-linguistic"], 3)
    endpoint = Endpoint(row="ws-acoustic", against="ws-linguistic", metric="stoi")
    pairs = [(one.row, one.against) for one in compare_rows(trained(3), systems, endpoint)]
    assert ("ws-acoustic", "ws-linguistic") in pairs
    assert ("ws-linguistic", "ws-acoustic") not in pairs


def test_the_unit_is_the_speaker_or_of_too_few_the_recording() -> None:
    many, few = utterances(0.5), utterances(0.5)[:6]
    assert (cluster_unit(many), cluster_unit(few)) == ("speakers", "utterances")
    assert cluster_unit([replace(utterance, speaker=None) for utterance in many]) == "utterances"
    rows: Models = {"noisy": [few], "clean": [few], "theirs": [utterances(0.6, 1)[:6]]}
    assert of(compare_rows(rows, []), "theirs", "noisy").clusters == 3  # not six: two are copies
