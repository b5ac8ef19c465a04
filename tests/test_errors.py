"""Errors: messages that say what to do."""

from __future__ import annotations

import json

import pytest

from phonemi import errors


def test_require_extra_imports_what_is_there() -> None:
    assert errors.require_extra("json", "eval") is json


def test_require_extra_says_how_to_install_what_is_not() -> None:
    with pytest.raises(
        errors.MissingExtra, match=r"no_such_module is not installed \(.*\): pip install 'phonemi\[eval\]'"
    ) as caught:
        errors.require_extra("no_such_module", "eval")
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("learning_rat", ["seed", "learning_rate"], "did you mean 'learning_rate'?"),
        ("zzz", ["b", "a"], "known: a, b"),
        ("zzz", [], "known: "),
    ],
)
def test_nearest(name: str, known: list[str], message: str) -> None:
    assert errors.nearest(name, iter(known)) == message
