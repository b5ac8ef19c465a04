"""Name of a row -> what is judged under it: mixture -> signal [sample]; and the test set they are all judged on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phonemi import audio
from phonemi.data.corpora.synthetic import grammar_jsgf
from phonemi.data.manifest import Recording, read_manifest, validate
from phonemi.data.mixing import Mixture, PlannedMixtures
from phonemi.data.pairs import NoisyRecordings, PairedRecordings
from phonemi.data.store import AudioStore
from phonemi.enhancers.enhancer import Enhancer
from phonemi.errors import DataError, require_extra
from phonemi.metrics.words import RECOGNISERS, RecogniserOptions
from phonemi.metrics.words.recogniser import Recogniser
from phonemi.signal import SAMPLE_RATE
from phonemi.stages import train
from phonemi.stages.information import evenly
from phonemi.stages.run import Run
from phonemi.systems.system import parse

REFERENCES = ("noisy", "clean")
TestSet = PlannedMixtures | PairedRecordings | NoisyRecordings


def rows_of(run: Run, models: bool = True) -> list[str]:
    """Everything that is judged: noisy, clean if known, the rows of the configuration, the systems from elsewhere.

    All models of a row, or without `models` the first one only.
    """
    references = REFERENCES if run.config.evaluate.recordings is None else REFERENCES[:1]
    rows = [row.name for row in run.rows if models or row.model == 1]
    return [*references, *rows, *run.config.evaluate.systems]


def label_of(run: Run, name: str) -> str:
    """What the tables print; a system from elsewhere is called what the configuration calls it."""
    return next((row.label for row in run.rows if row.name == name), name)


def evaluation_set(run: Run) -> TestSet:
    """The test set: the recordings that the configuration names, or else speech of the test speakers in test noise."""
    given = given_recordings(run)
    if given is None:
        return noisy_test_speech(run)
    return NoisyRecordings(given) if run.config.evaluate.pairs is None else PairedRecordings(given)


def given_recordings(run: Run) -> list[Recording] | None:
    """The noisy recordings that the configuration names, with clean ones or without; None if it names none.

    Raises:
        DataError: if there are none in the manifest, or an id is used twice.
    """
    settings = run.config.evaluate
    path = settings.pairs or settings.recordings
    if path is None:
        return None
    recordings = read_manifest(path)
    try:
        validate(recordings, check_files=False)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return evenly(recordings, settings.utterances, run.config.seed)


def noisy_test_speech(run: Run) -> PlannedMixtures:
    """Utterances with a transcript, of the test speakers, in noise of the test folds."""
    settings = run.config.evaluate
    spoken = [recording for recording in run.speech["test"] if recording.text]
    if not spoken:
        raise DataError("no recording of the test split has a transcript: the words cannot be judged")
    return PlannedMixtures(
        AudioStore(evenly(spoken, settings.utterances, run.config.seed)),
        run.noise_store("test"),
        snrs_db=settings.snrs_db,
        seed=run.config.seed,
        per_utterance=settings.per_utterance,
    )


def made_by(run: Run, name: str) -> Any:
    """What the signals of row `name` depend on: the key of its model; for a folder, which files it holds since when."""
    source = run.config.evaluate.systems.get(name)
    if source is None:
        return None if name in REFERENCES else train.row_key(run, parse(name))
    return _files_of(source)


def heard_by(run: Run) -> list[Any]:
    """What the words of a recogniser depend on, besides the settings: the files of a Whisper that is in a folder."""
    settings = run.config.evaluate
    return [_files_of(settings.whisper)] if settings.recogniser == "whisper" else []


def _files_of(source: str) -> Any:
    """A folder with its files, their sizes and times; the source itself if it is something else."""
    if not Path(source).is_dir():
        return source
    files = sorted(path for path in Path(source).rglob("*") if path.is_file())
    return [source, *((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)]


def system(run: Run, name: str) -> Callable[[Mixture], np.ndarray]:
    """What turns a mixture into the signal that row `name` is judged on."""
    if name in REFERENCES:
        return lambda mixture: getattr(mixture, name)
    source: str | Path = run.folder / "rows" / name / "model"
    if name in run.config.evaluate.systems:
        source = run.config.evaluate.systems[name]
        if Path(source).is_dir() and not (Path(source) / "config.json").exists():
            return EnhancedFiles(Path(source))
    else:
        train.require_done(run, parse(name))
    enhancer = Enhancer.from_pretrained(source).to(run.device)
    if name in run.config.evaluate.systems:  # as `phonemi enhance` does it, so that files and names score the same
        return lambda mixture: np.asarray(enhancer.enhance(mixture.noisy, SAMPLE_RATE))

    @torch.inference_mode()
    def enhanced(mixture: Mixture) -> np.ndarray:
        """By the model itself, as it was trained and validated: `enhance` would also take a constant offset off."""
        return enhancer(torch.from_numpy(mixture.noisy)[None].to(run.device))[0].float().cpu().numpy()

    return enhanced


def check_systems(run: Run, mixtures: TestSet) -> None:
    """Refuse, before anything is judged, a system that is not there or lacks files.

    Raises:
        DataError: if a folder has no file for one of the mixtures.
        ModelError: if there is no such enhancer.
    """
    ids = mixtures.ids()
    for name in run.config.evaluate.systems:
        found = system(run, name)
        if isinstance(found, EnhancedFiles):
            for id in ids:
                found.file_of(id)


class EnhancedFiles:
    """What another program made of the noisy recordings: mixture -> the file of its id in a folder, [sample]."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.by_stem = {path.stem: path for path in audio.find_recordings(folder)}

    def file_of(self, id: str) -> Path:
        """Raises DataError if there is none."""
        if id not in self.by_stem:
            raise DataError(f"{self.folder} has no file named {id}: expected one for each noisy recording")
        return self.by_stem[id]

    def __call__(self, mixture: Mixture) -> np.ndarray:
        """The file's samples at 16 kHz.

        Raises:
            DataError: if there is no file for the mixture, or it has another length (more than 10 ms off).
        """
        path = self.file_of(mixture.id)
        waveform, samples = audio.load(path), len(mixture.noisy)
        if abs(len(waveform) - samples) > SAMPLE_RATE // 100:
            raise DataError(f"{path} has {len(waveform)} samples at 16 kHz, its noisy recording {samples}")
        return np.pad(waveform, (0, max(0, samples - len(waveform))))[:samples]


def recogniser_of(run: Run) -> Recogniser | None:
    """The recogniser of the configuration; None if none is asked for, or no recording has a transcript.

    Raises:
        MissingExtra: if what it needs is not installed.
        ModelError: if the Whisper that is asked for cannot be loaded.
    """
    chosen = run.config.evaluate.recogniser
    given = given_recordings(run)
    if chosen == "none" or (given is not None and not any(recording.text for recording in given)):
        return None
    require_extra("jiwer", "eval")
    options = RecogniserOptions(run.config.evaluate.whisper, str(run.device), grammar_jsgf())
    recogniser = RECOGNISERS[chosen](options)
    recogniser.load()  # now, not after an hour of judging
    return recogniser
