"""weights.tensors: a file is whole or absent, and fits its module or is refused by the name of a tensor."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from phonemi.errors import ModelError, PhonemiError
from phonemi.weights.tensors import load_weights, save_weights


def module(inputs=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 2), nn.BatchNorm1d(2))


def test_what_is_saved_is_loaded(tmp_path):
    path, other = tmp_path / "new" / "weights.safetensors", module(seed=1)
    save_weights(module(), path, metadata={"step": "7"})
    load_weights(other, path)
    assert all(torch.equal(value, module().state_dict()[name]) for name, value in other.state_dict().items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"step": "7"}
    save_weights({"a": torch.arange(6.0).view(2, 3).T}, path)
    torch.testing.assert_close(load_file(path)["a"], torch.tensor([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]))


def test_half_precision_is_for_parameters_and_becomes_single_again(tmp_path):
    path, saved = tmp_path / "weights.safetensors", module()
    saved[1].running_mean.fill_(0.1)
    save_weights(saved, path, half=True)
    types = {name: value.dtype for name, value in load_file(path).items()}
    assert (types["0.weight"], types["1.running_mean"]) == (torch.float16, torch.float32)
    load_weights(loaded := module(seed=1), path)
    assert torch.equal(loaded[0].weight, saved[0].weight.half().float())
    assert torch.equal(loaded[1].running_mean, saved[1].running_mean)


def test_what_does_not_fit_is_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(module(), path)
    with pytest.raises(ModelError, match=r"0\.weight is \[2, 3\], expected \[2, 4\]"):
        load_weights(module(inputs=4), path)
    with pytest.raises(ModelError, match=r"1\.bias is unknown to the model"):
        load_weights(nn.Sequential(nn.Linear(3, 2)), path)
    with pytest.raises(ModelError, match=r"2\.weight is missing in the file"):
        load_weights(nn.Sequential(*module(), nn.Linear(1, 1, bias=False)), path)
    path.write_bytes(path.read_bytes()[:-9])
    for unreadable in (path, tmp_path / "absent"):
        with pytest.raises(ModelError, match="cannot be read") as caught:
            load_weights(module(), unreadable)
        assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PhonemiError, match=r"cannot write .*weights"):
        save_weights(module(), tmp_path / "file" / "weights.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


KILLER = """
import os, signal, sys, time
import torch
from pathlib import Path
from phonemi.files import remove_leftovers
from phonemi.weights.tensors import save_weights
path = Path(sys.argv[1])
save_weights({"a": torch.zeros(9)}, path)
for delay_s in (0.05, 0.08, 0.11, 0.14, 0.17, 0.2):
    child = os.fork()
    if child == 0:
        while True:
            save_weights({"a": torch.zeros(20_000_000)}, path)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    remove_leftovers([path])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_what_a_killed_process_leaves_is_found_and_removed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path / "a.safetensors")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert load_file(tmp_path / "a.safetensors")["a"].sum() == 0
