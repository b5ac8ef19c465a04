"""The metrics: what a score counts for."""

from __future__ import annotations

from phonemi.metrics.score import ESTIMATE_SILENT, FAULTS, Score
from phonemi.results.metrics import METRIC


def test_a_fault_of_the_estimate_counts_as_the_worst_and_no_other_failure_does() -> None:
    assert {METRIC["pesq_wb_lqo"].value_of(Score.failed(fault)) for fault in FAULTS} == {1.02}
    assert METRIC["wer"].value_of(Score.failed(ESTIMATE_SILENT)) == 1.0
    assert METRIC["stoi"].value_of(Score.failed("reference silent")) is None
    assert METRIC["pesq_wb_lqo"].value_of(Score.failed("pesq is not installed")) is None


def test_silence_gains_nothing_against_what_is_bad() -> None:
    assert METRIC["si_sdri_db"].value_of(Score(-79.0)) == METRIC["si_sdri_db"].value_of(Score.failed(ESTIMATE_SILENT))
    assert METRIC["stoi"].value_of(Score(0.7)) == 0.7
    assert METRIC["wer"].value_of(Score(1.5)) == 1.5, "of what is better the lower it is, numbers stay"
    assert METRIC["phone_bits"].value_of(Score(-3.6)) == -3.6
