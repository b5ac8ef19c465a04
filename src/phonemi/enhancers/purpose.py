"""What an enhanced recording is for: a listener, or a recogniser.

A recogniser loses words to the artefacts of enhancement, and to noise. It gets the enhanced sound where noise hides the
phones, and the recording as it is elsewhere. How well they can be told is what the guide itself says: the entropy of
the phones given its features, by the linear probe that the aggregation was learned with (Han et al. 2026, section 3).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.signal import SAMPLE_RATE, SSL_FIELD, valid_mask

Purpose = Literal["listening", "recognition"]

# Between them the share of the enhanced sound rises from 0 to 1. Chosen on validation by Whisper's words, see
# docs/results.md; the entropy of 39 phones and silence is 3.7 nats at most.
TOLD_APART_NATS, MIXED_UP_NATS = 0.8, 1.3
WINDOW_S = 2.0  # over which the entropy is averaged


def phone_entropy(probe: nn.Linear, features: Tensor) -> Tensor:
    """Entropy of the phones given the features, by a probe of them: [batch, frame, dim] -> nats [batch, frame]."""
    log_q: Tensor = probe(features.float()).log_softmax(-1)
    return -(log_q.exp() * log_q).sum(-1)


def recognition_share(entropy: Tensor, frames: Tensor, hop: int) -> Tensor:
    """Share of the enhanced sound that a recogniser should get, 0 to 1 in every frame, [batch, frame].

    Args:
        entropy: of the phones, nats [batch, frame].
        frames: of each item, [batch]; what lies beyond counts for nothing.
        hop: samples between two frames.

    >>> recognition_share(torch.tensor([[0.5, 0.5], [1.05, 9.0], [2.0, 2.0]]), torch.tensor([2, 1, 2]), 320)[:, 0]
    tensor([0.0000, 0.5000, 1.0000])
    """
    valid = valid_mask(frames, entropy.shape[1]).to(entropy.dtype)
    reach = round(WINDOW_S * SAMPLE_RATE / hop) // 2
    window = torch.hann_window(2 * reach + 3, periodic=False, dtype=entropy.dtype, device=entropy.device)[
        None, None, 1:-1
    ]
    both = torch.stack([entropy * valid, valid])[:, :, None]
    summed, weight = functional.conv1d(both.flatten(0, 1), window, padding=reach).view(2, *entropy.shape)
    mean = summed / weight.clamp_min(1e-6)
    share: Tensor = (mean - TOLD_APART_NATS) / (MIXED_UP_NATS - TOLD_APART_NATS)
    return share.clamp(0, 1)


def between_frames(values: Tensor, samples: Tensor, hop: int) -> Tensor:
    """Values of frames of a speech encoder at positions in the recording, interpolated: [batch, frame] -> [batch, n].

    Args:
        values: frame t is centred at sample `hop` * t + 200.
        samples: positions, [n].
        hop: samples between two frames.

    >>> between_frames(torch.tensor([[0.0, 1.0]]), torch.tensor([0, 200, 360, 9999]), 320)
    tensor([[0.0000, 0.0000, 0.5000, 1.0000]])
    """
    position = ((samples - SSL_FIELD // 2) / hop).clamp(0, values.shape[1] - 1)
    before = position.floor().long().clamp_max(max(0, values.shape[1] - 2))
    after = (before + 1).clamp_max(values.shape[1] - 1)
    return torch.lerp(values[:, before], values[:, after], (position - before).to(values.dtype))
