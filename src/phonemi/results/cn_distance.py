"""Results of the clean-noisy distance: how far noise moves each layer of an encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from phonemi.results.record import Record, omitted_if_none

DistancePart = Literal["distance_sd", "one_minus_cosine"]


@dataclass(frozen=True, kw_only=True)
class LayerDistance(Record):
    """Mean distances of the noisy from the clean hidden states of a layer, with the ends of their 95 % intervals.

    `distance_sd` is the root mean square difference of states that are scaled to mean 0 and standard deviation 1;
    `snr_db` is None where all SNRs are pooled. `change_sd` is the difference from the frozen encoder, of what a row has
    learned, its p-value adjusted for the number of layers and rows.
    """

    representation: str
    layer: int
    snr_db: float | None = omitted_if_none()
    utterances: int  # that the mean is over
    models: int = 1  # of the row, that the mean is over as well
    distance_sd: float
    distance_sd_low: float | None = None
    distance_sd_high: float | None = None
    one_minus_cosine: float
    one_minus_cosine_low: float | None = None
    one_minus_cosine_high: float | None = None
    change_sd: float | None = omitted_if_none()
    change_sd_low: float | None = omitted_if_none()
    change_sd_high: float | None = omitted_if_none()
    change_p_value: float | None = omitted_if_none()

    def interval(self, part: DistancePart) -> tuple[float, float | None, float | None]:
        """One of the two distances, and the ends of its interval."""
        if part == "distance_sd":
            return self.distance_sd, self.distance_sd_low, self.distance_sd_high
        return self.one_minus_cosine, self.one_minus_cosine_low, self.one_minus_cosine_high


@dataclass(frozen=True, kw_only=True)
class CleanNoisyDistances(Record):
    """Content of cn_distance.json."""

    key: str | None = omitted_if_none()
    snrs_db: tuple[float, ...]
    intervals_over: str = "speakers"
    protocol: dict[str, Any] = field(default_factory=dict)
    rows: tuple[LayerDistance, ...]  # each layer at each SNR
    average: tuple[LayerDistance, ...]  # each layer over all SNRs

    @property
    def representations(self) -> list[str]:
        """The encoder, and those that rows have learned, in their order."""
        return list(dict.fromkeys(row.representation for row in self.average))

    def by_layer(self, representation: str) -> NDArray[np.float64]:
        """The distance over all SNRs and the ends of its interval, `[3, layer]`; NaN where one is not known."""
        of_layers = {row.layer: row for row in self.average if row.representation == representation}
        values = [of_layers[layer].interval("distance_sd") for layer in sorted(of_layers)]
        return np.array(values, dtype=float).T
