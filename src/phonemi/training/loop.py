"""The training loop: a model, batches and a loss become a trained model, in a folder that continues bit for bit.

Nothing in a run depends on when it was started or stopped. A batch is a function of its index, the random numbers of a
forward pass (dropout) are a function of the seed and that index, and the learning rate is a function of the step. So
a checkpoint needs no generator state, and a run killed a hundred times ends with the weights of one that never was.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from phonemi.errors import ConfigError
from phonemi.interruption import Interrupted, Interruption
from phonemi.progress import Progress
from phonemi.training.checkpoint import load_weights
from phonemi.training.distributed import join_processes
from phonemi.training.forecast import Forecast
from phonemi.training.settings import FitSettings
from phonemi.training.state import MAX_SKIPPED_IN_A_ROW, Loss, TrainingState
from phonemi.training.tracking import Tracker

PREFETCHED_BATCHES = 2
FIRST_UPDATES, TIMED_UPDATES = 2, 4  # the first ones are slow: they are no measure of the others


@dataclass(frozen=True)
class FitResult:
    """What a finished training leaves, besides the model.

    `history` has one row per logged stretch (`stage` "train": step, loss, learning_rate, skipped_steps, and what the
    loss reports) and per validation (`stage` "validate": step and what it returns), in order.
    """

    best_step: int  # updates after which the model was best; the last one when nothing was selected on
    best_value: float | None  # its validation value; None when nothing was selected on
    history: list[dict[str, Any]]
    skipped_steps: int  # updates left out because their gradient was not finite


def fit(
    model: nn.Module,
    *,
    batch_at: Callable[[int], Any],
    loss: Loss,
    settings: FitSettings,
    folder: str | Path,
    label: str,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
    device: str | torch.device | None = None,
    forecast: Forecast | None = None,
) -> FitResult:
    """Train the parameters of `model` that require a gradient; it ends in eval mode with the best weights.

    Calling it again with the same arguments continues an interrupted run exactly, and returns at once after a finished
    one. Ctrl-C or SIGTERM writes the state after the last complete update and raises KeyboardInterrupt.

    Several processes (`torchrun --nproc-per-node GPUS`) share the batches of each update and average the gradients: the
    training is the same, up to the rounding of sums, and each number of processes can go on with the work of another.
    Not so where batches leave more than gradients behind: the running statistics of a BatchNorm are those of process 0.

    Args:
        model: trained in place and left on the device. Parts of it without any trainable parameter stay in eval mode.
        batch_at: batch number i = step * accumulate + k; process r of n takes those with k % n == r. Must depend on i
            alone, and not use torch's global generator: it runs ahead in a thread. Tensors, also nested ones, are moved
            to the device.
        loss: (model, batch) -> the loss `[]`, or the loss and numbers to log with it, under the same names every
            time. Runs under autocast when `precision` is not "no".
        settings: how to train.
        folder: for last.pt and best.safetensors (the weights the model has when this returns); one run per folder.
        label: names the run in the log and the progress bar.
        validate: called with the model in eval mode, without gradients, in full precision; returns numbers by name.
        tracker, progress: where to log, and where to show how far it is.
        device: default: the GPU when there is one. Of several processes each has its own.
        forecast: told after a few updates how long one takes.

    Raises:
        ModelError: if nothing is trainable, the folder belongs to a run with other settings or parameters, more than 50
            updates in a row had a gradient that is not finite, or no validation gave a number to select on.
        ConfigError: if `select_on` or `precision` cannot be had, or `accumulate` is less than the number of processes.
        PhonemiError: if the folder cannot be written.
        Interrupted: a KeyboardInterrupt, on Ctrl-C or SIGTERM.
    """
    if settings.select_on is not None and validate is None:
        raise ConfigError(f"select_on is {settings.select_on!r} but {label} has no validation")
    state = TrainingState(model, loss, settings, Path(folder), label, tracker, join_processes(device))
    state.resume()
    if not state.finished:
        if progress is None or not state.writes:
            progress = Progress(enabled=False)
        _train(state, batch_at, validate, progress, forecast if state.writes else None)
        state.finish()
    model.eval()
    record = load_weights(state.best_path, model)
    return FitResult(record.step, record.value, state.history, int(state.skipped))


def _train(
    state: TrainingState,
    batch_at: Callable[[int], Any],
    validate: Callable[[nn.Module], dict[str, float]] | None,
    progress: Progress,
    forecast: Forecast | None,
) -> None:
    settings, first_step, timed_from_s = state.settings, state.step, 0.0
    cuda = [state.device] if state.device.type == "cuda" else []
    with (
        torch.random.fork_rng(cuda),  # every pass sets the generators; the caller gets them back as they were
        Interruption(is_held=state.processes.count > 1) as interruption,
        closing(prefetched(batch_at, state.batch_indices())) as batches,
        progress.task(state.label, settings.steps, completed=state.step) as task,
    ):
        try:
            state.set_training_mode()
            while True:
                # Several processes stop after the same update: none is left alone with the gradients of another.
                if interruption.is_held and (number := state.processes.largest(interruption.pending or 0)):
                    raise Interrupted(signal.Signals(number))
                if validate is not None and state.is_due(settings.validate_every) and state.validated < state.step:
                    with interruption.heeded() if state.writes else nullcontext():  # it may take long
                        values = state.validate(validate)
                    with interruption.deferred():
                        state.record_validation(values)
                if state.is_due(settings.checkpoint_every):
                    with interruption.deferred():
                        state.save()
                if state.step == settings.steps:
                    break
                update_batches = list(islice(batches, len(state.passes)))
                with interruption.deferred():
                    state.update(update_batches)
                    note = state.log() if state.is_due(settings.log_every) else None
                if state.step % MAX_SKIPPED_IN_A_ROW == 0 or note is not None:
                    state.check_skips()
                task.advance(1, note)
                if forecast is not None and state.step - first_step == FIRST_UPDATES:
                    timed_from_s = state.time_s()
                elif forecast is not None and state.step - first_step == FIRST_UPDATES + TIMED_UPDATES:
                    forecast((state.time_s() - timed_from_s) / TIMED_UPDATES, settings.steps - state.step)
        except KeyboardInterrupt:
            if state.between_updates:
                state.save()
            raise


def prefetched(batch_at: Callable[[int], Any], indices: Iterable[int]) -> Generator[Any, None, None]:
    """Yield `batch_at(i)` for every index, in order, computed in one thread up to two batches early.

    An exception of `batch_at` appears where its batch would have. Closing the generator ends the thread, after the
    batch it is working on.

    >>> list(prefetched(lambda index: index * 10, [3, 1, 2]))
    [30, 10, 20]
    """
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="phonemi-batches") as thread:
        try:
            for index in indices:
                waiting.append(thread.submit(batch_at, index))
                if len(waiting) > PREFETCHED_BATCHES:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            thread.shutdown(cancel_futures=True)
