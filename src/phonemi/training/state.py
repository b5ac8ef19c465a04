"""The state of a training, and the few things that can happen to it: an update, a validation, a checkpoint."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phonemi.devices import multiplies_bf16
from phonemi.errors import ConfigError, ModelError, nearest
from phonemi.files import remove_leftovers
from phonemi.training import checkpoint
from phonemi.training.distributed import Processes
from phonemi.training.settings import FitSettings
from phonemi.training.tracking import Tracker

Loss = Callable[[nn.Module, Any], Tensor | tuple[Tensor, dict[str, Any]]]

MAX_SKIPPED_IN_A_ROW = 50
# Attributes of a `TrainingState` that go into a checkpoint as they are.
COUNTS = ("step", "validated", "history", "skipped", "skipped_in_a_row", "most_skipped", "kept", "sums")


class TrainingState:
    """A model in training, its optimiser and how far it has come; see `loop.fit` for what it is given.

    Attributes:
        step: updates done.
        validated: the step at which the model was last validated.
        history: rows of `FitResult.history` so far.
        between_updates: False while weights and counts change: what is then in memory must not be saved.
        kept, sums: updates since the last log, and sums over them of the loss and what it reports, by name.
        skipped, skipped_in_a_row, most_skipped: updates left out because their gradient was not finite: all of them,
            the last ones in a row, and the longest such row.

    Raises:
        ModelError: if nothing in the model is trainable.
        ConfigError: if the device cannot compute in the precision asked for.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        settings: FitSettings,
        folder: Path,
        label: str,
        tracker: Tracker | None,
        processes: Processes,
    ) -> None:
        self.settings, self.label, self.processes, self.device = settings, label, processes, processes.device
        self.writes = processes.rank == 0
        if settings.accumulate < processes.count:
            raise ConfigError(
                f"{label}: {processes.count} processes cannot share the batches of an update, of which there are "
                f"{settings.accumulate}: set accumulate to a multiple of {processes.count}"
            )
        # Numbers of the batches of an update that are this process's, one for each backward pass. All processes must
        # take part in each pass: who has one batch fewer repeats its last one, and the gradient is multiplied by 0.
        own = range(processes.rank, settings.accumulate, processes.count)
        passes = -(-settings.accumulate // processes.count)
        self.passes = [(own[min(number, len(own) - 1)], number < len(own)) for number in range(passes)]
        self.tracker = tracker if self.writes else None
        self.last_path, self.best_path = folder / "last.pt", folder / "best.safetensors"
        self.scaler = gradient_scaler(settings.precision, self.device)
        self.model = model.to(self.device)
        rates = {"": settings.learning_rate} | (settings.learning_rate_of or {})
        groups: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in rates}
        for name, value in model.named_parameters():
            if value.requires_grad:
                groups[max(filter(name.startswith, groups), key=len)].append(value)
        self.trainable = [value for values in groups.values() for value in values]
        if not self.trainable:
            raise ModelError(f"{label}: the model has no trainable parameter")
        # Of each group, how many times the learning rate of the settings its own is.
        self._shares = [rates[prefix] / settings.learning_rate for prefix, values in groups.items() if values]
        self.optimiser = torch.optim.AdamW(
            [{"params": values} for values in groups.values() if values],
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            fused=self.scaler.is_enabled(),
        )
        self.optimiser.zero_grad()  # the caller may have left gradients behind
        self.objective = processes.parallel(Objective(self.model, loss, settings.precision, self.device))
        self.step = 0
        self.validated = 0
        self.history: list[dict[str, Any]] = []
        self.between_updates = True
        # These stay on the device, since reading one makes the processor wait for it.
        self.skipped, self.skipped_in_a_row, self.most_skipped, self.kept = torch.zeros(4, device=self.device)
        self.sums: dict[str, Tensor] = {}
        self._logged_s, self._logged_step = time.monotonic(), 0

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be done."""
        validated = self.settings.select_on is None or self.validated == self.step
        return self.step == self.settings.steps and validated and self.best_path.exists()

    def is_due(self, every: int) -> bool:
        """Whether something done every so many updates, and after the last one, is to be done now."""
        return self.step == self.settings.steps or (self.step > 0 and self.step % every == 0)

    def batch_indices(self) -> Iterator[int]:
        """Indices of the batches of this process, from the present update to the last."""
        steps = range(self.step, self.settings.steps)
        return (step * self.settings.accumulate + number for step in steps for number, _ in self.passes)

    def set_training_mode(self) -> None:
        """Train mode, except for parts whose parameters are all frozen: a frozen encoder must not drop anything out."""
        self.model.train()
        for part in self.model.modules():
            learns = [value.requires_grad for value in part.parameters()]
            if learns and not any(learns):
                part.eval()

    def update(self, batches: list[Any]) -> None:
        """One optimiser update with the mean gradient of the batches of all processes, clipped.

        It is left out when that is not finite. `batches` are those of this process, one for each pass.
        """
        totals: dict[str, Any] = {}
        accumulate = self.settings.accumulate
        for position, (batch, (number, counts)) in enumerate(zip(batches, self.passes, strict=True)):
            self._set_seed(self.step * accumulate + number)
            times = self.processes.count if counts else 0  # the mean over the processes divides by their number
            # Gradients of several processes are averaged once an update, in its last backward pass.
            is_last = position == len(batches) - 1
            with nullcontext() if is_last else self.processes.without_averaging(self.objective):
                loss, values = self.objective(move_to_device(batch, self.device))
                loss = loss * times / accumulate
                (self.scaler.scale(loss) if self.settings.precision == "fp16" else loss).backward()
            shares = {"loss": loss} | {name: value * times / accumulate for name, value in values.items()}
            for name, share in shares.items():
                share = share.detach() if isinstance(share, Tensor) else share
                totals[name] = totals[name] + share if name in totals else share
        totals = self.processes.mean(totals)
        skip = self._clip_gradient()
        self.between_updates = False
        self._optimise(skip)
        self._count(totals, skip)
        self.step += 1
        self.between_updates = True

    def _clip_gradient(self) -> Tensor:
        """Cut the gradient to its largest norm; returns whether it is not finite, bool [], and then makes it all NaN.

        S3PRL's runner, too, leaves an update out when the gradient norm is NaN.
        """
        norm = nn.utils.get_total_norm([value.grad for value in self.trainable if value.grad is not None])
        if self.settings.precision == "fp16":
            norm = norm / self.scaler.scale(torch.ones_like(norm))  # gradients are still multiplied by this number
        skip = ~torch.isfinite(norm)
        # The scaler leaves out an update with a NaN in its gradients. The norm can be too large for a number while
        # no gradient is, so all of them become NaN here, with the norm: max_norm / NaN * gradient.
        norm = torch.where(skip, math.nan, norm)
        nn.utils.clip_grads_with_norm_(self.trainable, self.settings.gradient_clip or math.inf, norm)
        return skip

    def _optimise(self, skip: Tensor) -> None:
        for group, share in zip(self.optimiser.param_groups, self._shares, strict=True):
            group["lr"] = share * self.settings.learning_rate_at(self.step)
            group["eps"] = self.settings.eps_at(self.step)
        # The scaler tells the fused AdamW on the device to leave a step out: nothing waits for the device. Without
        # a scaler, looking at `skip` does.
        if self.scaler.is_enabled() or not skip:
            self.scaler.step(self.optimiser)
        self.scaler.update(None if self.settings.precision == "fp16" else 1.0)
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
        learning_rate = self.settings.learning_rate_at(self.step - 1)
        row = means | {"learning_rate": learning_rate, "skipped_steps": int(self.skipped)}
        self.history.append({"stage": "train", "step": self.step, **row})
        now_s = time.monotonic()
        steps_per_s = (self.step - self._logged_step) / max(now_s - self._logged_s, 1e-9)
        self._logged_s, self._logged_step = now_s, self.step
        if self.tracker is not None:
            self.tracker.log("train", self.label, self.step, **row, steps_per_s=round(steps_per_s, 3))
        self.sums, self.kept = {}, torch.zeros_like(self.kept)
        return f"loss {means['loss']:.4g}"

    def time_s(self) -> float:
        """The time when the device has done all updates so far."""
        float(self.kept)  # waits for it
        return time.monotonic()

    def check_skips(self) -> None:
        """Raise a ModelError if more than 50 updates in a row were left out: training has broken down."""
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
        """What `validate` returns in process 0, for which the others wait."""
        self._set_seed("validate", self.step)

        def values() -> dict[str, float]:
            self.model.eval()
            with torch.no_grad():
                values = {name: float(value) for name, value in validate(self.model).items()}
            self.set_training_mode()
            return values

        return self.processes.from_first(values)

    def record_validation(self, values: dict[str, float]) -> None:
        """Keep the weights when they are the best so far: strictly better than all before; NaN never is."""
        name = self.settings.select_on
        if name is not None and name not in values:
            raise ConfigError(f"select_on is {name!r}, not among what validation returns: {nearest(name, values)}")
        if name is not None and self.writes:
            best = checkpoint.read_weights_record(self.best_path)
            sign = 1 if self.settings.higher_is_better else -1
            lowest = -math.inf if best is None or best.value is None else sign * best.value
            if sign * values[name] > lowest:
                checkpoint.write_weights(self.best_path, self.model, checkpoint.WeightsRecord(self.step, values[name]))
        self.history.append({"stage": "validate", "step": self.step, **values})
        if self.tracker is not None:
            self.tracker.log("validate", self.label, self.step, **values)
        self.validated = self.step

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be continued."""
        # How often to write and log changes no weight, so it may change between the two.
        settings = {k: v for k, v in asdict(self.settings).items() if k not in ("checkpoint_every", "log_every")}
        state = checkpoint.trained_state(self.model)
        shapes = {f"shape of {name}": tuple(value.shape) for name, value in state.items()}
        return settings | shapes

    def save(self) -> None:
        """Write last.pt: the state after the last complete update."""
        if not self.writes:
            return
        contents = {
            "identity": self.identity(),
            "model": checkpoint.trained_state(self.model),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict() if self.settings.precision == "fp16" else None,
            "counts": {name: getattr(self, name) for name in COUNTS},
        }
        checkpoint.write_checkpoint(self.last_path, contents)

    def resume(self) -> None:
        """Take up last.pt when there is one, else start afresh."""
        if self.writes:
            remove_leftovers((self.last_path, self.best_path))
        contents = checkpoint.read_checkpoint(self.last_path)
        self.processes.wait_for_all()
        if contents is None:
            # Weights without a checkpoint are of a run killed before its first one, perhaps with other settings.
            if self.writes:
                self.best_path.unlink(missing_ok=True)
            return
        written = contents["identity"]
        # Until version 0.2 each of several processes took so many batches.
        written["accumulate"] *= written.pop("processes", 1)
        checkpoint.check_same(written, self.identity(), self.last_path)
        checkpoint.load_trained_state(self.model, contents["model"], self.last_path)
        self.optimiser.load_state_dict(contents["optimiser"])
        if contents["scaler"] is not None:
            self.scaler.load_state_dict(contents["scaler"])
        for name, value in contents["counts"].items():
            setattr(self, name, value.to(self.device) if isinstance(value, Tensor) else value)
        self.sums = {name: value.to(self.device) for name, value in self.sums.items()}
        self._logged_step = self.step

    def finish(self) -> None:
        """Make best.safetensors the weights to go on with; a ModelError if there are none."""
        if self.settings.select_on is None and self.writes:
            checkpoint.write_weights(self.best_path, self.model, checkpoint.WeightsRecord(self.step, None))
        self.processes.wait_for_all()
        if not self.best_path.exists():
            raise ModelError(
                f"{self.best_path} does not exist: no validation gave a finite {self.settings.select_on} to select on, "
                f"or the file was deleted; delete {self.last_path} to train again"
            )


class Objective(nn.Module):
    """Batch -> loss and numbers to log, as one module: so precision and several processes cover all of a loss."""

    def __init__(self, model: nn.Module, loss: Loss, precision: str, device: torch.device) -> None:
        super().__init__()
        self.model, self._loss, self._device_type = model, loss, device.type
        if precision == "bf16" and not multiplies_bf16(device):
            precision = "no"
        self._dtype = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Any]]:
        """The loss, float32 [], and numbers by name."""
        with torch.autocast(self._device_type, self._dtype) if self._dtype else nullcontext():
            result = self._loss(self.model, batch)
        loss, values = result if isinstance(result, tuple) else (result, {})
        if loss.ndim:
            raise ModelError(f"the loss has shape {list(loss.shape)}: it must be a single number, for instance a mean")
        return _in_full_precision(loss), {name: _in_full_precision(value) for name, value in values.items()}


def _in_full_precision(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


def move_to_device(batch: Any, device: torch.device) -> Any:
    """The same batch with its tensors, also those in lists, tuples and dictionaries, on `device`."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return type(batch)({name: move_to_device(value, device) for name, value in batch.items()})  # type: ignore[call-arg]
    if isinstance(batch, (list, tuple)):
        items = [move_to_device(item, device) for item in batch]
        return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)  # a NamedTuple or not
    return batch


def draw_seed(*key: int | str) -> int:
    """A seed in [0, 2^63) for torch's generators, unrelated for different keys.

    >>> draw_seed(0, 1) == draw_seed(0, 1), draw_seed(0, 1) == draw_seed(1, 0)
    (True, False)
    """
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def gradient_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Multiplies the loss so that small gradients survive in float16, and leaves out updates that are not finite.

    In the other precisions it multiplies by 1 and is there for the latter alone. Devices without a fused AdamW get one
    that does nothing. A ConfigError if the device cannot compute in `precision`.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ConfigError(f"precision is 'fp16', which needs a GPU; the device is {device}: use 'bf16' or 'no'")
    initial_scale = 2.0**16 if precision == "fp16" else 1.0
    scaler = torch.amp.GradScaler(device.type, init_scale=initial_scale, enabled=device.type in ("cpu", "cuda"))
    scaler.scale(torch.zeros((), device=device))  # after which it can be used without multiplying every loss
    return scaler
