"""A published checkpoint, from a file, a folder or the Hugging Face hub, becomes the folder of an encoder."""

from __future__ import annotations

from pathlib import Path

from phonemi.errors import ModelError, one_line
from phonemi.representations.s3prl_checkpoint import SUFFIXES, read_checkpoint
from phonemi.representations.tera import Tera


def convert(source: str, folder: str | Path) -> Tera:
    """Write the encoder of a checkpoint of Mockingjay or TERA to a folder that `load_representation` reads.

    Args:
        source: a file, a folder with one checkpoint in it, or a name on the hub, such as "s3prl/tera".
        folder: for config.json and model.safetensors.

    Raises:
        ModelError: if there is no checkpoint, it cannot be reached, or it is of another kind; nothing is written then.
        PhonemiError: if the folder cannot be written.
    """
    path = Path(source)
    if path.is_dir():
        path = path / _checkpoint_among([file.name for file in path.iterdir()], source)
    elif not path.exists():
        path = _download(source)
    encoder = read_checkpoint(path)
    encoder.save(folder)
    return encoder


def _download(name: str) -> Path:
    """The only checkpoint of a repository on the hub, in the cache."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith(SUFFIXES):
        raise ModelError(f"{name} does not exist: expected a checkpoint, a folder with one, or a hub id as s3prl/tera")
    from huggingface_hub import HfApi, hf_hub_download

    try:
        files = HfApi().list_repo_files(name)
        return Path(hf_hub_download(name, _checkpoint_among(files, name)))
    except ModelError:
        raise
    except Exception as error:  # the client raises a dozen kinds of errors, and all mean the same to the user
        raise ModelError(
            f"{name!r} is neither a file nor a model that the Hugging Face hub gives now ({one_line(error)}): where "
            "there is a network, download its checkpoint, then convert that file"
        ) from None


def _checkpoint_among(files: list[str], place: str) -> str:
    checkpoints = sorted(file for file in files if file.endswith(SUFFIXES))
    if len(checkpoints) != 1:
        seen = ", ".join(checkpoints[:3]) or f"no file that ends in {', '.join(SUFFIXES)}"
        raise ModelError(f"expected one checkpoint in {place}, found {seen}: name the file")
    return checkpoints[0]
