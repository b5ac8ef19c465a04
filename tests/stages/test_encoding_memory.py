"""How much sound the encoder is given at once, which is what its memory grows with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from phonemi.data.mixing import Mixture
from phonemi.representations.base import HiddenStates, Representation
from phonemi.signal import SAMPLE_RATE, SSL_HOP, ssl_frames
from phonemi.stages import hidden_states
from phonemi.stages.hidden_states import StateCache


class NotingRepresentation(Representation):
    """One layer of zeros, [1, batch, frame, 1], that notes the shape of every batch."""

    name, layers, dim, hop = "noting", 1, 1, SSL_HOP

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, int]] = []

    def frames(self, samples: int) -> int:
        return int(ssl_frames(samples))

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        batch, samples = waveforms.shape
        self.shapes.append((batch, samples))
        valid = torch.full((batch,), samples) if lengths is None else lengths
        return HiddenStates(torch.zeros(1, batch, self.frames(samples), 1), ssl_frames(valid))

    def settings(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    "durations_s",
    [
        pytest.param([4.0] * 100, id="short utterances"),
        pytest.param([1.0, 30.0] * 12, id="short and long ones in turn"),
        pytest.param([*([2.0] * 40), 35.0, *([2.0] * 40)], id="one long utterance among short ones"),
        pytest.param([90.0, 1.0, 1.0], id="one utterance that is too long for any batch"),
    ],
)
def test_a_padded_batch_is_about_a_minute_of_sound_at_most(
    tmp_path: Path, durations_s: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hidden_states, "PART_MIXTURES", 100)  # the last batch of a part may be small
    noisy = [np.zeros(round(duration_s * SAMPLE_RATE), np.float32) for duration_s in durations_s]
    mixtures = [
        Mixture(f"utterance-{index}", waveform, waveform, 0.0, None, None, "noise")
        for index, waveform in enumerate(noisy)
    ]
    encoder = NotingRepresentation()
    states = StateCache(tmp_path).states(encoder, mixtures, "test", "key")
    assert states.starts[-1] == sum(ssl_frames(len(waveform)) for waveform in noisy)
    assert sum(batch for batch, _ in encoder.shapes) == len(durations_s)
    for batch, samples in encoder.shapes:
        assert batch == 1 or batch * samples <= 70 * SAMPLE_RATE, "padding counts: it takes the same memory"
    neighbours = zip(encoder.shapes, encoder.shapes[1:], strict=False)
    for (batch, samples), (_, next_samples) in neighbours:
        assert (batch + 1) * max(samples, next_samples) > 50 * SAMPLE_RATE, "no batch is needlessly small"
