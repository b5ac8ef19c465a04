"""Name of weights that come with the package -> the folder they are in, and the hash that tells their versions apart.

A folder holds config.json, whose `model_type` says what it is, model.safetensors and a card. These names come before
local folders, so that a command does the same everywhere: `./mini` is a folder, `mini` what ships.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from phonemi.errors import DataError
from phonemi.files import read_json

WEIGHTS = Path(__file__).parent  # the one place that knows
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def names(model_type: str) -> list[str]:
    """Names of the models of a type that ship, in alphabetical order."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{CONFIG_FILE}") if _type_of(path) == model_type)


def folder_of(name: str | Path, model_type: str) -> Path | None:
    """Folder of a shipped model; None for any other name, and for a `Path`, which is a folder whatever it is called."""
    return WEIGHTS / name if isinstance(name, str) and name in names(model_type) else None


def version_of(name: str) -> str | None:
    """SHA-256 of the weights that ship under a name, of any type; None if there are none."""
    path = WEIGHTS / name / WEIGHTS_FILE
    return sha256(path) if Path(name).name == name and path.is_file() else None


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def listed(model_type: str) -> str:
    """End of an error message about an unknown name: what does ship."""
    return ", ".join(names(model_type)) or "none in this version"


def _type_of(config: Path) -> str | None:
    try:
        return read_json(config).get("model_type")
    except (DataError, AttributeError):  # not one of ours, or damaged
        return None
