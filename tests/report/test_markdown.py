"""Result files -> Markdown whose tables have as many cells as titles and name every row."""

from __future__ import annotations

import pytest

from phonemi.errors import DataError
from phonemi.files import write_json
from phonemi.report.markdown import paper_table_markdown, write_markdown
from phonemi.results.paper_table import PaperTable


def metrics_row(name: str, wer: float, scored: int = 4) -> dict:
    return {
        "row": name, "label": f"{name} | label", "mi_bits": None, "si_sdr_db": 1.0, "si_sdri_db": 0.5, "stoi": 0.9,
        "pesq_wb_lqo": 2.0, "pesq_wb_lqo_scored": scored, "pesq_wb_lqo_total": 4,
        "wer": wer, "wer_low": wer - 0.1, "wer_high": wer + 0.1,
    }  # fmt: skip


def test_every_row_is_there_with_interval_and_failures(tmp_path):
    comparison = {"row": "a", "against": "b", "difference": -0.1, "low": -0.2, "high": -0.05, "pairs": 4}
    comparisons = [
        comparison | {"metric": "wer", "p_value": 0.01, "p_adjusted": 0.01},
        comparison | {"metric": "stoi", "p_value": 0.0001, "p_adjusted": 0.0001},
    ]
    write_json(
        tmp_path / "metrics.json",
        {"rows": [metrics_row("a", 0.2, scored=3), metrics_row("b", 0.3)], "comparisons": comparisons},
    )
    rows = [
        {"representation": "mini", "layer": layer, "snr_db": snr_db, "mi_bits": layer + 0.25, "entropy_bits": 4.0}
        for layer in range(3)
        for snr_db in (-5.0, 5.0)
    ]
    write_json(tmp_path / "information.json", {"rows": rows})
    write_json(tmp_path / "layer_weights.json", {"rows": [{"row": "a", "label": "a", "weights": [0.2, 0.3, 0.5]}]})
    write_json(tmp_path / "timings.json", {"stages": [{"stage": "train", "seconds": 90.0}]})
    text = write_markdown(tmp_path).read_text()
    assert "2.00 (3 of 4 scored)" in text
    assert "0.200 [0.100, 0.300]" in text
    assert "**−0.100 [−0.200, −0.050] p 0.010**" in text, "significant differences are bold"
    assert "−0.100 [−0.200, −0.050] p < 0.001" in text
    assert "DNSMOS" not in text, "columns of what was not judged"
    assert "| mini layer 2 | 2.25 | 2.25 | 2.25 |" in text
    assert "| all | 1 min 30 s |" in text
    widths = {}
    for line in text.splitlines():
        if line.startswith("|"):
            cells = line.replace("\\|", "").count("|")
            assert widths.setdefault("now", cells) == cells, line
        else:
            widths.clear()


def test_the_page_of_a_paper_table_says_what_its_numbers_are() -> None:
    rows = [
        {"encoder": "", "row": "noisy", "stoi": 0.5},
        {"encoder": "hubert", "row": "layer-11", "label": "layer 11", "models": 3},
    ]
    content = {"number": 1, "scale": "paper", "encoders": {"hubert": "a/b"}, "rows": rows}
    difference = {"row": "layer-11", "against": "noisy", "metric": "stoi", "difference": 0.1, "low": 0.0, "high": 0.2}
    content |= {
        "comparisons": [{"encoder": "hubert", **difference, "p_adjusted": 0.01, "is_endpoint": True}],
        "protocols": {"hubert": {"test": "9 mixtures of 3 speakers."}},
    }
    text = paper_table_markdown(PaperTable.from_json(content))
    assert text.splitlines()[:5] == [
        "# Table 1", "", "Scale paper. Encoders: hubert: `a/b`.", "", "| encoder | row | STOI |"
    ]  # fmt: skip
    said = " ".join(text.split())
    assert "of fewer than 3 models nothing is tested" in said
    assert "what the paper prints" not in said, "nothing is printed of these rows"
    printed = {**rows[1], "published": {"stoi": 0.9}}
    assert "what the paper prints" in " ".join(
        paper_table_markdown(PaperTable.from_json({**content, "rows": [printed]})).split()
    )
    assert "## Protocol\n\n- **Test**: 9 mixtures of 3 speakers." in text
    assert "| hubert | layer 11 | noisy | **+0.100 [0.000, +0.200] p 0.010 endpoint** |" in text
    assert "▲" in text.partition("Ours")[0]
    assert "too few" not in text
    few = paper_table_markdown(PaperTable.from_json({**content, "intervals_over": "utterances"}))
    assert "interval over utterances" in few
    assert "too few" in " ".join(few.split())


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        write_markdown(tmp_path / "none")
