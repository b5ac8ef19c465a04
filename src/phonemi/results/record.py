"""Records: dataclasses that are read from JSON and written to it by the types of their fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

from phonemi.errors import DataError
from phonemi.files import read_json

T = TypeVar("T")


class RecordError(DataError):
    """A JSON value that does not fit a record; the message says which value, and what was expected."""


class Record:
    """Base of the records. Its subclasses are dataclasses whose field names are the keys of the JSON object.

    Keys that a record does not know are ignored, so that results of a later version can be read.
    """

    @classmethod
    def from_json(cls, content: Any, where: str = "") -> Self:
        """Read a record from a JSON object; `where` is its place in its file, for error messages.

        Raises:
            RecordError: if a key is missing or a value has another type.
        """
        return typing.cast(Self, _read_object(cls, content, where))

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object. Optional values that are None are left out, other ones are null."""
        return _object_of(self)


def omitted_if_none() -> Any:
    """Default of a field whose key is not written where there is no value."""
    return dataclasses.field(default=None, metadata={"omitted_if_none": True})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowRecord(Record):
    """A record about one row of the tables; `label` is what they print, None to print the name."""

    row: str
    label: str | None = omitted_if_none()

    @property
    def title(self) -> str:
        """What tables, figures and sentences call the row."""
        return self.row if self.label is None else self.label


def read_record(path: str | Path, kind: type[T]) -> T:
    """Read a JSON file that holds a record, or a tuple of records.

    Raises:
        DataError: if the file is missing, is not JSON or does not fit; the message names the file and the value.
    """
    try:
        return typing.cast(T, _read(kind, read_json(path), ""))
    except RecordError as error:
        raise DataError(f"{path} is not what its stage writes: {error}") from None


@cache
def _types(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read_object(kind: type, content: Any, where: str) -> Any:
    _expect(dict, content, where)
    values = {}
    for field in dataclasses.fields(kind):
        if field.name in content:
            place = f"{where}.{field.name}" if where else field.name
            values[field.name] = _read(_types(kind)[field.name], content[field.name], place)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecordError(f"{where or 'the file'} has no {field.name!r}")
    return kind(**values)


def _read(kind: Any, value: Any, where: str) -> Any:
    """Read a value of a field type: number, text, bool, dataclass, tuple[T, ...], dict[str, T], T | None or Any."""
    if kind is Any:
        return value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _read(arguments[0], value, where)
    if origin is tuple:
        items = enumerate(_expect(tuple, value, where))
        return tuple(_read(arguments[0], item, f"{where}[{index}]") for index, item in items)
    if origin is dict:
        items = _expect(dict, value, where).items()
        return {key: _read(arguments[1], item, f"{where}[{key!r}]") for key, item in items}
    if kind in _NAMES:
        return kind(_expect(kind, value, where))
    return kind.from_json(value, where) if issubclass(kind, Record) else _read_object(kind, value, where)


_NAMES: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    tuple: "a list",
    dict: "an object",
}


def _expect(kind: Any, value: Any, where: str) -> Any:
    """The value, if it is of the type; a whole number is a number, true and false are none."""
    accepted = {float: (int, float), tuple: (list, tuple)}.get(kind, kind)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        text = repr(value) if len(repr(value)) < 40 else type(value).__name__
        raise RecordError(f"{where or 'the file'} is {text}, expected {_NAMES[kind]}")
    return value


def _object_of(record: Any) -> dict[str, Any]:
    return {
        field.name: _json_of(value)
        for field in dataclasses.fields(record)
        if (value := getattr(record, field.name)) is not None or not field.metadata.get("omitted_if_none")
    }


def _json_of(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if dataclasses.is_dataclass(value):
        return _object_of(value)
    if isinstance(value, (list, tuple)):
        return [_json_of(item) for item in value]
    return {key: _json_of(item) for key, item in value.items()} if isinstance(value, dict) else value
