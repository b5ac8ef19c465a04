"""The names of what a command is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from phonemi.enhancers.names import name_systems
from phonemi.errors import ConfigError


def test_a_folder_may_have_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lr=0.1").mkdir()
    assert name_systems(["lr=0.1"]) == {"lr=0.1": "lr=0.1"}


def test_two_systems_of_one_name() -> None:
    with pytest.raises(ConfigError, match="two systems are called 'files': name one of them, as in NAME=b/files"):
        name_systems(["a/files", "b/files"])
