"""What is judged: the recordings of the test set, and of each the noisy, the clean and every system's signal."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phonemi import audio
from phonemi.config.sections import Evaluate
from phonemi.data.manifest import Recording, read_manifest, validate
from phonemi.data.mixing import Mixture, NoisyRecordings, PairedRecordings, PlannedMixtures
from phonemi.data.store import AudioStore
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.options import split_purpose
from phonemi.errors import DataError
from phonemi.signal import SAMPLE_RATE
from phonemi.stages.data_splits import DataSplits, draw_evenly
from phonemi.stages.run import Run
from phonemi.stages.trained_models import require_trained
from phonemi.systems import find_system, known_system, numbered_name
from phonemi.tables import plural
from phonemi.weights import shipped

TestSet = PlannedMixtures | PairedRecordings | NoisyRecordings
Signal = Callable[[Mixture], np.ndarray]
"""Mixture -> what is judged of it, [sample] at 16 kHz."""
REFERENCES = ("noisy", "clean")


def find_test_set(settings: Evaluate, data: DataSplits) -> TestSet:
    """The test set of a configuration; a DataError if there is nothing to judge."""
    recordings = named_recordings(settings, data.seed)
    if recordings is None:
        return mix_test_speech(settings, data)
    return NoisyRecordings(recordings) if settings.pairs is None else PairedRecordings(recordings)


def named_recordings(settings: Evaluate, seed: int) -> list[Recording] | None:
    """Noisy recordings that the configuration names, as many as it judges, with clean ones or without; None: none."""
    recordings = _all_named_recordings(settings)
    return None if recordings is None else draw_evenly(recordings, settings.utterances, seed)


def _all_named_recordings(settings: Evaluate) -> list[Recording] | None:
    path = settings.pairs or settings.recordings
    if path is None:
        return None
    recordings = read_manifest(path)
    try:
        validate(recordings, check_files=False)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return recordings


def mix_test_speech(settings: Evaluate, data: DataSplits) -> PlannedMixtures:
    """Utterances of the judged speakers, in noise of their folds; where words are judged, those with a transcript."""
    split = settings.split
    if not data.speech[split]:
        raise DataError(f"the {split} split has no recording: nothing can be judged on it")
    speech = [one for one in data.speech[split] if one.text or settings.recogniser == "none"]
    if not speech:
        raise DataError(
            f"no recording of the {split} split has a transcript: the words cannot be judged; the rest can, by "
            "evaluate.recogniser=none"
        )
    return PlannedMixtures(
        AudioStore(draw_evenly(speech, settings.utterances, data.seed)),
        data.noise_store(split),
        snrs_db=settings.snrs_db,
        seed=data.seed,
        per_utterance=settings.per_utterance,
    )


def row_names(run: Run, all_models: bool = True) -> list[str]:
    """Everything that is judged: noisy, clean if it is known, the systems of the run, the systems from elsewhere.

    Of a system all models, or only the first.
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
        source, purpose = split_purpose(run.config.evaluate.systems[name])
        version = run.keys.model_version(source)
        return version if purpose == "listening" else [version, purpose]
    return run.keys.model(find_system(name))


def enhances(run: Run, name: str) -> bool:
    """Whether a row makes an enhanced signal of its own, which is to be scored."""
    is_own = name in {system.name for system in run.systems}
    system = known_system(name) if is_own else None
    return system is None or system.network is not None


def find_signal(run: Run, name: str) -> Signal:
    """What turns a mixture into the signal of a row; an error if the system is not trained, or not there.

    A row that makes no signal of its own has that which its inverter is given.
    """
    if name in REFERENCES:
        return lambda mixture: getattr(mixture, name)
    if name in run.config.evaluate.systems:
        source, purpose = split_purpose(run.config.evaluate.systems[name])
        is_shipped = shipped.version_of(source) is not None  # comes before a folder, as everywhere
        if not is_shipped and Path(source).is_dir() and not (Path(source) / "config.json").exists():
            return EnhancedFiles(Path(source), _all_named_recordings(run.config.evaluate) or ())
        elsewhere = Enhancer.from_pretrained(source).to(run.device)
        elsewhere.check_purpose(purpose)
        # As `phonemi enhance` does it, so that a model and the files that it makes score the same.
        return lambda mixture: np.asarray(elsewhere.enhance(mixture.noisy, SAMPLE_RATE, purpose=purpose))
    system = find_system(name)
    require_trained(run, system)
    if system.cascade is not None:
        return find_signal(run, numbered_name(system.cascade.enhancer, system.model))
    if system.network is None:
        return lambda mixture: mixture.noisy
    enhancer = Enhancer.from_pretrained(run.folder.model(name)).to(run.device)

    @torch.inference_mode()
    def enhance(mixture: Mixture) -> np.ndarray:
        """By the network alone, as it was validated: `Enhancer.enhance` would also take off a constant offset."""
        noisy = torch.from_numpy(mixture.noisy)[None].to(run.device)
        enhanced, _ = enhancer.with_gains(noisy, purpose=run.config.enhance.purpose)
        return enhanced[0].float().cpu().numpy()

    return enhance


def check_systems_from_elsewhere(run: Run, test_set: TestSet) -> None:
    """Refuse, before anything is judged, a system that is not there or lacks the file of a recording."""
    for name in run.config.evaluate.systems:
        signal = find_signal(run, name)
        if isinstance(signal, EnhancedFiles):
            for id in test_set.ids():
                signal.file_of(id)


class EnhancedFiles:
    """Files in a folder that another program made of the noisy recordings.

    Results lie in the tree of the recordings, as `phonemi enhance` leaves them: the file of noisy/a/001.wav is
    a/001.wav or, without it, a/001 with any other audio extension. What has no such file has the one that is named by
    its id, wherever that lies.
    """

    def __init__(self, folder: Path, recordings: Sequence[Recording]) -> None:
        self.folder = folder
        paths = {recording.id: Path(recording.path) for recording in recordings}
        # Where the tree begins is not known, but it holds all recordings.
        above = len(os.path.commonprefix([path.parent.parts for path in paths.values()]))
        own = {id: [Path(*path.parts[start:]) for start in range(above + 1)] for id, path in paths.items()}
        left = {path.relative_to(folder) for path in audio.find_recordings(folder)}
        self._files = {id: [name for name in names if name in left] for id, names in own.items()}
        left -= {name for names in self._files.values() for name in names}
        by_path, self._by_id = defaultdict[Path, list[Path]](list), defaultdict[str, list[Path]](list)
        for name in sorted(left):
            by_path[name.with_suffix("")].append(name)
            for id in {name.stem, "__".join(name.with_suffix("").parts), "__".join(name.parts)}:
                self._by_id[id].append(name)
        for id, names in own.items():
            self._files[id] = self._files[id] or [file for name in names for file in by_path[name.with_suffix("")]]

    def file_of(self, id: str) -> Path:
        """The file of a recording; DataError if there is none, or several."""
        names = self._files.get(id) or self._by_id[id]
        if not names:
            raise DataError(f"{self.folder} has no file named {id}: expected one for each noisy recording")
        if len(names) > 1:
            listed = ", ".join(map(str, sorted(names)[:3])) + (", ..." if len(names) > 3 else "")
            raise DataError(f"{self.folder} has several files for {id}: {listed}: keep one of them")
        return self.folder / names[0]

    def __call__(self, mixture: Mixture) -> np.ndarray:
        """The file's samples at 16 kHz, as many as the mixture has; a DataError if it is more than 10 ms off."""
        path = self.file_of(mixture.id)
        waveform, samples = audio.load(path), len(mixture.noisy)
        if abs(len(waveform) - samples) > SAMPLE_RATE // 100:
            raise DataError(f"{path} has {plural(len(waveform), 'sample')} at 16 kHz, its noisy recording {samples}")
        return np.pad(waveform, (0, max(0, samples - len(waveform))))[:samples]
