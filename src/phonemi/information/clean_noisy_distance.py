"""Hidden states of noisy and of clean speech `[layer, batch, frame, dim]` -> how far noise moves each layer."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from phonemi.errors import DataError
from phonemi.signal import valid_mask


class CleanNoisyDistance(NamedTuple):
    """How far noise moves each layer: two columns, `[layer]` each."""

    distance: Tensor  # root mean square over features, 0 to 2, of the difference of LayerNormed states
    one_minus_cosine: Tensor  # 0 to 2, of the states as they are


def cn_distance(noisy_states: Tensor, clean_states: Tensor, lengths: Tensor | None = None) -> CleanNoisyDistance:
    """Clean-noisy distance of each layer, in the spirit of BSSE (Hung et al. 2022), whose formula is not published.

    distance_l = mean over utterances and frames of ||LN(noisy_l) - LN(clean_l)|| / sqrt(dim), where LN is a LayerNorm
    without parameters, so that layers of different scale compare. A mean over each utterance's frames first, then
    over utterances.

    Args:
        noisy_states: `[layer, batch, frame, dim]`.
        clean_states: the same utterances without noise, same shape.
        lengths: valid frames of each utterance, `[batch]`; all if None.

    Raises:
        DataError: if the shapes differ.
    """
    if noisy_states.shape != clean_states.shape:
        raise DataError(f"noisy states {list(noisy_states.shape)} and clean states {list(clean_states.shape)} differ")
    noisy, clean = noisy_states.float(), clean_states.float()
    shape, frames = noisy.shape[3:], noisy.shape[2]
    distance = (F.layer_norm(noisy, shape) - F.layer_norm(clean, shape)).square().mean(-1).sqrt()
    turned = 1 - F.cosine_similarity(noisy, clean, dim=-1)
    if lengths is None:
        lengths = torch.full(noisy.shape[1:2], frames, device=noisy.device)
    share = valid_mask(lengths, frames) / lengths[:, None]
    return CleanNoisyDistance(*((column * share).sum(-1).mean(-1) for column in (distance, turned)))
