"""Phonetic information kept: what a frozen probe still finds of the phones in a recording, in bits.

The bound of `mutual_information` says how much of the phones the layers of an encoder hold. Here the encoder and the
probe are fixed, and the recording varies: noisy, enhanced, clean. No recogniser with a language model of its own is
asked, so that nothing is guessed from the words around.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from phonemi.constants import IGNORE
from phonemi.errors import ModelError, PhonemiError
from phonemi.files import read_json, sha256, write_json
from phonemi.metrics.score import ESTIMATE_NOT_FINITE, ESTIMATE_SILENT, Score
from phonemi.probes.layer_probes import LayerProbes
from phonemi.representations.base import Representation
from phonemi.representations.names import load_representation
from phonemi.representations.transformers_models import OPTIONS
from phonemi.signal import valid_mask
from phonemi.weights import shipped
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE
from phonemi.weights.tensors import load_weights, save_weights

MODEL_TYPE = "phonemi-phone-judge"
NO_PHONES = "no phones"
TOO_SHORT = "shorter than a frame of the encoder"


class PhoneJudge:
    """Measures log2 q(y | z) - log2 p(y), averaged over the frames of a recording.

    q is the probe, z the hidden state of one layer, y the phone, and p the distribution of the phones in training. For
    speech of the kind that the probe was trained on, the mean over recordings is the bound H(Y) - CE of
    `mutual_information`; of one recording it may be negative.

    Args:
        encoder: on the device where the work is done.
        layer: whose states the probe reads.
        probe: of one slot.
        distribution: p, [class], above 0.
    """

    def __init__(self, encoder: Representation, layer: int, probe: LayerProbes, distribution: Tensor) -> None:
        self.encoder, self.layer, self.probe, self.distribution = encoder, layer, probe, distribution

    @classmethod
    def load(cls, name: str | Path, encoder: Representation | None = None) -> Self:
        """Load the judge of the package, "phone-judge", or one from a folder, such as RUN/phone_judge, on the CPU.

        Args:
            encoder: the one that the judge was saved with, where it is there already; None: it is loaded too.

        Raises:
            ModelError: if there is no such judge, it does not load, or its encoder is of another version.
        """
        folder = _folder(name)
        try:
            return cls._load_folder(folder, encoder)
        except PhonemiError as error:
            raise ModelError(f"loading phone judge {name}: {error}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"loading phone judge {name}: {CONFIG_FILE} does not describe one ({error!r})") from None

    @classmethod
    def _load_folder(cls, folder: Path, encoder: Representation | None) -> Self:
        settings = read_json(folder / CONFIG_FILE)
        if settings.get("model_type") != MODEL_TYPE:
            raise ModelError(f"it is a {settings.get('model_type')!r} model, not a {MODEL_TYPE!r}")
        if encoder is None:
            name = settings["encoder"]
            if _version(folder, name) != settings["encoder_sha256"]:
                raise ModelError(
                    f"it was trained on an encoder {name!r} with other weights: use the judge that comes with this "
                    "version of phonemi, or train the judge again"
                )
            encoder = load_representation(folder / name if (folder / name).is_dir() else name)
            for option, value in settings["encoder_options"].items():
                setattr(encoder, option, value)
        sizes = {key: settings[key] for key in ("classes", "hidden", "depth")}
        probe = LayerProbes(slots=1, dim=encoder.dim, **sizes)
        load_weights(probe, folder / WEIGHTS_FILE)
        return cls(encoder, settings["layer"], probe.eval(), torch.tensor(settings["distribution"]))

    def save(self, folder: str | Path, half: bool = False) -> None:
        """Write config.json and model.safetensors, for `load`; of the encoder only its name, and the path to a folder.

        Args:
            half: store the probe in half precision.

        Raises:
            PhonemiError: if the files cannot be written.
        """
        folder, name, options = Path(folder), self.encoder.name, self.encoder.settings()
        if shipped.version_of(name) is None and Path(name).is_dir():
            name = os.path.relpath(name, folder)
        save_weights(self.probe, folder / WEIGHTS_FILE, half, {"format": "pt"})
        settings: dict[str, Any] = {
            "model_type": MODEL_TYPE,
            "encoder": name,
            "encoder_sha256": _version(folder, name),
            "encoder_options": {key: options[key] for key in OPTIONS if key in options},
            "layer": self.layer,
            "depth": len(self.probe.kernels),
            "hidden": self.probe.kernels[0].shape[-1],
            "classes": len(self.distribution),
            "distribution": self.distribution.tolist(),
        }
        write_json(folder / CONFIG_FILE, settings)

    @torch.inference_mode()
    def log_probabilities(self, waveform: np.ndarray) -> Tensor:
        """ln q of every phone in every frame of `[sample]` at 16 kHz, [frame, class] on the CPU."""
        device = next(self.probe.parameters()).device
        return self.log_posteriors(torch.from_numpy(np.asarray(waveform, np.float32))[None].to(device))[0].cpu()

    def log_posteriors(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """ln q of every phone in every frame, differentiable.

        Args:
            waveforms: [batch, sample] at 16 kHz, zero beyond `lengths`.
            lengths: samples of each item, [batch]; None: all.

        Returns:
            [batch, frame, class]; what lies beyond the frames of an item means nothing.

        Raises:
            ModelError: if an item is shorter than a frame of the encoder.
        """
        states = self.encoder(waveforms, lengths).states[self.layer]
        logits: Tensor = self.probe(states.float().flatten(0, 1)[None])[0].float()
        posteriors: Tensor = logits.log_softmax(-1).unflatten(0, states.shape[:2])
        return posteriors

    def phones_lost(self, enhanced: Tensor, clean: Tensor, lengths: Tensor) -> Tensor:
        """How much worse the phones are heard in enhanced than in clean speech, differentiable in the enhanced.

        KL(q(y | clean) || q(y | enhanced)), the mean over all frames of items whose clean speech is not silent. But for
        a constant it is the negative of the bound of eq. (1) in Han et al. (2026), with the phones that the judge finds
        in the clean speech.

        Args:
            enhanced, clean: [batch, sample] at 16 kHz, zero beyond `lengths`.
            lengths: samples of each item, [batch]; 400 or more.

        Returns:
            Nats per frame, a scalar, 0 or more.
        """
        with torch.no_grad():
            expected = self.log_posteriors(clean, lengths)
        divergence = (expected.exp() * (expected - self.log_posteriors(enhanced, lengths))).sum(-1)
        frames = torch.tensor([self.encoder.frames(length) for length in lengths.tolist()], device=divergence.device)
        valid = valid_mask(frames, divergence.shape[1]) & clean.any(1, keepdim=True)
        return (divergence * valid).sum() / valid.sum().clamp_min(1)

    def recognise(self, waveform: np.ndarray) -> Tensor:
        """The most probable phone of every frame of `[sample]` at 16 kHz, int64 [frame].

        Of a recording that cannot be judged (silent, not finite, too short), none.
        """
        if self._problem(waveform):
            return torch.zeros(0, dtype=torch.int64)
        return self.log_probabilities(waveform).argmax(-1)

    def bits(self, waveform: np.ndarray, phones: Tensor) -> Score:
        """Bits of a recording about phones: those that are aligned with its clean speech, or recognised in it.

        Args:
            waveform: `[sample]` at 16 kHz; another rate is not noticed, and gives wrong bits.
            phones: class of each frame, IGNORE where it is unknown.

        Returns:
            Mean bits over the frames of known phones; failed, with the reason, for a recording that cannot be judged.
        """
        if problem := self._problem(waveform):
            return Score.failed(problem)
        log_q = self.log_probabilities(waveform)
        phones = phones[: len(log_q)]
        known = (phones != IGNORE).nonzero().squeeze(-1)
        if not len(known):
            return Score.failed(NO_PHONES)
        pointwise = log_q[known, phones[known]] - self.distribution.log()[phones[known]]
        return Score.of(float(pointwise.mean()) / math.log(2))

    def _problem(self, waveform: np.ndarray) -> str | None:
        """Why a recording cannot be judged; None if it can."""
        if not np.isfinite(waveform).all():
            return ESTIMATE_NOT_FINITE
        if not np.any(waveform):
            return ESTIMATE_SILENT
        return TOO_SHORT if self.encoder.frames(len(waveform)) < 1 else None


def encoder_of(judge: str) -> str:
    """Name or folder of the encoder of a judge; its weights are not read. Errors as for `PhoneJudge.load`."""
    folder = _folder(judge)
    settings = read_json(folder / CONFIG_FILE)
    if not isinstance(settings, dict) or "encoder" not in settings:
        raise ModelError(f"loading phone judge {judge}: {CONFIG_FILE} does not describe one")
    name = str(settings["encoder"])
    return str(folder / name) if (folder / name).is_dir() else name


def _folder(judge: str | Path) -> Path:
    folder = shipped.folder_of(judge, MODEL_TYPE) or Path(judge)
    if not (folder / CONFIG_FILE).is_file():
        raise ModelError(
            f"no phone judge {str(judge)!r}: expected one that ships ({shipped.listed(MODEL_TYPE)}), or a folder "
            f"with {CONFIG_FILE}, such as RUN/phone_judge"
        )
    return folder


def _version(judge: Path, encoder: str) -> str | None:
    """SHA-256 of the weights of an encoder of the package, or in a folder relative to the judge's; None: unknown."""
    weights = judge / encoder / WEIGHTS_FILE
    return shipped.version_of(encoder) or (sha256(weights) if weights.is_file() else None)
