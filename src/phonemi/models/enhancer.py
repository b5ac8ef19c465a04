"""Noisy recording [sample] or [channel, sample], any rate -> enhanced recording of the same shape, rate and type."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from phonemi import audio
from phonemi.errors import AudioError, ModelError
from phonemi.files import read_json, replacing, write_json
from phonemi.models.aggregation import Aggregation, build_aggregation
from phonemi.models.mask_enhancer import MaskEnhancer
from phonemi.models.mel_transformers import MelTransformer
from phonemi.models.representations import Representation, load_representation
from phonemi.signal import SAMPLE_RATE, SSL_FIELD

MODEL_TYPE = "phonemi-enhancer"
Waveform = TypeVar("Waveform", np.ndarray, Tensor)


class Enhancer(nn.Module):
    """Representation, aggregation and mask enhancer joined: all that a user who wants clean speech meets.

    Args:
        representation: frozen encoder; None for a mask from the log1p spectrum alone.
        aggregation: turns its hidden states into one sequence; None exactly when there is no representation.
        mask_enhancer: turns the noisy waveform and that sequence into the enhanced waveform.
        name: what tables and model cards call it.
    """

    def __init__(
        self,
        representation: Representation | None,
        aggregation: Aggregation | None,
        mask_enhancer: MaskEnhancer,
        name: str = "enhancer",
    ):
        super().__init__()
        dim = 0 if representation is None else representation.dim
        if (representation is None) != (aggregation is None) or mask_enhancer.dim != dim:
            raise ModelError(f"the mask enhancer expects features of size {mask_enhancer.dim}, the encoder gives {dim}")
        self.representation = representation
        self.aggregation = aggregation
        self.mask_enhancer = mask_enhancer
        self.name = name

    def fuse(self, noisy: Tensor, lengths: Tensor | None = None) -> Tensor | None:
        """Conditioning features of noisy waveforms [batch, sample] -> [batch, frame, dim], or None without encoder."""
        if self.representation is None or self.aggregation is None:
            return None
        return self.aggregation(self.representation(noisy, lengths).states)

    def forward(self, noisy: Tensor, lengths: Tensor | None = None) -> Tensor:
        """16 kHz waveforms [batch, sample], valid samples [batch] -> [batch, sample]; each as if it were alone."""
        samples = noisy.shape[-1]
        if samples < SSL_FIELD:  # the encoder needs one receptive field
            noisy = nn.functional.pad(noisy, (0, SSL_FIELD - samples))
        if lengths is not None:
            lengths = lengths.clamp_min(SSL_FIELD)
        return self.mask_enhancer.enhance(noisy, self.fuse(noisy, lengths), lengths)[:, :samples]

    @torch.inference_mode()
    def enhance(self, waveform: Waveform, sample_rate: int = SAMPLE_RATE) -> Waveform:
        """Enhance one recording.

        Args:
            waveform: numpy or torch, [sample] or [channel, sample]; floats, full scale 1. Channels are enhanced apart.
            sample_rate: in Hz. Anything but 16 kHz is resampled and back; what is above 8 kHz is then removed.

        Returns:
            Same type, shape and rate. Digital silence stays digital silence.

        Raises:
            AudioError: for another number of dimensions, or samples that are not finite.
        """
        array = waveform.detach().cpu().numpy() if isinstance(waveform, Tensor) else np.asarray(waveform)
        if array.ndim not in (1, 2):
            raise AudioError(f"expected [sample] or [channel, sample], got an array of shape {list(array.shape)}")
        if not np.isfinite(array).all():
            raise AudioError(f"{int((~np.isfinite(array)).sum())} samples are NaN or infinite")
        if array.shape[-1] == 0 or not array.any():
            return waveform
        channels = audio.resample(np.atleast_2d(array).astype(np.float32), sample_rate, SAMPLE_RATE)
        device = next(self.mask_enhancer.parameters()).device
        enhanced = self(torch.from_numpy(channels).to(device)).float().cpu().numpy()
        enhanced = audio.resample(enhanced, SAMPLE_RATE, sample_rate)
        # Resampling there and back may be a sample off.
        missing = max(0, array.shape[-1] - enhanced.shape[-1])
        enhanced = np.pad(enhanced, ((0, 0), (0, missing)))[:, : array.shape[-1]].reshape(array.shape)
        if isinstance(waveform, Tensor):
            return torch.from_numpy(enhanced).to(waveform)
        return enhanced.astype(array.dtype if np.issubdtype(array.dtype, np.floating) else np.float32)

    def save_pretrained(self, folder: str | Path, facts: dict[str, Any] | None = None) -> None:
        """Write config.json and model.safetensors, and the encoder beside them when it is one of our own.

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
        if self.representation is not None and self.aggregation is not None:
            settings["aggregation"] = self.aggregation.settings()
            settings["representation"] = self.representation.name
            if isinstance(self.representation, MelTransformer):
                self.representation.save(folder / "encoder")
                settings["representation"] = "encoder"
        weights = {
            key: value.cpu() for key, value in self.state_dict().items() if not key.startswith("representation.")
        }
        with replacing(folder / "model.safetensors") as temporary:
            save_file({key: value.contiguous() for key, value in weights.items()}, temporary)
        write_json(folder / "config.json", settings)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Enhancer:
        """Load an enhancer.

        Args:
            name: a folder written by `save_pretrained`, a hub id, or the name of one shipped in the package.

        Raises:
            ModelError: if there is no such model, or its weights do not fit.
        """
        folder = _find(str(name))
        settings = read_json(folder / "config.json")
        if settings.get("model_type") != MODEL_TYPE:
            raise ModelError(f"{name} holds a {settings.get('model_type')!r} model, not a {MODEL_TYPE!r}")
        if settings["sample_rate"] != SAMPLE_RATE:
            raise ModelError(f"{name} was trained at {settings['sample_rate']} Hz; this version runs 16000 Hz models")
        representation = aggregation = None
        if settings["representation"] is not None:
            encoder = settings["representation"]
            representation = load_representation(str(folder / "encoder") if encoder == "encoder" else encoder)
            aggregation = build_aggregation(settings["aggregation"])
        model = cls(representation, aggregation, MaskEnhancer(**settings["mask_enhancer"]), settings["name"])
        weights = load_file(folder / "model.safetensors")
        try:
            missing, unexpected = model.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            raise ModelError(f"the weights in {folder} do not fit: {' '.join(str(error).split())[:300]}") from None
        missing = [key for key in missing if not key.startswith("representation.")]
        if missing or unexpected:
            raise ModelError(f"the weights in {folder} do not fit: missing {missing}, unexpected {unexpected}")
        return model.eval()


def _find(name: str) -> Path:
    """A folder with config.json: local, shipped in the package, or from the hub."""
    if (Path(name) / "config.json").is_file():
        return Path(name)
    shipped = Path(str(resources.files("phonemi") / "weights" / name))
    if name.isidentifier() and (shipped / "config.json").is_file():
        return shipped
    if Path(name).exists() or name.count("/") != 1:
        raise ModelError(
            f"no enhancer {name!r}: expected a folder with config.json (phonemi train makes one) or a hub id"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # the hub client raises a dozen kinds; all mean that the model cannot be had
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"enhancer {name!r} is no local folder and could not be fetched from the hub ({reason})"
        ) from None
