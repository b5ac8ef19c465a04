"""Files of torch.save are read without running anything that they name."""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phonemi.errors import ModelError
from phonemi.weights.torch_file import TorchFile, UnknownObject

FORMATS = [True, False]  # zip, and the one before torch 1.6


class Evil:
    """Runs a command when it is unpickled by pickle itself."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def saved(path: Path, content: Any, is_zip: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


def with_pickle(path: Path, content: bytes) -> Path:
    """A file in the format of today whose pickle is `content`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path


@pytest.mark.parametrize("is_zip", FORMATS)
def test_tensors_come_back(tmp_path: Path, is_zip: bool) -> None:
    whole = torch.arange(24.0).view(4, 6)
    tensors = {
        "whole": whole,
        "view": whole[1:3, ::2],
        "turned": whole.T,
        "half": whole.half(),
        "bfloat16": whole.bfloat16(),
        "double": whole.double(),
        "long": whole.long(),
        "bool": whole > 3,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(whole + 1),
    }
    file = TorchFile(saved(tmp_path / "file", {"state": collections.OrderedDict(tensors)}, is_zip))
    assert list(file.content["state"]) == list(tensors)
    for name, stored in file.content["state"].items():
        assert torch.equal(file.tensor(stored), tensors[name].detach())
        assert file.tensor(stored).dtype == tensors[name].dtype


@pytest.mark.parametrize("is_zip", FORMATS)
def test_plain_values_come_back_and_others_stand_for_nothing(tmp_path: Path, is_zip: bool) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 3)).sum().backward()
    optimizer.step()
    plain = {"a": [1, 2.5, "text", None, True, (1, "2")], "deep": {"b": {"c": []}}, 3: "number"}
    others = {
        "arguments": argparse.Namespace(lr=1.0, config={"x": 1}),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2),
        "optimizer": optimizer.state_dict(),
        "counts": collections.defaultdict(list, {"x": [1]}),
        "numpy": np.float64(2.0),
        "array": np.arange(3),
        "path": Path("somewhere"),
        "set": {1, 2},
        "function": os.path.join,
        "dtype": torch.float32,
        "size": torch.Size([2, 3]),
        "generator": np.random.default_rng(0),
    }
    file = TorchFile(saved(tmp_path / "file", {"plain": plain, **others}, is_zip))
    assert file.content["plain"] == plain
    for name in ("arguments", "scheduler", "counts", "numpy", "array", "path"):
        assert isinstance(file.content[name], UnknownObject)
    with pytest.raises(ModelError, match="expected a tensor, found"):
        file.tensor(file.content["arguments"])


@pytest.mark.parametrize("is_zip", FORMATS)
def test_nothing_is_run_or_imported(tmp_path: Path, is_zip: bool) -> None:
    marker = tmp_path / "was here"
    evil = [
        Evil(os.system, (f"touch '{marker}'",)),
        Evil(eval, (f"open({str(marker)!r}, 'w')",)),
        Evil(open, (str(marker), "w")),
        Evil(Path.touch, (marker,)),
        Evil(__import__, ("this",)),
    ]
    path = saved(tmp_path / "file", {"evil": evil, "good": torch.ones(2)}, is_zip)
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file is as bad as it should be"
    marker.unlink()
    file = TorchFile(path)
    assert torch.equal(file.tensor(file.content["good"]), torch.ones(2))
    assert not marker.exists()


def test_a_module_that_is_not_there_is_not_looked_for(tmp_path: Path) -> None:
    path = with_pickle(tmp_path / "file", b"\x80\x02}X\x01\x00\x00\x00acoptimizers\nLamb\n)Rs.")
    with pytest.raises(ModuleNotFoundError, match="optimizers"), zipfile.ZipFile(path) as archive:
        pickle.loads(archive.read("archive/data.pkl"))
    assert isinstance(TorchFile(path).content["a"], UnknownObject)


def test_a_module_that_is_there_is_not_imported(tmp_path: Path) -> None:
    path = with_pickle(tmp_path / "file", b"\x80\x02}X\x01\x00\x00\x00acantigravity\nfly\ns.")
    TorchFile(path)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",  # a state for the function itself
        b"\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00itemsK\x01sb.",
        b"\x80\x02ctorch\nFloatStorage\n}X\x05\x00\x00\x00itemsK\x01sb.",
        b"\x80\x02ctorch\nFloatStorage\n)R.",  # a type is not called
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",  # without arguments
        b"\x80\x02)Q.",  # a reference that is none
        b"",
        b"\x80\x05\x95",
    ],
)
def test_pickles_that_do_not_fit_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = with_pickle(tmp_path / "file", content)
    with pytest.raises(ModelError, match=r"file is no file of torch\.save, or damaged") as caught:
        TorchFile(path)
    assert "\n" not in str(caught.value)


def test_what_a_pickle_sets_on_a_class_stays_in_the_file(tmp_path: Path) -> None:
    content = b"\x80\x02ccollections\nOrderedDict\nN}X\x06\x00\x00\x00updateK\x01s\x86b."
    with contextlib.suppress(ModelError):
        TorchFile(with_pickle(tmp_path / "file", content))
    good = TorchFile(saved(tmp_path / "good", collections.OrderedDict(a=1))).content
    assert callable(good.update)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello", b"\x80\x02K\x01.", bytes(1000)])
def test_other_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ModelError, match=r"file is no file of torch\.save, or damaged"):
        TorchFile(tmp_path / "file")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing cannot be read: No such file"):
        TorchFile(tmp_path / "nothing")


@pytest.mark.parametrize("is_zip", FORMATS)
def test_a_cut_file(tmp_path: Path, is_zip: bool) -> None:
    path = saved(tmp_path / "file", {"a": torch.zeros(1000), "b": torch.zeros(1000)}, is_zip)
    path.write_bytes(path.read_bytes()[:-2000])

    def read() -> None:
        file = TorchFile(path)
        for stored in file.content.values():
            file.tensor(stored)

    with pytest.raises(ModelError, match="damaged"):
        read()


def test_shapes_that_the_values_do_not_fill(tmp_path: Path) -> None:
    path = saved(tmp_path / "file", {"a": torch.zeros(4)})
    file = TorchFile(path)
    stored = file.content["a"]
    for attribute, value in {"shape": (10**12,), "offset": 3, "strides": (2,), "offset ": -1}.items():
        before = getattr(stored, attribute.strip())
        setattr(stored, attribute.strip(), value)
        with pytest.raises(ModelError, match="damaged"):
            file.tensor(stored)
        setattr(stored, attribute.strip(), before)
    assert torch.equal(file.tensor(stored), torch.zeros(4))


@pytest.fixture(scope="module", params=FORMATS)
def whole_file(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = {"state": {"w": torch.arange(6.0).view(2, 3)}, "arguments": argparse.Namespace(a=1), "x": [1, 2, "three"]}
    return saved(tmp_path_factory.mktemp("file") / "file", content, request.param)


@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(whole_file: Path, data: st.DataObject) -> None:
    content = bytearray(whole_file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = whole_file.with_name("damaged")
    path.write_bytes(content)
    try:
        file = TorchFile(path)
        file.tensor(file.content["state"]["w"])
    except (ModelError, KeyError, TypeError, AttributeError, IndexError):  # the last four from this test's own lookups
        pass
