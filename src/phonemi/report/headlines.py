"""The results of a run -> the few sentences that say what was found, and on what, computed from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phonemi.report.results import METRICS, Metric, information_tables, is_of_the_paper, number, snr_text, snrs_text

Results = Mapping[str, Any]
Tested = Mapping[str, Mapping[str, Any]]
"""Key of a metric -> the comparison of one pair of rows."""

MOST_SYSTEMS = 4  # that get a sentence each
_ORDER = (METRICS[-1], *METRICS[:-1])  # words first


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
    """Word error rates and the differences that were tested: the question of the paper, and systems from elsewhere."""
    rows = {row["row"]: row for row in metrics["rows"]}
    names = {name: row.get("label", name) for name, row in rows.items()}
    tested: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for found in metrics.get("comparisons", []):
        tested.setdefault((found["row"], found["against"]), {})[found["metric"]] = found
    in_full, in_short = _headline_pairs(list(tested))
    systems = [(names.get(row, row), tested[row, against]) for row, against in in_short]
    pairs = in_full + (in_short if len(systems) <= MOST_SYSTEMS else [])
    shown = dict.fromkeys(("noisy", *(name for pair in pairs for name in reversed(pair))))
    rates = [(names[name], rows[name].get("wer")) for name in shown if name in rows]
    said = [f"{name} {number(rate, 3)}" for name, rate in rates if rate is not None]
    sentences = [f"Word error rate: {', '.join(said)}."] if said else []
    for row, against in in_full:
        found = tested[row, against]
        parts = [f"{one.title} {difference_text(found[one.key], one.digits)}" for one in _ORDER if one.key in found]
        if parts:
            sentences.append(f"{names.get(row, row)} against {names.get(against, against)}: {'; '.join(parts)}.")
    if len(systems) <= MOST_SYSTEMS:
        return sentences + [system_text(name, found) for name, found in systems]
    judge = next((one for one in _ORDER if all(one.key in found for _, found in systems)), None)
    if judge is not None:
        best = max(systems, key=lambda system: _gain(system[1], judge))
        sentences.append(f"Of {len(systems)} systems, the best in {judge.title}: {system_text(*best)}")
    return sentences


def system_text(name: str, tested: Tested) -> str:
    """A system beside the noisy input, in short: the intervals are in the tables.

    Args:
        name: of the system.
        tested: key of a metric -> its comparison.

    >>> pesq = {"difference": 0.64, "low": 0.36, "high": 0.95, "p_value": 0.01}
    >>> system_text("ours", {"pesq_wb_lqo": pesq, "wer": {"difference": 0.05, "low": -0.1, "high": 0.2}})
    'ours against noisy: better in PESQ (+0.64); no significant difference in WER (+0.050).'
    """
    verdicts: dict[str, list[str]] = {"better in": [], "worse in": [], "no significant difference in": []}
    for metric in _ORDER:
        if metric.key in tested:
            verdict = "better in" if _gain(tested, metric) > 0 else "worse in"
            if not is_significant(tested[metric.key]):
                verdict = "no significant difference in"
            difference = number(tested[metric.key]["difference"], metric.digits, signed=True)
            verdicts[verdict].append(f"{metric.title} ({difference})")
    said = [f"{verdict} {', '.join(metrics)}" for verdict, metrics in verdicts.items() if metrics]
    return f"{name} against noisy: {'; '.join(said)}."


def _gain(tested: Tested, metric: Metric) -> float:
    """A difference, positive where it is for the better."""
    difference = tested[metric.key]["difference"] or 0.0
    return difference if metric.higher_is_better else -difference


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


def _headline_pairs(pairs: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs of rows to say in full, and several systems from elsewhere, against the noisy input, to say in short.

    In full: the question of the paper, linguistic against acoustic, where it was asked, and a system that is the only
    one; where there is neither, the first pair.
    """
    asked = [pair for pair in (("ws-linguistic", "ws-acoustic"), ("dws-linguistic", "dws-acoustic")) if pair in pairs]
    systems = [pair for pair in pairs if not is_of_the_paper(pair[0]) and pair[1] == "noisy"]
    if len(systems) > 1:
        return asked, systems
    return asked + systems or list(pairs[:1]), []


def protocol_text(information: Mapping[str, Any]) -> str:
    """How the information was measured; what the file does not say is left out.

    >>> protocol_text({"classes": 39, "protocol": {"silence": False, "depth": 1, "hidden": 128, "epochs": 12}})
    'A probe for each layer, a linear one, trained for 12 epochs, tells 39 classes of phones, silence left out.'
    """
    protocol, rows = information.get("protocol", {}), information.get("rows", [])
    probe = ["A probe for each layer"]
    if protocol.get("depth") == 1:
        probe.append("a linear one")
    elif "hidden" in protocol:
        layers = _count(protocol["depth"] - 1, "hidden layer") if "depth" in protocol else "hidden layers"
        probe.append(f"with {layers} of {protocol['hidden']} units")
    if "epochs" in protocol:
        probe.append(f"trained for {_count(protocol['epochs'], 'epoch')}")
    if (seeds := protocol.get("seeds", 1)) > 1:
        spread = max((row.get("mi_bits_spread", 0.0) for row in rows), default=0.0)
        probe.append(f"the mean of {seeds} that lie ±{number(spread, 3)} bits apart at most")
    said = ", ".join(probe) + ("," if probe[1:] else "") + " tells "
    said += f"{information['classes']} classes of phones" if "classes" in information else "the phones"
    said += {True: " and silence", False: ", silence left out"}.get(protocol.get("silence"), "")
    frames = max((row.get("frames") or 0 for row in rows), default=0)
    said += f", on {f'{frames:,}'.replace(',', ' ')} test frames at each SNR." if frames else "."
    if "data" in protocol:
        said += f" Data: {protocol['data']}."
    return said


def data_text(metrics: Mapping[str, Any], unknown_speakers: int = 0) -> str:
    """What was judged, and by whom; empty if nothing is known of it.

    Args:
        metrics: content of metrics.json.
        unknown_speakers: how many of the utterances are of nobody knows whom.

    >>> data_text({"data": {"utterances": 6, "speakers": 1, "snrs_db": [0.0, 5.0]}}, unknown_speakers=4)
    'Test data: 6 utterances; 1 speaker, unknown of 4 utterances; SNR 0, 5 dB.'
    """
    data = metrics.get("data", {})
    parts = [_count(data[key], key.removesuffix("s")) for key in ("utterances", "speakers") if data.get(key)]
    if data.get("speakers") and unknown_speakers:
        parts[-1] += f", unknown of {_count(unknown_speakers, 'utterance')}"
    if data.get("snrs_db"):
        parts.append(snrs_text(data["snrs_db"]))
        drawn = sorted({row["snr_db"] for row in metrics.get("by_snr") or []})
        if drawn and drawn != sorted(data["snrs_db"]):
            parts[-1] += f", in the figure at the nearest of {', '.join(map(snr_text, drawn))} dB"
    if data.get("recogniser", "none") != "none":
        parts.append(f"words by {data['recogniser']}")
    if data.get("intervals_over") == "utterances":
        parts.append("intervals and tests over utterances, so that they hold for these speakers only")
    return "Test data: " + "; ".join(parts) + "." if parts else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
