"""Short names for the enhancers and other systems that a command is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phonemi.errors import ConfigError


def name_systems(systems: Sequence[str]) -> dict[str, str]:
    """The systems by their names: NAME of NAME=SYSTEM, otherwise the last part of a path or id.

    Raises:
        ConfigError: if two have the same name.

    >>> name_systems(["out/ours/", "theirs=out/dtln/files", "default"])
    {'ours': 'out/ours/', 'theirs': 'out/dtln/files', 'default': 'default'}
    """
    named: dict[str, str] = {}
    for system in systems:
        name, equals, source = system.partition("=")
        if not equals or Path(system).exists():
            name, source = Path(system).name, system
        if name in named:
            raise ConfigError(f"two systems are called {name!r}: name one of them, as in NAME={source}")
        named[name] = source
    return named
