"""Training in several processes, one for each GPU, if `torchrun` started them; else this process is the only one."""

from __future__ import annotations

import atexit
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")

# The other processes wait while the first one validates, which can take longer than torch's usual ten minutes.
TIMEOUT = timedelta(hours=6)


@dataclass(frozen=True)
class Processes:
    """The processes that train one model together, seen from one of them."""

    rank: int  # of this process, 0 <= rank < count; only process 0 validates and writes files
    count: int
    device: torch.device  # where this process computes

    def parallel(self, module: nn.Module) -> nn.Module:
        """`module`, or with several processes a wrapper of it whose backward pass averages their gradients."""
        if self.count == 1:
            return module
        # A trainable parameter need not take part in every loss, for instance the mask embedding of a speech encoder.
        return DistributedDataParallel(module, find_unused_parameters=True)

    def without_averaging(self, module: nn.Module) -> AbstractContextManager[None]:
        """While the block runs, backward passes of a `parallel` module only add to the gradients of this process."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()

    def wait_for_all(self) -> None:
        """Return once every process has come here."""
        if self.count > 1:
            distributed.barrier()

    def mean(self, values: dict[str, Any]) -> dict[str, Any]:
        """The numbers and tensors [], by name, averaged over the processes."""
        if self.count == 1:
            return values
        totals = torch.stack(
            [torch.as_tensor(value, dtype=torch.float32, device=self.device) for value in values.values()]
        )
        distributed.all_reduce(totals)
        return dict(zip(values, totals / self.count, strict=True))

    def from_first(self, value: Value) -> Value:
        """What process 0 gives as `value`, in every process."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, device=self.device)
        return values[0]


def join_processes(device: str | torch.device | None) -> Processes:
    """Meet the other processes of this training, if `torchrun` (or the caller, by `init_process_group`) started some.

    `device` None is the GPU when there is one; of several GPUs each process takes its own.
    """
    if device is None:
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    device = torch.device(device)
    launched = "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not distributed.is_available() or not (launched or distributed.is_initialized()):
        return Processes(0, 1, device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        # At exit and not before: a process may train several models, one after the other.
        atexit.register(distributed.destroy_process_group)
    return Processes(distributed.get_rank(), distributed.get_world_size(), device)
