"""The result files of a run folder -> RUN/figures/*.png, *.svg and RUN/report.html, a page that needs nothing else.

The page holds its figures, sounds, styles and the little script in itself and forbids every request in its header. It
has the sections for which there are results, and names the stages that can still be run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phonemi.errors import DataError
from phonemi.report import plots
from phonemi.report.figures import weights_of_layers, weights_over_time
from phonemi.report.headlines import data_text, headlines, protocol_text
from phonemi.report.page import inline_svg, write_page
from phonemi.report.plot_style import save_figure
from phonemi.report.report_tables import (
    comparisons_table,
    example_card,
    metrics_table,
    terms_note,
    timings_table,
    worst_utterances,
)
from phonemi.report.results import METRICS, STAGES, information_tables, read_results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVE_POINTS = 120
_NOT_CURVES = {"stage", "label", "step", "epoch", "time", "time_s", "seconds", "steps_per_s", "learning_rate"}
_CURVES = {metric.key: f"{metric.title} ({metric.unit})" if metric.unit else metric.title for metric in METRICS} | {
    "validation_loss": "validation loss (nats)",
    "validation_cross_entropy_nats": "validation loss (nats)",
}
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
    "training_curves": "<b>Training</b> of the encoder, of the aggregations on phones and of the enhancers, as far as "
    "they were trained here. Each point averages the values logged around it.",
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
        "log.jsonl": lambda log: _training_figure(log, _labels(results)),
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
        title = f"{_CURVES[metric.key]} {'↑' if metric.higher_is_better else '↓'}"
        for row in sorted(metrics.get("by_snr") or [], key=lambda row: row["snr_db"]):
            # SI-SDR says the same as its improvement, which is zero for the noisy input by definition.
            trivial = metric.key == "si_sdr_db" or (metric.key == "si_sdri_db" and row["row"] == "noisy")
            if row["row"] == "clean" or row.get(metric.key) is None or trivial:
                continue
            curve = panels.setdefault(title, {}).setdefault(row["row"], (labels.get(row["row"], row["row"]), [], []))
            curve[1].append(row["snr_db"])
            curve[2].append(row[metric.key])
    return {"metrics_by_snr": plots.small_multiples(panels, "SNR (dB)")} if panels else {}


def _training_figure(log: list[dict[str, Any]], labels: Mapping[str, str]) -> dict[str, Figure]:
    """Curves of what was trained, apart for encoder, aggregations and enhancers: their losses are different things."""
    curves: dict[str, dict[str, dict[float, float]]] = {}
    for row in log:
        part, name = _trained(str(row.get("label", "")))
        for key, value in row.items():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if is_number and key not in _NOT_CURVES and "step" in row:
                # A resumed run logs some steps twice; the later line counts.
                what = "loss (nats)" if key == "loss" and part != "Enhancer" else key.replace("_", " ")
                curves.setdefault(f"{part}: {_CURVES.get(key, what)}", {}).setdefault(name, {})[row["step"]] = value
    panels = {}
    for title, rows in curves.items():
        drawn = {
            name: (labels.get(name.partition("@")[0], name), *_thinned(points))
            for name, points in rows.items()
            if len(points) > 1
        }
        if drawn and not ("skipped" in title and not any(any(points.values()) for points in rows.values())):
            panels[title] = drawn
    return {"training_curves": plots.small_multiples(panels, "Step", markers=False)} if panels else {}


def _trained(label: str) -> tuple[str, str]:
    """Label in the log -> what was trained, and the row of the tables that it is for.

    >>> _trained("round 1 (mel)"), _trained("dws (linguistic)"), _trained("ws-hybrid")
    (('Encoder', 'round 1 (mel)'), ('Aggregation', 'dws-linguistic'), ('Enhancer', 'ws-hybrid'))
    """
    if label.startswith("round "):
        return "Encoder", label
    kind, on_phones, _ = label.partition(" (linguistic)")
    return ("Aggregation", f"{kind}-linguistic") if on_phones else ("Enhancer", label)


def _thinned(points: Mapping[float, float]) -> tuple[list[float], list[float]]:
    """Curve -> at most 120 points, each the mean of its neighbours: what a panel of that size can show."""
    steps = sorted(points)
    groups = np.array_split(np.array([(step, points[step]) for step in steps]), min(len(steps), _CURVE_POINTS))
    means = np.array([group.mean(axis=0) for group in groups])
    return means[:, 0].tolist(), means[:, 1].tolist()


def _sections(results: Mapping[str, Any], figures: Mapping[str, Path], run_dir: Path) -> dict[str, tuple[str, str]]:
    """Section name -> (title, HTML), in reading order; only those for which there is something."""

    def drawn(prefix: str, wide: bool = True) -> str:
        found = [_figure(name, path, wide) for name, path in figures.items() if name.startswith(prefix)]
        return f'<div class="figures">{"".join(found)}</div>' if found else ""

    information = drawn("information", wide=False)
    if information:
        measured = results["information.json"]
        representations = [row["representation"] for row in measured["rows"]]
        information = f'<p class="note">{escape(protocol_text(measured))}</p>{information}{terms_note(representations)}'
    weights = drawn("layer_weights") + drawn("dynamic_weights")
    if weights:
        files = ("layer_weights.json", "dynamic_weights.json")
        weights += terms_note([row["row"] for file in files for row in results.get(file, {}).get("rows", [])])
    scores = _metrics_section(results) + drawn("metrics_by_snr") if "metrics.json" in results else ""
    examples = "".join(
        f'<div class="panel">{example_card(example, run_dir)}</div>' for example in results.get("examples.json", [])
    )
    worst = worst_utterances(results.get("per_utterance.csv", []), _labels(results))
    if worst:
        worst = f'<div class="panel">{worst}<p class="note"><a href="per_utterance.csv">All utterances</a></p></div>'
    run = f'<div class="panel">{timings_table(results["timings.json"])}</div>' if "timings.json" in results else ""
    if "config.yaml" in results:
        text = escape(results["config.yaml"])
        run += f'<div class="panel"><details><summary>config.yaml</summary><pre>{text}</pre></details></div>'
    sections = {
        "information": ("Phonetic information", information),
        "weights": ("Which layers are used", weights),
        "scores": ("Enhancement", scores),
        "listen": ("Listen", examples),
        "worst": ("Worst utterances", worst),
        "training": ("Training", drawn("training_curves")),
        "run": ("The run", run),
    }
    return {name: section for name, section in sections.items() if section[1]}


def _labels(results: Mapping[str, Any]) -> dict[str, str]:
    """Row -> how it is written, from the results that say so."""
    files = ("layer_weights.json", "metrics.json")
    return {
        row["row"]: str(row.get("label", row["row"])) for file in files for row in results.get(file, {}).get("rows", [])
    }


def _metrics_section(results: Mapping[str, Any]) -> str:
    metrics = results["metrics.json"]
    # Whoever spoke an utterance spoke it in every row.
    speakers = [row.get("speaker") for row in results.get("per_utterance.csv", []) if row.get("row") == "noisy"]
    compared = comparisons_table(metrics)
    title = f"Paired differences ({compared.count('<tr>') - 1} tests at p &lt; 0.05, not corrected for their number)"
    compared = f'<div class="panel"><details><summary>{title}</summary>{compared}</details></div>' if compared else ""
    keys = [metric.key for metric in METRICS if any(row.get(metric.key) is not None for row in metrics["rows"])]
    return (
        f"<p class='note'>{escape(data_text(metrics, speakers.count('')))} Below each number its 95 % interval. "
        "● best of its column among the compared rows, equal numbers all marked. Click a heading to sort.</p>"
        f'<div class="panel">{metrics_table(metrics)}{terms_note([row["row"] for row in metrics["rows"]], keys)}</div>'
        f"{compared}"
    )


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
    absent = ", ".join(f"<code>phonemi {stage}</code>" for stage in _not_run(results))
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


def _not_run(results: Mapping[str, Any]) -> list[str]:
    """Stages that have left nothing yet and that a user can run; `report` writes its files when it can.

    Once rows are evaluated there are none: what evaluating them needs was run, and systems from elsewhere need none.
    """
    if "metrics.json" in results:
        return []
    left = {stage for file, stage in STAGES.items() if results.get(file)}
    return [stage for stage in ("information", "train", "evaluate") if stage not in left]


def _footer(run_dir: Path, results: Mapping[str, Any]) -> str:
    files = ", ".join(f'<a href="{file}">{file}</a>' for file in STAGES if file in results)
    return f"<footer>Files of this run: {files or 'none'}.</footer>"
