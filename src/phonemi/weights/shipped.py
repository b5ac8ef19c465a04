"""The models that come with the package: their names, their folders and the hashes of their weights.

A folder holds config.json, whose `model_type` says what kind of model it is, model.safetensors and a card. The names of
these models are looked up before local folders, so that a command does the same in every working directory: `mini` is
the model of the package, `./mini` is a folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phonemi.constants import SAMPLE_RATE
from phonemi.errors import DataError, ModelError
from phonemi.files import read_json, sha256

WEIGHTS = Path(__file__).parent
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
SIDE_BY_SIDE = "+"  # between the names of two representations


def names(model_type: str) -> list[str]:
    """Names of the models of a type, in alphabetical order."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{CONFIG_FILE}") if type_of(path) == model_type)


def folder_of(name: str | Path, model_type: str) -> Path | None:
    """Folder of a model of the package; None for other names, and for a `Path`, which always means a local folder."""
    return WEIGHTS / name if isinstance(name, str) and name in names(model_type) else None


def version_of(name: str) -> str | None:
    """SHA-256 of the weights of a model of any type; None if the package has none of that name."""
    path = WEIGHTS / name / WEIGHTS_FILE
    return sha256(path) if Path(name).name == name and path.is_file() else None


def parts_of(name: str) -> list[str]:
    """The two names in that of representations side by side, or the name alone.

    >>> parts_of("mini+log1p"), parts_of("mini")
    (['mini', 'log1p'], ['mini'])
    """
    first, separator, second = name.partition(SIDE_BY_SIDE)
    return [name] if not separator or Path(name).exists() else [first, second]


def listed(model_type: str) -> str:
    """The names of a type in one line, for error messages about unknown names."""
    return ", ".join(names(model_type)) or "none in this version"


def type_of(config: Path) -> object:
    """The `model_type` in a config.json; None if it is missing, damaged or of something else."""
    try:
        return read_json(config).get("model_type")
    except (DataError, AttributeError):
        return None


def read_model(folder: Path, model_type: str) -> dict[str, Any]:
    """The config.json of a model, whose other files are those that it was written with.

    Raises:
        DataError, ModelError: if it cannot be read, is of another type or sample rate, or a file is missing or another.
    """
    settings: dict[str, Any] = read_json(folder / CONFIG_FILE)
    if settings.get("model_type") != model_type:
        raise ModelError(f"it is a {settings.get('model_type')!r} model, not a {model_type!r}")
    if settings["sample_rate"] != SAMPLE_RATE:
        raise ModelError(f"it was trained at {settings['sample_rate']} Hz; this version runs {SAMPLE_RATE} Hz models")
    for file, digest in settings.get("files", {}).items():
        if not (folder / file).is_file():
            raise ModelError(f"{file} is missing: copy or train the model again")
        if sha256(folder / file) != digest:
            raise ModelError(
                f"{file} is not the one that {CONFIG_FILE} was written with, because a save was interrupted or the "
                "file damaged: copy or train the model again"
            )
    return settings
