"""Results of the information analysis: bounds of the mutual information (MI) of features and phones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from phonemi.results.record import Record, omitted_if_none


@dataclass(frozen=True, kw_only=True)
class Bound(Record):
    """Lower bound of the MI of one sequence of features with the phones, as a probe gives it."""

    mi_bits: float | None  # entropy of the phones minus cross-entropy of the probe
    mi_nats: float | None = omitted_if_none()
    entropy_bits: float | None = omitted_if_none()
    cross_entropy_bits: float | None = omitted_if_none()
    accuracy: float | None = omitted_if_none()  # share of the frames whose phone the probe tells
    frames: int | None = omitted_if_none()  # how many were evaluated
    utterances: int | None = omitted_if_none()
    mi_bits_low: float | None = omitted_if_none()  # ends of the 95 % interval
    mi_bits_high: float | None = omitted_if_none()
    mi_bits_spread: float | None = omitted_if_none()  # standard deviation over several probes
    cluster_bits: tuple[float, ...] | None = omitted_if_none()  # sum of the bits of each speaker (or utterance)
    cluster_frames: tuple[int, ...] | None = omitted_if_none()  # and number of its frames


@dataclass(frozen=True, kw_only=True)
class LayerBound(Bound):
    """MI of one layer of a representation; `snr_db` is None where all SNRs are pooled."""

    representation: str
    layer: int
    snr_db: float | None = omitted_if_none()


@dataclass(frozen=True, kw_only=True)
class Information(Record):
    """Content of information.json."""

    key: str | None = omitted_if_none()
    unit: str = "bits"
    classes: int | None = omitted_if_none()  # how many phones are told apart
    snrs_db: tuple[float, ...] | None = omitted_if_none()
    protocol: dict[str, Any] = field(default_factory=dict)  # settings, and the data that were used
    rows: tuple[LayerBound, ...]  # each layer at each SNR of the test split
    average: tuple[LayerBound, ...] = ()  # each layer over all SNRs of the test split
    validation: tuple[LayerBound, ...] = ()  # the same on held-out speakers and noises


@dataclass(frozen=True, kw_only=True)
class RowBound(Bound):
    """MI of what the aggregation of a row gives; `snr_db` is None where all SNRs are pooled."""

    row: str
    snr_db: float | None = omitted_if_none()


@dataclass(frozen=True, kw_only=True)
class AggregatedInformation(Record):
    """Content of aggregated_information.json: MI of the aggregation of each row, as in `Information`."""

    key: str | None = omitted_if_none()
    rows: tuple[RowBound, ...]
    average: tuple[RowBound, ...] = ()
    validation: tuple[RowBound, ...] = ()

    @classmethod
    def from_json(cls, content: Any, where: str = "") -> Self:
        """Read the file; version 0.1 wrote all bounds into `rows`, with "average" or "validation" for the SNR."""
        if isinstance(content, dict) and isinstance(content.get("rows"), list):
            lists: dict[str, list[Any]] = {"rows": [], "average": [], "validation": []}
            for row in content["rows"]:
                place = str(row.get("snr_db")) if isinstance(row, dict) else ""
                is_old = place in ("average", "validation")
                lists[place if is_old else "rows"].append({**row, "snr_db": None} if is_old else row)
            content = lists | content | {"rows": lists["rows"]}
        return super().from_json(content, where)


@dataclass(frozen=True)
class InformationTable:
    """MI of one representation as arrays; NaN where nothing was measured."""

    representation: str
    snrs_db: NDArray[np.float64]  # [snr], ascending
    mi_bits: NDArray[np.float64]  # [layer, snr]
    low_bits: NDArray[np.float64]  # [layer, snr], ends of the 95 % interval
    high_bits: NDArray[np.float64]

    @property
    def has_layers(self) -> bool:
        """Whether there are several; a spectrum such as log1p counts as one layer."""
        return len(self.mi_bits) > 1

    @property
    def by_layer(self) -> NDArray[np.float64]:
        """MI averaged over the SNRs, `[layer]` in bits."""
        return np.asarray(self.mi_bits.mean(axis=1))

    @property
    def peak_layers(self) -> NDArray[np.int64]:
        """Layer with the most information at each SNR, `[snr]`; -1 where nothing was measured."""
        peaks = np.nan_to_num(self.mi_bits, nan=-np.inf).argmax(axis=0)
        return np.where(np.isfinite(self.mi_bits).any(axis=0), peaks, -1)


def information_tables(information: Information) -> list[InformationTable]:
    """The MI by layer and SNR of each representation, in order of appearance."""
    by_name: dict[str, dict[tuple[int, float], list[float | None]]] = {}
    for row in information.rows:
        if row.snr_db is not None:
            cells = by_name.setdefault(row.representation, {})
            cells[row.layer, row.snr_db] = [row.mi_bits, row.mi_bits_low, row.mi_bits_high]
    snrs_db = np.unique([snr_db for cells in by_name.values() for _, snr_db in cells])
    tables = []
    for name, cells in by_name.items():
        values = np.full((3, 1 + max(layer for layer, _ in cells), len(snrs_db)), np.nan)
        for (layer, snr_db), bounds in cells.items():
            values[:, layer, np.searchsorted(snrs_db, snr_db)] = np.array(bounds, float)  # NaN for None
        tables.append(InformationTable(name, snrs_db, *values))
    return tables
