"""Results about the aggregations: how much weight each layer has, on average and over time."""

from __future__ import annotations

from dataclasses import dataclass

from phonemi.results.record import Record, RowRecord, omitted_if_none


@dataclass(frozen=True, kw_only=True)
class RowWeights(RowRecord):
    """Weight of each layer in one row, `[layer]`, averaged over frames; the weights sum to 1."""

    weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LayerWeights(Record):
    """Content of layer_weights.json; `utterances` says over how many the weights are averaged."""

    utterances: int | None = omitted_if_none()
    rows: tuple[RowWeights, ...]


@dataclass(frozen=True, kw_only=True)
class RowWeightsOverTime(RowRecord):
    """Weight of each layer in each frame, `[frame][layer]`; the weights of a frame sum to 1."""

    weights: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class DynamicWeights(Record):
    """Content of dynamic_weights.json: one noisy utterance and how the weights follow it."""

    utterance: str | None = omitted_if_none()
    snr_db: float | None = None  # it changes within the utterance
    frame_s: float = 0.02  # from one frame of weights to the next; spectrum and local SNR have half of it
    log_mel: tuple[tuple[float | None, ...], ...]  # [2 * frame][mel], log power
    local_snr_db: tuple[float | None, ...]  # [2 * frame], None where it is not defined
    rows: tuple[RowWeightsOverTime, ...]
