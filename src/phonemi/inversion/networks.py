"""Networks that hear the articulators: one sequence of an encoder -> tract variables, 100 times a second.

The recurrent one is that of the speech-inversion systems on self-supervised features (SSI, Attia et al. 2023), the
linear one the baseline that needs five minutes of data (Cho et al. 2022, arXiv:2210.11723).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.errors import ConfigError, ModelError, nearest
from phonemi.recurrence import run_recurrent
from phonemi.signal import HOP, SSL_FIELD, SSL_HOP, ssl_frames, stft_frames, valid_mask

TRACK_HOP = 160  # samples at 16 kHz: frame t of the tracks is at t / 100 s


class InverterNetwork(nn.Module, ABC):
    """What every inverter offers: normalised variables from features, `settings` to build it anew.

    Args:
        dim: size of the features.
        variables: how many there are.
        hop: samples between feature frames, 320 (frame t at sample 320 t + 200) or 160 (frame t at 160 t).
    """

    kind: ClassVar[str]  # name in `NETWORKS`
    __call__: Callable[..., Tensor]

    def __init__(self, dim: int, variables: int, hop: int = SSL_HOP) -> None:
        super().__init__()
        if hop not in (HOP, SSL_HOP):
            raise ModelError(f"features come every {hop} samples: only 160 and 320 can be used")
        self.dim, self.variables, self.hop = dim, variables, hop

    @abstractmethod
    def forward(self, features: Tensor, samples: Tensor) -> Tensor:
        """Estimate the variables, [batch, frame, dim] -> [batch, frame of 10 ms, variable].

        Args:
            features: of the encoder; anything beyond the end of an item.
            samples: length of each item at 16 kHz, [batch]. On the CPU.

        Returns:
            Frame t is at t / 100 s; there are as many as the longest item has, zero beyond the end of an item.

        Raises:
            ModelError: for features of another size.
        """

    def settings(self) -> dict[str, Any]:
        """JSON-able settings from which `build_inverter_network` builds it anew, without its weights."""
        return {"kind": self.kind, "dim": self.dim, "variables": self.variables, "hop": self.hop}

    def loss(self, features: Tensor, targets: Tensor, samples: Tensor) -> Tensor:
        """Mean absolute error over all that is known.

        Args:
            features, samples: see `forward`.
            targets: normalised tracks [batch, frame, variable], NaN where unknown and beyond the end of an item.
        """
        estimate = self(features, samples).float()
        frames = min(estimate.shape[1], targets.shape[1])
        estimate, targets = estimate[:, :frames], targets[:, :frames]
        known = torch.isfinite(targets)
        error = (estimate - targets.nan_to_num()).abs() * known
        return error.sum() / known.sum().clamp_min(1)

    def _check(self, features: Tensor) -> None:
        if features.shape[-1] != self.dim:
            raise ModelError(f"the inverter expects {self.dim} features a frame, got {features.shape[-1]}")

    def _feature_frames(self, samples: Tensor, most: int) -> Tensor:
        frames = ssl_frames(samples) if self.hop == SSL_HOP else stft_frames(samples)
        return frames.clamp(1, most)


class GruInverter(InverterNetwork):
    """Two bidirectional GRUs, self-attention, a dense layer, 100 frames a second, tanh.

    Args:
        dim, variables, hop: see `InverterNetwork`.
        hidden: units of the first GRU in each direction; the second has half of them.
        heads: of the attention.
        dropout: after the GRUs and before the output.
    """

    kind = "gru"

    def __init__(
        self, dim: int, variables: int, hop: int = SSL_HOP, hidden: int = 256, heads: int = 4, dropout: float = 0.3
    ) -> None:
        super().__init__(dim, variables, hop)
        self.hidden, self.heads = hidden, heads
        self.first = nn.GRU(dim, hidden, batch_first=True, bidirectional=True)
        self.second = nn.GRU(2 * hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.dense = nn.Linear(hidden, hidden // 2)
        self.norm = nn.BatchNorm1d(hidden // 2)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden // 2, variables)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"hidden": self.hidden, "heads": self.heads, "dropout": self.dropout.p}

    def forward(self, features: Tensor, samples: Tensor) -> Tensor:
        self._check(features)
        counts = self._feature_frames(samples, features.shape[1])
        sequence = self.dropout(run_recurrent(self.first, features, counts))
        sequence = run_recurrent(self.second, sequence, counts)
        valid = valid_mask(counts.to(features.device), features.shape[1])
        attended, _ = self.attention(sequence, sequence, sequence, key_padding_mask=~valid, need_weights=False)
        hidden = functional.relu(self.dense(sequence + attended))
        hidden = at_tracks(hidden, counts, self.hop, samples)
        within = valid_mask(track_frames(samples).to(features.device), hidden.shape[1])
        # The statistics are those of what belongs to an item.
        normalised = torch.zeros_like(hidden).masked_scatter(within[..., None], self.norm(hidden[within]))
        estimate: Tensor = torch.tanh(self.output(self.dropout(normalised)))
        return estimate * within[..., None]


class LinearInverter(InverterNetwork):
    """One linear map of each frame, brought to 100 frames a second."""

    kind = "linear"

    def __init__(self, dim: int, variables: int, hop: int = SSL_HOP) -> None:
        super().__init__(dim, variables, hop)
        self.output = nn.Linear(dim, variables)

    def forward(self, features: Tensor, samples: Tensor) -> Tensor:
        self._check(features)
        counts = self._feature_frames(samples, features.shape[1])
        estimate = at_tracks(self.output(features), counts, self.hop, samples)
        return estimate * valid_mask(track_frames(samples).to(features.device), estimate.shape[1])[..., None]


NETWORKS: dict[str, type[InverterNetwork]] = {network.kind: network for network in (GruInverter, LinearInverter)}


def build_inverter_network(settings: dict[str, Any]) -> InverterNetwork:
    """An untrained network from what `InverterNetwork.settings` returned; ConfigError for an unknown kind."""
    arguments = dict(settings)
    kind = arguments.pop("kind", None)
    if kind not in NETWORKS:
        raise ConfigError(f"unknown kind of inverter {kind!r}: {nearest(str(kind), NETWORKS)}")
    return NETWORKS[kind](**arguments)


def track_frames(samples: Tensor) -> Tensor:
    """Frames of tracks of items of so many samples: those that begin in it.

    >>> track_frames(torch.tensor([16_000, 16_001]))
    tensor([100, 101])
    """
    return -(-samples // TRACK_HOP)


def at_tracks(sequence: Tensor, counts: Tensor, hop: int, samples: Tensor) -> Tensor:
    """Interpolate a sequence linearly at the times of tracks, [batch, frame, dim] -> [batch, frame of 10 ms, dim].

    Args:
        sequence: frame t of 320 samples is at sample 320 t + 200, of 160 samples at 160 t.
        counts: valid frames of each item, [batch]; before the first and after the last one it stays as it is there.
        hop: 320 or 160.
        samples: length of each item, [batch].
    """
    frames = int(track_frames(samples).max())
    centre = SSL_FIELD // 2 if hop == SSL_HOP else 0
    place = (TRACK_HOP * torch.arange(frames, device=sequence.device) - centre) / hop
    last = (counts.to(sequence.device) - 1)[:, None]
    place = torch.minimum(place.clamp_min(0)[None].expand(len(sequence), -1), last.to(place.dtype))
    low = place.floor().long()
    high = torch.minimum(low + 1, last)
    share = (place - low)[..., None].to(sequence.dtype)

    def taken(index: Tensor) -> Tensor:
        return sequence.gather(1, index[..., None].expand(-1, -1, sequence.shape[2]))

    return torch.lerp(taken(low), taken(high), share)
