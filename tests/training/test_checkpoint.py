import os
import pickle
import resource

import pytest
import torch
from torch import nn

from phonemi.errors import ModelError, PhonemiError
from phonemi.training.checkpoint import (
    WeightsRecord,
    check_same,
    load_trained_state,
    load_weights,
    read_checkpoint,
    read_weights_record,
    trained_state,
    write_checkpoint,
    write_weights,
)


def half_frozen():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model


def test_frozen_parameters_are_left_out_and_buffers_are_in():
    assert set(trained_state(half_frozen())) == {
        "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked", "2.weight", "2.bias",
    }  # fmt: skip


def test_trained_state_is_a_copy():
    model = half_frozen()
    before = trained_state(model)
    with torch.no_grad():
        model[2].weight += 1
    assert not torch.equal(before["2.weight"], model[2].weight)


def test_checkpoint_comes_back_equal(tmp_path):
    contents = {"step": 3, "history": [{"loss": 0.5}], "model": {"w": torch.arange(3.0)}, "shape": (3,), "none": None}
    write_checkpoint(tmp_path / "last.pt", contents)
    found = read_checkpoint(tmp_path / "last.pt")
    assert torch.equal(found.pop("model")["w"], torch.arange(3.0))
    assert found == {"step": 3, "history": [{"loss": 0.5}], "shape": (3,), "none": None}


def test_no_checkpoint_is_none(tmp_path):
    assert read_checkpoint(tmp_path / "last.pt") is None
    assert read_weights_record(tmp_path / "best.safetensors") is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_damaged_checkpoint_is_one_line(tmp_path, share):
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"model": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelError, match="delete it to start over") as raised:
        read_checkpoint(path)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_never_runs_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "made"),))

    with open(tmp_path / "last.pt", "wb") as file:
        pickle.dump(Evil(), file, protocol=2)
    torch.save({"model": Evil()}, tmp_path / "zipped.pt")
    for name in ("last.pt", "zipped.pt"):
        with pytest.raises(ModelError):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value", [None, 1.1, -0.1 + 0.3, 1e-300])
def test_weights_carry_where_they_come_from_exactly(tmp_path, value):
    path = tmp_path / "best.safetensors"
    model = half_frozen()
    write_weights(path, model, WeightsRecord(7, value))
    other = half_frozen()
    with torch.no_grad():
        other[2].weight.zero_()
    assert load_weights(path, other) == read_weights_record(path) == WeightsRecord(7, value)
    assert torch.equal(other[2].weight, model[2].weight)


def test_tied_parameters_can_be_saved(tmp_path):
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model[1].weight = model[0].weight
    write_weights(tmp_path / "best.safetensors", model, WeightsRecord(1, None))
    assert load_weights(tmp_path / "best.safetensors", model).step == 1


def test_weights_of_another_model_name_the_difference(tmp_path):
    write_weights(tmp_path / "best.safetensors", half_frozen(), WeightsRecord(1, None))
    with pytest.raises(ModelError, match=r"weight = absent, now weight = \(1, 1\)"):
        load_weights(tmp_path / "best.safetensors", nn.Linear(1, 1))


def test_foreign_and_missing_weights_are_one_line(tmp_path):
    path = tmp_path / "best.safetensors"
    with pytest.raises(ModelError, match="is missing"):
        load_weights(path, half_frozen())
    path.write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match="does not hold weights"):
        load_weights(path, half_frozen())


def test_loading_a_state_needs_every_name(tmp_path):
    state = trained_state(half_frozen())
    del state["2.bias"]
    with pytest.raises(ModelError, match=r"2\.bias = absent"):
        load_trained_state(half_frozen(), state, tmp_path)


def test_differences_are_counted_once(tmp_path):
    check_same({"a": 1, "b": (2,)}, {"b": (2,), "a": 1}, tmp_path)
    with pytest.raises(ModelError, match=r"with b = 2, now b = 3 \(and 1 more differences\)"):
        check_same({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3}, tmp_path)


@pytest.mark.parametrize("step", ["open", "sync", "rename"])
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, step):
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"step": 1})

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    where = {"open": "pathlib.Path.write_bytes", "sync": "os.fsync", "rename": "os.replace"}[step]
    monkeypatch.setattr(where, full)
    with pytest.raises(PhonemiError, match="No space left on device; the one before is intact"):
        write_checkpoint(path, {"step": 2})
    monkeypatch.undo()
    assert read_checkpoint(path) == {"step": 1}
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_disk_that_fills_up_in_the_middle_of_a_write(tmp_path):
    # A limit on the size of files stops an ordinary write half way, as a full disk does.
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(PhonemiError, match="File too large; the one before is intact"):
            write_checkpoint(path, {"a": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_checkpoint(path) == {"step": 1}
    assert os.listdir(tmp_path) == ["last.pt"]
