"""The rows of a table of the paper -> Markdown: ours with interval and spread, and what is printed in brackets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phonemi.report.headlines import is_significant
from phonemi.report.markdown import metric_cell, table
from phonemi.report.results import METRICS, Metric, number

NOTES = """\
Ours: mean [95 % interval over {drawn}]; ± is the standard deviation of several models of a row, of MI that of several
probes. In round brackets: what the paper prints; its "SI-SDR" is read as SI-SDRi. ▲ better, ▼ worse than the acoustic
row of the same encoder, kind and inputs, significant: interval and permutation test over {drawn}, and all models of the
same sign."""
FEW_SPEAKERS = " The\nspeakers are too few to be drawn: what is significant holds for these speakers."


def table_markdown(result: Mapping[str, Any]) -> str:
    """The content of table<number>.json as a page."""
    rows, verdicts = result["rows"], _verdicts(result["comparisons"])
    columns = [metric for metric in METRICS if any(metric.key in row for row in rows)]
    titles = ["encoder", "row", *(f"{metric.title} {metric.unit}".strip() for metric in columns)]
    lines, last = [], ""
    for row in rows:
        name = "" if row["encoder"] == last else row["encoder"]
        last = row["encoder"]
        cells = [_cell(row, metric, verdicts.get((row["encoder"], row["row"], metric.key), "")) for metric in columns]
        lines.append([name, str(row.get("label", row["row"])), *cells])
    models = max((row.get("models", 1) for row in rows), default=1)
    made_by = result["made_by"]
    facts = f"Scale {result['scale']}; models of each row: {models}; commit {made_by.get('commit', 'unknown')}."
    encoders = ", ".join(f"{name}: `{source}`" for name, source in result["encoders"].items())
    parts = [f"# Table {result['number']}", f"{facts} Encoders: {encoders}.", table(titles, lines)]
    drawn = result.get("intervals_over", "speakers")
    parts.append(NOTES.format(drawn=drawn) + (FEW_SPEAKERS if drawn == "utterances" else ""))
    return "\n\n".join(parts) + "\n"


def _cell(row: Mapping[str, Any], metric: Metric, verdict: str) -> str:
    printed = row.get("published", {}).get(metric.key)
    cell = metric_cell(row, metric) + (f" {verdict}" if verdict else "")
    # WER is printed with four digits.
    return cell if printed is None else f"{cell} ({number(printed, 4 if metric.key == 'wer' else metric.digits)})"


def _verdicts(comparisons: list[dict[str, Any]]) -> dict[tuple[str, str, str], str]:
    """(encoder, row, metric) -> whether it is significantly better or worse than its acoustic row."""
    better = {metric.key: metric.higher_is_better for metric in METRICS}
    return {
        (one["encoder"], one["row"], one["metric"]): "▲" if (one["difference"] > 0) == better[one["metric"]] else "▼"
        for one in comparisons
        if is_significant(one)
    }
