"""What a recogniser gets from an enhancer that was trained for listeners.

A recogniser loses words to the artefacts of enhancement, and to noise. A network that was trained for it leaves some of
the noise (`recognition_network` of an `Enhancer`); without one, it gets the enhanced sound where noise hides the
phones, and the recording as it is elsewhere. How well they can be told is what the guide itself says: the entropy of
the phones given its features, by the linear probe that the aggregation was learned with (Han et al. 2026, section 3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.signal import SAMPLE_RATE, SSL_FIELD, valid_mask

# Chosen on validation speakers and noises by Whisper's words: docs/results.md.
LOW_ENTROPY_NATS, HIGH_ENTROPY_NATS = 1.0, 2.0
WINDOW_S = 2.0  # over which the entropy is averaged


class PhoneProbe(nn.Module):
    """A linear probe of the phones in the features that guide an enhancer, and what its entropy means.

    Args:
        dim: size of the features.
        classes: phones, with silence.
        low_entropy_nats: up to this entropy the phones can be told, and a recogniser gets the recording as it is.
        high_entropy_nats: from this entropy on it gets the enhanced sound; in between, a share that rises linearly.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        low_entropy_nats: float = LOW_ENTROPY_NATS,
        high_entropy_nats: float = HIGH_ENTROPY_NATS,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, classes)
        self.low_entropy_nats, self.high_entropy_nats = low_entropy_nats, high_entropy_nats

    def settings(self) -> dict[str, Any]:
        """The arguments that it was made with, but for `dim`."""
        entropies = {"low_entropy_nats": self.low_entropy_nats, "high_entropy_nats": self.high_entropy_nats}
        return {"classes": self.linear.out_features} | entropies

    def entropy(self, features: Tensor) -> Tensor:
        """Entropy of the phones given the features: [batch, frame, dim] -> nats [batch, frame], 0 to ln(classes)."""
        log_q: Tensor = self.linear(features.float()).log_softmax(-1)
        return -(log_q.exp() * log_q).sum(-1)

    def enhanced_share(self, entropy: Tensor, frames: Tensor, hop: int) -> Tensor:
        """Share of the enhanced sound that a recogniser should get, 0 to 1 in every frame, [batch, frame].

        Args:
            entropy: nats [batch, frame].
            frames: of each item, [batch]. What lies beyond counts for nothing, and gets the share of the last of them.
            hop: samples between two frames.

        >>> entropy = torch.tensor([[0.5, 0.5], [1.5, 9.0], [2.0, 2.0]])
        >>> PhoneProbe(4, 40).enhanced_share(entropy, torch.tensor([2, 1, 2]), 320)
        tensor([[0.0000, 0.0000],
                [0.5000, 0.5000],
                [1.0000, 1.0000]])
        """
        count = entropy.shape[1]
        valid = valid_mask(frames, count).to(entropy.dtype)
        reach = round(WINDOW_S * SAMPLE_RATE / hop) // 2
        window = torch.hann_window(2 * reach + 3, periodic=False, dtype=entropy.dtype, device=entropy.device)[1:-1]
        both = torch.stack([entropy * valid, valid])[:, :, None]
        summed, weight = functional.conv1d(both.flatten(0, 1), window[None, None], padding=reach).view(
            2, *entropy.shape
        )
        within = torch.arange(count, device=frames.device).minimum(frames[:, None] - 1)
        mean = (summed / weight.clamp_min(1e-6)).gather(1, within)
        share: Tensor = (mean - self.low_entropy_nats) / (self.high_entropy_nats - self.low_entropy_nats)
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
