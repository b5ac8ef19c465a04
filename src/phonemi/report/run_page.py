"""The page of a run, RUN/report.html, and its figures, RUN/figures/*.png and *.svg.

The page has a section for each kind of result that is there, and names the stages that can still be run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from phonemi.report.cards import example_card
from phonemi.report.figure_style import save_figure
from phonemi.report.figures import run_figures
from phonemi.report.headlines import data_text, headlines, protocol_text
from phonemi.report.pages import inline_svg, write_page
from phonemi.report.row_style import explain
from phonemi.results.metrics import METRIC, RANKING
from phonemi.results.run_folder import RunResults, read_results
from phonemi.results.tables import comparisons_table, measured_metrics, metrics_table, timings_table
from phonemi.tables import Cell, Column, Table

if TYPE_CHECKING:
    from markupsafe import Markup

WORST_COUNT = 10

_CAPTIONS = {
    "information_by_layer": (
        "Information by layer.",
        "Lower bound of the mutual information of features and phones, averaged over the SNRs, with its 95 % interval.",
    ),
    "information_by_snr": ("The same at each single SNR.", "Each line is named at its right end."),
    "information_heatmap": ("Layer and SNR in numbers.", "Bits; the best layer at each SNR is boxed."),
    "information_peak": ("The best layer at each SNR", "(its number at the point), with its 95 % interval."),
    "layer_weights": (
        "Weight of each layer",
        "in the fused representation, averaged over frames for dynamic rows. Dotted: equal weights.",
    ),
    "dynamic_weights": ("Layer weights over time", "in one noisy utterance. The weights of a frame sum to 1."),
    "metrics_by_snr": (
        "Scores at each SNR.",
        "Arrows point to better. Clean speech is left out, to keep the scale.",
    ),
    "training_curves": (
        "Training",
        "of the encoder, of the aggregations on phones and of the enhancers, as far as they were trained here. Each "
        "point averages the values logged around it.",
    ),
}
_OTHER_COLUMNS = {"snr_db": Column("SNR", "dB")}
_TITLES = {
    "information": "Phonetic information",
    "weights": "Which layers are used",
    "scores": "Enhancement",
    "listen": "Listen",
    "worst": "Worst utterances",
    "training": "Training",
    "run": "The run",
}


class Drawing(NamedTuple):
    """A figure on the page; `title` and `caption` together are one sentence or more."""

    name: str
    svg: Markup
    title: str
    caption: str


def build_report(run_dir: str | Path) -> Path:
    """Draw the figures of a run and write its page.

    Args:
        run_dir: folder of a run; any of its result files may be missing.

    Returns:
        The path of the page, RUN/report.html.

    Raises:
        DataError: if the folder does not exist, or a result file is not what its stage writes.
        MissingExtra: if jinja2 or matplotlib is not installed.
    """
    folder = Path(run_dir)
    results = read_results(folder)
    drawings = []
    for name, figure in run_figures(results).items():
        svg = save_figure(figure, folder / "figures", name)[1].read_text(encoding="utf-8")
        title, caption = next(texts for start, texts in _CAPTIONS.items() if name.startswith(start))
        drawings.append(Drawing(name, inline_svg(svg, name), title, caption))

    information, evaluation = results.information, results.evaluation
    weighted = [row.row for result in (results.layer_weights, results.dynamic_weights) if result for row in result.rows]
    evaluated = evaluation.rows if evaluation else ()
    # The speakers of the utterances are the same in every row.
    speakers = [line.get("speaker") for line in results.per_utterance if line.get("row") == "noisy"]
    worst_by, worst = worst_utterances(results.per_utterance, results.titles)
    drawn = {drawing.name.partition("_")[0] for drawing in drawings}
    is_there = {
        "information": "information" in drawn,
        "weights": bool(drawn & {"layer", "dynamic"}),
        "scores": evaluation is not None,
        "listen": bool(results.examples),
        "worst": bool(worst),
        "training": "training" in drawn,
        "run": results.timings is not None or bool(results.config),
    }
    return write_page(
        folder / "report.html",
        "run.html",
        name=folder.resolve().name,
        headlines=headlines(results),
        stages_left=_stages_left(results),
        sections={id: title for id, title in _TITLES.items() if is_there[id]},
        drawings=drawings,
        protocol=protocol_text(information) if information else "",
        information_terms=explain(row.representation for row in information.rows) if information else "",
        weights_terms=explain(weighted),
        test_data=data_text(evaluation, speakers.count("")) if evaluation else "",
        metrics=metrics_table(evaluation) if evaluation else "",
        metrics_terms=explain((row.row for row in evaluated), (metric.key for metric in measured_metrics(evaluated))),
        tests=len(evaluation.comparisons) if evaluation else 0,
        comparisons=comparisons_table(evaluation) if evaluation else "",
        examples=[example_card(example, folder) for example in results.examples],
        worst_count=WORST_COUNT,
        worst_by=METRIC[worst_by].title if worst_by else "",
        worst=worst,
        timings=timings_table(results.timings) if results.timings else "",
        config=results.config,
        files=results.files,
    )


def _stages_left(results: RunResults) -> list[str]:
    """Stages that have written nothing yet and that a user can run; `report` writes its files when it can.

    Once rows are evaluated there are none: what evaluating them needs was run, and other systems need nothing else.
    """
    if results.evaluation is not None:
        return []
    done = set()
    if results.information is not None:
        done.add("information")
    if results.log:
        done.add("train")
    return [stage for stage in ("information", "train", "evaluate") if stage not in done]


def worst_utterances(
    lines: Sequence[Mapping[str, str]], titles: Mapping[str, str]
) -> tuple[str, list[tuple[str, Table]]]:
    """The worst utterances of each row.

    Args:
        lines: of per_utterance.csv.
        titles: name of a row -> what the page calls it.

    Returns:
        The column that they are ranked by, the first of `RANKING` that has values; and (title, table) of each row.
        Nothing where no utterance has a value.
    """
    ranked_by = next((key for key in RANKING if any(_value(line, key) is not None for line in lines)), None)
    if ranked_by is None or "row" not in lines[0]:
        return "", []
    keys = [name for name in lines[0] if name != "row"]
    columns = [METRIC[key].column if key in METRIC else _OTHER_COLUMNS.get(key, Column(key)) for key in keys]
    tables = []
    for row in dict.fromkeys(line["row"] for line in lines):
        scored = [line for line in lines if line["row"] == row and _value(line, ranked_by) is not None]
        scored.sort(key=lambda line: METRIC[ranked_by].gain(_value(line, ranked_by) or 0.0))
        cells = [[_cell(line[key]) for key in keys] for line in scored[:WORST_COUNT]]
        tables.append((titles.get(row, row), Table(columns, cells)))
    return ranked_by, tables


def _value(line: Mapping[str, str], key: str) -> float | None:
    try:
        value = float(line.get(key, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _cell(text: str) -> Cell:
    try:
        value = float(text)
    except ValueError:
        return Cell(text or None)
    return Cell(value, 0 if round(value, 3).is_integer() else 3)
