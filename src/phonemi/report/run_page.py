"""The page of a run, RUN/report.html, and its figures, RUN/figures/*.png and *.svg.

The page has a section for each kind of result that is there, and names the stages that can still be run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from phonemi import audio
from phonemi.inversion.tracks import read_tracks
from phonemi.report.articulation import articulation_section
from phonemi.report.cards import example_card
from phonemi.report.figure_style import save_figure
from phonemi.report.figures import remove_old_figures, run_figures
from phonemi.report.headlines import data_text, headlines, protocol_text
from phonemi.report.pages import inline_svg, write_page
from phonemi.report.row_style import explain
from phonemi.results.evaluation import Example
from phonemi.results.metrics import METRIC, RANKING
from phonemi.results.run_folder import read_results
from phonemi.results.tables import (
    DISTANCES,
    articulation_tables,
    comparisons_table,
    distances_table,
    fine_tuning_table,
    measured_metrics,
    metrics_table,
    timings_table,
)
from phonemi.tables import Cell, Column, Table

WORST_COUNT = 10
SHOWN_MOUTHS = 2


def build_report(run_dir: str | Path) -> Path:
    """Draw the figures of a run, any of whose result files may be missing, and write its page; returns its path.

    Raises:
        DataError: if the folder does not exist, or a result file is not what its stage writes.
        MissingExtra: if matplotlib is not installed.
    """
    folder = Path(run_dir)
    results = read_results(folder)
    drawings = {
        name: inline_svg(save_figure(figure, folder / "figures", name)[1].read_text(encoding="utf-8"), name)
        for name, figure in run_figures(results).items()
    }
    remove_old_figures(folder / "figures", drawings)
    information, evaluation = results.information, results.evaluation
    # Once rows are evaluated no stage is left: what that needs was run, and other systems need nothing else.
    is_done = {"information": information is not None, "train": bool(results.log), "evaluate": False}
    stages_left = [stage for stage, done in is_done.items() if not done and evaluation is None]
    weighted = [row.row for result in (results.layer_weights, results.dynamic_weights) if result for row in result.rows]
    evaluated, measured = evaluation.rows if evaluation else (), information.rows if information else ()
    worst_by, worst = worst_utterances(results.per_utterance, results.titles)
    drawn = {name.partition("_")[0] for name in drawings}
    sections = {
        ("information", "Phonetic information"): "information" in drawn,
        ("robustness", "Which layers noise moves"): "robustness" in drawn,
        ("weights", "Which layers are used"): bool(drawn & {"layer", "dynamic"}),
        ("scores", "Enhancement"): evaluation is not None,
        ("listen", "Listen"): bool(results.examples),
        ("mouth", "What the tongue does"): any(example.tracks for example in results.examples),
        ("worst", "Worst utterances"): bool(worst),
        ("training", "Training"): "training" in drawn,
        ("run", "The run"): results.timings is not None or bool(results.config),
    }
    return write_page(
        folder / "report.html",
        "run.html",
        name=folder.resolve().name,
        headlines=headlines(results),
        stages_left=stages_left,
        sections=dict(section for section, is_there in sections.items() if is_there),
        drawings=drawings,
        protocol=protocol_text(information) if information else "",
        fine_tuning=fine_tuning_table(information, results.fine_tuned) if information and results.fine_tuned else "",
        distances={title: distances_table(results.cn_distance, part) for part, title in DISTANCES.items()}
        if results.cn_distance
        else {},
        test_data=data_text(evaluation) if evaluation else "",
        metrics=metrics_table(evaluation) if evaluation else "",
        terms=explain(
            [*(row.representation for row in measured), *weighted, *(row.row for row in evaluated)],
            (metric.key for metric in measured_metrics(evaluated)),
        ),
        tests=sum(comparison.p_adjusted is not None for comparison in evaluation.comparisons) if evaluation else 0,
        score_protocol=evaluation.protocol if evaluation else {},
        comparisons=comparisons_table(evaluation) if evaluation else "",
        articulation=articulation_tables(results.articulation) if results.articulation else {},
        mouths=[_mouth(example, folder) for example in results.examples if example.tracks][:SHOWN_MOUTHS],
        examples=[example_card(example, folder) for example in results.examples],
        worst_count=WORST_COUNT,
        worst_by=METRIC[worst_by].title if worst_by else "",
        worst=worst,
        timings=timings_table(results.timings) if results.timings else "",
        config=results.config,
        files=results.files,
    )


def _mouth(example: Example, folder: Path) -> str:
    """A moving mouth: the articulation that a row recovers from the noisy recording of an example."""
    waveform, rate = audio.load_channels(folder / example.files["noisy"])
    title = f"{example.id}, as recovered by {example.tracks_by}"
    return articulation_section(read_tracks(folder / (example.tracks or "")), waveform, rate, title, example.text or "")


def worst_utterances(
    lines: Sequence[Mapping[str, str]], titles: Mapping[str, str]
) -> tuple[str, list[tuple[str, Table]]]:
    """The worst utterances of each row, from the lines of per_utterance.csv.

    Returns:
        The column that they are ranked by, the first of `RANKING` that has values; and (title, table) of each row.
        Nothing where no utterance has a value.
    """
    ranked_by = next((key for key in RANKING if any(_is_finite(line.get(key, "")) for line in lines)), None)
    if ranked_by is None or "row" not in lines[0]:
        return "", []
    keys = [name for name in lines[0] if name != "row"]
    columns = {"snr_db": Column("SNR", "dB")} | {key: metric.column for key, metric in METRIC.items()}
    metric, tables = METRIC[ranked_by], []
    for row in dict.fromkeys(line["row"] for line in lines):
        of_row = [line for line in lines if line["row"] == row]
        values = [(metric.gain(value), line) for line in of_row if (value := metric.value_in(line)) is not None]
        values.sort(key=lambda each: each[0])
        cells = [[_cell(line[key]) for key in keys] for _, line in values[:WORST_COUNT]]
        tables.append((titles.get(row, row), Table([columns.get(key, key) for key in keys], cells)))
    return ranked_by, tables


def _is_finite(text: str) -> bool:
    value = _cell(text).value
    return isinstance(value, float) and math.isfinite(value)


def _cell(text: str) -> Cell:
    try:
        value = float(text)
    except ValueError:
        return Cell(text or None)
    return Cell(value, 0 if round(value, 3).is_integer() else 3)
