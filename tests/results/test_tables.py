"""phonemi.results.tables: tables hold every row, mark the best, count what failed, and say what was tested."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pages import as_html

from phonemi.results.evaluation import Evaluation
from phonemi.results.information import Information
from phonemi.results.paper_table import PaperTable
from phonemi.results.run_folder import StageTime, Timings
from phonemi.results.tables import (
    comparisons_table,
    information_table,
    layer_differences_table,
    metrics_table,
    paper_table,
    timings_table,
    weights_table,
)
from phonemi.results.weights import LayerWeights
from phonemi.systems.han2026 import TABLES


def test_the_best_row_is_marked_among_the_compared_only() -> None:
    rows = [
        {"row": "noisy", "stoi": 0.99},
        {"row": "clean", "stoi": 1.0, "wer": 0.1},
        {"row": "a", "stoi": 0.8104, "wer": 0.3},
        {"row": "b", "stoi": 0.8099, "wer": 0.2},
        {"row": "c", "stoi": 0.8121, "wer": None},
    ]
    html = as_html(metrics_table(Evaluation.from_json({"rows": rows})))
    assert re.findall(r'class="best"[^>]*><strong>(.*?)</strong>', html) == ["0.200", "0.812"]
    assert re.findall(r'scope="row">(.*?)<', html) == ["noisy", "a", "b", "c", "clean"]
    assert "PESQ" not in html


def test_a_cell_has_its_interval_and_what_failed_in_every_form() -> None:
    row = {"row": "a", "si_sdr_db": -1.234, "si_sdr_db_low": -2, "si_sdr_db_high": 0.5}
    row |= {"si_sdr_db_scored": 822, "si_sdr_db_total": 824, "wer": 0.3, "wer_insertions": 0.01, "wer_spread": 0.02}
    row |= {"wer_loops": 2}
    table = metrics_table(Evaluation.from_json({"rows": [{**row, "models": 3}]}))
    assert table.text().splitlines() == ["row SI-SDR   WER", "        dB", "a    −1.23 0.300"]
    assert table.markdown().splitlines()[2] == "| a | −1.23 [−2.00, 0.50] (822 of 824 scored) | 0.300 ±0.0200 2 loops |"
    assert "−1.23<small>[−2.00, 0.50]</small><small><em>822 of 824 scored</em></small>" in as_html(table)
    assert (
        "0.300<small>±0.0200<br>over 3 models</small><small>2 loops</small><small>insertions 0.010</small>"
        in as_html(table)
    )


def test_differences_say_whether_they_are_significant_and_for_the_better() -> None:
    pair = {"row": "a", "against": "b", "pairs": 9}
    comparisons = [
        {
            **pair,
            "metric": "wer",
            "difference": -0.02,
            "low": -0.03,
            "high": -0.01,
            "p_value": 0.0001,
            "p_adjusted": 0.0001,
        },
        {
            **pair,
            "metric": "stoi",
            "difference": -0.02,
            "low": -0.03,
            "high": -0.01,
            "p_value": 0.01,
            "p_adjusted": 0.01,
        },
        {
            **pair,
            "metric": "pesq_wb_lqo",
            "difference": 0.02,
            "low": -0.01,
            "high": 0.05,
            "p_value": 0.2,
            "p_adjusted": 0.2,
        },
    ]
    rows = [{"row": "a", "label": "A & co"}, {"row": "b"}]
    table = comparisons_table(Evaluation.from_json({"rows": rows, "comparisons": comparisons}))
    assert table.markdown().splitlines()[2] == (
        "| A & co | b | **−0.020 [−0.030, −0.010] p 0.010** | +0.02 [−0.01, +0.05] p 0.200 "
        "| **−0.020 [−0.030, −0.010] p < 0.001** |"
    )
    html = as_html(table)
    assert re.findall(r"<small>(better|worse|not significant), 9 pairs</small>", html) == [
        "worse", "not significant", "better",
    ]  # fmt: skip
    assert "A &amp; co" in html


def measured(snrs_db: tuple[float, ...], first: float | None = 0.5) -> Information:
    """Three layers and log1p; layer 0 holds the most, but at the highest SNR and on average layer 2 does."""
    values = {("mini", 0): 0.5, ("mini", 1): 0.25, ("mini", 2): 0.2, ("log1p", 0): 0.1}
    rows: list[dict[str, Any]] = [
        {"representation": name, "layer": layer, "snr_db": snr_db, "mi_bits": bits}
        for (name, layer), bits in values.items()
        for snr_db in snrs_db
    ]
    rows[0]["mi_bits"] = first
    rows[2 * len(snrs_db)]["mi_bits"] = -0.02
    rows[3 * len(snrs_db) - 1]["mi_bits"] = 2.0
    return Information.from_json({"rows": rows})


def test_layers_and_snrs_on_a_terminal() -> None:
    assert information_table(measured((-10, 0, 20)), for_terminal=True).text().splitlines() == [
        "layer   −10     0    20  mean",
        "0      0.50* 0.50* 0.50  0.50",
        "1      0.25  0.25  0.25  0.25",
        "2     −0.02  0.20  2.00* 0.73*",
        "log1p  0.10  0.10  0.10  0.10",
    ]


@pytest.mark.parametrize(("columns", "blocks"), [(20, 4), (40, 2), (60, 1), (200, 1)])
def test_a_narrow_terminal_loses_nothing(columns: int, blocks: int) -> None:
    snrs_db = (-10, -5, 0, 5, 10, 15, 20)
    lines = information_table(measured(snrs_db), for_terminal=True).text(columns).splitlines()
    assert len(lines) == 5 * blocks
    assert max(map(len, lines)) <= columns
    rows: dict[str, list[str]] = {}
    for label, *cells in (line.split() for line in lines):
        rows.setdefault(label, []).extend(cells)
    assert rows["layer"] == ["−10", "−5", "0", "5", "10", "15", "20", "mean"]
    assert rows["2"] == ["−0.02", *["0.20"] * 5, "2.00*", "0.43"]
    assert rows["log1p"] == ["0.10"] * 8
    assert rows["0"] == [*["0.50*"] * 6, "0.50", "0.50*"]


def test_what_was_not_measured_is_a_dash() -> None:
    table = information_table(measured((0, 20), first=None), for_terminal=True)
    assert table.text().splitlines()[1].split() == ["0", "–", "0.50", "–"]


def test_layers_and_snrs_as_markdown() -> None:
    lines = information_table(measured((-10, 0, 20))).markdown().splitlines()
    assert lines[0] == "| representation | −10 dB | 0 dB | 20 dB | average |"
    assert lines[4] == "| mini layer 2 | −0.02 | 0.20 | 2.00 | 0.73 |"


def test_every_snr_has_its_interval() -> None:
    bound = {"representation": "mini", "layer": 0, "mi_bits": 1.5, "mi_bits_low": 1.3, "mi_bits_high": 1.75}
    rows = [{**bound, "snr_db": 0.0}, {**bound, "snr_db": 5.0, "mi_bits_low": None, "mi_bits_high": None}]
    lines = information_table(Information.from_json({"rows": rows})).markdown().splitlines()
    assert lines[2].startswith("| mini | 1.50 [1.30, 1.75] | 1.50 |")


def test_weights_and_times() -> None:
    weights = LayerWeights.from_json({"rows": [{"row": "a", "weights": [0.25, 0.75]}]})
    assert weights_table(weights).markdown().splitlines()[2] == "| a | 0.250 | 0.750 |"
    timings = Timings(stages=(StageTime(stage="train", seconds=75.0), StageTime(stage="evaluate", seconds=5.0)))
    assert timings_table(timings).text().splitlines()[1:] == [
        "train    1 min 15 s", "evaluate 5.0 s", "all      1 min 20 s",
    ]  # fmt: skip


def test_ours_and_theirs_side_by_side() -> None:
    rows = [
        {"encoder": "", "row": "noisy", "wer": 0.5},
        {"encoder": "hubert", "row": "ws-acoustic", "label": "WS (Acoustic)", "wer": 0.2, "stoi": 0.9},
        {
            **{"encoder": "hubert", "row": "ws-linguistic", "label": "WS (Linguistic)", "models": 3},
            **{"wer": 0.1, "wer_low": 0.05, "wer_high": 0.15, "wer_spread": 0.01, "stoi": 0.8},
            "published": TABLES[1]["hubert", "ws-linguistic"]._asdict(),
        },
    ]
    worse = {"difference": -0.1, "low": -0.2, "high": -0.05, "p_value": 0.01, "p_adjusted": 0.01}
    compared = [
        {"encoder": "hubert", "row": "ws-linguistic", "metric": metric, "against": "ws-acoustic", **worse}
        for metric in ("stoi", "wer")
    ]
    content = {"number": 1, "scale": "paper", "encoders": {"hubert": "a/b"}, "rows": rows, "comparisons": compared}
    assert paper_table(PaperTable.from_json(content)).markdown().splitlines() == [
        "| encoder | row | MI bits | SI-SDRi dB | STOI | PESQ MOS | WER |",
        "|---|---|---|---|---|---|---|",
        "|  | noisy | – | – | – | – | 0.500 |",
        "| hubert | WS (Acoustic) | – | – | 0.900 | – | 0.200 |",
        "|  | WS (Linguistic) | – (3.49) | – (8.85) | 0.800 ▼ (0.947) | – (2.93) |"
        " 0.100 [0.050, 0.150] ±0.0100 ▲ (0.0609) |",
    ]


def test_layers_are_compared_on_the_same_speakers() -> None:
    easy = (1.0, 2.0, 3.0, 4.0)  # bits of a frame, by speaker: they differ far more than the layers

    def bound(representation: str, layer: int, more: float) -> dict[str, Any]:
        bits = [100 * (of_speaker + more * (1 + 0.1 * (-1) ** s)) for s, of_speaker in enumerate(easy)]
        shares = {"cluster_bits": bits, "cluster_frames": [100] * len(easy)}
        return {"representation": representation, "layer": layer, "mi_bits": 2.0, **shares}

    average = [bound("mini", 0, 0.5), bound("mini", 1, 0.8), bound("log1p", 0, 0.0)]
    table = layer_differences_table(Information.from_json({"rows": [], "average": average}))
    assert table.markdown().splitlines()[2:] == [
        "| mini layer 0 | **+0.50 [+0.41, +0.59] p 0.001** | **−0.30 [−0.36, −0.24] p 0.001** |",
        "| mini layer 1 | **+0.80 [+0.65, +0.95] p 0.001** | – |",
    ]
    alone = {"representation": "mini", "layer": 0, "mi_bits": 2.0}
    assert not layer_differences_table(Information.from_json({"rows": [], "average": [alone]})).rows
