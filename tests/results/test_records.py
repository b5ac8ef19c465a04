"""phonemi.results: records keep every key of their files, and a file that does not fit is one line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi.errors import DataError
from phonemi.files import write_json
from phonemi.metrics.score import Score
from phonemi.results.evaluation import Evaluation, Example, Scores, UtteranceScore
from phonemi.results.information import AggregatedInformation, Information, information_tables
from phonemi.results.paper_table import PaperTable
from phonemi.results.record import Record, read_record
from phonemi.results.run_folder import RunResults, Timings, read_results
from phonemi.results.weights import DynamicWeights, LayerWeights

BOUND = {
    **{"mi_bits": 0.5, "mi_nats": 0.3, "entropy_bits": 4.6, "cross_entropy_bits": 4.1, "accuracy": 0.3},
    **{"frames": 2463, "utterances": 24, "mi_bits_low": -0.7, "mi_bits_high": 0.6},
}
ESTIMATE = {"stoi": 0.8, "stoi_low": 0.7, "stoi_high": 0.9, "stoi_scored": 17, "stoi_total": 18}
WER = {
    **{"wer": 0.6, "wer_low": 0.4, "wer_high": 0.8, "wer_insertions": 0.1, "wer_scored": 18, "wer_total": 18},
    **{"wer_words": 102, "wer_reasons": {"no transcript": 1}, "wer_spread": 0.1, "wer_loops": 2},
}
COMPARISON = {
    **{"row": "log1p", "against": "noisy", "metric": "stoi", "difference": 0.1, "low": None, "high": None},
    **{"p_value": 0.1, "p_adjusted": 0.2, "pairs": 18, "is_endpoint": False},
}
FILES: list[tuple[type[Record], dict[str, Any]]] = [
    (
        Information,
        {
            **{"key": "3b", "unit": "bits", "classes": 40, "snrs_db": [-5.0], "protocol": {"depth": 3}},
            "rows": [{"representation": "mini", "layer": 0, "snr_db": -5.0, **BOUND, "mi_bits_spread": 0.1}],
            "average": [{"representation": "mini", "layer": 0, **BOUND}],
            "validation": [],
        },
    ),
    (
        Evaluation,
        {
            "key": "a4",
            "data": {
                **{"utterances": 18, "speakers": None, "intervals_over": "utterances", "snrs_db": [0.0]},
                **{"recogniser": "pocketsphinx", "recogniser_settings": {"level_db": -26.0}},
            },
            "rows": [
                {"row": "noisy", "label": "noisy", **ESTIMATE, **WER, "models": 2},
                {
                    "row": "clean", "label": "clean", "si_sdr_db": None, "si_sdr_db_low": None, "si_sdr_db_high": None,
                    "si_sdr_db_scored": 0, "si_sdr_db_total": 18, "si_sdr_db_reasons": {"silent": 18},
                },
            ],
            "comparisons": [COMPARISON, {**COMPARISON, "by_model": [0.1, None]}],
            "by_snr": [{"row": "noisy", "snr_db": 0.0, **ESTIMATE}],
            "protocol": {"test": "18 mixtures."},
        },
    ),
    (LayerWeights, {"utterances": 18, "rows": [{"row": "ws-acoustic", "label": "WS", "weights": [0.25, 0.75]}]}),
    (
        DynamicWeights,
        {
            "utterance": "a", "snr_db": None, "frame_s": 0.02, "log_mel": [[-1.0]], "local_snr_db": [None, 1.0],
            "rows": [{"row": "dws-acoustic", "label": "DWS", "weights": [[0.25, 0.75]]}],
        },
    ),
    (Timings, {"stages": [{"stage": "train", "seconds": 2.5}]}),
    (
        Scores,
        {
            "key": "df",
            "utterances": [
                {
                    "id": "a@5dB", "speaker": "m6", "snr_db": 5.0, "noise": "keyboard", "text": "hide the chair",
                    "stoi": {"value": None, "reason": "reference silent"}, "heard": "hide",
                    "words": {"hits": 1, "substitutions": 0, "deletions": 2, "insertions": 0},
                },
                {
                    "id": "b", "speaker": None, "snr_db": None, "noise": None, "text": None,
                    "word_failure": "no transcript",
                },
            ],
        },
    ),
    (
        Example,
        {
            "id": "a", "snr_db": 0.0, "text": "hide", "files": {"noisy": "a.flac"}, "labels": {"noisy": "noisy"},
            "words": {"noisy": None}, "scores": {"noisy": {"stoi": 0.8, "si_sdri_db": None}},
        },
    ),
    (
        PaperTable,
        {
            "number": 1, "scale": "mini", "encoders": {"hubert": "a/b"}, "intervals_over": "speakers",
            "rows": [
                {"encoder": "", "row": "noisy", "label": "noisy", **ESTIMATE},
                {"encoder": "hubert", "row": "layer-11", "label": "layer 11", **WER, "published": {"wer": 0.07}},
            ],
            "comparisons": [{"encoder": "hubert", **COMPARISON}],
            "protocols": {"hubert": {"test": "18 mixtures."}},
            "made_by": {"commit": "abc"},
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "content"), FILES, ids=[kind.__name__ for kind, _ in FILES])
def test_what_is_read_is_written_again_key_by_key(kind: type[Record], content: dict[str, Any]) -> None:
    assert kind.from_json(content).to_json() == content


def test_bounds_over_all_snrs_are_told_apart_in_files_of_the_first_version() -> None:
    places = (-5.0, "average", "validation")
    content = {"key": "62", "rows": [{"snr_db": place, **BOUND, "row": "layer"} for place in places]}
    record = AggregatedInformation.from_json(content)
    assert [[row.snr_db for row in rows] for rows in (record.rows, record.average, record.validation)] == [
        [-5.0], [None], [None],
    ]  # fmt: skip
    assert AggregatedInformation.from_json(record.to_json()) == record


def test_a_score_without_a_value_says_why() -> None:
    record = UtteranceScore.of(Score.failed("reference silent"))
    assert record.to_json() == {"value": None, "reason": "reference silent"}
    assert math.isnan(record.score.value)
    assert UtteranceScore.of(Score(0.5)).score == Score(0.5)


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("information.json", {}, "the file has no 'rows'"),
        ("information.json", [], "the file is [], expected an object"),
        ("metrics.json", {"rows": [{}]}, "rows[0] has no 'row'"),
        (
            "metrics.json",
            {"rows": [{"row": "a", "stoi": "x"}]},
            "rows[0].estimates['stoi'].value is 'x', expected a num",
        ),
        (
            "metrics.json",
            {"rows": [{"row": "a", "snr_db": "average"}]},
            "rows[0].snr_db is 'average', expected a number",
        ),
        ("metrics.json", {"rows": [{"row": "a", "models": True}]}, "rows[0].models is True, expected a whole number"),
        ("layer_weights.json", {"rows": [{"row": "a", "weights": 1}]}, "rows[0].weights is 1, expected a list"),
        ("examples.json", [{"id": 1}], "[0].id is 1, expected a text"),
        ("examples.json", {}, "the file is {}, expected a list"),
        ("timings.json", {"stages": [[1]]}, "stages[0] is [1], expected an object"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path: Path, file: str, content: Any, problem: str) -> None:
    write_json(tmp_path / file, content)
    with pytest.raises(DataError) as error:
        read_results(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / file} is not what its stage writes: {problem}")


def test_missing_files_are_left_out_and_unreadable_ones_named(tmp_path: Path) -> None:
    assert read_results(tmp_path) == RunResults()
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics.json is not JSON"):
        read_results(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(DataError, match="does not exist"):
        read_record(tmp_path / "timings.json", Timings)


def test_the_unfinished_last_line_of_a_log_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n\n{"step": 2}\n{"st')
    assert read_results(tmp_path).log == ({"step": 1}, {"step": 2})
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"st\n{"step": 2}\n')
    with pytest.raises(DataError, match=r"log.jsonl:2"):
        read_results(tmp_path)
    (tmp_path / "log.jsonl").write_text("[1]\n{}\n")
    with pytest.raises(DataError, match=r"log.jsonl:1: expected a JSON object, found list"):
        read_results(tmp_path)


def test_information_tables_place_every_row_whatever_the_order() -> None:
    rows = [
        {"representation": "mini", "layer": layer, "snr_db": snr_db, "mi_bits": layer + snr_db / 100}
        for layer, snr_db in ((1, 10), (0, -5), (1, -5))
    ]
    (table,) = information_tables(Information.from_json({"rows": rows}))
    assert table.snrs_db.tolist() == [-5, 10]
    np.testing.assert_allclose(table.mi_bits, [[-0.05, np.nan], [0.95, 1.1]])
    assert np.isnan(table.low_bits).all()
    assert table.peak_layers.tolist() == [1, 1]
