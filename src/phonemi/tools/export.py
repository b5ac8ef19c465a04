"""Write an enhancer as ONNX files, which run without PyTorch: noisy [batch, sample] -> enhanced [batch, sample].

The modules are exported as they are. `signal` computes Fourier transforms with real numbers while a module is traced,
because ONNX knows no complex ones. Of the two exporters of torch, the one that traces is used (`dynamo=False`): it
writes an LSTM as one operator for any number of frames, where the newer one unrolls it or freezes it at the length of
the example, depending on the version of torch. It needs no other package either.
"""

from __future__ import annotations

import copy
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from phonemi import __version__
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.enhancers.options import Purpose
from phonemi.errors import ModelError, one_line, require_extra
from phonemi.files import replacing
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import MelTransformer
from phonemi.signal import SAMPLE_RATE, log1p_spectrum

MIN_OPSET, MAX_OPSET = 17, 20  # 17 is the first with layer normalisation
EXAMPLE_SHAPE = (2, 9_001)  # batch and samples of the traced example; the graph is the same for any others
ENCODERS = (MelTransformer, HuggingFaceRepresentation, Log1p)  # whose traces hold for any batch and length
DYNAMIC_AXES = {  # of every input and output, the axes that may have any size
    "noisy": {0: "batch", 1: "sample"},
    "enhanced": {0: "batch", 1: "sample"},
    "states": {1: "batch", 2: "encoder_frame"},
    "features": {0: "batch", 1: "encoder_frame"},
    "log1p": {0: "batch", 1: "frame"},
    "mask": {0: "batch", 1: "frame"},
}


def export_onnx(
    enhancer: Enhancer, folder: str | Path, opset: int = MIN_OPSET, purpose: Purpose = "listening"
) -> list[Path]:
    """Write an enhancer as ONNX, float32, for any batch and any number of samples at 16 kHz.

    - `enhancer.onnx`: noisy [batch, sample] -> enhanced [batch, sample], as `Enhancer.forward(noisy)`.
    - `encoder.onnx`, if there is an encoder: noisy [batch, sample] of at least 400 samples -> states
      [layer, batch, frame, dim] and features [batch, frame, dim], the aggregated states.
    - `mask.onnx`, if the network is a mask enhancer: log1p [batch, frame, 257] and, if there is an encoder, features
      -> mask [batch, frame, 257].

    For recognition these are of the network that the model has for that. The enhancer is not changed; a folder that is
    absent is created.

    Raises:
        ModelError: if a part cannot be exported, whose file is then not written, or the model has no such network.
        MissingExtra: without the package onnx.
    """
    require_extra("onnx", "export")
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ModelError(f"operators of version {opset} cannot be written: {MIN_OPSET} to {MAX_OPSET} can")
    if enhancer.representation is not None and not isinstance(enhancer.representation, ENCODERS):
        raise ModelError(f"an encoder of type {type(enhancer.representation).__name__} cannot be exported")
    enhancer = copy.deepcopy(enhancer).cpu().float().eval()
    if purpose == "recognition":
        if enhancer.recognition_network is None:
            raise ModelError(f"{enhancer.name} has no network for recognition, and nothing else of that is exported")
        enhancer.mask_enhancer = enhancer.recognition_network
    noisy = 0.1 * torch.randn(EXAMPLE_SHAPE, generator=torch.Generator().manual_seed(0))
    parts: list[tuple[str, nn.Module, dict[str, Tensor | None], list[str]]]
    parts = [("enhancer", enhancer, {"noisy": noisy}, ["enhanced"])]
    if enhancer.representation is not None:
        parts.append(("encoder", _Encoder(enhancer), {"noisy": noisy}, ["states", "features"]))
    if isinstance(enhancer.network, MaskEnhancer):
        with torch.no_grad():
            inputs = {"log1p": log1p_spectrum(noisy), "features": enhancer.fuse(noisy)}
        parts.append(("mask", enhancer.network, inputs, ["mask"]))
    metadata = {
        "name": enhancer.name,
        "sample_rate": str(SAMPLE_RATE),
        "phonemi_version": __version__,
        "licence": str(enhancer.facts.get("licence", "not stated")),
    }
    paths = [Path(folder) / f"{part}.onnx" for part, *_ in parts]
    for path, (part, module, inputs, outputs) in zip(paths, parts, strict=True):
        _write(module, inputs, outputs, path, metadata | {"part": part}, opset)
    return paths


class _Encoder(nn.Module):
    """Encoder and aggregation of an enhancer as a module with two outputs."""

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.representation, self.aggregation = enhancer.representation, enhancer.aggregation

    def forward(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        assert self.representation is not None
        assert self.aggregation is not None
        states = self.representation(noisy).states
        return states, self.aggregation(states)


def _write(
    module: nn.Module,
    inputs: dict[str, Tensor | None],
    outputs: list[str],
    path: Path,
    metadata: dict[str, str],
    opset: int,
) -> None:
    """Trace a module on example inputs and write its graph; a None is passed on, but is no input of the graph."""
    import onnx

    buffer = io.BytesIO()
    names = [name for name, value in inputs.items() if value is not None]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # The exporter warns of its age, and of every size that it meets though none stays in the graph.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                buffer,  # type: ignore[arg-type]  # its annotation lists paths only
                input_names=names,
                output_names=outputs,
                dynamic_axes={name: DYNAMIC_AXES[name] for name in (*names, *outputs)},
                opset_version=opset,
                # What ONNX has no operator for passes through and is refused below. The exporter itself would print
                # the whole graph before it raises its error.
                operator_export_type=torch.onnx.OperatorExportTypes.ONNX_FALLTHROUGH,
                dynamo=False,
            )
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"exporting {path.name} with torch {torch.__version__}: {one_line(error)}") from None
    model = onnx.load_from_string(buffer.getvalue())
    # Operators of ONNX itself have no domain.
    if unknown := sorted({node.op_type for node in model.graph.node if node.domain}):
        raise ModelError(
            f"exporting {path.name} with torch {torch.__version__}: ONNX has no operator for {', '.join(unknown)}"
        )
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    with replacing(path) as temporary:
        onnx.save(model, temporary)
