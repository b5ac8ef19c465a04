"""Import transformers, and explain why it, or a model it should read, cannot be loaded."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path
from types import ModuleType

from phonemi.errors import ModelError, explaining_missing_packages, one_line


def import_transformers(name: str, model_type: str | None = None) -> ModuleType:
    """Import transformers, and its code for a `model_type` such as "wavlm", to load the model `name`.

    transformers imports any torchaudio it finds, needed or not, and one that was built for another torch fails in many
    ways. So this comes first, before anything else imports transformers.

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


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from reports that frighten users, and from bars but of downloads; errors are still shown."""
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    shows_downloads, hub_verbosity = not are_progress_bars_disabled(), hub_logging.get_verbosity()
    logging.set_verbosity_error()
    hub_logging.set_verbosity(ERROR)  # it tells of every attempt to reach the hub
    logging.disable_progress_bar()
    if shows_downloads:
        enable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if had_bars:
            logging.enable_progress_bar()
            if not shows_downloads:
                disable_progress_bars()


def unreachable_model(name: str, error: Exception) -> ModelError:
    """The error for a model that transformers cannot read from a folder, or from the Hugging Face hub."""
    reason = one_line(error).partition(" Check your internet connection")[0].rstrip(".")
    if Path(name).is_dir():
        return ModelError(f"{name} holds no model that can be loaded ({reason})")
    if name.startswith((".", "/", "~")):
        return ModelError(f"the folder {name} does not exist")
    return ModelError(
        f"{name!r} is neither a local folder nor a model that the Hugging Face hub gives now ({reason}): "
        f"where there is a network, run `hf download {name} --local-dir FOLDER`, then name that folder"
    )
