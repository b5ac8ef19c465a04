"""Where tensors are computed on, by the name that settings and options have for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phonemi.errors import ConfigError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> torch.device:
    """The device of a name: "cpu", "cuda", or "auto" for a GPU if there is one.

    Raises:
        ConfigError: if a GPU is asked for and there is none.
    """
    import torch

    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise ConfigError("device is 'cuda', but torch finds no GPU here: choose auto or cpu")
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")


@dataclass(frozen=True)
class Place:
    """Which of the processes that `torchrun` started this is."""

    rank: int  # 0 <= rank < count
    count: int
    local_rank: int  # among those of this machine


def launched_processes() -> Place:
    """The place of this process, as the environment says it; alone where nothing else is said."""
    defaults = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    rank, count, local_rank = (int(os.environ.get(name, default)) for name, default in defaults.items())
    return Place(rank, count, local_rank) if "RANK" in os.environ and count > 1 else Place(0, 1, 0)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether products in bfloat16 are worth it: on every GPU, and on CPUs with AVX-512 or SVE.

    Other CPUs take ten to twenty times as long for them as in float32, or cannot compute a layer at all.
    """
    import torch

    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "SVE"))


def count_processes() -> int:
    """How many processes may work beside this one: as many as it has threads, 16 at most."""
    import torch

    return max(1, min(16, torch.get_num_threads()))
