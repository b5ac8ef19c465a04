"""Results as Markdown: RUN/results.md, and the page of a table of the paper."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from phonemi.files import write_text
from phonemi.metrics.statistics import MIN_MODELS
from phonemi.report.headlines import headlines
from phonemi.results.paper_table import PaperTable
from phonemi.results.run_folder import read_results
from phonemi.results.tables import (
    DISTANCES,
    articulation_tables,
    comparisons_table,
    distances_table,
    fine_tuning_table,
    information_table,
    layer_differences_table,
    metrics_table,
    paper_table,
    timings_table,
    weights_table,
)
from phonemi.tables import Table

NOTES = (
    "Ours: mean [95 % interval over {unit} and, where there are several, models]; ± is the standard deviation over the "
    "models of a row, or over several probes for MI.{printed} ▲ better, ▼ worse than the row that it is compared with "
    "under Differences, tested over models and {unit} and adjusted for the number of tests; of fewer than {models} "
    "models nothing is tested."
)
PRINTED = ' In round brackets: what the paper prints; its "SI-SDR" is read as SI-SDRi.'
FEW_SPEAKERS = " There are too few speakers to test over: what is significant holds for these speakers."


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
    if results.articulation is not None:
        tables |= {
            f"Articulation: {title}": table for title, table in articulation_tables(results.articulation).items()
        }
    if results.information is not None:
        tables["Information: bits by layer and SNR"] = information_table(results.information)
        tables["Information: paired differences of the layers"] = layer_differences_table(results.information)
    if results.information is not None and results.fine_tuned is not None:
        changes = fine_tuning_table(results.information, results.fine_tuned)
        tables["Information: bits that fine-tuning added to each layer"] = changes
        tables["Information after fine-tuning: bits by layer and SNR"] = information_table(results.fine_tuned)
    if results.cn_distance is not None:
        for part, what in DISTANCES.items():
            tables[f"Clean-noisy distance by layer and SNR, {what}"] = distances_table(results.cn_distance, part)
    if results.layer_weights is not None:
        tables["Layer weights"] = weights_table(results.layer_weights)
    if results.timings is not None:
        tables["Time"] = timings_table(results.timings)
    parts = [_bullets(headlines(results))]
    parts += [f"## {title}\n\n{table.markdown()}" for title, table in tables.items() if table.rows]
    if results.evaluation is not None and results.evaluation.protocol:
        parts.insert(2, f"## Protocol\n\n{_bullets(protocol_lines({'': results.evaluation.protocol}))}")
    path = Path(run_dir) / "results.md"
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")
    return path


def paper_table_markdown(result: PaperTable) -> str:
    """A table of the paper as a page: our numbers beside the printed ones."""
    encoders = ", ".join(f"{name}: `{source}`" for name, source in result.encoders.items())
    facts = f"Scale {result.scale}. Encoders: {encoders}."
    unit = result.intervals_over
    printed = PRINTED if any(row.published for row in result.rows) else ""
    notes = NOTES.format(unit=unit, models=MIN_MODELS, printed=printed)
    notes += FEW_SPEAKERS if unit == "utterances" else ""
    parts = [
        f"# Table {result.number or result.name}",
        facts,
        *filter(None, (result.note,)),
        paper_table(result).markdown(),
        textwrap.fill(notes, 120),
    ]
    if result.protocols:
        parts.append(f"## Protocol\n\n{_bullets(protocol_lines(result.protocols))}")
    if result.comparisons:
        parts.append(f"## Differences\n\n{comparisons_table(result).markdown()}")
    for encoder, articulation in (result.articulation or {}).items():
        for title, table in articulation_tables(articulation).items():
            parts.append(f"## Articulation: {title} ({encoder})\n\n{table.markdown()}")
    return "\n\n".join(parts) + "\n"


def protocol_lines(protocols: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What was done, a line for each topic; a topic that differs between encoders has one for each of them.

    >>> protocol_lines({"mini": {"test": "9 mixtures.", "MI": "x."}, "wavlm": {"test": "9 mixtures.", "MI": "y."}})
    ['**Test**: 9 mixtures.', '**MI** (mini): x.', '**MI** (wavlm): y.']
    """
    lines = []
    for topic in dict.fromkeys(topic for protocol in protocols.values() for topic in protocol):
        texts = {encoder: protocol[topic] for encoder, protocol in protocols.items() if topic in protocol}
        title = f"**{topic[0].upper()}{topic[1:]}**"
        if len(set(texts.values())) == 1:
            lines.append(f"{title}: {next(iter(texts.values()))}")
        else:
            lines += [f"{title} ({encoder}): {text}" for encoder, text in texts.items()]
    return lines


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
