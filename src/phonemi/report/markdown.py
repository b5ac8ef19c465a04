"""The results of a run -> Markdown: headlines and tables with intervals, to paste into a paper or docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phonemi.files import write_text
from phonemi.report.headlines import headlines, is_significant
from phonemi.report.results import METRICS, Metric, information_tables, number, read_results, snr_text


def write_markdown(run_dir: str | Path) -> Path:
    """Write RUN/results.md from the result files that are there.

    Raises:
        DataError: if the folder or one of its result files cannot be read.
    """
    results = read_results(run_dir)
    parts = ["\n".join(f"- {sentence}" for sentence in headlines(results))]
    if "metrics.json" in results:
        parts += ["## Enhancement", metrics_table(results["metrics.json"])]
        parts += ["## Paired differences", comparisons_table(results["metrics.json"])]
    if "information.json" in results:
        parts += ["## Information: bits by layer and SNR", information_table(results["information.json"])]
    if results.get("layer_weights.json", {}).get("rows"):
        parts += ["## Layer weights", weights_table(results["layer_weights.json"]["rows"])]
    if "timings.json" in results:
        rows = [[row["stage"], f"{row['seconds'] / 60:.1f}"] for row in results["timings.json"]["stages"]]
        rows.append(["all", f"{sum(row['seconds'] for row in results['timings.json']['stages']) / 60:.1f}"])
        parts += ["## Time", table(["stage", "minutes"], rows)]
    path = Path(run_dir) / "results.md"
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")
    return path


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars in cells are escaped.

    >>> print(table(["a", "b"], [["1", "x|y"]]))
    | a | b |
    |---|---|
    | 1 | x\\|y |
    """
    lines = [titles, ["---"] * len(titles), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return (
        "\n".join("| " + " | ".join(line) + " |" for line in escaped).replace("| --- ", "|---").replace("--- |", "---|")
    )


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """One line a row: value, interval, spread of several models, and how many were scored where some failed."""
    columns = [metric for metric in METRICS if any(metric.key in row for row in metrics["rows"])]
    titles = ["row"] + [f"{metric.title} {metric.unit}".strip() for metric in columns]
    lines = [
        [str(row.get("label", row["row"])), *(metric_cell(row, metric) for metric in columns)]
        for row in metrics["rows"]
    ]
    return table(titles, lines)


def metric_cell(row: Mapping[str, Any], metric: Metric) -> str:
    """What a row reached.

    >>> cells = {"wer": 0.3, "wer_low": 0.25, "wer_high": 0.35, "wer_scored": 8, "wer_total": 9}
    >>> metric_cell({"row": "log1p", **cells}, METRICS[-1])
    '0.300 [0.250, 0.350] (8 of 9 scored)'
    """
    low, high = (row.get(f"{metric.key}_{end}") for end in ("low", "high"))
    cell = number(row.get(metric.key), metric.digits)
    if low is not None and high is not None:
        cell += f" [{number(low, metric.digits)}, {number(high, metric.digits)}]"
    if row.get(f"{metric.key}_spread") is not None:
        cell += f" ±{number(row[f'{metric.key}_spread'], metric.digits + 1)}"
    scored, total = row.get(f"{metric.key}_scored"), row.get(f"{metric.key}_total")
    return cell if scored == total else f"{cell} ({scored} of {total} scored)"


def comparisons_table(metrics: Mapping[str, Any]) -> str:
    """Differences on the same utterances, one line a pair of rows; significant ones are bold."""
    labels = {row["row"]: str(row.get("label", row["row"])) for row in metrics["rows"]}
    compared = [metric for metric in METRICS if any(c["metric"] == metric.key for c in metrics["comparisons"])]
    rows: dict[tuple[str, str], list[str]] = {}
    for found in metrics["comparisons"]:
        pair = (found["row"], found["against"])
        names = [labels.get(name, name) for name in pair]
        rows.setdefault(pair, [*names, *("–" for _ in compared)])
        metric = next(metric for metric in compared if metric.key == found["metric"])
        difference, low, high = (
            number(found[key], metric.digits, signed=True) for key in ("difference", "low", "high")
        )
        cell = f"{difference} [{low}, {high}] {_p_text(found['p_value'])}"
        rows[pair][2 + compared.index(metric)] = f"**{cell}**" if is_significant(found) else cell
    return table(["row", "against", *(metric.title for metric in compared)], list(rows.values()))


def _p_text(p_value: float | None) -> str:
    return "p < 0.001" if p_value is not None and p_value < 0.001 else f"p {number(p_value, 3)}"


def information_table(information: Mapping[str, Any]) -> str:
    """MI of every layer at every SNR and on average."""
    tables = information_tables(information)
    rows = []
    for found in tables:
        for layer, values in enumerate(found.mi_bits):
            name = found.representation if len(found.mi_bits) == 1 else f"{found.representation} layer {layer}"
            rows.append([name, *(number(value, 2) for value in values), number(values.mean(), 2)])
    snrs = [f"{snr_text(snr_db)} dB" for snr_db in tables[0].snrs_db]
    return table(["representation", *snrs, "average"], rows)


def weights_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean weight of every layer in every aggregation."""
    titles = ["row", *(f"layer {layer}" for layer in range(len(rows[0]["weights"])))]
    return table(titles, [[str(row.get("label", row["row"])), *(number(w, 3) for w in row["weights"])] for row in rows])
