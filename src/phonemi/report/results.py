"""The result files of a run folder -> checked values: MI tables `[layer, snr]`, metric definitions, numbers as text."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from phonemi.errors import DataError
from phonemi.files import read_json

STAGES = {
    "information.json": "information",
    "layer_weights.json": "report",
    "dynamic_weights.json": "report",
    "metrics.json": "evaluate",
    "examples.json": "report",
    "per_utterance.csv": "evaluate",
    "log.jsonl": "train",
    "timings.json": "any",
    "config.yaml": "any",
}
"""Result file -> the stage that writes it."""


class Metric(NamedTuple):
    """A column of the results: its key in the rows, how it is written, and which direction is better."""

    key: str
    title: str
    unit: str
    digits: int
    higher_is_better: bool
    meaning: str


METRICS = (
    Metric("mi_bits", "MI", "bits", 2, True, "lower bound of the mutual information of features and phones"),
    Metric("si_sdr_db", "SI-SDR", "dB", 2, True, "scale-invariant signal-to-distortion ratio"),
    Metric("si_sdri_db", "SI-SDRi", "dB", 2, True, "SI-SDR minus that of the noisy input"),
    Metric("stoi", "STOI", "", 3, True, "short-time objective intelligibility, up to 1"),
    Metric("pesq_wb_lqo", "PESQ", "MOS", 2, True, "wide-band PESQ, MOS-LQO, 1.04 to 4.64"),
    Metric("dnsmos_sig", "DNSMOS SIG", "MOS", 2, True, "P.835: estimated quality of the speech, 1 to 5"),
    Metric("dnsmos_bak", "DNSMOS BAK", "MOS", 2, True, "P.835: estimated quality of the background, 1 to 5"),
    Metric("dnsmos_ovrl", "DNSMOS OVRL", "MOS", 2, True, "P.835: estimated overall quality, 1 to 5"),
    Metric("wer", "WER", "", 3, False, "word errors per reference word, over the whole corpus"),
)


@dataclass(frozen=True)
class InformationTable:
    """Lower bound of the mutual information of one representation with the phones, and its 95 % interval.

    `mi_bits`, `low_bits` and `high_bits` are `[layer, snr]`; NaN where nothing was measured.
    """

    representation: str
    snrs_db: np.ndarray
    mi_bits: np.ndarray
    low_bits: np.ndarray
    high_bits: np.ndarray

    @property
    def by_layer(self) -> np.ndarray:
        """MI averaged over the SNRs, `[layer]` in bits."""
        return self.mi_bits.mean(axis=1)

    @property
    def peak_layers(self) -> np.ndarray:
        """Layer with the most information at each SNR, `[snr]`; -1 where nothing was measured."""
        peaks = np.nan_to_num(self.mi_bits, nan=-np.inf).argmax(axis=0)
        return np.where(np.isfinite(self.mi_bits).any(axis=0), peaks, -1)


def read_results(run_dir: str | Path) -> dict[str, Any]:
    """Read what is there of `STAGES`: file name -> content; files that do not exist are left out.

    Raises:
        DataError: if the folder does not exist or a file cannot be read.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise DataError(f"{run_dir} is not a folder: expected the folder of a run")
    readers = {".json": read_json, ".jsonl": _read_log, ".csv": _read_csv, ".yaml": _read_text}
    return {name: readers[Path(name).suffix](run_dir / name) for name in STAGES if (run_dir / name).is_file()}


def information_tables(information: Mapping[str, Any]) -> list[InformationTable]:
    """Rows of information.json -> one table for each representation, in order of appearance."""
    snrs_db = np.array(sorted({row["snr_db"] for row in information["rows"]}), dtype=float)
    tables = []
    for name in dict.fromkeys(row["representation"] for row in information["rows"]):
        rows = [row for row in information["rows"] if row["representation"] == name]
        values = np.full((3, 1 + max(row["layer"] for row in rows), len(snrs_db)), np.nan)
        for row in rows:
            place = int(np.searchsorted(snrs_db, row["snr_db"]))
            for index, key in enumerate(("mi_bits", "mi_bits_low", "mi_bits_high")):
                value = row.get(key)
                values[index, row["layer"], place] = np.nan if value is None else value
        tables.append(InformationTable(name, snrs_db, *values))
    return tables


def number(value: float | None, digits: int, signed: bool = False) -> str:
    """A number as text with a true minus sign; a dash for what was not measured.

    >>> number(-0.0214, 3, signed=True), number(3, 1), number(None, 2), number(-0.001, 2)
    ('−0.021', '3.0', '–', '0.00')
    """
    if value is None or not math.isfinite(value):
        return "–"
    rounded = round(float(value), digits) + 0.0  # adding zero turns -0.0 into 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "−")


def snr_text(snr_db: float) -> str:
    """A signal-to-noise ratio to 0.1 dB, without needless zeros: one that was measured has many digits.

    >>> snr_text(-5.0), snr_text(2.5), snr_text(4.99999), snr_text(-5e-6)
    ('−5', '2.5', '5', '0')
    """
    return f"{_tenths(snr_db):g}".replace("-", "−")


def snrs_text(snrs_db: Sequence[float]) -> str:
    """The signal-to-noise ratios of a test set: those that were asked for one by one, measured ones as a range.

    >>> snrs_text([-5.0, 2.5]), snrs_text([5.4e-06, 4.99999, 9.99995])
    ('SNR −5, 2.5 dB', 'SNR 0 to 10 dB, measured')
    """
    if all(snr_db == _tenths(snr_db) for snr_db in snrs_db):
        return f"SNR {', '.join(map(snr_text, snrs_db))} dB"
    ends = dict.fromkeys(snr_text(snr_db) for snr_db in (min(snrs_db), max(snrs_db)))
    return f"SNR {' to '.join(ends)} dB, measured"


def _tenths(snr_db: float) -> float:
    return round(float(snr_db), 1) + 0.0  # adding zero turns -0.0 into 0.0


def is_of_the_paper(row: str) -> bool:
    """Whether a row is one of the papers' tables, or what they are compared with; else it is a system from elsewhere.

    >>> [is_of_the_paper(row) for row in ("noisy", "layer-11", "dws-hybrid+log1p", "theirs", "ws-acoustic-2")]
    [True, True, True, False, False]
    """
    names = r"noisy|clean|log1p|(layer(-\d+)?|d?ws-(acoustic|linguistic|hybrid))(\+log1p)?"
    return re.fullmatch(names, row) is not None


def _read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a log; a last line that a running or killed stage has not finished is left out."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows = []
    for line_number, line in enumerate(lines, start=1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            if line_number < len(lines):
                raise DataError(f"{path}:{line_number}: not JSON ({error})") from None
    return rows


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", errors="replace", newline="") as lines:
        return [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(lines)]
