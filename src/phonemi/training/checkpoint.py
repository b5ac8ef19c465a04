"""Write and read last.pt (a training in progress) and best.safetensors (its best weights); both are whole or absent.

Frozen parameters are in neither: they do not change, and a frozen speech encoder would make every checkpoint hundreds
of megabytes larger.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from phonemi.errors import ModelError, PhonemiError
from phonemi.files import replacing
from phonemi.weights.tensors import save_weights


class WeightsRecord(NamedTuple):
    """Where the weights of a file come from: updates done, and the value they were selected on, if any."""

    step: int
    value: float | None


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies on the CPU of everything training changes: trainable parameters and persistent buffers, by name."""
    frozen = {name for name, value in model.named_parameters(remove_duplicate=False) if not value.requires_grad}
    return {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in model.state_dict().items()
        if name not in frozen and isinstance(value, Tensor)
    }


def load_trained_state(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Put `state`, read from `path`, back into `model`; a ModelError if it has other names or shapes."""
    check_same(_shapes(state), _shapes(trained_state(model)), path)
    model.load_state_dict(state, strict=False)


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def check_same(written: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Refuse to continue the work of `path` as something else: a ModelError names the first entry that differs."""
    different = [name for name in [*now, *written] if written.get(name) != now.get(name)]
    if different:
        name = different[0]
        more = len(set(different)) - 1
        raise ModelError(
            f"{path} was written with {name} = {written.get(name, 'absent')}, now {name} = {now.get(name, 'absent')}"
            f"{f' (and {more} more differences)' if more else ''}: "
            "ask for the same again, or use another folder to start over"
        )


def write_checkpoint(path: Path, contents: dict[str, Any]) -> None:
    """Replace `path` by `contents`: tensors, numbers, text, and lists, tuples and dictionaries of them.

    Raises:
        PhonemiError: if it cannot be written, for instance on a full disk; the file that was there is untouched.
    """
    # In memory first: torch hides a full disk behind an internal error, an ordinary write names it.
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
    except OSError as error:
        before = "the one before is intact" if path.exists() else "there was none before"
        raise PhonemiError(f"cannot write {path} ({error}; {before}): make room, then run again to continue") from error


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """What `write_checkpoint` wrote, on the CPU; None when there is no such file, a ModelError if it is damaged.

    Never runs code from the file.
    """
    if not path.exists():
        return None
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path} is not a readable checkpoint ({reason}): delete it to start over") from None
    if not isinstance(contents, dict):
        raise ModelError(f"{path} holds {type(contents).__name__}, not a checkpoint: delete it to start over")
    return contents


def write_weights(path: Path, model: nn.Module, record: WeightsRecord) -> None:
    """Replace `path` by the trained state of `model`, with `record` in the header: a kill cannot part the two.

    Raises:
        PhonemiError: if it cannot be written; the file that was there is untouched.
    """
    header = {"step": str(record.step)} | ({} if record.value is None else {"value": repr(record.value)})
    save_weights(trained_state(model), path, metadata=header)


def read_weights_record(path: Path) -> WeightsRecord | None:
    """The record in the header of `path`; None when there is no such file, a ModelError if it is damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as weights:
            header = weights.metadata() or {}
        return WeightsRecord(int(header["step"]), float(header["value"]) if "value" in header else None)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path} does not hold weights of a training run ({error}): delete it") from None


def load_weights(path: Path, model: nn.Module) -> WeightsRecord:
    """Put the weights of `path` into `model`; a ModelError if it is missing or damaged, or of another model."""
    record = read_weights_record(path)
    if record is None:
        raise ModelError(f"{path} is missing although its training has finished: delete {path.parent} to train again")
    load_trained_state(model, load_file(path), path)
    return record
