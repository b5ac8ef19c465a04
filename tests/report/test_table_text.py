from __future__ import annotations

from phonemi.report.table_text import table_markdown
from phonemi.systems.han2026 import TABLES


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
    worse = {"difference": -0.1, "low": -0.2, "high": -0.05, "p_value": 0.01}
    compared = [
        {"encoder": "hubert", "row": "ws-linguistic", "metric": metric, "against": "ws-acoustic", **worse}
        for metric in ("stoi", "wer")
    ]
    made = {"number": 1, "scale": "paper", "encoders": {"hubert": "a/b"}, "made_by": {"commit": "abc"}}
    text = table_markdown({**made, "rows": rows, "comparisons": compared})
    assert text.splitlines()[:3] == [
        "# Table 1",
        "",
        "Scale paper; models of each row: 3; commit abc. Encoders: hubert: `a/b`.",
    ]
    assert [line for line in text.splitlines() if line.startswith("|")] == [
        "| encoder | row | STOI | WER |",
        "|---|---|---|---|",
        "|  | noisy | – | 0.500 |",
        "| hubert | WS (Acoustic) | 0.900 | 0.200 |",
        "|  | WS (Linguistic) | 0.800 ▼ (0.947) | 0.100 [0.050, 0.150] ±0.0100 ▲ (0.0609) |",
    ]


def test_without_comparisons_nothing_is_marked() -> None:
    made = {"number": 2, "scale": "mini", "encoders": {}, "made_by": {}, "comparisons": []}
    text = table_markdown({**made, "rows": [{"encoder": "", "row": "noisy", "stoi": 0.5}]})
    assert "▲" not in text.partition("Ours")[0]
