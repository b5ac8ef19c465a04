"""A model and its batches -> the state of a training run, one update, validation or checkpoint at a time."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phonemi.errors import ConfigError, ModelError, nearest
from phonemi.files import remove_leftovers
from phonemi.training.checkpoint import (
    BEST_NAME,
    LAST_NAME,
    WeightsRecord,
    check_same,
    load_trained_state,
    read_checkpoint,
    read_weights_record,
    trained_state,
    write_checkpoint,
    write_weights,
)
from phonemi.training.settings import FitSettings
from phonemi.training.tracking import Tracker

Loss = Callable[[nn.Module, Any], Tensor | tuple[Tensor, dict[str, Any]]]

MAX_SKIPPED_IN_A_ROW = 50
COUNTS = ("step", "validated", "history", "skipped", "skipped_in_a_row", "most_skipped", "kept", "sums")


class Run:
    """The state of one run, and the few things that can happen to it."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        settings: FitSettings,
        folder: Path,
        label: str,
        tracker: Tracker | None,
        accelerator: Any,
    ) -> None:
        self.settings, self.label, self.accelerator = settings, label, accelerator
        self.model = model.to(accelerator.device)
        self.device = accelerator.device
        self.writes = accelerator.is_main_process
        self.tracker = tracker if self.writes else None
        self.last_path, self.best_path = folder / LAST_NAME, folder / BEST_NAME
        self.trainable = [value for value in model.parameters() if value.requires_grad]
        if not self.trainable:
            raise ModelError(f"{label}: the model has no trainable parameter")
        # Fused AdamW can be told on the device to leave a step out, so that no step has to wait for the device.
        self.fused = self.device.type in ("cpu", "cuda")
        self.optimiser = torch.optim.AdamW(
            self.trainable,
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            fused=self.fused,
        )
        self.optimiser.zero_grad()  # the caller may have left gradients behind
        self.objective = accelerator.prepare(Objective(model, loss))
        self.step = 0
        self.validated = 0
        self.history: list[dict[str, Any]] = []
        self.between_updates = True
        # Counts stay on the device; reading one makes the processor wait.
        self.skipped, self.skipped_in_a_row, self.most_skipped, self.kept = torch.zeros(4, device=self.device)
        self.sums: dict[str, Tensor] = {}
        self._logged_s, self._logged_step = time.monotonic(), 0

    @property
    def finished(self) -> bool:
        validated = self.settings.select_on is None or self.validated == self.step
        return self.step == self.settings.steps and validated and self.best_path.exists()

    def is_due(self, every: int) -> bool:
        """Whether something done every so many updates, and after the last one, is to be done now."""
        return self.step == self.settings.steps or (self.step > 0 and self.step % every == 0)

    def batch_indices(self) -> Iterator[int]:
        """Indices of the batches of this process, from the present update to the last."""
        first, end = (step * self.settings.accumulate for step in (self.step, self.settings.steps))
        return (pass_ * self.accelerator.num_processes + self.accelerator.process_index for pass_ in range(first, end))

    def set_training_mode(self) -> None:
        """Train mode, except for parts whose parameters are all frozen: a frozen encoder must not drop anything out."""
        self.model.train()
        for part in self.model.modules():
            parameters = list(part.parameters())
            if parameters and not any(value.requires_grad for value in parameters):
                part.eval()

    def update(self, batches: list[Any]) -> None:
        """One optimiser update: the mean gradient of `batches`, clipped; left out when it is not finite."""
        from accelerate.utils import send_to_device

        totals: dict[str, Any] = {}
        for position, batch in enumerate(batches):
            index = (self.step * len(batches) + position) * self.accelerator.num_processes
            self._set_seed(index + self.accelerator.process_index)
            last = position == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.objective):
                loss, values = self.objective(send_to_device(batch, self.device, non_blocking=True))
                self.accelerator.backward(loss / len(batches))
            for name, value in {"loss": loss, **values}.items():
                value = value.detach() if isinstance(value, Tensor) else value
                totals[name] = totals.get(name, 0.0) + value / len(batches)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.trainable, self.settings.gradient_clip or math.inf)
        skip = ~torch.isfinite(norm)
        self.between_updates = False
        self._optimise(skip)
        self._count(totals, skip)
        self.step += 1
        self.between_updates = True

    def _optimise(self, skip: Tensor) -> None:
        for group in self.optimiser.param_groups:
            group["lr"], group["eps"] = self.settings.learning_rate_at(self.step), self.settings.eps_at(self.step)
        # S3PRL's runner, too, leaves an update out when the gradient norm is NaN.
        scaler = self.accelerator.scaler
        if scaler is not None:
            scaler.step(self.optimiser)
            scaler.update()
        elif self.fused:
            self.optimiser.found_inf = skip.float()  # type: ignore[attr-defined]
            self.optimiser.step()
        elif not skip:
            self.optimiser.step()
        self.optimiser.zero_grad()

    def _count(self, totals: dict[str, Any], skip: Tensor) -> None:
        for name, value in totals.items():
            self.sums[name] = self.sums.get(name, 0.0) + torch.where(skip, 0.0, value)
        self.kept = self.kept + ~skip
        self.skipped = self.skipped + skip
        self.skipped_in_a_row = (self.skipped_in_a_row + 1) * skip
        self.most_skipped = torch.maximum(self.most_skipped, self.skipped_in_a_row)

    def log(self) -> str:
        """Add the means since the last call to history and log; returns the note for the progress bar."""
        kept = float(self.kept)
        means = {name: float(value) / kept if kept else math.nan for name, value in self.sums.items()}
        rate = self.settings.learning_rate_at(self.step - 1)
        row = means | {"learning_rate": rate, "skipped_steps": int(self.skipped)}
        self.history.append({"stage": "train", "step": self.step, **row})
        now_s = time.monotonic()
        steps_per_s = (self.step - self._logged_step) / max(now_s - self._logged_s, 1e-9)
        self._logged_s, self._logged_step = now_s, self.step
        if self.tracker is not None:
            self.tracker.log("train", self.label, self.step, **row, steps_per_s=round(steps_per_s, 3))
        self.sums, self.kept = {}, torch.zeros_like(self.kept)
        return f"loss {means['loss']:.4g}"

    def check_skips(self) -> None:
        """Give up when training has broken down.

        Raises:
            ModelError: if more than 50 updates in a row were left out.
        """
        if self.most_skipped > MAX_SKIPPED_IN_A_ROW:
            raise ModelError(
                f"{self.label}: the gradient of {int(self.most_skipped)} updates in a row was not finite, up to step "
                f"{self.step}: lower learning_rate ({self.settings.learning_rate}), or look for NaN in the batches"
            )

    def _set_seed(self, *key: int | str) -> None:
        seed = draw_seed(self.settings.seed, *key)
        if self.device.type == "cpu":
            # torch.manual_seed() would also note a stack trace for a GPU to be seeded later, at 0.2 ms a time.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def validate(self, validate: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
        """What `validate` finds, the same in every process."""
        from accelerate.utils import broadcast_object_list

        self._set_seed("validate", self.step)
        found: list[Any] = [None]
        if self.writes:
            self.model.eval()
            with torch.no_grad():
                found = [{name: float(value) for name, value in validate(self.model).items()}]
            self.set_training_mode()
        return broadcast_object_list(found)[0]

    def record_validation(self, values: dict[str, float]) -> None:
        """Keep the weights when they are the best so far: strictly better than all before; NaN never is."""
        name = self.settings.select_on
        if name is not None and self.writes:
            if name not in values:
                raise ConfigError(f"select_on is {name!r}, not among what validation returns: {nearest(name, values)}")
            best = read_weights_record(self.best_path)
            sign = 1 if self.settings.higher_is_better else -1
            lowest = -math.inf if best is None or best.value is None else sign * best.value
            if sign * values[name] > lowest:
                write_weights(self.best_path, self.model, WeightsRecord(self.step, values[name]))
        self.history.append({"stage": "validate", "step": self.step, **values})
        if self.tracker is not None:
            self.tracker.log("validate", self.label, self.step, **values)
        self.validated = self.step

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be continued."""
        # How often to write and log changes no weight, so it may change between the two.
        settings = {k: v for k, v in asdict(self.settings).items() if k not in ("checkpoint_every", "log_every")}
        shapes = {f"shape of {name}": tuple(value.shape) for name, value in trained_state(self.model).items()}
        return settings | {"processes": self.accelerator.num_processes} | shapes

    def save(self) -> None:
        """Write last.pt: the state after the last complete update."""
        if not self.writes:
            return
        scaler = self.accelerator.scaler
        contents = {
            "identity": self.identity(),
            "model": trained_state(self.model),
            "optimiser": self.optimiser.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "counts": {name: getattr(self, name) for name in COUNTS},
        }
        write_checkpoint(self.last_path, contents)

    def resume(self) -> None:
        """Take up last.pt when there is one, else start afresh."""
        if self.writes:
            remove_leftovers((self.last_path, self.best_path))
        contents = read_checkpoint(self.last_path)
        self.accelerator.wait_for_everyone()
        if contents is None:
            # Weights without a checkpoint are of a run killed before its first one, perhaps with other settings.
            if self.writes:
                self.best_path.unlink(missing_ok=True)
            return
        check_same(contents["identity"], self.identity(), self.last_path)
        load_trained_state(self.model, contents["model"], self.last_path)
        self.optimiser.load_state_dict(contents["optimiser"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(contents["scaler"])
        for name, value in contents["counts"].items():
            setattr(self, name, value.to(self.device) if isinstance(value, Tensor) else value)
        self.sums = {name: value.to(self.device) for name, value in self.sums.items()}
        self._logged_step = self.step

    def finish(self) -> None:
        """Make best.safetensors the weights to go on with."""
        if self.settings.select_on is None and self.writes:
            write_weights(self.best_path, self.model, WeightsRecord(self.step, None))
        self.accelerator.wait_for_everyone()
        if not self.best_path.exists():
            raise ModelError(
                f"{self.best_path} does not exist: no validation gave a finite {self.settings.select_on} to select on, "
                f"or the file was deleted; delete {self.last_path} to train again"
            )


class Objective(nn.Module):
    """Batch -> loss and numbers to log, as one module: so precision and several processes cover all of a loss."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Any]]:
        found = self._loss(self.model, batch)
        loss, values = found if isinstance(found, tuple) else (found, {})
        if loss.ndim:
            raise ModelError(f"the loss has shape {list(loss.shape)}: it must be a single number, for instance a mean")
        return loss, values


def draw_seed(*key: int | str) -> int:
    """A seed in [0, 2^63) for torch's generators, unrelated for different keys.

    >>> draw_seed(0, 1) == draw_seed(0, 1), draw_seed(0, 1) == draw_seed(1, 0)
    (True, False)
    """
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def accelerator_for(precision: str, device: str | torch.device | None) -> Any:
    """An Accelerator of its own for every run, where accelerate would keep the first one's settings for the process.

    Raises:
        ConfigError: if the device cannot compute in `precision`.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs

    distributed = PartialState._shared_state != {} and PartialState().use_distributed
    AcceleratorState._reset_state(reset_partial_state=not distributed)
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=device is not None and torch.device(device).type == "cpu",
        # Run.update() accumulates; this keeps the environment of `accelerate launch` from doing it a second time.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        # The other processes wait while the first one validates, which can take longer than the usual ten minutes.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
    )
    if device is not None and not accelerator.use_distributed:
        accelerator.state.device = torch.device(device)
    if precision == "fp16" and accelerator.scaler is None:
        raise ConfigError(
            f"precision is 'fp16', which needs a GPU; the device is {accelerator.device}: use 'bf16' or 'no'"
        )
    return accelerator
