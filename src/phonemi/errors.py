"""The exceptions that the command line turns into one line, `phonemi: ...`, and exit code 1 (or 2: a configuration)."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType

# Modules that `pip install 'phonemi[research]'` adds to the core.
RESEARCH_MODULES = {"transformers", "scipy", "pydantic", "yaml", "matplotlib"}


class PhonemiError(Exception):
    """The work cannot be done; the message says what was asked, what was found and what to do, in one line."""


class AudioError(PhonemiError):
    """A recording that is missing, empty, truncated, not audio, or holds samples that are not finite."""


class DataError(PhonemiError):
    """A manifest, alignment or corpus that contradicts itself or the files it names."""


class ConfigError(PhonemiError):
    """A configuration key or value that does not exist or does not fit."""


class ModelError(PhonemiError):
    """Weights that are missing or do not fit the model they are meant for."""


class MissingExtra(PhonemiError):
    """A package outside the core install is needed."""


class ProcessEnded(PhonemiError):
    """Another process of the same training has ended before the work was done; that one says why."""


class PhonemiWarning(UserWarning):
    """The work is done, but something about its input makes the result worse than usual."""


def require_extra(module: str, extra: str) -> ModuleType:
    """Import an optional package, for instance "pesq", or say that an extra, for instance "eval", installs it.

    Raises:
        MissingExtra: if the package cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{module} is not installed ({error}): pip install 'phonemi[{extra}]'") from error


@contextmanager
def explaining_missing_packages() -> Iterator[None]:
    """Raise MissingExtra, which says how to install it, for a package of `phonemi[research]` that is not found."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in RESEARCH_MODULES:  # a part of a package that is missing is another fault
            raise
        raise MissingExtra(f"{error.name} is not installed: pip install 'phonemi[research]'") from error


def one_line(error: Exception) -> str:
    """The message of another package's exception on one line, cut at 200 characters.

    >>> one_line(OSError("no such\\n  file"))
    'no such file'
    """
    return " ".join(str(error).split())[:200]


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the known name closest to it, or all of them.

    >>> nearest("sed", ["seed", "steps"])
    "did you mean 'seed'?"
    >>> nearest("zzz", ["seed", "steps"])
    'known: seed, steps'
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
