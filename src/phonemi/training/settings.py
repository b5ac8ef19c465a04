"""How to train: length, learning rate, optimiser, and when to validate and to write."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from phonemi.errors import ConfigError, nearest

Schedule = Literal["constant", "cosine", "linear"]
Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How to train; a ConfigError for a value out of range.

    The defaults are SUPERB's optimiser: AdamW, eps 1e-7, no weight decay, gradient norm cut at 1.
    """

    steps: int  # optimiser updates
    learning_rate: float = 1e-3  # the largest one
    # Of the parameters whose names begin with these words, another one, with the same schedule. None: of no others.
    learning_rate_of: dict[str, float] | None = None
    warmup_steps: int = 0  # updates over which it rises linearly from `learning_rate / warmup_steps`
    schedule: Schedule = "constant"  # afterwards it stays, or falls to 0 at `steps` along half a cosine or a line
    betas: tuple[float, float] = (0.9, 0.999)  # decay of AdamW's running mean and square
    eps: float = 1e-7  # added to the root of the square
    # True: to the root as it is, before its bias is corrected, as in the AdamW of S3PRL: in the first update eps then
    # weighs 32 times as much, after some thousand the same. None, which False becomes: after, as torch does.
    eps_before_correction: bool | None = None  # checkpoints of 0.1 lack it, which compares equal to None
    weight_decay: float = 0.0  # decoupled, times the learning rate
    gradient_clip: float | None = 1.0  # largest gradient norm, over all trainable parameters; None for no limit
    accumulate: int = 1  # batches per update, of all processes together; their gradients are averaged
    validate_every: int  # updates; also after the last one
    checkpoint_every: int  # the same
    log_every: int = 50  # updates over which the logged loss is averaged
    select_on: str | None = None  # name in the validation's result to keep the best weights by; None: the last ones
    higher_is_better: bool = True  # direction of `select_on`
    precision: Precision = "no"  # of the matrix products; the weights stay float32; "fp16" needs a GPU
    seed: int = 0  # of dropout and everything else that draws from torch's own generator

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        object.__setattr__(self, "eps_before_correction", self.eps_before_correction or None)
        for name in ("steps", "accumulate", "validate_every", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name, known in (("schedule", get_args(Schedule)), ("precision", get_args(Precision))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}: {nearest(str(getattr(self, name)), known)}")
        rates = {"learning_rate": self.learning_rate}
        rates |= {f"learning_rate of {prefix}": rate for prefix, rate in (self.learning_rate_of or {}).items()}
        for name, rate in rates.items():
            if not 0 < rate < math.inf:
                raise ConfigError(f"{name} is {rate}: it must be above 0")
        if not 0 <= self.warmup_steps <= self.steps:
            raise ConfigError(f"warmup_steps is {self.warmup_steps}: it must be between 0 and steps ({self.steps})")
        if self.gradient_clip is not None and not self.gradient_clip > 0:
            raise ConfigError(f"gradient_clip is {self.gradient_clip}: it must be above 0, or null for no limit")

    def eps_at(self, step: int) -> float:
        """What torch's AdamW has to add in the update after `step` others."""
        return self.eps / math.sqrt(1 - self.betas[1] ** (step + 1)) if self.eps_before_correction else self.eps

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of the update after `step` others, 0 <= step < steps.

        >>> settings = FitSettings(steps=6, learning_rate=1.0, warmup_steps=2, schedule="linear",
        ...                        validate_every=6, checkpoint_every=6)
        >>> [settings.learning_rate_at(step) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        factor = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[self.schedule]
        return self.learning_rate * factor


def fit_settings(section: object, **others: Any) -> FitSettings:
    """Settings from a section of the configuration: every field of `FitSettings` that it has too, unless in `others`.

    >>> from types import SimpleNamespace
    >>> section = SimpleNamespace(steps=100, learning_rate=0.01, batch=8)
    >>> fit_settings(section, validate_every=50, checkpoint_every=50).learning_rate
    0.01
    """
    values = {field.name: getattr(section, field.name) for field in fields(FitSettings) if hasattr(section, field.name)}
    return FitSettings(**(values | others))
