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
    """One encoder; curves with their intervals are `[3, layer]`: value, lower and upper end, NaN where not known."""

    name: str
    distance_sd: NDArray[np.float64]
    mi_bits: NDArray[np.float64] | None  # None: not measured
    weights: Sequence[RowWeights]  # of the static sums that are learned for enhancement, and to tell phones

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
    bounds = {table.representation: (table.mi_bits, table.low_bits, table.high_bits) for table in tables}
    profiles = []
    for name in results.cn_distance.representations:
        distance_sd = results.cn_distance.by_layer(name)
        learned = known_system(name) is not None
        parts = bounds.get(name)
        mi_bits = None if parts is None else np.stack([part.mean(1) for part in parts])
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
    tunings = {row.row: system.tuning for row in rows if (system := known_system(row.row))}
    first = {tunings[row.row]: row for row in reversed(rows)}
    return [first[tuning] for tuning in COMPARED if tuning in first]


def _encoder_of(profile: LayerProfile) -> str:
    """Name of the encoder without that of the run, "mini (before)"."""
    return profile.name.partition(" (")[0]


def robustness_sentences(profiles: Sequence[LayerProfile], snrs_db: Sequence[float] = ()) -> list[str]:
    """What noise does to the layers, and how their weights and MI go with it, beside what the papers found."""
    sentences = []
    over = f" (averages over {snr_text(min(snrs_db))} to {snr_text(max(snrs_db))} dB SNR)" if len(snrs_db) > 1 else ""
    for profile in profiles:
        most, least = int(profile.distance_sd[0].argmax()), int(profile.distance_sd[0].argmin())
        values = [number(profile.distance_sd[0, layer], 2) for layer in (most, least)]
        sentences.append(
            f"Noise moves {profile.name} most at layer {most} ({values[0]} standard deviations of a state), "
            f"least at layer {least} ({values[1]}){over}."
        )
    first, *others = profiles
    for other in others:
        means = [number(float(profile.distance_sd[0].mean()), 3) for profile in (first, other)]
        sentence = f"Over all layers that is {means[0]} for {first.name} and {means[1]} for {other.name}"
        # The same encoder in another run, or what a row has learned of it.
        is_changed = (
            known_system(other.name) is not None or len({p.name.partition(" (")[0] for p in (first, other)}) == 1
        )
        sentences.append(sentence + ("; BSSE found more after fine-tuning." if is_changed else "."))
    phrases = []
    for profile in profiles:
        correlations = [(row.title, profile.correlation(row.weights)) for row in profile.weights]
        if profile.mi_bits is not None:
            correlations.append(("MI", profile.correlation(profile.mi_bits[0])))
        texts = [f"{title} {number(rho, 2, signed=True)}" for title, rho in correlations if np.isfinite(rho)]
        if texts:
            phrases.append((f"{profile.name}: " if others else "") + ", ".join(texts))
    if phrases:
        layers = first.distance_sd.shape[1]
        sentences.append(
            f"Spearman's correlation with the distance over the {layers} layers: {'; '.join(phrases)}. That is few "
            "layers, and neighbours are alike, so nothing is tested. BSSE found acoustic weights where noise moves the "
            "states most; Han et al. (2026) find the phones in the upper layers."
        )
    return sentences
