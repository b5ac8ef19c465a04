"""Results as Markdown: RUN/results.md, and the page of a table of the paper."""

from __future__ import annotations

from pathlib import Path

from phonemi.files import write_text
from phonemi.report.headlines import headlines
from phonemi.results.evaluation import PaperTable
from phonemi.results.run_folder import read_results
from phonemi.results.tables import (
    comparisons_table,
    information_table,
    metrics_table,
    paper_table,
    timings_table,
    weights_table,
)
from phonemi.tables import Table

NOTES = """\
Ours: mean [95 % interval over {unit}]; ± is the standard deviation over several models of a row, or over several
probes for MI. In round brackets: what the paper prints; its "SI-SDR" is read as SI-SDRi. ▲ better, ▼ worse than the
acoustic row of the same encoder, kind and inputs; significant by interval and permutation test over {unit}, with the
same sign for all models."""
FEW_SPEAKERS = " There are too few\nspeakers to draw from: what is significant holds for these speakers."


def write_markdown(run_dir: str | Path) -> Path:
    """Write RUN/results.md: headlines and tables with intervals, of the result files that are there.

    Raises:
        DataError: if the folder or one of its result files cannot be read.
    """
    results = read_results(run_dir)
    tables: dict[str, Table] = {}
    if results.evaluation is not None:
        tables["Enhancement"] = metrics_table(results.evaluation)
        tables["Paired differences"] = comparisons_table(results.evaluation)
    if results.information is not None:
        tables["Information: bits by layer and SNR"] = information_table(results.information)
    if results.layer_weights is not None:
        tables["Layer weights"] = weights_table(results.layer_weights)
    if results.timings is not None:
        tables["Time"] = timings_table(results.timings)
    parts = ["\n".join(f"- {sentence}" for sentence in headlines(results))]
    parts += [f"## {title}\n\n{table.markdown()}" for title, table in tables.items() if table.rows]
    path = Path(run_dir) / "results.md"
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")
    return path


def paper_table_markdown(result: PaperTable) -> str:
    """A table of the paper as a page: our numbers beside the printed ones."""
    models = max((row.models or 1 for row in result.rows), default=1)
    commit = result.made_by.get("commit", "unknown")
    encoders = ", ".join(f"{name}: `{source}`" for name, source in result.encoders.items())
    facts = f"Scale {result.scale}; models of each row: {models}; commit {commit}. Encoders: {encoders}."
    unit = result.intervals_over
    notes = NOTES.format(unit=unit) + (FEW_SPEAKERS if unit == "utterances" else "")
    return f"# Table {result.number}\n\n{facts}\n\n{paper_table(result).markdown()}\n\n{notes}\n"
