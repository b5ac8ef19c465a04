"""Noisy recording [sample] or [channel, sample], any rate -> enhanced recording of the same shape, rate and type."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from phonemi import audio
from phonemi.errors import AudioError, ModelError, PhonemiError
from phonemi.files import read_json, write_json, write_text
from phonemi.models.aggregation import Aggregation, build_aggregation
from phonemi.models.mask_enhancer import MaskEnhancer
from phonemi.models.mel_transformers import load_weights
from phonemi.models.pretrained import ENCODER, MODEL_TYPE, check_version, find, save_weights, store_encoder
from phonemi.models.representations import Representation, load_representation
from phonemi.models.shipped import CONFIG_FILE, WEIGHTS_FILE, sha256
from phonemi.signal import SAMPLE_RATE, SSL_FIELD, valid_mask

CARD_FILE = "README.md"  # what the hub shows
MOST_CHANNELS = 64

Waveform = TypeVar("Waveform", np.ndarray, Tensor)


class Enhancer(nn.Module):
    """Representation, aggregation and mask enhancer joined: all that a user who wants clean speech meets.

    In evaluation mode from the start.

    Args:
        representation: frozen encoder; None for a mask from the log1p spectrum alone.
        aggregation: turns its hidden states into one sequence; None exactly when there is no representation.
        mask_enhancer: turns the noisy waveform and that sequence into the enhanced waveform.
        name: what tables and model cards call it.

    Raises:
        ModelError: if the three do not fit each other.
    """

    def __init__(
        self,
        representation: Representation | None,
        aggregation: Aggregation | None,
        mask_enhancer: MaskEnhancer,
        name: str = "enhancer",
    ):
        super().__init__()
        if (representation is None) != (aggregation is None):
            raise ModelError("an enhancer has an encoder and an aggregation of its layers, or neither")
        dim = 0 if representation is None else representation.dim
        if mask_enhancer.dim != dim:
            raise ModelError(f"the mask enhancer expects features of size {mask_enhancer.dim}, the encoder gives {dim}")
        if representation is not None and aggregation is not None:
            aggregation.check_fits(representation.layers, dim)
            if mask_enhancer.hop != representation.hop:
                raise ModelError(
                    f"the mask enhancer expects a frame every {mask_enhancer.hop} samples, "
                    f"the encoder gives one every {representation.hop}"
                )
        self.representation = representation
        self.aggregation = aggregation
        self.mask_enhancer = mask_enhancer
        self.name = name
        self.eval()

    def fuse(self, noisy: Tensor, lengths: Tensor | None = None) -> Tensor | None:
        """Conditioning features of noisy waveforms [batch, sample] -> [batch, frame, dim], or None without encoder."""
        if self.representation is None or self.aggregation is None:
            return None
        return self.aggregation(self.representation(noisy, lengths).states)

    def forward(self, noisy: Tensor, lengths: Tensor | None = None) -> Tensor:
        """16 kHz waveforms [batch, sample], valid samples [batch] -> [batch, sample]; each as if it were alone."""
        samples = noisy.shape[-1]
        valid = None if lengths is None else valid_mask(lengths, samples)
        if valid is not None:
            noisy = noisy * valid
        # The encoder needs one receptive field.
        noisy = nn.functional.pad(noisy, (0, max(0, SSL_FIELD - samples)))
        at_least = None if lengths is None else lengths.clamp_min(SSL_FIELD)
        enhanced = self.mask_enhancer.enhance(noisy, self.fuse(noisy, at_least), at_least)[:, :samples]
        return enhanced if valid is None else enhanced * valid

    def enhance(self, waveform: Waveform, sample_rate: int = SAMPLE_RATE) -> Waveform:
        """Enhance one recording, all of it at once (`inference.enhance_file` takes long ones in pieces).

        Args:
            waveform: numpy or torch, [sample] or [channel, sample]; floats, full scale 1. Channels are enhanced apart.
            sample_rate: in Hz. Anything but 16 kHz is resampled and back; what is above 8 kHz is then removed.

        Returns:
            A new array or tensor of the same type, shape and rate. Digital silence stays digital silence.

        Raises:
            AudioError: for integers, another number of dimensions, [sample, channel], or samples that are not finite.
        """
        waveform = waveform if isinstance(waveform, Tensor) else np.asarray(waveform)
        _check(waveform, sample_rate)
        if isinstance(waveform, Tensor):
            channels = waveform.detach().float().cpu().numpy()
        else:
            with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is counted
                channels = waveform.astype(np.float32)
        if bad := channels.size - int(np.count_nonzero(np.isfinite(channels))):
            raise AudioError(f"{bad} of {channels.size} samples are NaN or infinite")
        enhanced = self._enhanced(np.atleast_2d(channels), sample_rate).reshape(channels.shape)
        if isinstance(waveform, Tensor):
            return torch.from_numpy(enhanced).to(waveform)
        return enhanced.astype(waveform.dtype, copy=False)

    @torch.inference_mode()  # not on `enhance`: tensors made in this mode cannot be changed by who gets them
    def _enhanced(self, channels: np.ndarray, sample_rate: int) -> np.ndarray:
        """Float32 [channel, sample] -> a new array of the same shape."""
        enhanced = np.zeros_like(channels)
        if channels.any():
            at_16_khz = torch.from_numpy(audio.resample(channels, sample_rate, SAMPLE_RATE))
            device = next(self.mask_enhancer.parameters()).device
            made = audio.resample(self(at_16_khz.to(device)).float().cpu().numpy(), SAMPLE_RATE, sample_rate)
            samples = min(made.shape[1], channels.shape[1])  # there and back may be two samples off
            enhanced[:, :samples] = made[:, :samples]
        return enhanced

    def save_pretrained(
        self,
        folder: str | Path,
        facts: dict[str, Any] | None = None,
        half: bool = False,
        shipped_encoder: str | None = None,
    ) -> None:
        """Write config.json, model.safetensors, README.md (a card) and, unless the hub has it, the encoder.

        The folder may be moved, and works with later versions: the encoder is copied even if it came with the package,
        which may bring another one under that name. Only what ships beside it refers to it by name, with the hash of
        its weights; `from_pretrained` refuses any others.

        config.json comes last and holds a hash of every other file, so that an interrupted save over an older model is
        noticed by `from_pretrained`.

        Args:
            folder: made if absent.
            facts: what else to record and to say in the card: data, metrics, licence; see `card.model_card`.
            half: store parameters in half precision, which are float32 again when loaded.
            shipped_encoder: name of the shipped encoder that this one is, to refer to instead of a copy.

        Raises:
            ModelError: if `shipped_encoder` does not ship or is not this encoder.
        """
        from phonemi.models.card import model_card  # not needed for enhancing

        folder = Path(folder)
        settings: dict[str, Any] = {
            "model_type": MODEL_TYPE,
            "name": self.name,
            "sample_rate": SAMPLE_RATE,
            "mask_enhancer": self.mask_enhancer.settings(),
            "representation": None,
            "aggregation": None,
            "facts": facts or {},
        }
        files = [WEIGHTS_FILE]
        if self.representation is not None and self.aggregation is not None:
            settings["aggregation"] = self.aggregation.settings()
            named, copied = store_encoder(self.representation, folder, half, shipped_encoder)
            settings |= named
            files += copied
        save_weights(_trained(self.mask_enhancer, self.aggregation), folder / WEIGHTS_FILE, half)
        settings["files"] = {file: sha256(folder / file) for file in files}
        size_mb = sum((folder / file).stat().st_size for file in files) / 1e6
        own = {"name": self.name, "parts": self._parts(settings["representation"]), "size_mb": size_mb}
        write_text(folder / CARD_FILE, model_card(own | (facts or {})))
        write_json(folder / CONFIG_FILE, settings)

    def _parts(self, encoder: str | None) -> list[dict[str, Any]]:
        """What it is made of, for the card."""
        mask = self.mask_enhancer
        inputs = [text for text, given in (("fused features", mask.dim), ("log1p spectrum", mask.log1p)) if given]
        what = f"BLSTM of {mask.blstm.num_layers} layers of {mask.blstm.hidden_size} on {' and '.join(inputs)}"
        parts: list[tuple[str, str, nn.Module]] = [("mask enhancer", what, mask)]
        if self.representation is not None and self.aggregation is not None:
            size = f"{self.representation.layers} hidden states of {self.representation.dim}"
            kind = self.aggregation.kind.replace("_", " ")
            parts = [
                ("encoder", size if encoder == ENCODER else f"{encoder}: {size}", self.representation),
                ("aggregation", f"{kind} of {self.aggregation.layers} layers", self.aggregation),
                *parts,
            ]
        return [
            {"part": part, "what": what, "parameters": sum(values.numel() for values in module.parameters())}
            for part, what, module in parts
        ]

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Enhancer:
        """Load an enhancer.

        Args:
            name: "default" (it comes with the package), a folder written by `save_pretrained`, or a hub id.

        Raises:
            ModelError: if there is no such model, files are missing or of different models, or do not fit each other.
        """
        folder = find(name)
        try:
            return cls._load(folder)
        except PhonemiError as error:
            raise ModelError(f"loading enhancer {name}: {error}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"loading enhancer {name}: {CONFIG_FILE} does not describe one ({error!r})") from None

    @classmethod
    def _load(cls, folder: Path) -> Enhancer:
        settings = read_json(folder / CONFIG_FILE)
        if settings.get("model_type") != MODEL_TYPE:
            raise ModelError(f"it is a {settings.get('model_type')!r} model, not a {MODEL_TYPE!r}")
        if settings["sample_rate"] != SAMPLE_RATE:
            raise ModelError(
                f"it was trained at {settings['sample_rate']} Hz; this version runs {SAMPLE_RATE} Hz models"
            )
        for file, digest in settings.get("files", {}).items():
            if not (folder / file).is_file():
                raise ModelError(f"{file} is missing: copy or train the model again")
            if sha256(folder / file) != digest:
                raise ModelError(
                    f"{file} is not the one that {CONFIG_FILE} was written with, because a save was interrupted or the "
                    "file damaged: copy or train the model again"
                )
        representation = aggregation = None
        if settings["representation"] is not None:
            encoder = settings["representation"]
            check_version(encoder, settings.get("representation_sha256"))
            representation = load_representation(folder / ENCODER if encoder == ENCODER else encoder)
            for option, value in settings.get("representation_options", {}).items():
                setattr(representation, option, value)
            aggregation = build_aggregation(settings["aggregation"])
        model = cls(representation, aggregation, MaskEnhancer(**settings["mask_enhancer"]), settings["name"])
        load_weights(_trained(model.mask_enhancer, aggregation), folder / WEIGHTS_FILE)
        return model


def _check(waveform: np.ndarray | Tensor, sample_rate: int) -> None:
    """Raise AudioError for what cannot be meant as a recording."""
    is_float = waveform.is_floating_point() if isinstance(waveform, Tensor) else waveform.dtype.kind == "f"
    shape = list(waveform.shape)
    if not is_float:
        raise AudioError(
            f"expected floats with full scale 1, got {waveform.dtype}: divide integers by their full scale first, "
            "16-bit ones by 32768"
        )
    if len(shape) not in (1, 2):
        raise AudioError(f"expected [sample] or [channel, sample], got an array of shape {shape}")
    if len(shape) == 2 and shape[0] > max(shape[1], MOST_CHANNELS):
        raise AudioError(f"expected [channel, sample], got an array of shape {shape}: transpose it")
    if sample_rate <= 0:
        raise AudioError(f"a sample rate of {sample_rate} Hz is impossible")


def _trained(mask_enhancer: MaskEnhancer, aggregation: Aggregation | None) -> nn.Module:
    """What model.safetensors holds: all but the encoder."""
    parts: dict[str, nn.Module] = {"mask_enhancer": mask_enhancer}
    return nn.ModuleDict(parts if aggregation is None else parts | {"aggregation": aggregation})
