"""Which figures are drawn from which results: the figures of a run, and those of the paper.

The figures of the paper (Han et al., 2026) are

1a  MI by layer, averaged over the SNRs          2   weights of the layers, for each encoder
1b  MI by layer at each SNR, for each encoder    3   weights over time, beside spectrum and local SNR
1c  MI of the best layer against the SNR

and cn sets these and the weights beside the clean-noisy distance of BSSE (Hung et al., 2022).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phonemi.errors import ConfigError, DataError
from phonemi.report import plots
from phonemi.report.figure_style import save_figure
from phonemi.report.robustness import layer_profiles, robustness_sentences
from phonemi.report.row_style import is_dynamic, is_in_figure_3, row_title, trained_part
from phonemi.results.articulation import Articulation
from phonemi.results.evaluation import Evaluation
from phonemi.results.information import Information, InformationTable, information_tables
from phonemi.results.metrics import METRICS
from phonemi.results.record import read_record
from phonemi.results.run_folder import STAGES, RunResults, read_results
from phonemi.results.tables import NOISES
from phonemi.results.weights import DynamicWeights, LayerWeights, RowWeightsOverTime

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The names that `run_figures` gives, for every name of an encoder.
_RUN_FIGURE = re.compile(
    "information_(by_layer|peak|(by_snr|heatmap)(_.+)?)|layer_weights|dynamic_weights|metrics_by_snr|articulation_by_snr|"
    "training_curves|robustness"
)
CURVE_POINTS = 120  # what a small panel can show
_NOT_CURVES = {"stage", "label", "step", "epoch", "time", "time_s", "seconds", "steps_per_s", "learning_rate"}
_AXES = {metric.key: f"{metric.title} ({metric.unit})" if metric.unit else metric.title for metric in METRICS} | {
    "validation_loss": "validation loss (nats)",
    "validation_cross_entropy_nats": "validation loss (nats)",
}


def run_figures(results: RunResults) -> dict[str, Figure]:
    """Every figure of a run for which there are results, by name."""
    figures: dict[str, Figure] = {}
    if results.information is not None:
        figures |= information_figures(results.information)
    if results.cn_distance is not None and results.cn_distance.average:
        figures["robustness"] = plots.layer_robustness(layer_profiles(results))  # what to read stands on the page
    if results.layer_weights is not None and results.layer_weights.rows:
        figures["layer_weights"] = plots.layer_weights(results.layer_weights.rows)
    if results.dynamic_weights is not None:
        figures["dynamic_weights"] = _weights_over_time(results.dynamic_weights, results.dynamic_weights.rows)
    if results.evaluation is not None and (panels := _panels_by_snr(results.evaluation)):
        figures["metrics_by_snr"] = plots.small_multiples(panels, "SNR (dB)")
    if results.articulation is not None:
        figures["articulation_by_snr"] = plots.small_multiples(_articulation_panels(results.articulation), "SNR (dB)")
    if panels := _training_panels(results.log, results.titles):
        figures["training_curves"] = plots.small_multiples(panels, "Step", markers=False)
    return figures


def remove_old_figures(folder: Path, names: Collection[str]) -> None:
    """Remove the figures that an earlier report drew from results that are not there any more; others stay."""
    for path in folder.glob("*"):
        if path.suffix in (".png", ".svg") and path.stem not in names and _RUN_FIGURE.fullmatch(path.stem):
            path.unlink()


def information_figures(information: Information) -> dict[str, Figure]:
    """MI by layer and SNR: one figure for all representations, and two for each that has layers."""
    tables = information_tables(information)
    layered = [table for table in tables if table.has_layers]
    if not layered:
        return {}
    figures = {
        "information_by_layer": plots.information_by_layer(tables),
        "information_peak": plots.information_peak(tables),
    }
    for table in layered:
        # One representation is the usual case and keeps the plain names.
        ending = f"_{_file_name(table.representation)}" if len(layered) > 1 else ""
        figures[f"information_by_snr{ending}"] = plots.information_by_snr(table)
        figures[f"information_heatmap{ending}"] = plots.information_heatmap(table)
    return figures


def _weights_over_time(dynamic: DynamicWeights, rows: Sequence[RowWeightsOverTime]) -> Figure:
    log_mel, local_snr_db = (np.array(values, dtype=float) for values in (dynamic.log_mel, dynamic.local_snr_db))
    weights = [(row.title, np.array(row.weights, dtype=float)) for row in rows]
    return plots.dynamic_weights(log_mel, local_snr_db, weights, dynamic.frame_s)


def _panels_by_snr(evaluation: Evaluation) -> plots.Panels:
    """Each metric against the SNR. The clean signal is left out: it would stretch the scales."""
    panels: dict[str, dict[str, tuple[str, list[float], list[float]]]] = {}
    for metric in METRICS:
        if metric.key == "si_sdr_db":  # it says the same as its improvement
            continue
        for row in sorted(evaluation.by_snr, key=lambda row: row.snr_db or 0.0):
            value = row.value(metric.key)
            is_zero_by_definition = metric.key == "si_sdri_db" and row.row == "noisy"
            if row.snr_db is None or value is None or row.row == "clean" or is_zero_by_definition:
                continue
            panel = panels.setdefault(f"{_AXES[metric.key]} {metric.column.unit_and_arrow[-1]}", {})
            _, snrs_db, values = panel.setdefault(row.row, (evaluation.titles.get(row.row, row.row), [], []))
            snrs_db.append(row.snr_db)
            values.append(value)
    return panels


def _articulation_panels(articulation: Articulation) -> plots.Panels:
    """Mean correlation of all variables against the SNR, a panel for each kind of noise."""
    panels: dict[str, dict[str, tuple[str, list[float], list[float]]]] = {}
    for score in articulation.rows:
        if score.variable is None and score.noise in ("babble", "other") and None not in (score.snr_db, score.value):
            panel = panels.setdefault(f"PPMC in {NOISES[score.noise]} ↑", {})
            _, snrs_db, values = panel.setdefault(score.row, (score.title, [], []))
            snrs_db.append(score.snr_db or 0.0)
            values.append(score.value or 0.0)
    return panels


def _training_panels(log: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> plots.Panels:
    """Curves of what was trained. Encoder, aggregations and enhancers are apart: their losses are different things."""
    curves: dict[str, dict[str, dict[float, float]]] = {}
    for line in log:
        part, name = trained_part(str(line.get("label", "")))
        for key, value in line.items():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if is_number and key not in _NOT_CURVES and "step" in line:
                plain = "loss (nats)" if key == "loss" and part != "Enhancer" else key.replace("_", " ")
                panel = curves.setdefault(f"{part}: {_AXES.get(key, plain)}", {})
                # A resumed run logs some steps twice; the later line counts.
                panel.setdefault(name, {})[line["step"]] = value
    panels = {}
    for title, rows in curves.items():
        no_step_was_skipped = "skipped" in title and not any(any(points.values()) for points in rows.values())
        drawn = {name: (row_title(name, titles), *_thinned(points)) for name, points in rows.items() if len(points) > 1}
        if drawn and not no_step_was_skipped:
            panels[title] = drawn
    return panels


def _thinned(points: Mapping[float, float]) -> tuple[list[float], list[float]]:
    """A curve with at most `CURVE_POINTS` points, each the mean of its neighbours."""
    steps = sorted(points)
    groups = np.array_split(np.array([(step, points[step]) for step in steps]), min(len(steps), CURVE_POINTS))
    means = np.array([group.mean(axis=0) for group in groups])
    return means[:, 0].tolist(), means[:, 1].tolist()


def draw(number: str, folders: Sequence[Path], out: Path) -> list[Path]:
    """Draw one figure: `out/figure<number>.png` and `.svg`, one for each encoder where it is for one.

    The folders are runs, or hold runs, such as `phonemi table` makes.

    Raises:
        ConfigError: for a figure that does not exist.
        DataError: if no run has its results, or a result does not fit.
    """
    if number not in FIGURES:
        *in_paper, beside = FIGURES
        raise ConfigError(f"there is no figure {number!r}: the paper has {', '.join(in_paper)}; one more is {beside}")
    file, figures_of = FIGURES[number]
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder: expected a run, or a folder of runs")
    candidates = [run for folder in folders for run in (folder, *sorted(folder.iterdir()))]
    by_path = {run.resolve(): run for run in candidates if (run / file).is_file()}  # each once
    runs = list(by_path.values())
    if not runs:
        first = f"run `phonemi {STAGES[file]}` first"
        if STAGES[file] == "report":
            rows = "ws or dws rows" if file == "layer_weights.json" else "dws rows"
            first = f"`phonemi report` writes it for {rows} that are trained and evaluated"
        places = ", ".join(map(str, folders))
        raise DataError(f"figure {number} is drawn from {file}, which is not in {places}: {first}")
    paths = []
    for name, figure in figures_of(runs).items():
        paths += save_figure(figure, out, f"figure{number}" + (f"_{_file_name(name)}" if name else ""))
    return paths


def _file_name(name: str) -> str:
    return re.sub("[^0-9A-Za-z]+", "-", name)


def _tables(runs: Sequence[Path]) -> list[InformationTable]:
    """MI of every encoder, named by its run too where several have one name; log1p once, at the end."""
    layered: list[tuple[Path, InformationTable]] = []
    others: dict[str, InformationTable] = {}
    for run in runs:
        for table in information_tables(read_record(run / "information.json", Information)):
            if table.has_layers:
                layered.append((run, table))
            else:
                others.setdefault(table.representation, table)
    count, run_names = Counter(table.representation for _, table in layered), _run_names(runs)
    named = [
        replace(table, representation=f"{table.representation} ({run_names[run]})")
        if count[table.representation] > 1
        else table
        for run, table in layered
    ]
    return [*named, *others.values()]


def _run_names(runs: Sequence[Path]) -> dict[Path, str]:
    """The shortest ends of the paths, as many folders of each, that tell the runs apart.

    >>> list(_run_names([Path("/a/mini"), Path("/b/mini")]).values())
    ['a/mini', 'b/mini']
    """
    paths = {run: run.resolve() for run in runs}
    for length in range(1, 1 + max((len(path.parts) for path in paths.values()), default=0)):
        names = {run: "/".join(path.parts[-length:]) for run, path in paths.items()}
        if len(set(names.values())) == len(names):
            break
    return names


def _figure_1b(runs: Sequence[Path]) -> dict[str, Figure]:
    layered = [table for table in _tables(runs) if table.has_layers]
    return {table.representation if len(layered) > 1 else "": plots.information_by_snr(table) for table in layered}


def _figure_2(run: Path) -> Figure:
    rows = read_record(run / "layer_weights.json", LayerWeights).rows
    return plots.layer_weights([row for row in rows if not is_dynamic(row.row)] or rows)


def _figure_3(run: Path) -> Figure:
    dynamic = read_record(run / "dynamic_weights.json", DynamicWeights)
    return _weights_over_time(dynamic, [row for row in dynamic.rows if is_in_figure_3(row.row)] or dynamic.rows)


def _figure_cn(runs: Sequence[Path]) -> dict[str, Figure]:
    results, run_names = {run: read_results(run) for run in runs}, _run_names(runs)
    profiles = [(run, profile) for run in runs for profile in layer_profiles(results[run])]
    count = Counter(profile.name for _, profile in profiles)
    named = [
        profile._replace(name=f"{profile.name} ({run_names[run]})") if count[profile.name] > 1 else profile
        for run, profile in profiles
    ]
    snrs_db = {snr_db for each in results.values() if each.cn_distance for snr_db in each.cn_distance.snrs_db}
    return {"": plots.layer_robustness(named, " ".join(robustness_sentences(named, sorted(snrs_db))))}


def _for_each(figure_of: Callable[[Path], Figure]) -> Callable[[Sequence[Path]], dict[str, Figure]]:
    return lambda runs: {name if len(runs) > 1 else "": figure_of(run) for run, name in _run_names(runs).items()}


FIGURES: dict[str, tuple[str, Callable[[Sequence[Path]], dict[str, Figure]]]] = {
    "1a": ("information.json", lambda runs: {"": plots.information_by_layer(_tables(runs))}),
    "1b": ("information.json", _figure_1b),
    "1c": ("information.json", lambda runs: {"": plots.information_peak(_tables(runs))}),
    "2": ("layer_weights.json", _for_each(_figure_2)),
    "3": ("dynamic_weights.json", _for_each(_figure_3)),
    "cn": ("cn_distance.json", _figure_cn),
}
"""Number -> the result file it is drawn from, and the figures by the name of their encoder."""
