"""The results of a run -> the few sentences that say what was found, computed from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phonemi.results import METRICS, information_tables, number, snr_text

Results = Mapping[str, Any]


def headlines(results: Results) -> list[str]:
    """Plain-text sentences for the results that are there, the most important first."""
    sentences: list[str] = []
    if "information.json" in results:
        sentences += information_headlines(results["information.json"])
    if results.get("layer_weights.json", {}).get("rows"):
        sentences.append(weights_headline(results["layer_weights.json"]["rows"]))
    if "dynamic_weights.json" in results:
        sentences += dynamic_headlines(results["dynamic_weights.json"])
    if "metrics.json" in results:
        sentences += metrics_headlines(results["metrics.json"])
    return sentences


def information_headlines(information: Mapping[str, Any]) -> list[str]:
    """Where the phonetic information peaks, and what noise takes of it."""
    tables = information_tables(information)
    baselines = "".join(
        f", {table.representation} {number(table.by_layer[0], 2)}" for table in tables if len(table.mi_bits) == 1
    )
    entropies = [row["entropy_bits"] for row in information["rows"] if row.get("entropy_bits") is not None]
    carried = f" of the {number(float(np.mean(entropies)), 2)} that a phone carries" if entropies else ""
    sentences = []
    snrs_db = tables[0].snrs_db if tables else np.zeros(0)
    averaged = f" (averages over {snr_text(snrs_db[0])} to {snr_text(snrs_db[-1])} dB SNR)" if len(snrs_db) > 1 else ""
    for table in tables:
        if len(table.mi_bits) == 1 or not np.isfinite(table.by_layer).any():
            continue
        peak = int(np.nanargmax(table.by_layer))
        sentences.append(
            f"Phonetic information in {table.representation} peaks at layer {peak}: "
            f"{number(table.by_layer[peak], 2)} bits{carried}{baselines}{averaged}."
        )
        layers = table.peak_layers[[0, -1]]
        noisy, clean = table.mi_bits[layers[0], 0], table.mi_bits[layers[1], -1]
        if len(table.snrs_db) > 1 and clean > 0 and np.isfinite(noisy):
            moved = (
                f"stays at layer {layers[1]}"
                if layers[0] == layers[1]
                else f"moves from layer {layers[1]} to {layers[0]}"
            )
            sentences.append(
                f"From {snr_text(table.snrs_db[-1])} to {snr_text(table.snrs_db[0])} dB SNR, noise takes "
                f"{100 * (1 - noisy / clean):.0f} % of the peak ({number(clean, 2)} to {number(noisy, 2)} bits), "
                f"which {moved}."
            )
    return sentences


def weights_headline(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where each row of Fig. 2 puts its weight.

    >>> weights_headline([{"row": "ws-acoustic", "label": "WS (Acoustic)", "weights": [0.7, 0.2, 0.1]}])
    'WS (Acoustic) puts 70 % of its weight on layer 0.'
    """
    phrases = []
    for row in rows:
        weights = np.asarray(row["weights"], dtype=float)
        first, last = concentrated_layers(weights)
        label = row.get("label", row["row"])
        if last - first + 1 > 0.6 * len(weights):
            phrases.append(f"{label} spreads over {len(weights)} layers, most on layer {int(weights.argmax())}")
            continue
        share = f"{100 * weights[first : last + 1].sum() / weights.sum():.0f} %"
        layers = f"layer {first}" if first == last else f"layers {first}–{last}"
        # Only the first phrase needs the words in full.
        phrases.append(
            f"{label} puts {share} of its weight on {layers}" if not phrases else f"{label} {share} on {layers}"
        )
    return "; ".join(phrases) + "."


def concentrated_layers(weights: np.ndarray) -> tuple[int, int]:
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


def dynamic_headlines(dynamic: Mapping[str, Any]) -> list[str]:
    """How the mean layer of each dynamic row goes with the local SNR, in the one utterance shown."""
    local_snr_db = np.array([np.nan if value is None else value for value in dynamic["local_snr_db"]], dtype=float)
    phrases = []
    for row in dynamic["rows"]:
        weights = np.asarray(row["weights"], dtype=float)
        frames = min(len(weights), len(local_snr_db) // 2)
        centre = weights[:frames] @ np.arange(weights.shape[1])
        snr_db = local_snr_db[: 2 * frames].reshape(-1, 2).mean(axis=1)
        known = np.isfinite(snr_db)
        if known.sum() > 2 and snr_db[known].std() > 0 and centre[known].std() > 0:
            correlation = float(np.corrcoef(snr_db[known], centre[known])[0, 1])
            phrases.append(f"{row.get('label', row['row'])} {number(correlation, 2, signed=True)}")
    if not phrases:
        return []
    return ["Correlation of mean layer and local SNR, in the one utterance shown: " + ", ".join(phrases) + "."]


def metrics_headlines(metrics: Mapping[str, Any]) -> list[str]:
    """Word error rates and the differences that were tested."""
    sentences = []
    rows = {row["row"]: row for row in metrics["rows"]}
    names = {name: row.get("label", name) for name, row in rows.items()}
    compared = _headline_pairs(metrics.get("comparisons", []))
    asked = dict.fromkeys(("noisy", *(name for pair in compared for name in reversed(pair))))
    shown = [name for name in asked if name in rows]
    rates = [f"{names[name]} {number(rows[name]['wer'], 3)}" for name in shown if rows[name].get("wer") is not None]
    if rates:
        sentences.append("Word error rate: " + ", ".join(rates) + ".")
    for row, against in compared:
        parts = []
        for metric in (METRICS[-1], *METRICS[:-1]):
            for found in metrics["comparisons"]:
                if (found["row"], found["against"], found["metric"]) == (row, against, metric.key):
                    parts.append(f"{metric.title} {difference_text(found, metric.digits)}")
        if parts:
            sentences.append(f"{names.get(row, row)} against {names.get(against, against)}: {'; '.join(parts)}.")
    return sentences


def difference_text(comparison: Mapping[str, Any], digits: int) -> str:
    """A tested difference in words.

    >>> difference_text({"difference": -0.01, "low": -0.02, "high": 0.004}, 3)
    '−0.010 (95 % [−0.020, +0.004], not significant)'
    """
    low, high = (number(comparison[key], digits, signed=True) for key in ("low", "high"))
    verdict = "significant" if is_significant(comparison) else "not significant"
    return f"{number(comparison['difference'], digits, signed=True)} (95 % [{low}, {high}], {verdict})"


def is_significant(comparison: Mapping[str, Any]) -> bool:
    """Whether the 95 % interval of a difference leaves out zero and its permutation test gives p < 0.05.

    Both, because with a handful of speakers the bootstrap interval is too narrow, while the test knows that few signs
    can be flipped. Neither knows how much another start of the training changes: where several models of a row were
    trained, all must differ in the same direction.
    """
    low, high, p_value = comparison["low"], comparison["high"], comparison.get("p_value")
    if low is None or high is None or len({np.sign(value) for value in comparison.get("by_model", ())}) > 1:
        return False
    return (low > 0 or high < 0) and (p_value is None or p_value < 0.05)


def _headline_pairs(comparisons: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The question of the paper, linguistic against acoustic, where it was asked; else the first pair."""
    pairs = list(dict.fromkeys((found["row"], found["against"]) for found in comparisons))
    asked = [pair for pair in (("ws-linguistic", "ws-acoustic"), ("dws-linguistic", "dws-acoustic")) if pair in pairs]
    return asked or pairs[:1]
