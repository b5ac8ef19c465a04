"""Save the weights of modules as safetensors files, and load them again."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from phonemi.errors import ModelError, PhonemiError
from phonemi.files import replacing


def save_weights(
    weights: nn.Module | dict[str, Tensor], path: str | Path, half: bool = False, metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file, complete or not at all.

    With `half`, parameters are stored in float16; buffers, such as statistics, keep their precision. The `metadata` are
    text for the header; `transformers` loads only files with {"format": "pt"}.

    Raises:
        PhonemiError: if the file cannot be written, for instance on a full disk; a file that was there is untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save

    state: dict[str, Tensor] = weights.state_dict() if isinstance(weights, nn.Module) else weights
    halved = {name for name, _ in weights.named_parameters()} if half and isinstance(weights, nn.Module) else set()
    tensors = {
        name: tensor.detach().cpu().contiguous().to(torch.float16 if name in halved else tensor.dtype)
        for name, tensor in state.items()
    }
    try:
        with replacing(path) as temporary:
            # `save_file` writes to a temporary file of its own, which a killed process leaves and nobody knows.
            temporary.write_bytes(save(tensors, metadata))
    except (OSError, SafetensorError) as error:
        before = "; the one before is intact" if Path(path).exists() else ""
        raise PhonemiError(f"cannot write {path} ({error}{before})") from None


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Copy a safetensors file into a module; values in half precision are converted to the module's own type.

    Raises:
        ModelError: if the file cannot be read, or naming the first tensor that is missing, unknown or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error})") from None
    expected = module.state_dict()
    for name in sorted(tensors.keys() | expected.keys()):
        if name not in tensors or name not in expected:
            problem = "is missing in the file" if name in expected else "is unknown to the model"
            raise ModelError(f"{path} does not fit its configuration: {name} {problem}")
        if tensors[name].shape != expected[name].shape:
            shapes = f"{list(tensors[name].shape)}, expected {list(expected[name].shape)}"
            raise ModelError(f"{path} does not fit its configuration: {name} is {shapes}")
    module.load_state_dict(tensors)
