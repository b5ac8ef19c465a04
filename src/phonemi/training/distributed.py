"""Training in several processes, one for each GPU, if `torchrun` started them; else this process is the only one.

They are one worker: each of them runs the same stage, process 0 decides and writes, and in an update each computes the
gradients of its share of the batches.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from phonemi.devices import launched_processes
from phonemi.errors import ConfigError, ProcessEnded

Value = TypeVar("Value")

# The others wait while process 0 makes hidden states, validates, or waits itself for another launch. Who waits for a
# process that has ended notices that at once, however long this is.
LONGEST_WAIT = timedelta(days=30)


@dataclass(frozen=True)
class Processes:
    """The processes that train one model together, seen from one of them."""

    rank: int  # of this process, 0 <= rank < count; only process 0 validates and writes files
    count: int
    device: torch.device  # where this process computes
    # All of them, on the CPU: gradients apart, what they tell each other does not keep a GPU busy with waiting.
    group: Any = None

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
        self.largest(0)

    def largest(self, value: int) -> int:
        """The largest of the values that the processes give."""
        if self.count == 1:
            return value
        values = torch.tensor(value)
        with _noticing_an_end():
            distributed.all_reduce(values, distributed.ReduceOp.MAX, group=self.group)
        return int(values)

    def mean(self, values: dict[str, Any]) -> dict[str, Any]:
        """The numbers and tensors [], by name, averaged over the processes."""
        if self.count == 1:
            return values
        totals = torch.stack(
            [torch.as_tensor(value, dtype=torch.float32, device=self.device) for value in values.values()]
        )
        distributed.all_reduce(totals)
        return dict(zip(values, totals / self.count, strict=True))

    def from_first(self, function: Callable[[], Value]) -> Value:
        """What `function` returns in process 0, where alone it is called, in every process."""
        if self.count == 1:
            return function()
        values = [function() if self.rank == 0 else None]
        with _noticing_an_end():
            distributed.broadcast_object_list(values, src=0, group=self.group, device=torch.device("cpu"))
        return values[0]  # type: ignore[return-value]

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """Run the block in process 0, and then in the others, which find on disk what it has made."""
        if self.rank > 0:
            self.wait_for_all()
        yield
        if self.rank == 0:
            self.wait_for_all()

    def require_shares(self, section: str, accumulate: int, batch: int, batch_setting: str = "batch") -> None:
        """Raise a ConfigError if an update has fewer batches than there are processes; it names settings that do.

        >>> Processes(0, 4, torch.device("cpu")).require_shares("enhance", 1, 8)
        Traceback (most recent call last):
        phonemi.errors.ConfigError: enhance.accumulate is 1, but each of 4 processes needs a batch of its own in every \
update: set enhance.accumulate=4 enhance.batch=2
        """
        if accumulate < self.count:
            total = max(accumulate * batch, self.count)
            # Of the same size in all, and where that can be as many batches for each process.
            fitting = [number for number in range(self.count, total + 1) if total % number == 0]
            number = min(fitting, key=lambda number: (number % self.count > 0, number))
            raise ConfigError(
                f"{section}.accumulate is {accumulate}, but each of {self.count} processes needs a batch of its own in "
                f"every update: set {section}.accumulate={number} {section}.{batch_setting}={total // number}"
            )


@contextmanager
def _noticing_an_end() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch has none of its own for this
        raise ProcessEnded("another process of this training has ended: it says why") from error


_group: Any = None  # as in `Processes`


def join_processes(device: str | torch.device | None) -> Processes:
    """Meet the other processes of this training, if `torchrun` (or the caller, by `init_process_group`) started some.

    `device` None is the GPU when there is one; of several GPUs each process takes its own.
    """
    global _group
    if device is None:
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    device = torch.device(device)
    place = launched_processes()
    if not distributed.is_available() or not (place.count > 1 or distributed.is_initialized()):
        return Processes(0, 1, device)
    if device.type == "cuda":
        device = torch.device("cuda", place.local_rank)
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        # At exit and not before: a process may train several models, one after the other.
        atexit.register(distributed.destroy_process_group)
    if _group is None:
        _group = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
    return Processes(distributed.get_rank(), distributed.get_world_size(), device, _group)
