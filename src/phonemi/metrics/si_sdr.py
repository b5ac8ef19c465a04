"""The formula of SI-SDR, for the metric on numpy arrays and for the loss on tensors.

Importing this module loads neither: processes that compute metrics need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Array = TypeVar("Array", np.ndarray, Tensor)


def target_and_error_energy(estimate: Array, clean: Array) -> tuple[Array, Array]:
    """The two energies whose ratio is the scale-invariant signal-to-distortion ratio (Le Roux et al. 2019).

    With a = <estimate, clean> / <clean, clean>, these are |a clean|^2 and |a clean - estimate|^2, [..., sample] ->
    [...]. Their ratio in dB is the SI-SDR. Both are 0 for a silent estimate; the first is 0 for silent clean speech.
    """
    clean_energy = (clean * clean).sum(-1)
    factor = (estimate * clean).sum(-1) / clean_energy.clip(min=1e-10)
    target = factor[..., None] * clean
    error = target - estimate
    return (target * target).sum(-1), (error * error).sum(-1)
