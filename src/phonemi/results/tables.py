"""The tables of the results: each is built here once, and printed by `phonemi.tables`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from phonemi.metrics.score import FAULTS
from phonemi.metrics.statistics import COVERAGE, MIN_MODELS, Interval, estimate, holm
from phonemi.results.articulation import BABBLE_LESS_OTHER, Articulation, ArticulationDifference, VariableScore
from phonemi.results.cn_distance import CleanNoisyDistances, DistancePart, LayerDistance
from phonemi.results.evaluation import Comparison, EvaluatedRow, Evaluation
from phonemi.results.information import Information, information_tables
from phonemi.results.metrics import METRICS, Metric
from phonemi.results.paper_table import PaperComparison, PaperTable
from phonemi.results.run_folder import Timings
from phonemi.results.weights import LayerWeights
from phonemi.tables import Cell, Column, Row, Table, duration_text, number, plural, snr_text

_BOUNDS: dict[str, Literal["lower", "upper"]] = {"noisy": "lower", "clean": "upper"}

NOISES: dict[str, str] = {"babble": "babble", "other": "other noise", "all": "noise"}
"""Kinds of noise in which articulation is recovered, and what tables call them; "all" where there is one kind only."""

DISTANCES: dict[DistancePart, str] = {
    "distance_sd": "in standard deviations of a state, each scaled to mean 0",
    "one_minus_cosine": "1 - cosine",
}
"""The two clean-noisy distances, and how they are measured."""


def measured_metrics(rows: Sequence[EvaluatedRow]) -> list[Metric]:
    """The metrics that at least one row has a value of."""
    return [metric for metric in METRICS if any(row.value(metric.key) is not None for row in rows)]


def metrics_table(evaluation: Evaluation) -> Table:
    """One row a line and one metric a column, with intervals, spreads and counts; the best of each column is marked."""
    columns = measured_metrics(evaluation.rows)
    best = {metric.key: _best_value(evaluation.rows, metric) for metric in columns}
    rows = []
    for row in evaluation.rows:
        cells = (Cell(row.title), *(metric_cell(row, metric, best[metric.key]) for metric in columns))
        rows.append(Row(cells, _BOUNDS.get(row.row)))
    return Table(["row", *(metric.column for metric in columns)], rows, "metrics sortable")


def _best_value(rows: Sequence[EvaluatedRow], metric: Metric) -> float | None:
    """Best value at the printed digits, so that equal numbers are marked equally; None with nothing to compare."""
    values = [row.value(metric.key) for row in rows if row.row not in _BOUNDS]
    rounded = [round(value, metric.digits) for value in values if value is not None]
    return max(rounded, key=metric.gain) if len(rounded) > 1 else None


def metric_cell(row: EvaluatedRow, metric: Metric, best: float | None = None, details: tuple[str, ...] = ()) -> Cell:
    """What a row reached in a metric, marked if it is `best`, the value of `_best_value`; `details` stand beside it."""
    estimate = row.estimates.get(metric.key)
    # A ratio to the clean signal has no value for the clean signal itself, which is no failure.
    if estimate is None or (estimate.value is None and row.row == "clean"):
        return Cell(digits=metric.digits, details=details)
    worst = sum((estimate.reasons or {}).get(reason, 0) for reason in FAULTS)
    insertions = () if estimate.insertions is None else (f"insertions {number(estimate.insertions, 3)}",)
    return Cell(
        estimate.value,
        metric.digits,
        interval=(estimate.low, estimate.high),
        spread=estimate.spread,
        spread_over="several probes" if metric.key == "mi_bits" else plural(row.models or 1, "model"),
        scored=estimate.scored,
        total=estimate.total,
        worst=worst,
        details=(*details, plural(estimate.loops, "loop")) if estimate.loops else details,
        notes=insertions,
        best=row.row not in _BOUNDS and estimate.value is not None and best == round(estimate.value, metric.digits),
    )


def comparisons_table(result: Evaluation | PaperTable) -> Table:
    """The differences, one pair of rows a line and one metric a column; significant ones are bold.

    In a table of the paper the encoder comes first.
    """
    titles = {row.row: row.title for row in result.rows}
    pairs: dict[tuple[str, ...], dict[str, Comparison]] = {}
    for comparison in result.comparisons:
        encoder = (comparison.encoder,) if isinstance(comparison, PaperComparison) else ()
        names = (titles.get(name, name) for name in (comparison.row, comparison.against))
        pairs.setdefault((*encoder, *names), {})[comparison.metric] = comparison
    columns = [metric for metric in METRICS if any(metric.key in of_pair for of_pair in pairs.values())]
    rows: list[list[Cell | str]] = [
        [*names, *(_difference_cell(of_pair.get(metric.key), metric) for metric in columns)]
        for names, of_pair in pairs.items()
    ]
    encoder_column = ["encoder"] if isinstance(result, PaperTable) else []
    metric_columns = [Column(metric.title, meaning=metric.meaning) for metric in columns]
    return Table([*encoder_column, "row", "against", *metric_columns], rows)


def p_text(p_value: float) -> str:
    """A p-value as tables write it."""
    return "p < 0.001" if p_value < 0.001 else f"p {number(p_value, 3)}"


def _difference_cell(comparison: Comparison | None, metric: Metric) -> Cell:
    if comparison is None:
        return Cell(digits=metric.digits)
    p_value = comparison.p_adjusted
    is_tested, pairs = p_value is not None, plural(comparison.pairs, "pair") if comparison.pairs else ""
    models = plural(comparison.models, "model") if comparison.models and is_tested else ""
    return Cell(
        comparison.difference,
        metric.digits,
        signed=True,
        interval=(comparison.low, comparison.high),
        details=(comparison.verdict if p_value is None else p_text(p_value), *(["endpoint"] * comparison.is_endpoint)),
        notes=(", ".join(filter(None, [comparison.verdict * is_tested, models, pairs])),),
        bold=comparison.is_significant,
        kind=f"verdict {comparison.verdict.split()[0]}",
    )


def information_table(information: Information, for_terminal: bool = False) -> Table:
    """Bits of every layer at every SNR and on average, with intervals.

    A terminal gets no intervals, and a star at the best layer of each column.
    """
    tables = information_tables(information)
    averages = {(row.representation, row.layer): (row.mi_bits_low, row.mi_bits_high) for row in information.average}
    rows: list[list[Cell | str]] = []
    for table in tables:
        bits = np.column_stack([table.mi_bits, table.by_layer])
        for layer, values in enumerate(bits):
            name = str(layer) if for_terminal else f"{table.representation} layer {layer}"
            best = (values == bits.max(axis=0)) & (for_terminal and table.has_layers)
            ends = np.stack([table.low_bits[layer], table.high_bits[layer]], 1).tolist()
            intervals = [(low, high) if math.isfinite(low) else None for low, high in ends]
            cells = [
                Cell(float(value), mark="*" * int(is_best), interval=None if for_terminal else interval)
                for value, is_best, interval in zip(
                    values, best, [*intervals, averages.get((table.representation, layer))], strict=True
                )
            ]
            rows.append([name if table.has_layers else table.representation, *cells])
    unit = "" if for_terminal else " dB"
    snrs = [f"{snr_text(snr_db)}{unit}" for snr_db in (tables[0].snrs_db if tables else ())]
    return Table(["layer" if for_terminal else "representation", *snrs, "mean" if for_terminal else "average"], rows)


def layer_differences_table(information: Information) -> Table:
    """Bits that each layer holds more than log1p, and than the top layer, over all SNRs; paired over the speakers.

    The p-values are adjusted together, by Holm's method. Without the speakers' shares the table is empty.
    """
    sums = _cluster_sums(information)
    spectrum = sums.pop(("log1p", 0), None)
    tops = {representation: max(sums, key=lambda key: (key[0] == representation, key[1])) for representation, _ in sums}
    compared = {
        (key, column): interval
        for key, own in sums.items()
        for column, other in enumerate((spectrum, sums[tops[key[0]]] if tops[key[0]] != key else None))
        if other is not None and math.isfinite((interval := estimate(own[0] - other[0], own[1])).p_value)
    }
    p_values = dict(zip(compared, holm([interval.p_value for interval in compared.values()]), strict=True))

    def cell(place: tuple[tuple[str, int], int]) -> Cell:
        if place not in compared:
            return Cell()
        interval, p_value = compared[place], p_values[place]
        ends, is_significant = (interval.low, interval.high), p_value < 1 - COVERAGE
        return Cell(interval.value, signed=True, interval=ends, details=(p_text(p_value),), bold=is_significant)

    rows: list[list[Cell | str]] = [[f"{key[0]} layer {key[1]}", cell((key, 0)), cell((key, 1))] for key in sums]
    return Table(["representation", "against log1p", "against its top layer"], rows if compared else [])


def fine_tuning_table(before: Information, after: Information) -> Table:
    """Bits that each layer holds more after fine-tuning than before, over all SNRs: a column for each row.

    Paired over speakers and, of three models of a row or more, over these, of which the mean is shown. The p-values are
    adjusted together, by Holm's method; of fewer models nothing is tested.
    """
    frozen = _cluster_sums(before)
    name = str(
        after.protocol.get("before", next(iter(dict.fromkeys(bound.representation for bound in before.average))))
    )
    tuned = _cluster_sums(after)
    models: dict[str, list[str]] = {}
    for model in dict.fromkeys(representation for representation, _ in tuned):
        models.setdefault(model.partition("@")[0], []).append(model)
    layers = sorted(layer for representation, layer in frozen if representation == name)
    compared: dict[tuple[str, int], Interval] = {}
    for row, names in models.items():
        for layer in layers:
            if any((model, layer) not in tuned for model in names):
                continue
            bits, frames = frozen[name, layer]
            differences = np.stack([tuned[model, layer][0] - bits for model in names])
            compared[row, layer] = estimate(differences, np.tile(frames, (len(names), 1)))
    tested = [place for place, interval in compared.items() if interval.models >= MIN_MODELS]
    p_values = dict(zip(tested, holm([compared[place].p_value for place in tested]), strict=True))

    def cell(row: str, layer: int) -> Cell:
        if (row, layer) not in compared:
            return Cell()
        interval, p_value = compared[row, layer], p_values.get((row, layer))
        details = (plural(interval.models, "model") if p_value is None else p_text(p_value),)
        is_significant = p_value is not None and p_value < 1 - COVERAGE
        ends = interval.low, interval.high
        return Cell(interval.value, signed=True, interval=ends, details=details, bold=is_significant)

    levels = {bound.layer: bound.mi_bits for bound in before.average if bound.representation == name}
    rows: list[list[Cell | str]] = [
        [f"{name} layer {layer}", Cell(levels.get(layer)), *(cell(row, layer) for row in models)] for layer in layers
    ]
    return Table(["layer", "before", *models], rows if compared else [])


def _cluster_sums(information: Information) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """Bits and frames of each speaker by representation and layer, over all SNRs."""
    return {
        (bound.representation, bound.layer): (np.array(bound.cluster_bits), np.array(bound.cluster_frames, float))
        for bound in information.average
        if bound.cluster_bits and bound.cluster_frames
    }


def _in_words(names: Iterable[str]) -> str:
    """Names as a sentence has them.

    >>> _in_words(["mini"]), _in_words(["mini", "log1p"]), _in_words(["mini", "wavlm", "log1p"])
    ('mini', 'mini and log1p', 'mini, wavlm and log1p')
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def information_text(information: Information, columns: int) -> str:
    """The table of layers and SNRs for a terminal that is so many characters wide."""
    names = _in_words(dict.fromkeys(row.representation for row in information.rows))
    title = f"Bits of phonetic information in {names}, by layer and SNR in dB; * the most there"
    return f"{textwrap.fill(title, columns)}\n{information_table(information, for_terminal=True).text(columns)}"


def distances_table(result: CleanNoisyDistances, part: DistancePart, for_terminal: bool = False) -> Table:
    """How far noise moves every layer at every SNR and on average, with intervals; a terminal gets none of these.

    Beside the distances in standard deviations, what rows have learned has their change from the frozen encoder.
    """
    snrs_db = sorted(result.snrs_db)
    has_changes = part == "distance_sd" and any(row.change_sd is not None for row in result.average)
    cells = {(row.representation, row.layer, row.snr_db): row for row in (*result.rows, *result.average)}
    rows: list[list[Cell | str]] = []
    for average in result.average:
        place = average.representation, average.layer
        of_layer = [cells.get((*place, snr_db)) for snr_db in (*snrs_db, None)]
        name = f"{average.representation} layer {average.layer}"
        shown = [Cell() if row is None else _distance_cell(row, part, for_terminal) for row in of_layer]
        if has_changes:
            shown.append(_change_cell(average, for_terminal))
        rows.append([str(average.layer) if for_terminal and len(result.representations) == 1 else name, *shown])
    unit = "" if for_terminal else " dB"
    changes = ["change"] if has_changes else []
    return Table(["layer", *(f"{snr_text(snr_db)}{unit}" for snr_db in snrs_db), "average", *changes], rows)


def _distance_cell(row: LayerDistance, part: DistancePart, for_terminal: bool) -> Cell:
    value, low, high = row.interval(part)
    return Cell(value, 3, interval=None if for_terminal else (low, high))


def _change_cell(row: LayerDistance, for_terminal: bool) -> Cell:
    if row.change_sd is None:
        return Cell()
    p_value = row.change_p_value
    details = (plural(row.models, "model") if p_value is None else p_text(p_value),)
    return Cell(
        row.change_sd,
        3,
        signed=True,
        interval=None if for_terminal else (row.change_sd_low, row.change_sd_high),
        details=() if for_terminal else details,
        bold=p_value is not None and p_value < 1 - COVERAGE,
    )


def distances_text(result: CleanNoisyDistances, columns: int) -> str:
    """Both distances by layer and SNR, for a terminal that is so many characters wide."""
    names = _in_words(result.representations)
    title = f"Clean-noisy distance of {names}, by layer and SNR in dB"
    return "\n\n".join(
        f"{textwrap.fill(f'{title}: {what}', columns)}\n{distances_table(result, part, True).text(columns)}"
        for part, what in DISTANCES.items()
    )


def articulation_tables(result: Articulation) -> dict[str, Table]:
    """Title -> table, of how well articulation is recovered; what has nothing to show is left out."""
    tables = {
        "correlation by noise and SNR": articulation_by_noise_table(result),
        "correlation by variable": articulation_by_variable_table(result),
        "what training by both tasks adds": articulation_differences_table(result),
    }
    return {title: table for title, table in tables.items() if table.rows}


def articulation_by_noise_table(result: Articulation) -> Table:
    """Correlation of all variables together, one row a line: in clean speech, and in each kind of noise at each SNR."""
    measured = {(row.noise, row.snr_db) for row in result.rows if row.noise != "clean" and row.snr_db is not None}
    kinds = [kind for kind in NOISES if any(noise == kind for noise, _ in measured)]
    if len(kinds) == 1:
        kinds = ["all"]
    places = [(kind, snr_db) for kind in kinds for snr_db in sorted({at for noise, at in measured if noise == kind})]
    titles = [f"{NOISES[kind]}, {snr_text(snr_db)} dB" for kind, snr_db in places]
    rows: list[list[Cell | str]] = []
    for row, title in _articulation_rows(result).items():
        scores = [result.find(row, None, "clean"), *(result.find(row, None, kind, snr_db) for kind, snr_db in places)]
        rows.append([title, *map(_correlation_cell, scores)])
    return Table(["row", "clean", *titles], rows)


def articulation_by_variable_table(result: Articulation) -> Table:
    """Correlation of each variable in noise, over all SNRs, one row a line."""
    rows: list[list[Cell | str]] = [
        [title, *(_correlation_cell(result.find(row, variable)) for variable in (*result.variables, None))]
        for row, title in _articulation_rows(result).items()
    ]
    return Table(["row", *result.variables, "mean"], rows)


def articulation_differences_table(result: Articulation) -> Table:
    """How much higher the mean correlation is of what both tasks train: over all SNRs, and in each noise at each.

    P-values are Holm's: over all noise, in babble less in other noise, and everywhere else are families of their own.
    """
    titles = {"all": "all noise", BABBLE_LESS_OTHER: "babble less other noise", "clean": "clean"} | {
        kind: NOISES[kind] for kind in ("babble", "other")
    }
    measured = {(one.noise, one.snr_db): one for one in result.differences}
    order = list(titles)
    places = sorted(measured, key=lambda place: (place[1] is not None, order.index(place[0]), place[1] or 0.0))
    differences = {(one.row, one.against, one.noise, one.snr_db): one for one in result.differences}
    names = _articulation_rows(result)
    rows: list[list[Cell | str]] = [
        [
            f"{names.get(row, row)} against {names.get(against, against)}",
            *(_gain_cell(differences.get((row, against, *place))) for place in places),
        ]
        for row, against in dict.fromkeys((one.row, one.against) for one in result.differences)
    ]
    columns = [titles[noise] + ("" if snr_db is None else f", {snr_text(snr_db)} dB") for noise, snr_db in places]
    return Table(["difference of PPMC", *columns], rows)


def _gain_cell(one: ArticulationDifference | None) -> Cell:
    if one is None:
        return Cell()
    details = (plural(one.models or 1, "model") if one.p_adjusted is None else p_text(one.p_adjusted),)
    ends = one.low, one.high
    return Cell(one.difference, 3, signed=True, interval=ends, details=details, bold=one.is_significant)


def _articulation_rows(result: Articulation) -> dict[str, str]:
    return {score.row: score.title for score in result.rows}


def _correlation_cell(score: VariableScore | None) -> Cell:
    return Cell(digits=3) if score is None else Cell(score.value, 3, interval=(score.low, score.high))


def weights_table(weights: LayerWeights) -> Table:
    """Mean weight of every layer in every aggregation."""
    layers = max((len(row.weights) for row in weights.rows), default=0)
    rows: list[list[Cell | str]] = [[row.title, *(Cell(w, 3) for w in row.weights)] for row in weights.rows]
    return Table(["row", *(f"layer {layer}" for layer in range(layers))], rows)


def timings_table(timings: Timings) -> Table:
    """Time of each stage, and their sum."""
    times = [(stage.stage, stage.seconds or 0.0) for stage in timings.stages]
    times.append(("all", sum(seconds for _, seconds in times)))
    return Table(["stage", "time"], [[name, duration_text(seconds)] for name, seconds in times])


def paper_table(result: PaperTable) -> Table:
    """Our numbers; behind them an arrow for a significant difference, and in round brackets what the paper prints."""
    printed_keys = {key for row in result.rows for key in row.published or {}}
    measured = measured_metrics(result.rows)
    columns = [metric for metric in METRICS if metric in measured or metric.key in printed_keys]
    # The first comparison of a row is with what it is an alternative to.
    first = {(one.encoder, one.row, one.metric): one for one in reversed(result.comparisons)}
    arrows = {key: "▲" if one.verdict == "better" else "▼" for key, one in first.items() if one.is_significant}
    lines: list[list[Cell | str]] = []
    last_encoder = ""
    for row in result.rows:
        cells = []
        for metric in columns:
            printed = (row.published or {}).get(metric.key)
            details = [arrows.get((row.encoder, row.row, metric.key), "")]
            if printed is not None:  # the paper prints word error rates with four digits
                details.append(f"({number(printed, 4 if metric.key == 'wer' else metric.digits)})")
            cells.append(metric_cell(row, metric, details=tuple(filter(None, details))))
        lines.append(["" if row.encoder == last_encoder else row.encoder, row.title, *cells])
        last_encoder = row.encoder
    return Table(["encoder", "row", *(metric.column for metric in columns)], lines)
