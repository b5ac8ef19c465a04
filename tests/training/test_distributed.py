"""Two processes that train one model on the CPU, started as torchrun starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from phonemi.errors import ConfigError, ProcessEnded
from phonemi.files import read_jsonl
from phonemi.interruption import Interrupted
from phonemi.training.checkpoint import read_checkpoint, write_checkpoint
from phonemi.training.distributed import Processes
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


def train_up_to_a_kill(folder: Path, passes: int, accumulate: int) -> None:
    """Two checkpoints are written before, of which the last one is of update 4."""
    left = iter(range(passes))

    def killed_loss(model: nn.Module, inputs: Tensor) -> Tensor:
        if next(left, None) is None:
            raise Killed
        return loss(model, inputs)

    with suppress(Killed):
        train(folder, FineTuned(), accumulate, loss=killed_loss)


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

    def loss_with_a_signal(model: nn.Module, inputs: Tensor) -> Tensor:
        passes_s.append(0.0)
        if len(passes_s) == 7 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # the scheduler's, and torchrun's
        return loss(model, inputs)

    if rank > 0:
        os.replace = None  # type: ignore[assignment]  # which every file is written with
    models = {name: FineTuned() for name in ("whole", "uneven", "resumed", "one-then-two", "interrupted")}
    with Tracker(folder / "log") as tracker:
        whole = train(folder / "whole", models["whole"], 2, loss=timed_loss, validate=slow_validation, tracker=tracker)
    uneven = train(folder / "uneven", models["uneven"], 3)
    train_up_to_a_kill(folder / "resumed", 7, 2)
    train_up_to_a_kill(folder / "two-then-one", 7, 2)
    histories = {"whole": whole.history, "uneven": uneven.history}
    for name in ("resumed", "one-then-two"):
        histories[name] = train(folder / name, models[name], 2).history
    first_pass_after_validation_s = passes_s[6]
    passes_s.clear()
    interrupted = False
    try:
        train(folder / "interrupted", FineTuned(), 2, loss=loss_with_a_signal)
    except Interrupted:
        interrupted = len(passes_s) == 7  # in both, after the same update
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    histories["interrupted"] = train(folder / "interrupted", models["interrupted"], 2, loss=timed_loss).history
    with pytest.raises(ConfigError) as error:
        train(folder / "too-few", FineTuned(), 1)
    outcome = {
        "weights": {name: model.state_dict() for name, model in models.items()},
        "best": (whole.best_step, whole.best_value),
        "histories": histories,
        "was_interrupted": interrupted,
        "passes_after_the_signal": len(passes_s) - 7,
        "error": str(error.value),
        "validated_s": validated_s,
        "first_pass_after_validation_s": first_pass_after_validation_s,
    }
    torch.save(outcome, folder / f"rank-{rank}.pt")


def work_that_ends_in_a_validation(folder: Path) -> None:
    """Process 0 is interrupted when it validates; the other one waits for it."""
    rank = int(os.environ["RANK"])

    def interrupted_validation(model: nn.Module) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(model)

    error = Interrupted if rank == 0 else ProcessEnded
    with pytest.raises(error):
        train(folder / "validating", FineTuned(), 2, validate=interrupted_validation)
    os._exit(0)


def start_two(work: str, folder: Path) -> None:
    """Let two processes do the work of that name, and wait for them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, work, folder],
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


@dataclass(frozen=True)
class Both:
    folder: Path
    outcomes: list[dict[str, Any]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("distributed")
    train_up_to_a_kill(folder / "one-then-two", 13, 2)
    start_two("work_of_one_process", folder)
    return Both(folder, [torch.load(folder / f"rank-{rank}.pt") for rank in range(2)])


@dataclass(frozen=True)
class Alone:
    weights: dict[str, Tensor]
    result: FitResult


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """One process, never stopped."""
    model = FineTuned()
    result = train(tmp_path_factory.mktemp("alone"), model, 2)
    return Alone(model.state_dict(), result)


def losses_of(history: list[dict[str, Any]]) -> list[float]:
    return [row["loss"] if row["stage"] == "train" else row["error"] for row in history]


def require_the_same(weights: dict[str, Tensor], history: list[dict[str, Any]], expected: Alone) -> None:
    for name, value in expected.weights.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-5)
    assert losses_of(history) == pytest.approx(losses_of(expected.result.history), rel=1e-5)


def test_both_end_with_the_same_model(both: Both) -> None:
    first, second = both.outcomes
    for run, weights in first["weights"].items():
        for name, value in weights.items():
            assert torch.equal(value, second["weights"][run][name]), (run, name)
    assert first["best"] == second["best"]
    assert first["best"][0] in (6, 12)


def test_two_processes_are_one_with_the_same_batches(both: Both, alone: Alone) -> None:
    before = FineTuned().state_dict()
    best = (alone.result.best_step, pytest.approx(alone.result.best_value, rel=1e-5))
    for outcome in both.outcomes:
        assert outcome["best"] == best
        require_the_same(outcome["weights"]["whole"], outcome["histories"]["whole"], alone)
    for name, value in alone.weights.items():
        assert torch.equal(value, before[name]) != name.startswith("upper"), name


def test_they_need_not_have_the_same_number_of_batches(both: Both, tmp_path: Path) -> None:
    model = FineTuned()
    expected = Alone(model.state_dict(), train(tmp_path, model, 3))
    for outcome in both.outcomes:
        require_the_same(outcome["weights"]["uneven"], outcome["histories"]["uneven"], expected)


def test_fewer_batches_than_processes_are_an_error(both: Both) -> None:
    message = "tiny: 2 processes cannot share the batches of an update, of which there are 1: set accumulate to a "
    assert {outcome["error"] for outcome in both.outcomes} == {f"{message}multiple of 2"}
    assert not (both.folder / "too-few").exists()


@pytest.mark.parametrize(
    ("processes", "accumulate", "batch", "wanted"),
    [(4, 1, 8, (4, 2)), (3, 1, 8, (4, 2)), (8, 1, 4, (8, 1)), (3, 2, 9, (3, 6))],
)
def test_the_error_names_settings_of_the_same_update(
    processes: int, accumulate: int, batch: int, wanted: tuple[int, int]
) -> None:
    several = Processes(0, processes, torch.device("cpu"))
    with pytest.raises(ConfigError, match=rf"set enhance.accumulate={wanted[0]} enhance.batch={wanted[1]}$"):
        several.require_shares("enhance", accumulate, batch)
    several.require_shares("enhance", *wanted)


def test_they_continue_where_they_were_killed(both: Both) -> None:
    for outcome in both.outcomes:
        assert outcome["histories"]["resumed"] == outcome["histories"]["whole"]
        whole = outcome["weights"]["whole"]
        assert all(torch.equal(value, whole[name]) for name, value in outcome["weights"]["resumed"].items())


def test_one_continues_what_two_began_and_two_what_one_began(both: Both, alone: Alone) -> None:
    model = FineTuned()
    result = train(both.folder / "two-then-one", model, 2)
    require_the_same(model.state_dict(), result.history, alone)
    for outcome in both.outcomes:
        require_the_same(outcome["weights"]["one-then-two"], outcome["histories"]["one-then-two"], alone)


def test_a_signal_to_one_stops_both_after_the_same_update(both: Both) -> None:
    for outcome in both.outcomes:
        assert outcome["was_interrupted"]
        assert outcome["passes_after_the_signal"] == 12 - 7, "nothing is done twice"
        assert outcome["histories"]["interrupted"] == outcome["histories"]["whole"]
        whole = outcome["weights"]["whole"]
        assert all(torch.equal(value, whole[name]) for name, value in outcome["weights"]["interrupted"].items())


def test_an_interrupted_validation_keeps_no_one_waiting(alone: Alone, tmp_path: Path) -> None:
    start_two("work_that_ends_in_a_validation", tmp_path)
    model = FineTuned()
    result = train(tmp_path / "validating", model, 2)
    require_the_same(model.state_dict(), result.history, alone)


def test_checkpoints_in_which_each_process_had_so_many_batches_are_continued(alone: Alone, tmp_path: Path) -> None:
    """Those of version 0.1."""
    train_up_to_a_kill(tmp_path, 13, 2)
    contents = read_checkpoint(tmp_path / "last.pt")
    assert contents is not None
    contents["identity"] |= {"processes": 2, "accumulate": 1}
    write_checkpoint(tmp_path / "last.pt", contents)
    model = FineTuned()
    require_the_same(model.state_dict(), train(tmp_path, model, 2).history, alone)


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
    globals()[sys.argv[1]](Path(sys.argv[2]))
