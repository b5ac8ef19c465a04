"""Result files are read as they are, in any state a running or killed stage leaves them."""

from __future__ import annotations

import numpy as np
import pytest

from phonemi.errors import DataError
from phonemi.report.results import STAGES, information_tables, read_results, snrs_text


def test_missing_files_are_left_out_and_unreadable_ones_named(tmp_path):
    assert read_results(tmp_path) == {}
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics.json is not JSON"):
        read_results(tmp_path)


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        read_results(tmp_path / "nowhere")


def test_the_unfinished_last_line_of_a_log_is_left_out(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n\n{"step": 2}\n{"st')
    assert read_results(tmp_path)["log.jsonl"] == [{"step": 1}, {"step": 2}]
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"st\n{"step": 2}\n')
    with pytest.raises(DataError, match=r"log.jsonl:2"):
        read_results(tmp_path)


def test_information_tables_place_every_row_whatever_the_order():
    rows = [
        {"representation": "mini", "layer": layer, "snr_db": snr_db, "mi_bits": layer + snr_db / 100}
        for layer, snr_db in ((1, 10), (0, -5), (1, -5))
    ]
    (table,) = information_tables({"rows": rows})
    assert table.snrs_db.tolist() == [-5, 10]
    np.testing.assert_allclose(table.mi_bits, [[-0.05, np.nan], [0.95, 1.1]])
    assert np.isnan(table.low_bits).all()
    assert table.peak_layers.tolist() == [1, 1]


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


def test_every_result_file_names_its_stage():
    assert all(STAGES.values())
