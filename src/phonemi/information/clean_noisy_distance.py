"""How far noise moves the hidden states of each layer from those of the clean speech."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from phonemi.errors import DataError
from phonemi.signal import valid_mask


class CleanNoisyDistance(NamedTuple):
    """Two distances of the noisy from the clean hidden states, `[layer]` each."""

    distance: Tensor  # root mean square over features, of states after a LayerNorm; 0 to 2
    one_minus_cosine: Tensor  # of the states as they are; 0 to 2


def cn_distance(noisy_states: Tensor, clean_states: Tensor, lengths: Tensor | None = None) -> CleanNoisyDistance:
    """Compute the clean-noisy distance of each layer, in the spirit of BSSE (Hung et al. 2022).

    BSSE does not publish a formula. Here it is the mean over utterances and frames of

        distance_l = ||LN(noisy_l) - LN(clean_l)|| / sqrt(dim)

    where LN is a LayerNorm without parameters, which makes layers of different scales comparable. The mean is taken
    over the frames of each utterance first, then over utterances.

    Args:
        noisy_states: `[layer, batch, frame, dim]`.
        clean_states: the same utterances without noise, same shape.
        lengths: number of frames of each utterance, `[batch]`; None: all.

    Raises:
        DataError: if the shapes differ.
    """
    if noisy_states.shape != clean_states.shape:
        raise DataError(f"noisy states {list(noisy_states.shape)} and clean states {list(clean_states.shape)} differ")
    noisy, clean = noisy_states.float(), clean_states.float()
    frames, dim = noisy.shape[2:]
    difference = functional.layer_norm(noisy, (dim,)) - functional.layer_norm(clean, (dim,))
    distance = difference.square().mean(-1).sqrt()  # [layer, batch, frame]
    one_minus_cosine = 1 - functional.cosine_similarity(noisy, clean, dim=-1)
    if lengths is None:
        lengths = torch.full(noisy.shape[1:2], frames, device=noisy.device)
    frame_weights = valid_mask(lengths, frames) / lengths[:, None]  # [batch, frame], sum 1 over frames
    return CleanNoisyDistance(
        (distance * frame_weights).sum(-1).mean(-1), (one_minus_cosine * frame_weights).sum(-1).mean(-1)
    )
