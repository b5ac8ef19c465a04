"""stand-in"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from phonemi.report.results import METRICS, information_tables, number, snr_text


def information_text(result: Mapping[str, Any], columns: int) -> str:
    """The content of information.json as a table, layer x SNR and the mean, for a terminal of so many columns."""
    tables = information_tables(result)
    rows = [["layer", *(snr_text(snr_db) + " " for snr_db in tables[0].snrs_db), "mean "]]
    for table in tables:
        bits_ = np.column_stack([table.mi_bits, table.by_layer])
        several = len(bits_) > 1
        for layer, values in enumerate(bits_):
            most = several & (values == bits_.max(axis=0))
            cells = [number(value, 2) + " *"[int(star)] for value, star in zip(values, most, strict=True)]
            rows.append([str(layer) if several else table.representation, *cells])
    names = " and ".join(dict.fromkeys(table.representation for table in tables))
    lines = textwrap.wrap(f"Bits of phonetic information in {names}, by layer and SNR in dB; * the most there", columns)
    label_width, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    start = 0
    while start < len(widths):  # what does not fit beside goes below
        end = start + 1
        while end < len(widths) and label_width + sum(1 + width for width in widths[start : end + 1]) <= columns:
            end += 1
        for label, *cells in rows:
            aligned = [cell.rjust(width) for cell, width in zip(cells[start:end], widths[start:end], strict=True)]
            lines.append(" ".join([label.ljust(label_width), *aligned]).rstrip())
        start = end
    return "\n".join(lines)


def metrics_text(result: Mapping[str, Any]) -> str:
    """The means of metrics.json as a table for a terminal; the intervals are in RUN/results.md."""
    columns = [metric for metric in METRICS if any(row.get(metric.key) is not None for row in result["rows"])]
    lines = [["", *(metric.title for metric in columns)], ["", *(metric.unit for metric in columns)]]
    for row in result["rows"]:
        cells = [number(row.get(metric.key), metric.digits) for metric in columns]
        lines.append([str(row.get("label", row["row"])), *cells])
    first, *widths = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        " ".join(
            [line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], widths, strict=True))]
        ).rstrip()
        for line in lines
    )
