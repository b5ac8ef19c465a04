"""Tables hold every row, mark the best and count what failed; players are small; text is escaped."""

from __future__ import annotations

import base64
import re

import numpy as np

from phonemi import audio
from phonemi.report.report_tables import (
    comparisons_table,
    example_card,
    marked_words,
    metrics_table,
    terms_note,
    worst_utterances,
)


def test_the_best_row_is_marked_among_the_compared_only():
    rows = [
        {"row": "noisy", "stoi": 0.99},
        {"row": "a", "stoi": 0.8104, "wer": 0.3},
        {"row": "b", "stoi": 0.8099, "wer": 0.2},
        {"row": "c", "stoi": 0.8121, "wer": None},
        {"row": "clean", "stoi": 1.0, "wer": 0.1},
    ]
    table = metrics_table({"rows": rows})
    assert re.findall(r'class="best"[^>]*><strong>(.*?)</strong>', table) == ["0.200", "0.812"]
    assert re.findall(r'scope="row">(.*?)<', table) == ["noisy", "a", "b", "c", "clean"]
    assert "PESQ" not in table


def test_intervals_and_failures_are_shown():
    row = {
        "row": "a",
        "si_sdr_db": -1.234,
        "si_sdr_db_low": -2,
        "si_sdr_db_high": 0.5,
        "si_sdr_db_scored": 822,
        "si_sdr_db_total": 824,
    }
    table = metrics_table({"rows": [row]})
    assert "−1.23<small>[−2.00, 0.50]</small><small><em>822 of 824 scored</em></small>" in table


def test_a_lower_error_rate_is_better_and_a_tie_is_not_significant():
    shared = {"row": "a", "against": "b", "metric": "wer", "pairs": 9}
    table = comparisons_table({
        "rows": [{"row": "a", "label": "A & co"}, {"row": "b"}],
        "comparisons": [
            {**shared, "difference": -0.02, "low": -0.03, "high": -0.01, "p_value": 0.0001},
            {**shared, "difference": 0.02, "low": -0.01, "high": 0.05, "p_value": 0.2},
        ],
    })  # fmt: skip
    assert re.findall(r'"verdict \w+">(.*?)<', table) == ["better", "not significant"]
    assert "A &amp; co" in table
    assert "&lt; 0.001" in table
    assert comparisons_table({"rows": []}) == ""


def test_the_worst_utterances_come_first_and_failures_do_not_count():
    rows = [{"row": "a", "id": f"u{index}", "wer": str(index / 20)} for index in range(15)]
    html = worst_utterances([*rows, {"row": "a", "id": "failed", "wer": ""}], {"a": "Row A"})
    assert re.findall(r'"text">(.*?)<', html) == [f"u{index}" for index in range(14, 4, -1)]
    assert "<summary>Row A</summary>" in html
    assert worst_utterances([], {}) == worst_utterances([{"row": "a", "id": "u"}], {}) == ""


def test_only_words_that_occur_are_explained():
    assert terms_note(["noisy", "theirs"], ["stoi"]) == ""
    note = terms_note(["dws-hybrid+log1p"], ["stoi", "dnsmos_sig"])
    assert re.findall(r"(?:>|; )([^:]*):", note) == ["WS", "DWS", "hybrid", "log1p", "DNSMOS SIG, BAK, OVRL"]
    assert "SIG, BAK, OVRL" not in terms_note(["ws-acoustic"])


def test_marked_words_are_escaped():
    assert marked_words("a c", "a <b>") == "a <mark>&lt;b&gt;</mark>"
    assert "nothing heard" in marked_words("", "")


def test_players_are_small_keep_their_ratio_and_name_missing_files(tmp_path):
    rng = np.random.default_rng(0)
    loud = (0.5 * rng.standard_normal(45 * 16_000)).astype(np.float32).clip(-1, 1)
    audio.save(tmp_path / "noisy.flac", loud, 16_000)
    audio.save(tmp_path / "clean.flac", loud[: 8 * 16_000] / 4, 16_000)
    example = {"id": "u1", "files": {"noisy": "noisy.flac", "clean": "clean.flac", "ws": "gone.flac"}}
    html = example_card(example, tmp_path)
    sounds = [base64.b64decode(sound) for sound in re.findall(r"data:audio/ogg;base64,([^\"]+)", html)]
    assert len(sounds) == 2
    assert max(map(len, sounds)) <= 200_000
    (tmp_path / "back.ogg").write_bytes(sounds[1])
    assert abs(audio.level_db(audio.load(tmp_path / "back.ogg")) - audio.level_db(0.99 * loud / 4)) < 1.5
    assert "gone.flac is missing" in html
