"""Sentences about the results of a run: what was found, and what it was found on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from phonemi.metrics.statistics import estimate
from phonemi.report.robustness import layer_profiles, robustness_sentences
from phonemi.report.row_style import is_other_system
from phonemi.results.evaluation import Comparison, Evaluation
from phonemi.results.information import Information, InformationTable, information_tables
from phonemi.results.metrics import METRICS
from phonemi.results.run_folder import RunResults
from phonemi.results.weights import DynamicWeights, LayerWeights
from phonemi.systems.han2026 import QUESTIONS
from phonemi.tables import number, plural, snr_text

MAX_SYSTEMS = 4  # other systems that get a sentence each
_WORDS_FIRST = (METRICS[-1], *METRICS[:-1])


def headlines(results: RunResults) -> list[str]:
    """Sentences about the results that are there, the most important first."""
    sentences: list[str] = []
    if results.information is not None:
        sentences += information_headlines(results.information)
    if results.cn_distance is not None and results.cn_distance.average:
        sentences += robustness_sentences(layer_profiles(results), results.cn_distance.snrs_db)
    if results.layer_weights is not None and results.layer_weights.rows:
        sentences.append(weights_headline(results.layer_weights))
    if results.dynamic_weights is not None:
        sentences += dynamic_headlines(results.dynamic_weights)
    if results.evaluation is not None:
        sentences += evaluation_headlines(results.evaluation)
    return sentences


def information_headlines(information: Information) -> list[str]:
    """Where the phonetic information peaks, and how much of it noise takes."""
    tables = information_tables(information)
    baselines = "".join(
        f", {table.representation} {number(table.by_layer[0], 2)}" for table in tables if not table.has_layers
    )
    entropies = [row.entropy_bits for row in information.rows if row.entropy_bits is not None]
    carried = f" of the {number(float(np.mean(entropies)), 2)} that a phone carries" if entropies else ""
    sentences = []
    for table in tables:
        if not table.has_layers or not np.isfinite(table.by_layer).any():
            continue
        lowest, highest = snr_text(table.snrs_db[0]), snr_text(table.snrs_db[-1])
        averaged = f" (averages over {lowest} to {highest} dB SNR)" if len(table.snrs_db) > 1 else ""
        peak = _peak_layer(information, table)
        sentences.append(
            f"Phonetic information in {table.representation} peaks at layer {peak}: "
            f"{number(table.by_layer[peak], 2)} bits{carried}{baselines}{averaged}"
            f"{_gain_over_layer_0(information, table, peak)}."
        )
        noisy_layer, clean_layer = table.peak_layers[[0, -1]]
        noisy, clean = table.mi_bits[noisy_layer, 0], table.mi_bits[clean_layer, -1]
        if len(table.snrs_db) > 1 and clean > 0 and np.isfinite(noisy):
            stays = noisy_layer == clean_layer
            move = f"stays at layer {clean_layer}" if stays else f"moves from layer {clean_layer} to {noisy_layer}"
            sentences.append(
                f"From {highest} to {lowest} dB SNR, noise takes {100 * (1 - noisy / clean):.0f} % of the peak "
                f"({number(clean, 2)} to {number(noisy, 2)} bits), which {move}."
            )
    return sentences


def _peak_layer(information: Information, table: InformationTable) -> int:
    """The best layer, chosen on validation speakers where there are any: on the test speakers it would be flattered."""
    of_validation = {
        row.layer: row.mi_bits
        for row in information.validation
        if row.representation == table.representation and row.mi_bits is not None
    }
    return max(of_validation, key=of_validation.__getitem__) if of_validation else int(np.nanargmax(table.by_layer))


def _gain_over_layer_0(information: Information, table: InformationTable, peak: int) -> str:
    """How much more the peak holds than layer 0, paired over speakers; empty at layer 0 and for older results."""
    sums = {
        row.layer: (np.array(row.cluster_bits), np.array(row.cluster_frames))
        for row in information.average
        if row.representation == table.representation and row.cluster_bits and row.cluster_frames
    }
    if peak == 0 or not {0, peak} <= sums.keys():
        return ""
    difference = estimate(sums[peak][0] - sums[0][0], sums[0][1])
    value, low, high = (number(bits, 2, signed=True) for bits in (difference.value, difference.low, difference.high))
    return f"; that is {value} (95 % [{low}, {high}]) against layer 0"


def weights_headline(weights: LayerWeights) -> str:
    """Where each row of Fig. 2 puts its weight, in one sentence."""
    phrases: list[str] = []
    for row in weights.rows:
        layer_weights = np.asarray(row.weights, dtype=float)
        layers = len(layer_weights)
        first, last = concentrated_layers(layer_weights)
        if last - first + 1 > 0.6 * layers:
            phrases.append(
                f"{row.title} spreads over {plural(layers, 'layer')}, most on layer {int(layer_weights.argmax())}"
            )
            continue
        share = f"{100 * layer_weights[first : last + 1].sum() / layer_weights.sum():.0f} %"
        places = f"layer {first}" if first == last else f"layers {first}–{last}"
        verb, of_weight = ("", "") if phrases else ("puts ", "of its weight ")  # once is enough
        phrases.append(f"{row.title} {verb}{share} {of_weight}on {places}")
    return "; ".join(phrases) + "."


def concentrated_layers(weights: NDArray[np.float64]) -> tuple[int, int]:
    """First and last layer of the shortest run of layers that holds 60 % of the weight; the heaviest of equals.

    >>> concentrated_layers(np.array([0.1, 0.1, 0.5, 0.3]))
    (2, 3)
    """
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    for length in range(1, len(weights) + 1):
        sums = cumulative[length:] - cumulative[:-length]
        if sums.max() >= 0.6 * cumulative[-1] - 1e-9:
            return int(sums.argmax()), int(sums.argmax()) + length - 1
    return 0, len(weights) - 1


def dynamic_headlines(dynamic: DynamicWeights) -> list[str]:
    """How the mean layer of each dynamic row goes with the local SNR, in the one utterance shown."""
    local_snr_db = np.array(dynamic.local_snr_db, dtype=float)  # NaN for None
    phrases = []
    for row in dynamic.rows:
        weights = np.asarray(row.weights, dtype=float)
        frames = min(len(weights), len(local_snr_db) // 2)
        mean_layer = weights[:frames] @ np.arange(weights.shape[1])
        snr_db = local_snr_db[: 2 * frames].reshape(-1, 2).mean(axis=1)
        defined = np.isfinite(snr_db)
        if defined.sum() > 2 and snr_db[defined].std() > 0 and mean_layer[defined].std() > 0:
            correlation = float(np.corrcoef(snr_db[defined], mean_layer[defined])[0, 1])
            phrases.append(f"{row.title} {number(correlation, 2, signed=True)}")
    start = "Correlation of mean layer and local SNR, in the one utterance shown"
    return [f"{start}: {', '.join(phrases)}."] if phrases else []


def evaluation_headlines(evaluation: Evaluation) -> list[str]:
    """Word error rates and tested differences: those that the paper asks about, and other systems against noisy.

    A single other system, or the first pair of rows where there is nothing else, is told in full; of several other
    systems each gets a short sentence, and of more than `MAX_SYSTEMS` only the best one.
    """
    titles, tested = evaluation.titles, evaluation.differences
    unit = (evaluation.data.intervals_over or "speakers").removesuffix("s")
    in_full = [pair for pair in QUESTIONS if pair in tested]
    in_full += [pair for pair in tested if all(map(is_other_system, pair))]
    in_short = [pair for pair in tested if is_other_system(pair[0]) and pair[1] == "noisy"]
    if len(in_short) < 2:
        in_full, in_short = in_full + in_short or list(tested)[:1], []

    pairs = in_full + (in_short if len(in_short) <= MAX_SYSTEMS else [])
    names = dict.fromkeys(("noisy", *(name for pair in pairs for name in reversed(pair))))
    rates = {row.row: rate for row in evaluation.rows if (rate := row.value("wer")) is not None}
    phrases = [f"{titles[name]} {number(rates[name], 3)}" for name in names if name in rates]
    sentences = [f"Word error rate: {', '.join(phrases)}."] if phrases else []
    for pair in in_full:
        parts = [
            f"{metric.title} {difference_text(tested[pair][metric.key], metric.digits, unit)}"
            for metric in _WORDS_FIRST
            if metric.key in tested[pair]
        ]
        if parts:
            sentences.append(f"{' against '.join(titles.get(name, name) for name in pair)}: {'; '.join(parts)}.")

    systems = [(titles.get(row, row), tested[row, against]) for row, against in in_short]
    if len(systems) <= MAX_SYSTEMS:
        return sentences + [system_text(name, comparisons, unit) for name, comparisons in systems]
    common = [metric for metric in _WORDS_FIRST if all(metric.key in comparisons for _, comparisons in systems)]
    if common:
        best = max(systems, key=lambda system: common[0].gain(system[1][common[0].key].difference or 0.0))
        sentences.append(f"Of {len(systems)} systems, the best in {common[0].title}: {system_text(*best, unit)}")
    return sentences


def system_text(name: str, tested: Mapping[str, Comparison], unit: str = "speaker") -> str:
    """A system against the noisy input, in short; the intervals are in the tables."""
    starts = {"better": "better in", "worse": "worse in", "not significant": "no significant difference in"}
    phrases: dict[str, list[str]] = {start: [] for start in starts.values()}
    for metric in _WORDS_FIRST:
        if metric.key in tested:
            verdict = tested[metric.key].verdict
            difference = number(tested[metric.key].difference, metric.digits, signed=True)
            why = f": {reason}" if (reason := tested[metric.key].obstacle(unit)) else ""
            phrases.setdefault(starts.get(verdict, verdict), []).append(f"{metric.title} ({difference}{why})")
    parts = [f"{start} {', '.join(metrics)}" for start, metrics in phrases.items() if metrics]
    return f"{name} against noisy: {'; '.join(parts)}."


def difference_text(comparison: Comparison, digits: int, unit: str = "speaker") -> str:
    """A tested difference in words."""
    values = (comparison.difference, comparison.low, comparison.high)
    difference, low, high = (number(value, digits, signed=True) for value in values)
    verdict = "significant" if comparison.is_significant else comparison.verdict
    why = f": {reason}" if (reason := comparison.obstacle(unit)) else ""
    return f"{difference} (95 % [{low}, {high}], {verdict}{why})"


def protocol_text(information: Information) -> str:
    """How the information was measured; what the result does not say is left out.

    >>> protocol = {"silence": False, "depth": 1, "hidden": 128, "epochs": 12}
    >>> protocol_text(Information(classes=39, protocol=protocol, rows=()))
    'A probe for each layer, a linear one, trained for 12 epochs, tells 39 classes of phones, silence left out.'
    """
    protocol, rows = information.protocol, information.rows
    probe = ["A probe for each layer"]
    if protocol.get("depth") == 1:
        probe.append("a linear one")
    elif "hidden" in protocol:
        layers = plural(protocol["depth"] - 1, "hidden layer") if "depth" in protocol else "hidden layers"
        probe.append(f"with {layers} of {protocol['hidden']} units")
    if "epochs" in protocol:
        probe.append(f"trained for {plural(protocol['epochs'], 'epoch')}")
    if (seeds := protocol.get("seeds", 1)) > 1:
        spread = max((row.mi_bits_spread or 0.0 for row in rows), default=0.0)
        probe.append(f"the mean of {seeds} that lie ±{number(spread, 3)} bits apart at most")
    text = ", ".join(probe) + ("," if probe[1:] else "") + " tells "
    text += "the phones" if information.classes is None else f"{information.classes} classes of phones"
    if "silence" in protocol:
        text += " and silence" if protocol["silence"] else ", silence left out"
    frames = max((row.frames or 0 for row in rows), default=0)
    text += f", on {f'{frames:,}'.replace(',', ' ')} test frames at each SNR." if frames else "."
    if "data" in protocol:
        text += f" Data: {protocol['data']}."
    return text


def data_text(evaluation: Evaluation) -> str:
    """What the rows were evaluated on; empty if nothing is known of it."""
    data = evaluation.data
    parts = [plural(data.utterances, "utterance")] if data.utterances else []
    if data.speakers:
        unknown = f", unknown of {plural(data.unknown_speakers, 'utterance')}" if data.unknown_speakers else ""
        parts.append(plural(data.speakers, "speaker") + unknown)
    if data.snrs_db:
        parts.append(snrs_text(data.snrs_db))
        shown = sorted({row.snr_db for row in evaluation.by_snr if row.snr_db is not None})
        if shown and shown != sorted(data.snrs_db):
            parts[-1] += f", in the figure at the nearest of {', '.join(map(snr_text, shown))} dB"
    if data.recogniser != "none":
        parts.append(f"words by {data.recogniser}")
    if data.intervals_over == "utterances":
        parts.append("intervals and tests over utterances, so that they hold for these speakers only")
    return "Test data: " + "; ".join(parts) + "." if parts else ""


def snrs_text(snrs_db: Sequence[float]) -> str:
    """The signal-to-noise ratios of a test set: chosen ones one by one, measured ones as a range.

    >>> snrs_text([-5.0, 2.5]), snrs_text([5.4e-06, 4.99999, 9.99995])
    ('SNR −5, 2.5 dB', 'SNR 0 to 10 dB, measured')
    """
    if all(snr_db == round(snr_db, 1) for snr_db in snrs_db):
        return f"SNR {', '.join(map(snr_text, snrs_db))} dB"
    ends = dict.fromkeys(snr_text(snr_db) for snr_db in (min(snrs_db), max(snrs_db)))
    return f"SNR {' to '.join(ends)} dB, measured"
