"""Name of a row -> what is judged under it: mixture -> signal [sample]; and the test set they are all judged on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.data.manifest import read_manifest
from phonemi.data.mixing import AudioStore, Mixture, PlannedMixtures
from phonemi.data.pairs import PairedRecordings
from phonemi.errors import DataError, require_extra
from phonemi.metrics.words import PocketsphinxRecogniser, Recogniser
from phonemi.models.enhancer import Enhancer
from phonemi.signal import SAMPLE_RATE
from phonemi.stages import train
from phonemi.stages.information import evenly
from phonemi.stages.rows import parse
from phonemi.stages.run import Run
from phonemi.stages.states import Mixtures

REFERENCES = ("noisy", "clean")


def rows_of(run: Run) -> list[str]:
    """Everything that is judged: noisy, clean, the rows of the configuration, and the systems from elsewhere."""
    return [*REFERENCES, *run.config.enhance.rows, *run.config.evaluate.systems]


def label_of(run: Run, name: str) -> str:
    """What the tables print; a system from elsewhere is called what the configuration calls it."""
    return parse(name).label if name in run.config.enhance.rows else name


def evaluation_set(run: Run) -> Mixtures:
    """The test set: the paired recordings of the configuration, or else speech of the test speakers in test noise."""
    settings = run.config.evaluate
    if settings.pairs is not None:
        return PairedRecordings(evenly(read_manifest(settings.pairs), settings.utterances, run.config.seed))
    return noisy_test_speech(run)


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
    return lambda mixture: enhancer.enhance(mixture.noisy)


class EnhancedFiles:
    """What another program made of the noisy recordings: mixture -> the file of its id in a folder, [sample]."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.by_stem = {path.stem: path for path in audio.find_recordings(folder)}

    def __call__(self, mixture: Mixture) -> np.ndarray:
        """The file's samples at 16 kHz.

        Raises:
            DataError: if there is no file for the mixture, or it has another length (more than 10 ms off).
        """
        path = self.by_stem.get(mixture.id)
        if path is None:
            raise DataError(f"{self.folder} has no file named {mixture.id}: expected one for each noisy recording")
        waveform, samples = audio.load(path), len(mixture.noisy)
        if abs(len(waveform) - samples) > SAMPLE_RATE // 100:
            raise DataError(f"{path} has {len(waveform)} samples at 16 kHz, its noisy recording {samples}")
        return np.pad(waveform, (0, max(0, samples - len(waveform))))[:samples]


def recogniser_of(run: Run) -> Recogniser | None:
    """The recogniser of the configuration.

    Raises:
        MissingExtra: if what it needs is not installed.
    """
    chosen = run.config.evaluate.recogniser
    if chosen == "none":
        return None
    for package in ("pocketsphinx", "jiwer"):
        require_extra(package, "eval")
    if chosen == "pocketsphinx-grammar":
        from phonemi.data.corpora.synthetic import grammar_jsgf

        return PocketsphinxRecogniser(grammar_jsgf())
    return PocketsphinxRecogniser()
