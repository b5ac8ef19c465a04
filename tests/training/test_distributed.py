"""Two processes that train one model on the CPU, started as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from phonemi.files import read_jsonl
from phonemi.training.loop import FitResult, fit
from phonemi.training.settings import FitSettings
from phonemi.training.tracking import Tracker

pytestmark = pytest.mark.slow  # two processes


class Killed(BaseException):
    """Stands for a kill: nothing in the package may catch it."""


class FineTuned(nn.Module):
    """A lower half that is frozen, an upper one that learns, and a parameter that takes part in no loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.lower = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5)).requires_grad_(False)
        self.upper = nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1))
        self.mask_embedding = nn.Parameter(torch.zeros(6))

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.upper(self.lower(inputs))
        return output


def batch_at(index: int) -> Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(index))


def loss(model: nn.Module, inputs: Tensor) -> Tensor:
    return nn.functional.mse_loss(model(inputs), inputs.sum(1, keepdim=True))


def train(folder: Path, model: nn.Module, accumulate: int, **changes: Any) -> FitResult:
    settings = FitSettings(
        steps=12, learning_rate=0.02, accumulate=accumulate, log_every=4, validate_every=6, checkpoint_every=4,
        select_on="error", higher_is_better=False,
    )  # fmt: skip
    arguments = {"batch_at": batch_at, "loss": loss, "validate": validate, "settings": settings, "label": "tiny"}
    return fit(model, **{**arguments, **changes}, folder=folder, device="cpu")


def validate(model: nn.Module) -> dict[str, float]:
    return {"error": float(loss(model, batch_at(10**6)))}


def work_of_one_process(folder: Path) -> None:
    """What each of the two processes does; leaves FOLDER/rank-N.pt."""
    rank = int(os.environ["RANK"])
    passes_s: list[float] = []
    validated_s: list[float] = []

    def timed_loss(model: nn.Module, inputs: Tensor) -> Tensor:
        passes_s.append(time.monotonic())
        return loss(model, inputs)

    def slow_validation(model: nn.Module) -> dict[str, float]:
        assert rank == 0
        time.sleep(0.3)
        values = validate(model)
        validated_s.append(time.monotonic())
        return values

    def killed_loss(model: nn.Module, inputs: Tensor) -> Tensor:
        passes_s.append(0.0)
        if len(passes_s) == 12 + 7:
            raise Killed
        return loss(model, inputs)

    if rank > 0:
        os.replace = None  # type: ignore[assignment]  # which every file is written with
    whole, resumed = FineTuned(), FineTuned()
    with Tracker(folder / "log") as tracker:
        result = train(folder / "whole", whole, 1, loss=timed_loss, validate=slow_validation, tracker=tracker)
    first_pass_after_validation_s = passes_s[6]
    try:
        train(folder / "killed", FineTuned(), 1, loss=killed_loss)
    except Killed:
        again = train(folder / "killed", resumed, 1)
    outcome = {
        "whole": whole.state_dict(),
        "resumed": resumed.state_dict(),
        "best": (result.best_step, result.best_value),
        "history": result.history,
        "resumed_history": again.history,
        "validated_s": validated_s,
        "first_pass_after_validation_s": first_pass_after_validation_s,
    }
    torch.save(outcome, folder / f"rank-{rank}.pt")


@dataclass(frozen=True)
class Both:
    folder: Path
    outcomes: list[dict[str, Any]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, folder],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=180)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return Both(folder, [torch.load(folder / f"rank-{rank}.pt") for rank in range(2)])


def test_both_end_with_the_same_model(both: Both) -> None:
    first, second = both.outcomes
    for name, value in first["whole"].items():
        assert torch.equal(value, second["whole"][name]), name
    assert first["best"] == second["best"]
    assert first["best"][0] in (6, 12)


def test_two_processes_are_one_that_accumulates_two_batches(both: Both, tmp_path: Path) -> None:
    alone = FineTuned()
    before = {name: value.clone() for name, value in alone.state_dict().items()}
    result = train(tmp_path, alone, accumulate=2)
    assert both.outcomes[0]["best"] == (result.best_step, pytest.approx(result.best_value, rel=1e-4))
    losses, expected = (
        [row["loss"] for row in history if row["stage"] == "train"]
        for history in (both.outcomes[1]["history"], result.history)
    )
    assert losses == pytest.approx(expected, rel=1e-4), "of the batches of both"
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(both.outcomes[1]["whole"][name], value, rtol=0, atol=1e-5)
        learns = name.startswith("upper")
        assert torch.equal(value, before[name]) != learns, name


def test_they_continue_where_they_were_killed(both: Both) -> None:
    for outcome in both.outcomes:
        assert outcome["resumed_history"] == outcome["history"]
        assert all(torch.equal(value, outcome["whole"][name]) for name, value in outcome["resumed"].items())


def test_only_the_first_writes(both: Both) -> None:
    """The other one could not: it would have failed."""
    assert {path.name for path in (both.folder / "whole").iterdir()} == {"last.pt", "best.safetensors"}
    steps = [(row["stage"], row["step"]) for row in read_jsonl(both.folder / "log" / "log.jsonl")]
    assert steps == [("train", 4), ("validate", 6), ("train", 8), ("train", 12), ("validate", 12)]


def test_the_other_one_waits_for_the_validation(both: Both) -> None:
    first, second = both.outcomes
    assert second["validated_s"] == []
    assert second["first_pass_after_validation_s"] > first["validated_s"][0]


if __name__ == "__main__":
    work_of_one_process(Path(sys.argv[1]))
