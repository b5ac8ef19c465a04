"""The recordings that systems are judged on: those that the configuration names, or test speech in test noise."""

from __future__ import annotations

from phonemi.config.sections import Evaluate
from phonemi.data.manifest import Recording, read_manifest, validate
from phonemi.data.mixing import NoisyRecordings, PairedRecordings, PlannedMixtures
from phonemi.data.store import AudioStore
from phonemi.errors import DataError
from phonemi.stages.data_splits import DataSplits, draw_evenly

TestSet = PlannedMixtures | PairedRecordings | NoisyRecordings


def find_test_set(settings: Evaluate, data: DataSplits) -> TestSet:
    """The test set of a configuration.

    Raises:
        DataError: if there is nothing to judge.
    """
    recordings = named_recordings(settings, data.seed)
    if recordings is None:
        return mix_test_speech(settings, data)
    return NoisyRecordings(recordings) if settings.pairs is None else PairedRecordings(recordings)


def named_recordings(settings: Evaluate, seed: int) -> list[Recording] | None:
    """The noisy recordings that the configuration names, with clean ones or without; None if it names none.

    Raises:
        DataError: if the manifest has none, or uses an id twice.
    """
    path = settings.pairs or settings.recordings
    if path is None:
        return None
    recordings = read_manifest(path)
    try:
        validate(recordings, check_files=False)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return draw_evenly(recordings, settings.utterances, seed)


def mix_test_speech(settings: Evaluate, data: DataSplits) -> PlannedMixtures:
    """Utterances of the test speakers that have a transcript, in noise of the test folds.

    Raises:
        DataError: if no utterance has a transcript.
    """
    with_transcript = [recording for recording in data.speech["test"] if recording.text]
    if not with_transcript:
        raise DataError("no recording of the test split has a transcript: the words cannot be judged")
    return PlannedMixtures(
        AudioStore(draw_evenly(with_transcript, settings.utterances, data.seed)),
        data.noise_store("test"),
        snrs_db=settings.snrs_db,
        seed=data.seed,
        per_utterance=settings.per_utterance,
    )
