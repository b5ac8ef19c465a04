"""What users load to hear the articulators: an encoder, an aggregation of its layers and a network, with the names and
ranges of what it estimates. From a recording of any length to tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonemi import audio
from phonemi.aggregations import Aggregation, build_aggregation
from phonemi.errors import AudioError, ModelError, PhonemiError
from phonemi.files import sha256, write_json
from phonemi.inversion import smoothing
from phonemi.inversion.networks import InverterNetwork, build_inverter_network
from phonemi.inversion.tracks import RATE_HZ, Normalisation, Tracks, frames_in
from phonemi.representations.base import Representation
from phonemi.representations.stored import hear_alike, load_stored_encoder, store_encoder
from phonemi.signal import SAMPLE_RATE, SSL_FIELD, pad_to
from phonemi.weights.hub import find_model
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE, read_model, type_of
from phonemi.weights.tensors import load_weights, save_weights

MODEL_TYPE = "phonemi-inverter"
ENHANCER_TYPE = "phonemi-enhancer"
INVERTER = "inverter"  # folder of an inverter inside that of the enhancer that it was trained with
ABOVE = ".."  # in its config.json: the encoder is that of the enhancer
CHUNK_S, CONTEXT_S = 20.0, 1.0
VOICED = 0.5  # of the periodicity: below, the pitch is not known
SILENT = "the recording is digital silence"


class Inverter(nn.Module):
    """Waveform -> tract variables, 100 times a second.

    Args:
        representation: the encoder.
        aggregation: of its layers.
        network: estimates normalised variables from the one sequence.
        normalisation: names and units of the variables, and the mean and reach of a typical speaker, by which the
            estimate is brought to units. Whose mouth is larger moves further than that.
        name: of the model.
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self,
        representation: Representation,
        aggregation: Aggregation,
        network: InverterNetwork,
        normalisation: Normalisation,
        name: str = "inverter",
    ) -> None:
        super().__init__()
        if network.dim != representation.dim or network.variables != len(normalisation.names):
            raise ModelError(
                f"the network takes {network.dim} features and gives {network.variables} variables; the encoder has "
                f"{representation.dim} features, and {len(normalisation.names)} variables are named"
            )
        self.representation, self.aggregation, self.network = representation, aggregation, network
        self.normalisation, self.name = normalisation, name
        self.facts: dict[str, Any] = {}
        self.eval()

    @property
    def variables(self) -> tuple[str, ...]:
        """What is estimated, such as "LA"."""
        return self.normalisation.names

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Estimate normalised variables, [batch, sample] at 16 kHz -> [batch, frame of 10 ms, variable].

        Args:
            waveforms: of one receptive field (400 samples) or more.
            lengths: samples of each item, [batch]; None: all. Frames beyond the end of an item are 0.
        """
        samples = torch.full((len(waveforms),), waveforms.shape[1]) if lengths is None else lengths.cpu()
        states = self.representation(waveforms, samples).states
        return self.network(self.aggregation(states), samples).float()

    @torch.inference_mode()
    def invert(self, waveform: np.ndarray | Tensor, sample_rate: int, *, smooth: bool = False) -> Tracks:
        """Estimate what the articulators do in a recording.

        Args:
            waveform: [sample], floats. Of several channels, give one or their mean.
            sample_rate: in Hz.
            smooth: whether a Kalman smoother goes over the estimate (`phonemi.inversion.smoothing`).

        Returns:
            A frame for every 10 ms that begin in the recording. F0 is NaN where the periodicity is below 0.5; all is
            NaN, with the reason, in digital silence.

        Raises:
            AudioError: for another shape, no samples, or samples that are not finite.
        """
        samples = np.asarray(waveform.detach().cpu() if isinstance(waveform, Tensor) else waveform)
        if samples.ndim != 1 or not len(samples) or not np.issubdtype(samples.dtype, np.floating):
            raise AudioError(f"expected floats [sample], found {samples.dtype} {list(samples.shape)}")
        if not np.isfinite(samples).all():
            raise AudioError("the recording has samples that are not finite")
        samples = audio.resample(samples.astype(np.float32), sample_rate, SAMPLE_RATE)
        frames, names, units = frames_in(len(samples) / SAMPLE_RATE), self.normalisation.names, self.normalisation.units
        if not samples.any():
            silence = np.full((frames, len(names)), np.nan, dtype=np.float32)
            return Tracks(silence, names, units, dict.fromkeys(names, SILENT))
        values = np.concatenate(list(self._pieces(samples)))[:frames]
        if smooth:
            values = smoothing.smooth(values)
        tracks = self.normalisation.restore(Tracks(values, names, ("range",) * len(names)))
        if {"F0", "PER"} <= set(names):
            tracks.column("F0")[tracks.column("PER") < VOICED] = np.nan
        return tracks

    def invert_file(self, path: str | Path, *, smooth: bool = False) -> Tracks:
        """`invert` of a sound file, whose channels are averaged; AudioError if it cannot be read."""
        waveform = audio.load(path, SAMPLE_RATE)
        try:
            return self.invert(waveform, SAMPLE_RATE, smooth=smooth)
        except AudioError as error:
            raise AudioError(f"{path}: {error}") from None

    def _pieces(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """The estimate of a long recording in pieces [frame, variable], each with a second of what is around it."""
        device = next(self.network.parameters()).device
        step, context = round(CHUNK_S * SAMPLE_RATE), round(CONTEXT_S * SAMPLE_RATE)
        for start in range(0, len(samples), step):
            first = max(0, start - context)
            chunk = torch.from_numpy(samples[first : start + step + context])[None]
            estimate = self(pad_to(chunk, SSL_FIELD).to(device))[0].cpu().numpy()
            skipped = (start - first) * RATE_HZ // SAMPLE_RATE
            yield estimate[skipped : skipped + frames_in(min(step, len(samples) - start) / SAMPLE_RATE)]

    def save_pretrained(
        self,
        folder: str | Path,
        facts: dict[str, Any] | None = None,
        half: bool = False,
        shipped_encoder: str | None = None,
    ) -> None:
        """Write the model to a folder that may be moved: config.json, model.safetensors and the encoder.

        Inside the folder of an enhancer that was trained with it ("inverter"), the encoder is that of the enhancer.

        Args:
            folder: created if absent.
            facts: what else to record; None: the attribute `facts`.
            half: store parameters in half precision.
            shipped_encoder: see `Enhancer.save_pretrained`.

        Raises:
            ModelError: inside the folder of an enhancer that has another encoder.
        """
        folder = Path(folder)
        is_inside = folder.name == INVERTER and type_of(folder.parent / CONFIG_FILE) == ENHANCER_TYPE
        encoder: dict[str, Any] = {"representation": ABOVE}
        files: list[str] = []
        if not is_inside:
            encoder, files = store_encoder(self.representation, folder, half, shipped_encoder)
        elif not hear_alike(_encoder_of_enhancer(folder.parent), self.representation):
            raise ModelError(f"the enhancer in {folder.parent} has another encoder: save the inverter elsewhere")
        save_weights(self._without_encoder(), folder / WEIGHTS_FILE, half, {"format": "pt"})
        normalisation = self.normalisation
        settings = {
            "model_type": MODEL_TYPE,
            "name": self.name,
            "sample_rate": SAMPLE_RATE,
            "inverter": self.network.settings(),
            "aggregation": self.aggregation.settings(),
            "variables": [
                {"name": name, "unit": unit, "mean": float(mean), "reach": float(reach)}
                for name, unit, mean, reach in zip(
                    normalisation.names, normalisation.units, normalisation.mean, normalisation.reach, strict=True
                )
            ],
            "facts": self.facts if facts is None else facts,
            "files": {file: sha256(folder / file) for file in [WEIGHTS_FILE, *files]},
        }
        write_json(folder / CONFIG_FILE, settings | encoder)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        encoder: str | Path | None = None,
    ) -> Inverter:
        """Load an inverter.

        Args:
            name: one that comes with the package, a folder written by `save_pretrained` or `phonemi train`, also that
                of an enhancer that has an inverter, or a hub id.
            revision, token, encoder: see `Enhancer.from_pretrained`.

        Raises:
            ModelError: if there is no such model, or its files are missing, damaged or do not fit each other.
        """
        folder = find_model(name, (MODEL_TYPE, ENHANCER_TYPE), revision, token)
        if (folder / INVERTER / CONFIG_FILE).is_file():
            folder = folder / INVERTER
        elif type_of(folder / CONFIG_FILE) == ENHANCER_TYPE:
            raise ModelError(f"{name} is an enhancer without an inverter: rows such as `joint` have one")
        try:
            return cls._load_folder(folder, token, encoder)
        except PhonemiError as error:
            raise ModelError(f"loading inverter {name}: {error}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"loading inverter {name}: {CONFIG_FILE} does not describe one ({error!r})") from None

    @classmethod
    def _load_folder(cls, folder: Path, token: str | bool | None, encoder: str | Path | None) -> Inverter:
        settings = read_model(folder, MODEL_TYPE)
        is_inside = settings["representation"] == ABOVE
        around = folder.parent if is_inside else folder
        stored = read_model(around, ENHANCER_TYPE) if is_inside else settings
        representation = load_stored_encoder(stored, around, token, encoder)
        if representation is None:
            raise ModelError("it has no encoder")
        variables = settings["variables"]
        names, units = (tuple(variable[key] for variable in variables) for key in ("name", "unit"))
        mean, reach = (np.array([variable[key] for variable in variables]) for key in ("mean", "reach"))
        inverter = cls(
            representation,
            build_aggregation(settings["aggregation"]),
            build_inverter_network(settings["inverter"]),
            Normalisation(names, units, mean, reach),
            settings["name"],
        )
        load_weights(inverter._without_encoder(), folder / WEIGHTS_FILE)
        inverter.facts = settings.get("facts", {})
        return inverter

    def _without_encoder(self) -> nn.Module:
        """The parts whose weights are in model.safetensors, under the names that they have there."""
        return nn.ModuleDict({"inverter": self.network, "aggregation": self.aggregation})


def _encoder_of_enhancer(folder: Path) -> Representation | None:
    return load_stored_encoder(read_model(folder, ENHANCER_TYPE), folder)
