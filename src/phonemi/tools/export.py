"""Enhancer -> ONNX files that run without PyTorch: noisy [batch, sample] -> enhanced [batch, sample].

The Fourier transforms become products with real matrices, because ONNX knows no complex numbers; everything else of an
enhancer is traced as it is. Of torch's two exporters this takes the one that traces (`dynamo=False`): it writes an LSTM
as one operator for any number of frames, where the newer one unrolls it or freezes it at the example's length, in this
or that version of torch; nor does it need another package.
"""

from __future__ import annotations

import copy
import io
import warnings
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi import __version__
from phonemi.aggregations.base import Aggregation
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import REACH, MaskEnhancer
from phonemi.errors import ModelError, one_line, require_extra
from phonemi.files import replacing
from phonemi.representations.base import Representation
from phonemi.representations.huggingface import HuggingFaceRepresentation, normalise_waveforms
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import LEVEL_RMS, MelTransformer
from phonemi.representations.wavlm_attention import FusedAttention
from phonemi.signal import BINS, FFT, HOP, SAMPLE_RATE, SSL_FIELD, WINDOW, mel_filterbank

OPSET = 17  # the first with layer normalisation
EXAMPLE = (2, 9_001)  # batch and samples to trace with; the graph is the same for any others
AXES = {  # of every input and output, those that may have any size
    "noisy": {0: "batch", 1: "sample"},
    "enhanced": {0: "batch", 1: "sample"},
    "states": {1: "batch", 2: "encoder_frame"},
    "features": {0: "batch", 1: "encoder_frame"},
    "log1p": {0: "batch", 1: "frame"},
    "mask": {0: "batch", 1: "frame"},
}


def export_onnx(enhancer: Enhancer, folder: str | Path, opset: int = OPSET) -> list[Path]:
    """Write an enhancer as ONNX, float32, for any batch and any number of samples at 16 kHz.

    - `enhancer.onnx`: noisy [batch, sample] -> enhanced [batch, sample], what `Enhancer.forward(noisy)` gives.
    - `mask.onnx`: log1p [batch, frame, 257] and, where there is an encoder, features -> mask [batch, frame, 257].
    - `encoder.onnx`, where there is one: noisy [batch, sample] of at least 400 samples -> states
      [layer, batch, frame, dim] and features [batch, frame, dim], the aggregated states.

    Args:
        enhancer: is left as it is.
        folder: made if absent.
        opset: version of the operators, 17 to 20.

    Returns:
        The files written.

    Raises:
        ModelError: if the encoder is of a kind that cannot be exported; no file is then half written.
        MissingExtra: without the package onnx.
    """
    require_extra("onnx", "export")
    if not OPSET <= opset <= 20:
        raise ModelError(f"operators of version {opset} cannot be written: {OPSET} to 20 can")
    whole = RealEnhancer(copy.deepcopy(enhancer).cpu().float()).eval()
    noisy = 0.1 * torch.randn(EXAMPLE, generator=torch.Generator().manual_seed(0))
    parts: list[tuple[str, nn.Module, dict[str, Tensor | None], list[str]]]
    parts = [("enhancer", whole, {"noisy": noisy}, ["enhanced"])]
    features = None
    with torch.no_grad():
        if whole.encoder is not None:
            parts.append(("encoder", whole.encoder, {"noisy": noisy}, ["states", "features"]))
            features = whole.encoder(noisy)[1]
        log1p = whole.fourier.log1p(noisy)
    parts.append(("mask", whole.mask_enhancer, {"log1p": log1p, "features": features}, ["mask"]))
    metadata = {
        "name": enhancer.name,
        "sample_rate": str(SAMPLE_RATE),
        "phonemi_version": __version__,
        "licence": str(enhancer.facts.get("licence", "not stated")),
    }
    paths = []
    for part, module, inputs, outputs in parts:
        paths.append(Path(folder) / f"{part}.onnx")
        _write(module, inputs, outputs, paths[-1], metadata | {"part": part}, opset)
    return paths


def _write(
    module: nn.Module,
    inputs: dict[str, Tensor | None],
    outputs: list[str],
    path: Path,
    metadata: dict[str, str],
    opset: int,
) -> None:
    """Trace `module` on example inputs, of which those that are None are none of the file's; complete or not at all."""
    import onnx

    written = io.BytesIO()
    names = [name for name, value in inputs.items() if value is not None]
    try:
        # It warns of its age and of every size it meets, though none stays in the graph, and before it raises an error
        # it prints the graph, `verbose` or not.
        with warnings.catch_warnings(), patch.object(torch._C, "_jit_onnx_log", create=True), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                written,  # type: ignore[arg-type]  # declared for paths alone
                input_names=names,
                output_names=outputs,
                dynamic_axes={name: AXES[name] for name in (*names, *outputs)},
                opset_version=opset,
                dynamo=False,
            )
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"exporting {path.name} with torch {torch.__version__}: {one_line(error)}") from None
    model = onnx.load_from_string(written.getvalue())
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    with replacing(path) as temporary:
        onnx.save(model, temporary)


class RealFourier(nn.Module):
    """`signal.stft` and `signal.istft` without complex numbers: a convolution with windowed sines, and its inverse.

    Spectra are [batch, 514, frame]: 257 real parts, then 257 imaginary ones.
    """

    analysis: Tensor
    synthesis: Tensor
    window_power: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(WINDOW, dtype=torch.float64)
        margin = (FFT - WINDOW) // 2
        analysis = torch.fft.rfft(functional.pad(window.diag(), (margin, margin)))
        unit = torch.eye(BINS, dtype=torch.complex128)
        synthesis = torch.fft.irfft(torch.cat((unit, 1j * unit)), n=FFT)[:, margin:-margin] * window
        self.register_buffer("analysis", torch.cat((analysis.real, analysis.imag), dim=1).T[:, None].float())
        self.register_buffer("synthesis", synthesis[:, None].float())
        self.register_buffer("window_power", window.square()[None, None].float())

    def forward(self, padded: Tensor) -> Tensor:
        """Spectrum of the windows that fit: [batch, sample] -> [batch, 514, (sample - 400) // 160 + 1]."""
        return functional.conv1d(padded[:, None], self.analysis, stride=HOP)

    def log1p(self, waveform: Tensor) -> Tensor:
        """`signal.log1p_spectrum`, [batch, sample] -> [batch, 1 + sample // 160, 257]."""
        spectrum = self(functional.pad(waveform, (WINDOW // 2, WINDOW // 2)))
        return power(spectrum).sqrt().log1p().transpose(1, 2)

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """Frames added where they overlap, over the sum of their squared windows: -> [batch, samples]."""
        waveform = functional.conv_transpose1d(spectrum, self.synthesis, stride=HOP)
        windows = functional.conv_transpose1d(torch.ones_like(spectrum[:1, :1]), self.window_power, stride=HOP)
        inside = slice(WINDOW // 2, WINDOW // 2 + samples)
        return waveform[:, 0, inside] / windows[:, 0, inside]


def power(spectrum: Tensor) -> Tensor:
    """[batch, 514, frame] -> [batch, 257, frame]."""
    return spectrum[:, :BINS].square() + spectrum[:, BINS:].square()


class RealEnhancer(nn.Module):
    """`Enhancer.forward` of items of full length, [batch, sample] -> [batch, sample], from real operations alone."""

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.fourier = RealFourier()
        self.encoder: RealEncoder | None = None
        if enhancer.representation is not None and enhancer.aggregation is not None:
            self.encoder = RealEncoder(enhancer.representation, enhancer.aggregation, self.fourier)
        self.mask_enhancer: MaskEnhancer = enhancer.mask_enhancer

    def forward(self, noisy: Tensor) -> Tensor:
        """What `MaskEnhancer.enhance` does, the mask's last frame held for the frames beyond the end."""
        samples = noisy.shape[1]
        missing = torch.as_tensor(SSL_FIELD - samples).clamp_min(0)  # a tensor, so that the trace keeps how it is made
        noisy = functional.pad(noisy, (0, missing))  # type: ignore[arg-type]
        features = None if self.encoder is None else self.encoder(noisy)[1]
        level = self.level(noisy)
        spectrum = self.spectrum(level * noisy)
        magnitude = power(spectrum).sqrt()
        log1p = magnitude.log1p()
        mask = self.mask_enhancer(log1p[..., :-REACH].transpose(1, 2), features).transpose(1, 2)
        mask = torch.cat([mask, *[mask[..., -1:]] * REACH], dim=2)
        # ONNX has no expm1; what this loses is below 1e-7 of full scale.
        gain = (((mask * log1p).exp() - 1) / (magnitude + 1e-10)).clamp_min(self.least_gain())
        return self.fourier.inverse(spectrum * torch.cat((gain, gain), dim=1), samples) / level

    def spectrum(self, noisy: Tensor) -> Tensor:
        """Of [batch, sample] that have at least 400 samples, with `REACH` more frames: [batch, 514, frame]."""
        mode = "reflect" if self.mask_enhancer.stft_pad == "reflect" else "constant"
        ends = functional.pad(noisy, (WINDOW // 2, FFT // 2), mode)
        return self.fourier(functional.pad(ends, (0, REACH * HOP + WINDOW // 2 - FFT // 2)))

    def level(self, noisy: Tensor) -> Tensor:
        """What brings each item to the level of the mask enhancer, [batch, 1]."""
        rms = noisy.square().mean(1, keepdim=True).sqrt()
        level_db = self.mask_enhancer.level_db
        if level_db is None:
            return torch.ones_like(rms)
        return torch.where(rms > 0, 10 ** (level_db / 20) / rms, torch.ones_like(rms))

    def least_gain(self) -> float:
        """What the attenuation limit leaves of any bin."""
        limit_db = self.mask_enhancer.attenuation_limit_db
        return 0.0 if limit_db is None else 10 ** (-limit_db / 20)


class RealEncoder(nn.Module):
    """Encoder and its aggregation: noisy [batch, sample] -> states [layer, batch, frame, dim], features [batch, frame,
    dim], from real operations alone; of items of full length.

    Both are changed, so that a trace can follow them.

    Raises:
        ModelError: for an encoder that is none of those below.
    """

    filters: Tensor  # [mels, 257]

    def __init__(self, representation: Representation, aggregation: Aggregation, fourier: RealFourier) -> None:
        super().__init__()
        self.representation, self.aggregation, self.fourier = representation, aggregation, fourier
        # A trace takes the size of a LayerNorm from modules only, so that this one is done here.
        self.normalise_layers: bool = aggregation.normalise_layers
        aggregation.normalise_layers = False
        if isinstance(representation, MelTransformer):
            self.register_buffer("filters", mel_filterbank(representation.config.mels).T)
        elif isinstance(representation, HuggingFaceRepresentation):
            for module in list(representation.modules()):
                for name, child in module.named_children():
                    if isinstance(child, FusedAttention):
                        setattr(module, name, WholeAttention(child))
        elif not isinstance(representation, Log1p):
            raise ModelError(f"an encoder of type {type(representation).__name__} cannot be exported")

    def forward(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """States and their aggregation."""
        states, dim = self.states(noisy), (self.representation.dim,)
        return states, self.aggregation(functional.layer_norm(states, dim) if self.normalise_layers else states)

    def states(self, noisy: Tensor) -> Tensor:
        """Hidden states as the encoder gives them for items of full length, [layer, batch, frame, dim]."""
        encoder = self.representation
        if isinstance(encoder, MelTransformer):
            return encoder.encode(self.mel_pairs(noisy, encoder)).states
        if isinstance(encoder, HuggingFaceRepresentation):
            if encoder.normalise:
                noisy = normalise_waveforms(noisy, torch.ones_like(noisy, dtype=torch.long).sum(1))
            output = encoder.model(noisy, output_hidden_states=True)
            states = torch.stack([*output.hidden_states[:-1], output.last_hidden_state])
            return functional.layer_norm(states, (encoder.dim,)) if encoder.layer_norm_states else states
        return self.fourier.log1p(noisy)[None]

    def mel_pairs(self, noisy: Tensor, encoder: MelTransformer) -> Tensor:
        """`MelTransformer.features`, [batch, sample] -> [batch, frame, 2 * mels]."""
        rms = noisy.square().mean(1, keepdim=True).sqrt()
        levelled = noisy * (LEVEL_RMS / rms.clamp_min(1e-12))
        spectrum = self.fourier(functional.pad(levelled, (HOP // 2, HOP // 2)))
        pairs = spectrum.shape[2] // 2
        mel = (self.filters @ power(spectrum[..., : 2 * pairs]) + 1e-6).log()
        mel = (mel - mel.mean((1, 2), keepdim=True)).transpose(1, 2)
        return ((mel - encoder.mean) / encoder.std).reshape(-1, pairs, 2 * len(encoder.mean))


class WholeAttention(nn.Module):
    """`FusedAttention` with all biases at once, as a trace needs it; the same arguments and results."""

    def __init__(self, fused: FusedAttention) -> None:
        super().__init__()
        self.fused = fused

    def forward(
        self, hidden_states: Tensor, attention_mask: None = None, position_bias: Tensor | None = None, **_: object
    ) -> tuple[Tensor, None, Tensor]:
        """Frames [batch, frame, dim]; biases [head, query, key] of the first layer, or None in that layer."""
        fused = self.fused
        batch, frames, dim = hidden_states.shape
        biases = position_bias
        if biases is None:
            places = torch.arange(frames)
            biases = fused.biases(frames)[:, frames - 1 + places[:, None] - places]
        query, key, value = (
            layer(hidden_states).view(batch, frames, fused.heads, -1).transpose(1, 2)
            for layer in (fused.q_proj, fused.k_proj, fused.v_proj)
        )
        bias = fused.gates(hidden_states) * biases
        mixed = functional.scaled_dot_product_attention(query, key, value, bias)
        return fused.out_proj(mixed.transpose(1, 2).reshape(batch, frames, dim)), None, biases
