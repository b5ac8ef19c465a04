"""Phonetic information kept: what a frozen probe still finds of the phones in a recording, in bits.

The bound of `mutual_information` says how much of the phones the layers of an encoder hold. Here the encoder and the
probe are fixed, and the recording varies: noisy, enhanced, clean. No recogniser with a language model of its own is
asked, so that nothing is guessed from the words around.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from phonemi.constants import IGNORE
from phonemi.metrics.score import ESTIMATE_NOT_FINITE, Score
from phonemi.probes.layer_probes import LayerProbes
from phonemi.representations.base import Representation

NO_PHONES = "no phones"
TOO_SHORT = "shorter than a frame of the encoder"


class PhoneJudge:
    """Measures log2 q(y | z) - log2 p(y), averaged over the frames of a recording.

    q is the probe, z the hidden state of one layer, y the phone, and p the distribution of the phones in training. For
    speech of the kind that the probe was trained on, the mean over recordings is the bound H(Y) - CE of
    `mutual_information`; of one recording it may be negative.

    Args:
        encoder: on the device where the work is done.
        layer: whose states the probe reads.
        probe: of one slot.
        distribution: p, [class], above 0.
    """

    def __init__(self, encoder: Representation, layer: int, probe: LayerProbes, distribution: Tensor) -> None:
        self.encoder, self.layer, self.probe, self.distribution = encoder, layer, probe, distribution

    @torch.inference_mode()
    def log_probabilities(self, waveform: np.ndarray) -> Tensor:
        """ln q of every phone in every frame of `[sample]` at 16 kHz, [frame, class] on the CPU."""
        device = next(self.probe.parameters()).device
        hidden = self.encoder(torch.from_numpy(np.asarray(waveform, np.float32))[None].to(device))
        logits: Tensor = self.probe(hidden.states[self.layer].float())[0]
        return logits.log_softmax(-1).cpu()

    def recognise(self, waveform: np.ndarray) -> Tensor:
        """The most probable phone of every frame, int64 [frame]."""
        return self.log_probabilities(waveform).argmax(-1)

    def bits(self, waveform: np.ndarray, phones: Tensor) -> Score:
        """Bits of a recording about phones: those that are aligned with its clean speech, or recognised in it.

        Args:
            waveform: `[sample]` at 16 kHz.
            phones: class of each frame, IGNORE where it is unknown.
        """
        if not np.isfinite(waveform).all():
            return Score.failed(ESTIMATE_NOT_FINITE)
        if self.encoder.frames(len(waveform)) < 1:
            return Score.failed(TOO_SHORT)
        log_q = self.log_probabilities(waveform)
        phones = phones[: len(log_q)]
        known = (phones != IGNORE).nonzero().squeeze(-1)
        if not len(known):
            return Score.failed(NO_PHONES)
        pointwise = log_q[known, phones[known]] - self.distribution.log()[phones[known]]
        return Score.of(float(pointwise.mean()) / math.log(2))
