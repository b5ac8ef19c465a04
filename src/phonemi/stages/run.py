"""What a stage is given: the settings, the folder of results, the data by split, the keys, and the encoder.

`Run` holds these; it decides nothing. Functions inside a stage take the parts that they need.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from phonemi.config import Config, save_config
from phonemi.devices import choose_device
from phonemi.progress import Progress
from phonemi.stages.data_splits import DataSplits
from phonemi.stages.hidden_states import StateCache
from phonemi.stages.keys import Keys
from phonemi.stages.run_folder import RunFolder
from phonemi.systems import System, find_systems
from phonemi.training.tracking import Tracker

if TYPE_CHECKING:
    import torch

    from phonemi.representations.base import Representation

ENCODER_RESULT = "encoder/result.json"
ENCODER_MODEL = "encoder/model"


class Run:
    """The parts of a run.

    Args:
        folder: RUN; made if absent.
        config: all settings.
        progress: where progress is shown; None: nowhere.
        save: whether to write RUN/config.yaml and RUN/manifests; not in the processes of a stage that runs several.

    Attributes:
        config, folder, data, keys, progress: the parts.
        systems: those of the configuration, each with its models.

    Raises:
        ConfigError: for a system that does not exist.
        DataError: for a manifest that does not exist; RUN is not made then.
    """

    def __init__(self, folder: str | Path, config: Config, progress: Progress | None = None, save: bool = True) -> None:
        self.config = config
        self.folder = RunFolder(folder)
        self.progress = progress or Progress(enabled=False)
        self.systems: list[System] = find_systems(config.enhance.rows, config.enhance.seeds)
        self.data = DataSplits(
            config.data, config.seed, self.folder / "cache", self.folder / "manifests" if save else None
        )
        if save:
            save_config(config, self.folder.path, {"data": self.data.version})

    @cached_property
    def keys(self) -> Keys:
        """The keys of its results."""
        return Keys(self.config, self.data.version, self.folder / "cache")

    @cached_property
    def tracker(self) -> Tracker:
        """RUN/log.jsonl, and TensorBoard where it is asked for."""
        return Tracker(self.folder.path, self.config.tensorboard)

    @cached_property
    def device(self) -> torch.device:
        """The configured device."""
        return choose_device(self.config.device)

    @cached_property
    def states(self) -> StateCache:
        """Hidden states on disk."""
        return StateCache(self.folder / "cache", self.device, self.progress)

    @cached_property
    def encoder(self) -> Representation:
        """The frozen encoder, one for all who ask, on the device."""
        return self.load_encoder()

    def load_encoder(self) -> Representation:
        """The encoder of the configuration, another copy each time, on the device.

        Raises:
            DataError: if `phonemi pretrain` has not made it with this configuration.
            ModelError: if another one cannot be loaded.
            ConfigError: if it does not take the waveform as normalise_waveform wants it.
        """
        from phonemi.errors import ConfigError
        from phonemi.representations.huggingface import HuggingFaceRepresentation
        from phonemi.representations.names import load_representation

        name = self.config.representation
        if name == "encoder":
            self.folder.read(ENCODER_RESULT, self.keys.encoder, "the encoder", "pretrain")
            name = str(self.folder / ENCODER_MODEL)
        encoder = load_representation(name).to(self.device).eval()
        if (normalise := self.config.normalise_waveform) is not None:
            if not isinstance(encoder, HuggingFaceRepresentation):
                raise ConfigError(f"normalise_waveform is for encoders of transformers, not {name!r}: set it to null")
            encoder.normalise = normalise
        return encoder

    @property
    def encoder_name(self) -> str:
        """Short name of the encoder for tables and figures; "encoder" is the run's own."""
        return Path(self.config.representation).name

    def say(self, text: str) -> None:
        """One line for the person watching."""
        self.progress.say(text)
