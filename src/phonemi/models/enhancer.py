"""Noisy recording [sample] or [channel, sample], any rate -> enhanced recording of the same shape, rate and type."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from phonemi import audio
from phonemi.errors import AudioError, ModelError, PhonemiError
from phonemi.files import read_json, replacing, write_json
from phonemi.models.aggregation import Aggregation, build_aggregation
from phonemi.models.mask_enhancer import MaskEnhancer
from phonemi.models.mel_transformers import MelTransformer, load_weights
from phonemi.models.representations import HuggingFaceRepresentation, Representation, load_representation
from phonemi.signal import SAMPLE_RATE, SSL_FIELD, valid_mask

MODEL_TYPE = "phonemi-enhancer"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
ENCODER = "encoder"  # folder of the encoder's own files, inside the enhancer's
ENCODER_OPTIONS = ("normalise", "layer_norm_states")  # what a transformers encoder does that its files do not say
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

    def save_pretrained(self, folder: str | Path, facts: dict[str, Any] | None = None) -> None:
        """Write config.json, model.safetensors and, unless the hub has it, the encoder: the folder may be moved.

        config.json comes last and holds a hash of every other file, so that an interrupted save over an older model is
        noticed by `from_pretrained`.

        Args:
            folder: made if absent.
            facts: what else to record: data, metrics, licence.
        """
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
            settings["representation"] = self.representation.name
            options = self.representation.settings()
            settings["representation_options"] = {key: options[key] for key in ENCODER_OPTIONS if key in options}
            if _save_encoder(self.representation, folder / ENCODER):
                settings["representation"] = ENCODER
                files += [f"{ENCODER}/{CONFIG_FILE}", f"{ENCODER}/{WEIGHTS_FILE}"]
        _save_weights(_trained(self.mask_enhancer, self.aggregation), folder / WEIGHTS_FILE)
        settings["files"] = {file: _sha256(folder / file) for file in files}
        write_json(folder / CONFIG_FILE, settings)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Enhancer:
        """Load an enhancer.

        Args:
            name: a folder written by `save_pretrained`, a hub id, or the name of one shipped in the package.

        Raises:
            ModelError: if there is no such model, files are missing or of different models, or do not fit each other.
        """
        folder = _find(str(name))
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
            if _sha256(folder / file) != digest:
                raise ModelError(
                    f"{file} is not the one that {CONFIG_FILE} was written with, because a save was interrupted or the "
                    "file damaged: copy or train the model again"
                )
        representation = aggregation = None
        if settings["representation"] is not None:
            encoder = settings["representation"]
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


def _save_encoder(encoder: Representation, folder: Path) -> bool:
    """Write the encoder's own files, if it has any and they are not on the hub; whether it did."""
    if isinstance(encoder, MelTransformer):
        encoder.save(folder)
    elif isinstance(encoder, HuggingFaceRepresentation) and Path(encoder.name).is_dir():
        _save_weights(encoder.model, folder / WEIGHTS_FILE)
        with replacing(folder / CONFIG_FILE) as temporary:
            encoder.model.config.to_json_file(temporary)  # type: ignore[operator, union-attr]
    else:
        return False
    return True


def _save_weights(module: nn.Module, path: Path) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    with replacing(path) as temporary:
        save_file(weights, temporary, {"format": "pt"})  # transformers refuses files that do not say so


def _sha256(path: Path) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _find(name: str) -> Path:
    """A folder with config.json: local, shipped in the package, or from the hub."""
    if (Path(name) / CONFIG_FILE).is_file():
        return Path(name)
    shipped = Path(str(resources.files("phonemi") / "weights" / name))
    if name.isidentifier() and (shipped / CONFIG_FILE).is_file():
        return shipped
    if Path(name).exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"no enhancer {name!r}: expected a folder with {CONFIG_FILE} (phonemi train makes one) or a hub id"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # the hub client raises a dozen kinds; all mean that the model cannot be had
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"enhancer {name!r} is no local folder and could not be fetched from the hub ({reason})"
        ) from None
