"""The result files of a run folder -> RUN/figures/*.png, *.svg and RUN/report.html, a page that needs nothing else.

The page holds its figures, sounds, styles and the little script in itself and forbids every request in its header. What
has not been run yet is named, with the stage to run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phonemi import plots
from phonemi.errors import DataError
from phonemi.figures import weights_of_layers, weights_over_time
from phonemi.headlines import headlines
from phonemi.page import inline_svg, write_page
from phonemi.plot_style import save_figure
from phonemi.report_tables import comparisons_table, example_card, metrics_table, timings_table, worst_utterances
from phonemi.results import METRICS, STAGES, information_tables, read_results, snr_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVE_POINTS = 120
_NOT_CURVES = {"stage", "label", "step", "epoch", "time", "time_s", "seconds", "learning_rate"}
_CAPTIONS = {
    "information_by_layer": "<b>Information by layer.</b> Lower bound of the mutual information of features and "
    "phones, averaged over the SNRs, with its 95 % interval.",
    "information_by_snr": "<b>The same at each single SNR.</b> Each line is named at its right end.",
    "information_heatmap": "<b>Layer and SNR in numbers.</b> Bits; the best layer at each SNR is boxed.",
    "information_peak": "<b>The best layer at each SNR</b> (its number at the point), with its 95 % interval.",
    "layer_weights": "<b>Weight of each layer</b> in the fused representation, averaged over frames for dynamic rows. "
    "Dotted: equal weights.",
    "dynamic_weights": "<b>Layer weights over time</b> in one noisy utterance. The weights of a frame sum to 1.",
    "metrics_by_snr": "<b>Scores at each SNR.</b> Arrows point to better. Clean speech is left out, to keep the scale.",
    "training_curves": "<b>Training.</b> Each point averages the values logged around it.",
}


def build_report(run_dir: str | Path) -> Path:
    """Draw the figures of a run and write its page.

    Args:
        run_dir: folder of a run; each of the files in `results.STAGES` may be missing.

    Returns:
        The path of the page, RUN/report.html.

    Raises:
        DataError: if the folder does not exist, or a result file is not what its stage writes.
    """
    run_dir = Path(run_dir)
    results = read_results(run_dir)
    figures = draw_figures(run_dir)
    try:
        sections = _sections(results, figures, run_dir)
        found = headlines(results)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"a result file in {run_dir} is not what its stage writes ({error!r}): run the stage again"
        ) from error
    body = _top(run_dir, results, found, sections) + "<main>"
    for name, (title, content) in sections.items():
        body += f'<section id="{name}"><h2>{title}</h2>{content}</section>'
    title, body = f"{run_dir.resolve().name} · phonemi", f"{body}</main>{_footer(run_dir, results)}"
    return write_page(run_dir / "report.html", title, body)


def draw_figures(run_dir: str | Path) -> dict[str, Path]:
    """Draw every figure whose results are there.

    Returns:
        Figure name -> path of its SVG in RUN/figures; a PNG of the same name lies beside it.

    Raises:
        DataError: if a result file is not what its stage writes.
    """
    results, paths = read_results(run_dir), {}
    drawings: dict[str, Callable[[Any], dict[str, Figure]]] = {
        "information.json": _information_figures,
        "layer_weights.json": _layer_weights_figure,
        "dynamic_weights.json": _dynamic_weights_figure,
        "metrics.json": _metrics_figure,
        "log.jsonl": _training_figure,
    }
    for file, draw in drawings.items():
        try:
            figures = draw(results[file]) if file in results else {}
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            stage = STAGES[file]
            raise DataError(f"{run_dir}/{file} is not what its stage writes ({error!r}): run {stage} again") from error
        for name, figure in figures.items():
            paths[name] = save_figure(figure, Path(run_dir) / "figures", name)[1]
    return paths


def _information_figures(information: Mapping[str, Any]) -> dict[str, Figure]:
    tables = information_tables(information) if information["rows"] else []
    layered = [table for table in tables if len(table.mi_bits) > 1]
    if not layered:
        return {}
    figures = {
        "information_by_layer": plots.information_by_layer(tables),
        "information_peak": plots.information_peak(tables),
    }
    for table in layered:
        # One representation is the usual case and keeps the plain names.
        ending = f"_{re.sub('[^0-9A-Za-z]+', '-', table.representation)}" if len(layered) > 1 else ""
        figures[f"information_by_snr{ending}"] = plots.information_by_snr(table)
        figures[f"information_heatmap{ending}"] = plots.information_heatmap(table)
    return figures


def _layer_weights_figure(result: Mapping[str, Any]) -> dict[str, Figure]:
    return {"layer_weights": weights_of_layers(result["rows"])} if result["rows"] else {}


def _dynamic_weights_figure(result: Mapping[str, Any]) -> dict[str, Figure]:
    return {"dynamic_weights": weights_over_time(result, result["rows"])}


def _metrics_figure(metrics: Mapping[str, Any]) -> dict[str, Figure]:
    labels = {row["row"]: row.get("label", row["row"]) for row in metrics["rows"]}
    panels: dict[str, dict[str, tuple[str, list[float], list[float]]]] = {}
    for metric in METRICS:
        title = f"{metric.title}{f' ({metric.unit})' if metric.unit else ''} {'↑' if metric.higher_is_better else '↓'}"
        for row in sorted(metrics.get("by_snr") or [], key=lambda row: row["snr_db"]):
            # SI-SDR says the same as its improvement, which is zero for the noisy input by definition.
            trivial = metric.key == "si_sdr_db" or (metric.key == "si_sdri_db" and row["row"] == "noisy")
            if row["row"] == "clean" or row.get(metric.key) is None or trivial:
                continue
            curve = panels.setdefault(title, {}).setdefault(row["row"], (labels.get(row["row"], row["row"]), [], []))
            curve[1].append(row["snr_db"])
            curve[2].append(row[metric.key])
    return {"metrics_by_snr": plots.small_multiples(panels, "SNR (dB)")} if panels else {}


def _training_figure(log: list[dict[str, Any]]) -> dict[str, Figure]:
    curves: dict[str, dict[str, dict[float, float]]] = {}
    titles = {metric.key: metric.title for metric in METRICS}
    for row in log:
        for key, value in row.items():
            if (
                key not in _NOT_CURVES
                and isinstance(value, (int, float))
                and not isinstance(value, bool)
                and "step" in row
            ):
                # A resumed run logs some steps twice; the later line counts.
                title = f"{row.get('stage', 'run')}: {titles.get(key, key.replace('_', ' '))}"
                curves.setdefault(title, {}).setdefault(str(row.get("label", "")), {})[row["step"]] = value
    panels = {}
    for title, rows in curves.items():
        drawn = {label: (label, *_thinned(points)) for label, points in rows.items() if len(points) > 1}
        if drawn:
            panels[title] = drawn
    return {"training_curves": plots.small_multiples(panels, "Step", markers=False)} if panels else {}


def _thinned(points: Mapping[float, float]) -> tuple[list[float], list[float]]:
    """Curve -> at most 120 points, each the mean of its neighbours: what a panel of that size can show."""
    steps = sorted(points)
    groups = np.array_split(np.array([(step, points[step]) for step in steps]), min(len(steps), _CURVE_POINTS))
    means = np.array([group.mean(axis=0) for group in groups])
    return means[:, 0].tolist(), means[:, 1].tolist()


def _sections(results: Mapping[str, Any], figures: Mapping[str, Path], run_dir: Path) -> dict[str, tuple[str, str]]:
    """Section name -> (title, HTML), in reading order; a section without results says which stage to run."""

    def drawn(prefix: str, file: str, wide: bool = False) -> str:
        found = [_figure(name, path, wide) for name, path in figures.items() if name.startswith(prefix)]
        return f'<div class="figures">{"".join(found)}</div>' if found else _absent(file, results)

    weights = drawn("layer_weights", "layer_weights.json", True) + drawn(
        "dynamic_weights", "dynamic_weights.json", True
    )
    metrics = examples = worst = _absent("metrics.json", results)
    if "metrics.json" in results:
        metrics = _metrics_section(results["metrics.json"])
        if results["metrics.json"].get("by_snr"):  # recordings without clean speech have no SNR
            metrics += drawn("metrics_by_snr", "metrics.json", True)
    examples = "".join(
        f'<div class="panel">{example_card(example, run_dir)}</div>' for example in results.get("examples.json", [])
    )
    worst = worst_utterances(results.get("per_utterance.csv", []), _labels(results))
    run = f'<div class="panel">{timings_table(results["timings.json"])}</div>' if "timings.json" in results else ""
    if "config.yaml" in results:
        text = escape(results["config.yaml"])
        run += f'<div class="panel"><details><summary>config.yaml</summary><pre>{text}</pre></details></div>'
    return {
        "information": (
            "Phonetic information",
            _protocol(results.get("information.json", {})) + drawn("information", "information.json"),
        ),
        "weights": ("Which layers are used", weights),
        "scores": ("Enhancement", metrics),
        "listen": ("Listen", examples or _absent("examples.json", results)),
        "worst": (
            "Worst utterances",
            f'<div class="panel">{worst}<p class="note"><a href="per_utterance.csv">All utterances</a></p></div>'
            if worst
            else _absent("per_utterance.csv", results),
        ),
        "training": ("Training", drawn("training_curves", "log.jsonl", True)),
        "run": ("The run", run or _absent("timings.json", results)),
    }


def _labels(results: Mapping[str, Any]) -> dict[str, str]:
    """Row -> how it is written, from the results that say so."""
    files = ("layer_weights.json", "metrics.json")
    return {
        row["row"]: str(row.get("label", row["row"])) for file in files for row in results.get(file, {}).get("rows", [])
    }


def _absent(file: str, results: Mapping[str, Any]) -> str:
    if file in results:
        return f'<p class="absent">{file} holds nothing to show.</p>'
    return f'<p class="absent"><code>{file}</code> is not there: stage <b>{STAGES[file]}</b> has not been run.</p>'


def _protocol(information: Mapping[str, Any]) -> str:
    settings = information.get("protocol", {}).items()
    plain = ((key.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else value) for key, value in settings)
    protocol = ", ".join(f"{key} {value}" for key, value in plain)
    frames = max((row.get("frames") or 0 for row in information.get("rows", [])), default=0)
    parts = [f"{information['classes']} phone classes"] if "classes" in information else []
    parts += [f"{frames:,} test frames at each SNR".replace(",", " ")] if frames else []
    parts += [protocol] if protocol else []
    return f'<p class="note">{escape("; ".join(parts))}.</p>' if parts else ""


def _metrics_section(metrics: Mapping[str, Any]) -> str:
    compared = comparisons_table(metrics)
    title = f"Paired differences ({compared.count('<tr>') - 1} tests at p &lt; 0.05, not corrected for their number)"
    compared = f'<div class="panel"><details><summary>{title}</summary>{compared}</details></div>' if compared else ""
    return (
        f"<p class='note'>{escape(_data_text(metrics.get('data', {})))} Below each number its 95 % interval. "
        "● best of its column among the compared rows, equal numbers all marked. Click a heading to sort.</p>"
        f'<div class="panel">{metrics_table(metrics)}</div>{compared}'
    )


def _data_text(data: Mapping[str, Any]) -> str:
    parts = [f"{data[key]} {key}" for key in ("utterances", "speakers") if data.get(key) is not None]
    if data.get("snrs_db"):
        parts.append("SNR " + ", ".join(snr_text(snr_db) for snr_db in data["snrs_db"]) + " dB")
    if data.get("recogniser", "none") != "none":
        parts.append(f"words by {data['recogniser']}")
    return "Test data: " + "; ".join(parts) + "." if parts else ""


def _figure(name: str, path: Path, wide: bool) -> str:
    caption = next(text for start, text in _CAPTIONS.items() if name.startswith(start))
    spoken, drawing = escape(re.sub("<.*?>", "", caption)), inline_svg(path.read_text(encoding="utf-8"), name)
    return (
        f'<figure{" class=wide" if wide else ""}><div class="drawing" tabindex="0" role="img" aria-label="{spoken}">'
        f"{drawing}</div><figcaption>{caption} "
        f'<span><a href="figures/{name}.png">PNG</a> <a href="figures/{name}.svg">SVG</a></span></figcaption></figure>'
    )


def _top(run_dir: Path, results: Mapping[str, Any], found: list[str], sections: Mapping[str, tuple[str, str]]) -> str:
    links = "".join(f'<a href="#{name}">{title}</a>' for name, (title, _) in sections.items())
    missing: dict[str, list[str]] = {}
    for file, stage in STAGES.items():
        if file not in results and stage != "any":
            missing.setdefault(stage, []).append(file)
    absent = "; ".join(f"{stage} ({', '.join(files)})" for stage, files in missing.items())
    return (
        f'<header class="top"><p class="brand">phonemi</p><h1>{escape(run_dir.resolve().name)}</h1>'
        f'<p class="lead">What of each phone survives noise, which layers carry it, what it does for enhancement.</p>'
        + (
            f'<ul class="headlines">{"".join(f"<li>{escape(sentence)}</li>" for sentence in found)}</ul>'
            if found
            else ""
        )
        + (f'<p class="absent">Not run yet: {absent}.</p>' if absent else "")
        + f"<nav>{links}</nav></header>"
    )


def _footer(run_dir: Path, results: Mapping[str, Any]) -> str:
    files = ", ".join(f'<a href="{file}">{file}</a>' for file in STAGES if file in results)
    return f"<footer>Files of this run: {files or 'none'}.</footer>"
