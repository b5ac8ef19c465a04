import os
import random
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from phonemi.errors import ConfigError, ModelError, PhonemiError
from phonemi.files import read_jsonl
from phonemi.training import checkpoint, state
from phonemi.training.forecast import Forecast
from phonemi.training.loop import FitSettings, fit, prefetched
from phonemi.training.tracking import Tracker


class Killed(BaseException):
    """Stands for a kill: nothing in the package may catch it."""


class Pair(NamedTuple):
    inputs: torch.Tensor
    target: dict


def batch_at(index):
    generator = torch.Generator().manual_seed(index)
    inputs = torch.randn(4, 6, generator=generator)
    return Pair(inputs, {"sum": (inputs.sum(1, keepdim=True),)})


def build():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1))


def loss(model, batch):
    return nn.functional.mse_loss(model(batch.inputs), batch.target["sum"][0])


def validate(model):
    assert not model.training
    assert not torch.is_grad_enabled()
    torch.randn(3)  # must not shift the dropout of training
    return {"error": float(loss(model, batch_at(10**6)))}


def settings(**changes):
    defaults = {
        "steps": 24, "learning_rate": 0.02, "warmup_steps": 3, "schedule": "cosine", "accumulate": 2, "log_every": 4,
        "validate_every": 6, "checkpoint_every": 5, "select_on": "error", "higher_is_better": False, "seed": 3,
    }  # fmt: skip
    return FitSettings(**{**defaults, **changes})


def train(folder, model=None, **changes):
    arguments = {"batch_at": batch_at, "loss": loss, "validate": validate, "settings": settings(), "label": "tiny"}
    return fit(build() if model is None else model, **{**arguments, **changes}, folder=folder, device="cpu")


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_parameters_with_a_rate_of_their_own_move_by_it_and_go_on_with_it(tmp_path):
    """The first update of AdamW is as long as the learning rate, whatever the gradient."""
    first = settings(
        steps=1, accumulate=1, warmup_steps=0, schedule="constant", eps=1e-12, gradient_clip=None, select_on=None,
        learning_rate=1e-2, learning_rate_of={"0.": 1e-4, "4.": 1e-3},
    )  # fmt: skip
    model, before = build(), build().state_dict()
    train(tmp_path / "a", model, settings=first, validate=None)
    moved = {name: (value - before[name]).abs().max().item() for name, value in model.named_parameters()}
    for name, distance in moved.items():
        expected = {"0": 1e-4, "4": 1e-3}.get(name[0], 1e-2)
        assert distance == pytest.approx(expected, rel=1e-3), name
    several = settings(learning_rate_of={"0.": 1e-4})
    whole = train(tmp_path / "whole", model := build(), settings=several)
    with pytest.raises(Killed):
        train(tmp_path / "b", loss=killing(23, []), settings=several)
    resumed = build()
    assert train(tmp_path / "b", resumed, settings=several).best_value == whole.best_value
    assert same_weights(resumed, model)
    with pytest.raises(ModelError, match="learning_rate_of"):
        train(tmp_path / "b", settings=settings(learning_rate_of={"0.": 1e-3}))


def killing(after, recorded):
    """A loss that records its values and kills the run after so many calls."""

    def counted(model, batch):
        if len(recorded) == after:
            raise Killed
        value = loss(model, batch)
        recorded.append(value.item())
        return value

    return counted


def test_it_is_the_plain_loop_of_a_textbook(tmp_path):
    fitted, plain = nn.Linear(6, 1), nn.Linear(6, 1)
    plain.load_state_dict(fitted.state_dict())
    chosen = FitSettings(steps=60, learning_rate=0.1, validate_every=60, checkpoint_every=60, log_every=20)
    result = train(tmp_path, fitted, settings=chosen)

    optimiser, losses = torch.optim.AdamW(plain.parameters(), lr=0.1, eps=1e-7, weight_decay=0.0), []
    for step in range(60):
        optimiser.zero_grad()
        value = loss(plain, batch_at(step))
        value.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimiser.step()
        losses.append(value.item())
    assert torch.allclose(fitted.weight, plain.weight, atol=1e-5)
    logged = [row["loss"] for row in result.history if row["stage"] == "train"]
    assert logged == pytest.approx([sum(losses[n : n + 20]) / 20 for n in (0, 20, 40)], rel=1e-3)
    assert logged[-1] < 0.1 * logged[0]


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [1, 7, 10, 23, 24, 25, 41])
def test_a_killed_run_continues_bit_for_bit(tmp_path, killed_after):
    whole, whole_losses = build(), []
    expected = train(tmp_path / "whole", whole, loss=killing(-1, whole_losses))

    first, second = [], []
    with pytest.raises(Killed):
        train(tmp_path / "killed", loss=killing(killed_after, first))
    torch.manual_seed(99)  # a new process has other random numbers
    resumed = build()
    found = train(tmp_path / "killed", resumed, loss=killing(-1, second))

    passes_kept = killed_after // 2 // 5 * 5 * 2  # two passes an update, a checkpoint every five updates
    assert first == whole_losses[:killed_after]
    assert second == whole_losses[passes_kept:]
    assert found == expected
    assert same_weights(whole, resumed)


def long_settings():
    return settings(steps=80, checkpoint_every=2, validate_every=3)


def slow_loss(model, batch):
    time.sleep(0.002)  # two passes an update: 80 updates last long enough to be killed several times
    return loss(model, batch)


KILLER = """
import importlib.util, os, random, signal, sys, time
import torch  # then each training starts in milliseconds
here = importlib.util.spec_from_file_location("tiny", sys.argv[1])
tiny = importlib.util.module_from_spec(here)
here.loader.exec_module(tiny)
folder, last, kills, draw = sys.argv[2], sys.argv[2] + "/last.pt", 0, random.Random(int(sys.argv[3]))
written = lambda: os.path.exists(last) and os.stat(last).st_mtime_ns
while True:
    before, child = written(), os.fork()
    if child == 0:
        tiny.train(folder, loss=tiny.slow_loss, settings=tiny.long_settings())
        os._exit(0)
    while kills < 4 and written() == before:
        time.sleep(0.001)
    if kills < 4:
        time.sleep(draw.uniform(0.0, 0.04))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    kills += os.WIFSIGNALED(status)
    if os.WIFEXITED(status):
        sys.exit(0 if status == 0 and kills else f"status {status} after {kills} kills")
"""


@pytest.mark.slow
def test_a_real_kill_at_random_moments_ends_with_the_same_weights(tmp_path):
    seed = str(random.randrange(10**6))
    command = [sys.executable, "-c", KILLER, __file__, str(tmp_path / "killed"), seed]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (seed, done.stderr)
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {"last.pt", "best.safetensors"}

    again, whole = build(), build()
    found = train(tmp_path / "killed", again, settings=long_settings(), loss=None)
    assert found == train(tmp_path / "whole", whole, settings=long_settings())
    assert same_weights(again, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_the_last_complete_update(tmp_path, number):
    passes = []

    def interrupted(model, batch):
        passes.append(1)
        if len(passes) == 15:  # in the first of the two passes of the eighth update
            os.kill(os.getpid(), number)
        return loss(model, batch)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", loss=interrupted)
    assert len(passes) == 16
    assert checkpoint.read_checkpoint(tmp_path / "stopped" / "last.pt")["counts"]["step"] == 8
    resumed, whole = build(), build()
    assert train(tmp_path / "stopped", resumed) == train(tmp_path / "whole", whole)
    assert same_weights(resumed, whole)


def interrupt(*_):
    raise KeyboardInterrupt


def test_an_interrupt_anywhere_is_not_lost(tmp_path):
    def interrupted_batch(index):
        return batch_at(index) if index < 26 else interrupt()

    for changes in ({"loss": interrupt}, {"validate": interrupt}, {"batch_at": interrupted_batch}):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", **changes)
    assert checkpoint.read_checkpoint(tmp_path / "stopped" / "last.pt")["counts"]["step"] == 13
    resumed, whole = build(), build()
    assert train(tmp_path / "stopped", resumed) == train(tmp_path / "whole", whole)
    assert same_weights(resumed, whole)


def test_a_finished_run_is_returned_without_another_batch(tmp_path):
    model, again = build(), build()
    expected = train(tmp_path, model)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert train(tmp_path, again, batch_at=None, loss=None, validate=interrupt) == expected
    assert same_weights(model, again)
    assert not again.training
    assert files == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_best_is_the_first_strictly_better_one(tmp_path, higher_is_better):
    scores = iter([float("nan"), 0.5, 0.7, 0.7, 0.6])
    kept = []

    def scored(model):
        kept.append({name: value.clone() for name, value in model.state_dict().items()})
        score = next(scores)
        return {"score": score if higher_is_better else -score}

    model = build()
    chosen = settings(steps=10, validate_every=2, select_on="score", higher_is_better=higher_is_better)
    result = train(tmp_path, model, settings=chosen, validate=scored)
    assert (result.best_step, result.best_value) == (6, 0.7 if higher_is_better else -0.7)
    assert all(torch.equal(value, kept[2][name]) for name, value in model.state_dict().items())
    assert [row["step"] for row in result.history if row["stage"] == "validate"] == [2, 4, 6, 8, 10]


def test_nothing_to_select_on_keeps_the_last(tmp_path):
    model, last = build(), []
    chosen = settings(select_on=None)
    result = train(tmp_path, model, settings=chosen, validate=lambda m: last.append(m[4].weight.clone()) or {"x": 1})
    assert (result.best_step, result.best_value) == (24, None)
    assert torch.equal(last[-1], model[4].weight)


def test_selection_that_cannot_work_says_so(tmp_path):
    with pytest.raises(ConfigError, match="tiny has no validation"):
        train(tmp_path / "a", validate=None)
    with pytest.raises(ConfigError, match="did you mean 'errors'"):
        train(tmp_path / "b", validate=lambda model: {"errors": 1.0})
    for _ in range(2):  # also when it is asked for again
        with pytest.raises(ModelError, match="no validation gave a finite error"):
            train(tmp_path / "c", validate=lambda model: {"error": float("nan")})


def test_frozen_parameters_do_not_change_and_frozen_parts_do_not_drop_out(tmp_path):
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5)), nn.Dropout(0.5), nn.Linear(16, 1))
    model[0].requires_grad_(False)
    before = model[0][0].weight.clone()
    modes = []

    def watching(model, batch):
        modes.append([part.training for part in (model, model[0], model[0][1], model[1], model[2])])
        return loss(model, batch)

    train(tmp_path, model, loss=watching)
    assert torch.equal(model[0][0].weight, before)
    assert {tuple(mode) for mode in modes} == {(True, False, False, True, True)}
    stored = checkpoint.read_checkpoint(tmp_path / "last.pt")
    assert set(stored["model"]) == {"2.weight", "2.bias"}
    model.requires_grad_(False)
    with pytest.raises(ModelError, match="no trainable parameter"):
        train(tmp_path, model)


class FineTuned(nn.Module):
    """An encoder whose lower block is frozen, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.encoder = nn.Sequential(*(self.block(size) for size in (6, 16)))
        self.encoder[0].requires_grad_(False)
        self.head = nn.Linear(16, 1)

    @staticmethod
    def block(size):
        return nn.Sequential(nn.Linear(size, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))

    def forward(self, inputs):
        return self.head(self.encoder(inputs))


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [7, 23])
def test_a_half_frozen_encoder_is_fine_tuned_and_resumed_bit_for_bit(tmp_path, killed_after):
    whole, resumed = FineTuned(), FineTuned()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    expected = train(tmp_path / "whole", whole)
    changed = {name for name, value in whole.state_dict().items() if not torch.equal(value, before[name])}
    # The statistics of the frozen block's BatchNorm stay too: it is in eval mode.
    assert changed == {name for name in before if not name.startswith("encoder.0.")}

    with pytest.raises(Killed):
        train(tmp_path / "killed", FineTuned(), loss=killing(killed_after, []))
    assert train(tmp_path / "killed", resumed) == expected
    assert same_weights(whole, resumed)
    for file in ("last.pt", "best.safetensors"):
        path = tmp_path / "killed" / file
        stored = load_file(path) if file.startswith("best") else checkpoint.read_checkpoint(path)["model"]
        frozen = {name for name, value in whole.named_parameters() if not value.requires_grad}
        assert stored.keys() == before.keys() - frozen


@pytest.mark.slow
def test_gradients_left_by_the_caller_do_not_count(tmp_path):
    clean, dirty = build(), build()
    loss(dirty, batch_at(0)).backward()
    dirty.load_state_dict(clean.state_dict())
    train(tmp_path / "clean", clean)
    train(tmp_path / "dirty", dirty)
    assert same_weights(clean, dirty)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_update_whose_gradient_is_not_finite_is_left_out_and_counted(tmp_path, bad):
    seen = []

    def sometimes_bad(model, batch):
        seen.append([value.clone() for value in model.parameters()])
        return loss(model, batch) * (bad if len(seen) in (3, 4) else 1.0)

    plain = settings(steps=6, accumulate=1, log_every=3)
    result = train(tmp_path, settings=plain, loss=sometimes_bad)
    unchanged = [all(map(torch.equal, one, other)) for one, other in pairwise(seen)]
    assert unchanged == [False, False, True, True, False]
    assert result.skipped_steps == 2
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in result.history if row["stage"] == "train")


@pytest.mark.slow
def test_more_than_fifty_in_a_row_end_the_training(tmp_path):
    passes = []

    def broken(model, batch):
        passes.append(1)
        return loss(model, batch) * (float("nan") if len(passes) > 20 else 1.0)

    chosen = settings(steps=1000, accumulate=1, log_every=1000, validate_every=1000)
    with pytest.raises(ModelError, match="updates in a row was not finite"):
        train(tmp_path, settings=chosen, loss=broken)
    assert 71 <= len(passes) <= 121


def test_the_gradient_norm_is_clipped_after_accumulation(tmp_path):
    model = nn.Linear(6, 1, bias=False)
    norms = []

    class Watching(torch.optim.AdamW):
        def step(self, closure=None):
            norms.append(float(model.weight.grad.norm()))
            return super().step(closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Watching)
        for clip in (0.01, None):
            train(tmp_path / str(clip), model, settings=settings(steps=2, warmup_steps=0, gradient_clip=clip))
    assert norms[:2] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert min(norms[2:]) > 0.1


def test_accumulation_equals_one_large_batch(tmp_path):
    def pair_at(index):
        return torch.cat([batch_at(2 * index).inputs, batch_at(2 * index + 1).inputs])

    def plain(model, batch):
        inputs = batch if isinstance(batch, torch.Tensor) else batch.inputs
        return nn.functional.mse_loss(model(inputs), inputs.sum(1, keepdim=True))

    halves, whole = nn.Linear(6, 1), nn.Linear(6, 1)
    whole.load_state_dict(halves.state_dict())
    train(tmp_path / "halves", halves, loss=plain)
    train(tmp_path / "whole", whole, loss=plain, settings=settings(accumulate=1), batch_at=pair_at)
    assert torch.allclose(halves.weight, whole.weight, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": settings(learning_rate=0.5)}, "written with learning_rate = 0.02, now learning_rate = 0.5"),
        ({"settings": settings(schedule="linear")}, "written with schedule = cosine, now schedule = linear"),
        ({"model": nn.Sequential(nn.Linear(6, 1))}, r"shape of 0\.weight = \(16, 6\), now .*\(1, 6\) \(and \d+ more"),
    ],
)
def test_other_settings_or_another_model_are_refused(tmp_path, changes, message):
    train(tmp_path)
    with pytest.raises(ModelError, match=message) as raised:
        train(tmp_path, **changes)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_how_often_to_write_may_change(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, validate=interrupt)
    train(tmp_path, settings=settings(checkpoint_every=1, log_every=1))


def test_weights_of_a_run_that_never_reached_a_checkpoint_do_not_count(tmp_path):
    quick = settings(checkpoint_every=20)
    with pytest.raises(Killed):  # validates at 6, long before its first checkpoint
        train(tmp_path, loss=killing(15, []), settings=quick, validate=lambda model: {"error": -100.0})
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
    assert train(tmp_path, settings=quick).best_value > 0


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_room_continues_it(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    def filling(index):
        if index == 16:
            monkeypatch.setattr(os, "replace", full)
        return batch_at(index)

    with pytest.raises(PhonemiError, match="No space left on device"):
        train(tmp_path / "filled", batch_at=filling)
    monkeypatch.undo()
    assert {path.name for path in (tmp_path / "filled").iterdir()} <= {"last.pt", "best.safetensors"}
    assert checkpoint.read_checkpoint(tmp_path / "filled" / "last.pt")["counts"]["step"] == 5
    resumed, whole = build(), build()
    assert train(tmp_path / "filled", resumed) == train(tmp_path / "whole", whole)
    assert same_weights(resumed, whole)


@pytest.mark.slow
def test_precisions_one_after_the_other_leave_the_model_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "multiplies_bf16", lambda device: True)
    dtypes = []

    def watching(model, batch):
        dtypes.append(model(batch.inputs).dtype)
        return loss(model, batch)

    results = []
    for precision in ("bf16", "no", "bf16"):
        model = build()
        results.append(
            train(tmp_path / str(len(results)), model, settings=settings(precision=precision), loss=watching)
        )
        assert model(batch_at(0).inputs).dtype == torch.float32
        assert {value.dtype for value in model.parameters()} == {torch.float32}
        assert "forward" not in vars(model)
    assert [dtypes[0], dtypes[48], dtypes[96]] == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert results[0] == results[2] != results[1]
    with pytest.raises(ConfigError, match="needs a GPU"):
        train(tmp_path / "fp16", settings=settings(precision="fp16"))


@pytest.mark.parametrize(("capability", "dtype"), [("AVX2", torch.float32), ("AVX512", torch.bfloat16)])
def test_a_cpu_without_products_in_bf16_computes_in_float32(tmp_path, monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    dtypes = set()

    def watching(model, batch):
        dtypes.add(model(batch.inputs).dtype)
        return loss(model, batch)

    train(tmp_path, build(), settings=settings(precision="bf16"), loss=watching)
    assert dtypes == {dtype}


@pytest.mark.slow
def test_the_gradient_scaler_of_fp16_leaves_updates_out_and_is_resumed(tmp_path, monkeypatch):
    # Far too large at first, so that gradients overflow; doubled again and again, so that they overflow later too.
    def large_scaler(precision, device):
        return torch.amp.GradScaler("cpu", init_scale=2.0**17, growth_interval=2)

    monkeypatch.setattr(state, "gradient_scaler", large_scaler)  # which would ask for a GPU
    half = settings(precision="fp16", log_every=12)
    whole, resumed = build(), build()
    expected = train(tmp_path / "whole", whole, settings=half)
    assert 2 <= expected.skipped_steps <= 16
    with pytest.raises(Killed):
        train(tmp_path / "killed", loss=killing(31, []), settings=half)
    assert train(tmp_path / "killed", resumed, settings=half) == expected
    assert same_weights(whole, resumed)


def test_the_log_has_the_history_and_what_the_loss_reports(tmp_path):
    def reporting(model, batch):
        value = loss(model, batch)
        return value, {"root": value.detach().sqrt(), "one": 1.0}

    with Tracker(tmp_path) as tracker:
        result = train(tmp_path, loss=reporting, tracker=tracker)
    rows = read_jsonl(tmp_path / "log.jsonl")
    logged = [{name: row[name] for name in wanted} for row, wanted in zip(rows, result.history, strict=True)]
    assert logged == result.history
    assert {row["label"] for row in rows} == {"tiny"}
    assert result.history[0]["one"] == 1.0
    assert result.history[0]["root"] > 0


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    model = build()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(tmp_path, model)
    assert torch.equal(torch.rand(1), expected)


def test_a_loss_that_is_not_a_number_is_explained(tmp_path):
    with pytest.raises(ModelError, match=r"the loss has shape \[4, 1\]"):
        train(tmp_path, loss=lambda model, batch: model(batch.inputs))


def batch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("phonemi-batches")]


def test_an_exception_of_a_batch_appears_in_its_place_and_the_thread_ends(tmp_path):
    def failing(index):
        if index == 7:
            raise ValueError("batch 7 is bad")
        return batch_at(index)

    recorded = []
    with pytest.raises(ValueError, match="batch 7 is bad"):
        train(tmp_path, batch_at=failing, loss=killing(-1, recorded))
    assert len(recorded) == 6
    assert not batch_threads()


def test_batches_are_computed_ahead_in_order_and_no_further():
    made = []
    batches = prefetched(lambda index: made.append(index) or index, range(100))
    assert [next(batches) for _ in range(5)] == [0, 1, 2, 3, 4]
    deadline_s = time.monotonic() + 5
    while len(made) < 7 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    batches.close()
    assert made == list(range(7))
    assert not batch_threads()


def test_a_forecast_is_told_once_how_long_an_update_takes(tmp_path):
    told = []

    def slow_loss(model, batch):
        time.sleep(0.02)
        return loss(model, batch)

    def run(steps, folder):
        told.clear()
        common = {"batch_at": batch_at, "settings": settings(steps=steps), "validate": validate}
        fit(
            build(), loss=slow_loss, folder=tmp_path / folder, label="row",
            forecast=lambda *facts: told.append(facts), **common,
        )  # fmt: skip

    run(24, "long")
    [(seconds, updates)] = told
    assert 0.04 < seconds < 1, "two batches of each update"
    assert updates == 18
    run(24, "long")
    assert not told, "nothing is left"
    run(4, "short")
    assert not told


def test_a_forecast_is_said_once_and_only_of_what_is_long():
    said = []
    forecast = Forecast(said.append, "2 000 updates of each of 3 rows", "take fewer", side_by_side=2)
    forecast.updates_after = 4000
    forecast(2.0, 2000)
    forecast(2.0, 2000)
    assert said == ["about 2 h on this machine for 2 000 updates of each of 3 rows; take fewer"]
    said.clear()
    Forecast(said.append, "2 000 updates")(0.5, 2000)
    assert said == ["about 17 min on this machine for 2 000 updates"]
    said.clear()
    Forecast(said.append, "2 000 updates")(0.2, 2000)
    assert not said
