"""What is known of each layer of an encoder, side by side: how far noise moves it, its MI, and the weight it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phonemi.constants import Tuning
from phonemi.results.information import information_tables
from phonemi.results.run_folder import RunResults
from phonemi.results.weights import RowWeights
from phonemi.systems import known_system
from phonemi.tables import number, snr_text

STATIC_SUMS = ("weighted_sum", "normalised_weighted_sum")  # whose weights are the same in every frame
COMPARED: tuple[Tuning, ...] = ("acoustic", "linguistic")


class LayerProfile(NamedTuple):
    """One encoder; curves with their intervals are `[3, layer]`: value, lower and upper end, NaN where not known.

    What several models of a row have learned is one encoder: values and ends are averages over them.
    """

    name: str  # of the encoder, or of the row that has learned it
    distance_sd: NDArray[np.float64]
    mi_bits: NDArray[np.float64] | None  # None: not measured
    weights: Sequence[RowWeights]  # of the static sums that are learned for enhancement, and to tell phones

    @property
    def label(self) -> str:
        """As figures and sentences name it."""
        row = known_system(self.name)
        return self.name if row is None else row.label

    def correlation(self, values: Sequence[float] | NDArray[np.float64]) -> float:
        """Spearman's rank correlation of something `[layer]` with the distance; NaN where either does not vary."""
        from scipy.stats import rankdata

        ranks = [rankdata(each) for each in (self.distance_sd[0], values)]
        if len(ranks[0]) != len(ranks[1]) or not all(each.std() > 0 for each in ranks):
            return float("nan")
        return float(np.corrcoef(*ranks)[0, 1])


def layer_profiles(results: RunResults) -> list[LayerProfile]:
    """The encoder of a run, and then those that its rows have learned; none without a clean-noisy distance."""
    if results.cn_distance is None:
        return []
    measured = [each for each in (results.information, results.fine_tuned) if each is not None]
    tables = [table for each in measured for table in information_tables(each)]
    bounds: dict[str, list[NDArray[np.float64]]] = {}
    for table in tables:
        by_layer = np.stack([part.mean(1) for part in (table.mi_bits, table.low_bits, table.high_bits)])
        bounds.setdefault(table.representation.partition("@")[0], []).append(by_layer)
    profiles = []
    for name in results.cn_distance.representations:
        distance_sd = results.cn_distance.by_layer(name)
        learned = known_system(name) is not None
        mi_bits = np.mean(bounds[name], axis=0) if name in bounds else None
        rows = [row for row in _learned_weights(results) if (row.row == name if learned else not _changes_encoder(row))]
        rows = [row for row in rows if len(row.weights) == distance_sd.shape[1]]
        profiles.append(LayerProfile(name, distance_sd, mi_bits, _one_of_each_tuning(rows)))
    return profiles


def _learned_weights(results: RunResults) -> list[RowWeights]:
    """Rows whose weights are the same in every frame."""
    rows = results.layer_weights.rows if results.layer_weights is not None else ()
    return [row for row in rows if (system := known_system(row.row)) and system.aggregation in STATIC_SUMS]


def _changes_encoder(row: RowWeights) -> bool:
    system = known_system(row.row)
    return system is not None and system.changes_encoder


def _one_of_each_tuning(rows: Sequence[RowWeights]) -> list[RowWeights]:
    """The first acoustic and the first linguistic row."""
    first = {tuning_of(row): row for row in reversed(rows)}
    return [first[tuning] for tuning in COMPARED if tuning in first]


def tuning_of(row: RowWeights) -> Tuning | None:
    """What the weights of a row were learned for."""
    system = known_system(row.row)
    return None if system is None else system.tuning


def _encoder_of(profile: LayerProfile) -> str:
    """Name of the encoder without that of the run, "mini (before)"."""
    return profile.name.partition(" (")[0]


def robustness_sentences(profiles: Sequence[LayerProfile], snrs_db: Sequence[float] = ()) -> list[str]:
    """What noise does to the layers, and how their weights and MI go with it, beside what the papers found."""
    first, *others = profiles
    most, least = int(first.distance_sd[0].argmax()), int(first.distance_sd[0].argmin())
    over = f" (averages over {snr_text(min(snrs_db))} to {snr_text(max(snrs_db))} dB SNR)" if len(snrs_db) > 1 else ""
    sentences = [
        f"Noise moves {first.label} most at layer {most} ({number(first.distance_sd[0, most], 2)} standard deviations "
        f"of a state), least at layer {least} ({number(first.distance_sd[0, least], 2)}){over}."
    ]
    if others:
        means = [number(float(profile.distance_sd[0].mean()), 3) for profile in profiles]
        # The same encoder in another run, or what a row has learned of it.
        are_changed = all(known_system(p.name) is not None or _encoder_of(p) == _encoder_of(first) for p in others)
        paper = "; BSSE found more after fine-tuning" if are_changed else ""
        for_others = f"{means[1]} for {others[0].label}"
        if len(others) > 1:
            for_others = f"{min(means[1:])} to {max(means[1:])} for the {len(others)} others"
        sentences.append(f"Over all layers that is {means[0]} for {first.label} and {for_others}{paper}.")
    correlations: dict[str, list[float]] = {}
    for profile in profiles:
        for row in profile.weights:
            correlations.setdefault(f"{tuning_of(row)} weights", []).append(profile.correlation(row.weights))
    correlations["MI"] = [p.correlation(p.mi_bits[0]) for p in profiles if p.mi_bits is not None]
    finite = {what: [value for value in values if np.isfinite(value)] for what, values in correlations.items()}
    phrases = [f"{what} {_range_text(values)}" for what, values in finite.items() if values]
    if phrases:
        layers = first.distance_sd.shape[1]
        sentences.append(
            f"Spearman's correlation with the distance over the {layers} layers: {', '.join(phrases)}. That is few "
            "layers, and neighbours are alike, so nothing is tested. BSSE found acoustic weights where noise moves the "
            "states most; Han et al. (2026) find the phones in the upper layers."
        )
    return sentences


def _range_text(values: Sequence[float]) -> str:
    """The values of all encoders in a few words.

    >>> _range_text([-0.5]), _range_text([0.25, -1, 0.5])
    ('−0.50', '−1.00 to +0.50')
    """
    ends = [number(end, 2, signed=True) for end in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))
