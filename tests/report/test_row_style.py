"""What names decide: words are explained where they occur, systems of the papers are told from others."""

from __future__ import annotations

from phonemi.report.row_style import explain, is_in_figure_3, is_other_system
from phonemi.results.metrics import METRICS


def test_only_words_that_occur_are_explained() -> None:
    assert explain(["noisy", "theirs"]) == ""
    every = [metric.key for metric in METRICS]
    for metric in METRICS:  # tooltips show on no phone
        assert f"{metric.title.removeprefix('DNSMOS ')}" in explain([], every)
        assert explain([], [metric.key]).count(":") == 1
    assert explain([], ["stoi", "wer"]).startswith("STOI: estimated intelligibility, up to 1; WER: ")
    sentence = explain(["dws-hybrid+log1p"], ["stoi", "dnsmos_sig"])
    words = [part.partition(":")[0] for part in sentence.split("; ")]
    assert words == ["WS", "DWS", "hybrid", "log1p", "STOI", "DNSMOS SIG, BAK, OVRL"]
    assert "SIG, BAK, OVRL" not in explain(["ws-acoustic"])


def test_systems_of_the_paper_are_told_from_others() -> None:
    rows = ("noisy", "layer-11", "dws-hybrid+log1p", "ws-acoustic@2", "theirs", "ws-acoustic-2")
    assert [is_other_system(row) for row in rows] == [False, False, False, False, True, True]
    assert [row for row in (*rows, "dws-acoustic", "dws-linguistic") if is_in_figure_3(row)] == [
        "dws-acoustic", "dws-linguistic",
    ]  # fmt: skip
