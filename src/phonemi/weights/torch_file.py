"""Read what `torch.save` has written without running any code of it: numbers, texts, lists, dicts and tensors alone.

A pickle names functions that are called while it is read. Here none of them is imported: a name that is not of a tensor
stands for nothing (`UnknownObject`), and a training's schedulers and optimisers can lie beside weights without their
modules.
Unlike `torch.load(weights_only=True)`, which refuses a file with any such name, this reads the rest of it.
"""

from __future__ import annotations

import math
import os
import pickle
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Self

import torch
from torch import Tensor

from phonemi.errors import ModelError, one_line

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # of files before torch 1.6
LEGACY_VERSION = 1001
TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class UnknownObject:
    """What a pickle makes of a class or a function that is not of a tensor: an object without content."""

    __slots__ = ()

    def __new__(cls, *arguments: object, **options: object) -> Self:
        return super().__new__(cls)

    def __call__(self, *arguments: object) -> UnknownObject:
        """What an unknown function gives is unknown too."""
        return UnknownObject()

    def ignore(self, *arguments: object) -> None:
        """Take no notice of what the pickle would put into the object."""

    __setstate__ = append = extend = add = __setitem__ = ignore


class Mapping(dict[Any, Any]):
    """An OrderedDict without attributes of its own."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Leave out the `_metadata` of a state dict."""


class TensorRecord:
    """A tensor that is not read yet: where its values lie, and how."""

    __slots__ = ("offset", "shape", "storage", "strides")
    storage: Any
    offset: Any
    shape: Any
    strides: Any

    def __new__(cls, storage: Any, offset: Any, shape: Any, strides: Any, *rest: object) -> Self:
        self = super().__new__(cls)
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides
        return self

    def __setstate__(self, state: object) -> None:
        """Leave out attributes of the tensor."""


class Parameter:
    """A parameter is its tensor."""

    __slots__ = ()

    def __new__(cls, data: Any, *rest: object) -> Any:
        return data


KNOWN: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): Mapping,
    ("torch._utils", "_rebuild_tensor"): TensorRecord,
    ("torch._utils", "_rebuild_tensor_v2"): TensorRecord,
    ("torch._utils", "_rebuild_parameter"): Parameter,
}


class Storage:
    """A block of values in the file: its name there, its type and its length."""

    __slots__ = ("count", "dtype", "key")

    def __init__(self, dtype: Any, key: object, count: object) -> None:
        self.dtype, self.key, self.count = dtype, str(key), count

    def __setstate__(self, state: object) -> None:
        """Leave out what a pickle would add."""

    @property
    def size(self) -> int:
        """Bytes of the values."""
        if not isinstance(self.dtype, torch.dtype) or type(self.count) is not int or self.count < 0:
            raise pickle.UnpicklingError(f"the values {self.key!r} have no known type and number")
        return self.count * self.dtype.itemsize


class Unpickler(pickle.Unpickler):
    """Builds plain containers, `TensorRecord` tensors and `UnknownObject` objects; imports nothing.

    Attributes:
        storages: the blocks of values that are named, by name.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; a new one each time, so that a pickle cannot change what others get."""
        if module == "torch" and name in TYPES:
            return TYPES[name]
        base = KNOWN.get((module, name), UnknownObject)
        return type(f"{module}.{name}", (base,), {"__slots__": ()})

    def persistent_load(self, pid: Any) -> object:
        """A block of values that lies elsewhere in the file."""
        if pid[0] != "storage":
            return UnknownObject()
        _, dtype, key, _, count, *view = pid
        if any(part is not None for part in view):
            return UnknownObject()
        return self.storages.setdefault(str(key), Storage(dtype, key, count))


class TorchFile:
    """A file of `torch.save`, in the format of torch 1.6 (zip) or the one before it.

    Attributes:
        content: what was saved, with a `TensorRecord` in the place of every tensor, see `tensor`.

    Raises:
        ModelError: if it is no such file, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._offsets: dict[str, int] | None = None  # of the blocks of values, where they lie one after the other
        with self._explaining_damage(), open(path, "rb") as file:
            is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
            file.seek(0)
            self.content = self._read_zip() if is_zip else self._read_legacy(file)

    def tensor(self, stored: object) -> Tensor:
        """The values of a `TensorRecord` tensor, in memory of their own.

        Raises:
            ModelError: if it is none, or its values are not in the file.
        """
        with self._explaining_damage():
            if not (isinstance(stored, TensorRecord) and isinstance(stored.storage, Storage)):
                raise pickle.UnpicklingError(f"expected a tensor, found {type(stored).__name__}")
            data = self._bytes_of(stored.storage)
            if math.prod(stored.shape) > stored.storage.count:
                raise pickle.UnpicklingError(f"a tensor of shape {stored.shape} has {stored.storage.count} values")
            if not data:
                return torch.empty(stored.shape, dtype=stored.storage.dtype)
            flat = torch.frombuffer(bytearray(data), dtype=stored.storage.dtype)
            return flat.as_strided(stored.shape, stored.strides, stored.offset).clone()

    def _read_zip(self) -> Any:
        with zipfile.ZipFile(self.path) as archive:
            (name,) = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            self._folder = name.removesuffix("data.pkl")
            if f"{self._folder}byteorder" in archive.namelist():
                self._check_order(archive.read(f"{self._folder}byteorder") == b"little")
            with archive.open(name) as file:
                return Unpickler(file).load()

    def _read_legacy(self, file: BinaryIO) -> Any:
        header = [Unpickler(file).load() for _ in range(3)]
        if header[:2] != [LEGACY_MAGIC, LEGACY_VERSION]:
            raise pickle.UnpicklingError(f"it begins with {header[0]!r}")
        self._check_order(dict(header[2]).get("little_endian", True) is True)
        unpickler = Unpickler(file)
        content = unpickler.load()
        self._offsets = {}
        for key in map(str, Unpickler(file).load()):
            file.seek(8, os.SEEK_CUR)  # the number of values once more
            self._offsets[key] = file.tell()
            file.seek(unpickler.storages[key].size, os.SEEK_CUR)
        return content

    def _check_order(self, is_little: bool) -> None:
        if not is_little or sys.byteorder != "little":
            raise pickle.UnpicklingError("it was written, or would be read, on a machine with the other byte order")

    def _bytes_of(self, storage: Storage) -> bytes:
        if self._offsets is None:
            with zipfile.ZipFile(self.path) as archive:
                data = archive.read(f"{self._folder}data/{storage.key}")
        else:
            with open(self.path, "rb") as file:
                file.seek(self._offsets[storage.key])
                data = file.read(storage.size)
        if len(data) != storage.size:
            raise pickle.UnpicklingError(f"{len(data)} bytes in the place of {storage.size}")
        return data

    @contextmanager
    def _explaining_damage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ModelError(f"{self.path} cannot be read: {error.strerror or error}") from None
        except Exception as error:  # a damaged pickle raises errors of any kind
            raise ModelError(f"{self.path} is no file of torch.save, or damaged ({one_line(error)})") from None
