"""What went wrong -> one clear line: the few exceptions that the command line turns into `phonemi: ...` and exit 1."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

# Modules that `pip install 'phonemi[research]'` adds to the core.
RESEARCH_MODULES = {"transformers", "scipy", "pydantic", "yaml", "matplotlib", "jinja2", "accelerate"}


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


class PhonemiWarning(UserWarning):
    """The work is done, but what it was done on is not what one would hope for."""


def require_extra(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say how to install it.

    Args:
        module: name to import, for instance `"pesq"`.
        extra: the extra of this package that installs it, for instance `"eval"`.

    Raises:
        MissingExtra: if the package cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{module} is not installed ({error}): pip install 'phonemi[{extra}]'") from error


@contextmanager
def explaining_missing_packages() -> Iterator[None]:
    """Say how to install a package of `phonemi[research]` whose import fails within the `with` block.

    Raises:
        MissingExtra: naming the package and the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in RESEARCH_MODULES:
            raise
        raise MissingExtra(f"{package} is not installed: pip install 'phonemi[research]'") from error


def import_transformers(name: str, model_type: str | None = None) -> ModuleType:
    """Import transformers, and its code for one type of model, before anything else does.

    It imports any torchaudio it finds, needed or not, and one that was built for another torch fails in many ways.

    Args:
        name: the model that is to be loaded, for the message.
        model_type: such as "wavlm"; None: transformers alone.

    Raises:
        MissingExtra: if transformers is not installed.
        ModelError: if it cannot be imported for another reason.
    """
    try:
        with explaining_missing_packages():
            if model_type is not None:
                importlib.import_module(f"transformers.models.{model_type}.modeling_{model_type}")
            return importlib.import_module("transformers")
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"loading {name}: transformers cannot be imported ({one_line(error)}); if torchaudio is installed, it may "
            f"not fit torch {importlib.metadata.version('torch')}: pip uninstall torchaudio (phonemi does not need it)"
        ) from None


def unreachable_model(name: str, error: Exception) -> ModelError:
    """What to say of a model that transformers cannot read from a folder, or from the Hugging Face hub."""
    reason = one_line(error)
    if Path(name).is_dir():
        return ModelError(f"{name} holds no model that can be loaded ({reason})")
    if name.startswith((".", "/", "~")):
        return ModelError(f"the folder {name} does not exist")
    return ModelError(
        f"{name!r} is neither a local folder nor a model that the Hugging Face hub gives now ({reason}): "
        f"where there is a network, run `hf download {name} --local-dir FOLDER`, then name that folder"
    )


def one_line(error: Exception) -> str:
    """What an exception of another package says, at most 200 characters of it.

    >>> one_line(OSError("no such\\n  file"))
    'no such file'
    """
    return " ".join(str(error).split())[:200]


def kept_traceback() -> str:
    """Write the trace of the exception that is being handled to a file of its own, for a report; its path."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="phonemi-", suffix=".txt", delete=False) as file:
        file.write(traceback.format_exc())
    return file.name


def nearest(name: str, known: Iterable[str]) -> str:
    """End of an error message about an unknown name.

    >>> nearest("sed", ["seed", "steps"])
    "did you mean 'seed'?"
    >>> nearest("zzz", ["seed", "steps"])
    'known: seed, steps'
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
