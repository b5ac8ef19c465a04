"""What probes are trained and evaluated on: hidden states and labels of many frames.

Labels are int64 [frame], from 0 to classes - 1, or IGNORE where the phone is unknown: no loss and no statistic counts
such a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from phonemi.constants import IGNORE
from phonemi.errors import DataError
from phonemi.tables import plural


@dataclass(frozen=True, eq=False)
class FrameStates:
    """Hidden states of many frames, with all layers of a frame side by side in memory.

    Hidden states are stored in this order, because probes read frames at random: from [layer, frame, dim], where the
    layers of a frame lie far apart, a batch takes 50 times as long to read.
    """

    values: Tensor  # [frame, layer, dim], float16, bfloat16 or float32; it may be mapped from a file

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of layers, of frames, and of features per frame: the shape of a batch of all frames."""
        frames, layers, dim = self.values.shape
        return layers, frames, dim

    def batch(self, frames: Tensor) -> Tensor:
        """Copy the frames of these numbers, int64 [batch]: hidden states [layer, batch, dim].

        >>> import torch
        >>> FrameStates(torch.arange(6).view(3, 2, 1)).batch(torch.tensor([2, 0])).squeeze(-1).tolist()
        [[4, 0], [5, 1]]
        """
        return self.values.index_select(0, frames.to(self.values.device)).transpose(0, 1)


Features: TypeAlias = Tensor | FrameStates
"""Features of frames for several probes: [slot, frame, dim], or hidden states, where each layer is a slot."""


def has_label(labels: NDArray[np.int64], classes: int | None = None) -> NDArray[np.bool_]:
    """True where the label of a frame is known, [frame].

    Raises:
        DataError: if no frame has a label, or a label is not in 0 to classes - 1.
    """
    known: NDArray[np.bool_] = labels != IGNORE
    if not known.any():
        raise DataError(f"none of {plural(len(labels), 'frame')} has a label: mutual information needs aligned phones")
    lowest, highest = labels[known].min(), labels[known].max()
    if lowest < 0 or (classes is not None and highest >= classes):
        expected = "0 or more" if classes is None else f"0 to {classes - 1}"
        raise DataError(f"labels go from {lowest} to {highest}, expected {expected}")
    return known
