"""The signals that the rows of a table are judged on: noisy, clean, and those of all systems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phonemi import audio
from phonemi.data.mixing import Mixture
from phonemi.enhancers.enhancer import Enhancer
from phonemi.errors import DataError
from phonemi.signal import SAMPLE_RATE
from phonemi.stages.run import Run
from phonemi.stages.test_sets import TestSet
from phonemi.stages.train import require_trained
from phonemi.systems import find_system

REFERENCES = ("noisy", "clean")
Signal = Callable[[Mixture], np.ndarray]
"""Mixture -> what is judged of it, [sample] at 16 kHz."""


def row_names(run: Run, all_models: bool = True) -> list[str]:
    """Everything that is judged: noisy, clean if it is known, the systems of the run, the systems from elsewhere.

    Args:
        run: whose configuration says so.
        all_models: all models of a system; else the first one only.
    """
    references = REFERENCES if run.config.evaluate.recordings is None else REFERENCES[:1]
    systems = [system.name for system in run.systems if all_models or system.model == 1]
    return [*references, *systems, *run.config.evaluate.systems]


def row_label(run: Run, name: str) -> str:
    """What the tables print; a system from elsewhere is called what the configuration calls it."""
    return next((system.label for system in run.systems if system.name == name), name)


def signal_version(run: Run, name: str) -> Any:
    """What the signals of a row depend on."""
    if name in REFERENCES:
        return None
    if name in run.config.evaluate.systems:
        return run.keys.version_of_system(run.config.evaluate.systems[name])
    return run.keys.model(find_system(name))


def find_signal(run: Run, name: str) -> Signal:
    """What turns a mixture into the signal that a row is judged on.

    Raises:
        DataError: if the system is not trained with this configuration.
        ModelError: if there is no such enhancer.
    """
    if name in REFERENCES:
        return lambda mixture: getattr(mixture, name)
    if name in run.config.evaluate.systems:
        source = run.config.evaluate.systems[name]
        if Path(source).is_dir() and not (Path(source) / "config.json").exists():
            return EnhancedFiles(Path(source))
        elsewhere = Enhancer.from_pretrained(source).to(run.device)
        # As `phonemi enhance` does it, so that a model and the files that it makes score the same.
        return lambda mixture: np.asarray(elsewhere.enhance(mixture.noisy, SAMPLE_RATE))
    require_trained(run, find_system(name))
    enhancer = Enhancer.from_pretrained(run.folder.model(name)).to(run.device)

    @torch.inference_mode()
    def enhance(mixture: Mixture) -> np.ndarray:
        """By the network alone, as it was validated: `Enhancer.enhance` would also take off a constant offset."""
        enhanced: np.ndarray = enhancer(torch.from_numpy(mixture.noisy)[None].to(run.device))[0].float().cpu().numpy()
        return enhanced

    return enhance


def check_systems_from_elsewhere(run: Run, test_set: TestSet) -> None:
    """Refuse, before anything is judged, a system that is not there or lacks files.

    Raises:
        DataError: if a folder has no file for one of the recordings.
        ModelError: if there is no such enhancer.
    """
    for name in run.config.evaluate.systems:
        signal = find_signal(run, name)
        if isinstance(signal, EnhancedFiles):
            for id in test_set.ids():
                signal.file_of(id)


class EnhancedFiles:
    """Files in a folder that another program made of the noisy recordings, each named by the id of its recording."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_stem = {path.stem: path for path in audio.find_recordings(folder)}

    def file_of(self, id: str) -> Path:
        """The file of a recording; DataError if there is none."""
        if id not in self.by_stem:
            raise DataError(f"{self.folder} has no file named {id}: expected one for each noisy recording")
        return self.by_stem[id]

    def __call__(self, mixture: Mixture) -> np.ndarray:
        """The file's samples at 16 kHz, as many as the mixture has.

        Raises:
            DataError: if there is no file for the mixture, or its length is more than 10 ms off.
        """
        path = self.file_of(mixture.id)
        waveform, samples = audio.load(path), len(mixture.noisy)
        if abs(len(waveform) - samples) > SAMPLE_RATE // 100:
            raise DataError(f"{path} has {len(waveform)} samples at 16 kHz, its noisy recording {samples}")
        return np.pad(waveform, (0, max(0, samples - len(waveform))))[:samples]
