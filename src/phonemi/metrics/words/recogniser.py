"""What a speech recogniser must offer, and transcribing many waveforms with one."""

from __future__ import annotations

import importlib.metadata
import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from phonemi.errors import AudioError, DataError, PhonemiError
from phonemi.workers import Workers

if TYPE_CHECKING:
    from phonemi.metrics.words.transcripts import TranscriptStore

Waveform = NDArray[np.float32]
WAVEFORM_NOT_FINITE = "waveform not finite"
AT_A_TIME = 16  # waveforms in a batch, for each process


class Recogniser(Protocol):
    """Turns speech into words; picklable if it is to be used with several processes."""

    @property
    def name(self) -> str:
        """Name in a report."""

    @property
    def decoding(self) -> dict[str, Any]:
        """The part of `settings` that is known before the model is read, also where a package is not installed."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that its output depends on, as JSON."""

    def load(self) -> None:
        """Check that the packages are installed, and load the model if this process will use it.

        Raises:
            MissingExtra: if a package is not installed.
            ModelError: if the model cannot be loaded.
        """

    def transcribe(self, waveform: Waveform) -> str:
        """Words in `[sample]` at 16 kHz; the same waveform always gives the same words."""


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be transcribed, and why."""

    reason: str


@runtime_checkable
class BatchRecogniser(Protocol):
    """What a recogniser offers besides if it is too large to be in memory several times: it stays in this process."""

    batch: int  # waveforms to transcribe together

    def transcribe_batch(self, waveforms: Sequence[Waveform]) -> list[str | Failure]:
        """The result of `transcribe` for each, in order; a `Failure` where that raises an `AudioError`."""


def installed_version(package: str) -> str | None:
    """Version of a package, by the name that pip has for it; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def finite_waveform(waveform: Waveform) -> NDArray[Any]:
    """The waveform as an array, if it can be transcribed.

    Raises:
        AudioError: if a sample is not finite.
        DataError: if it is not `[sample]`.
    """
    waveform = np.asarray(waveform)
    if waveform.ndim != 1:
        raise DataError(f"waveform {list(waveform.shape)} to transcribe must be [sample]")
    if not np.isfinite(waveform).all():
        raise AudioError(WAVEFORM_NOT_FINITE)
    return waveform


def transcribe_all(
    recogniser: Recogniser,
    waveforms: Iterable[Waveform],
    processes: int = 2,
    progress: Callable[[int], None] | None = None,
    store: TranscriptStore | None = None,
) -> list[str | Failure]:
    """Transcribe many waveforms, in order; an utterance that cannot be transcribed becomes a `Failure`.

    Ctrl-C ends it after the utterances that are being transcribed; of their batch nothing is kept.

    Args:
        recogniser: sent to every process once.
        waveforms: `[sample]` at 16 kHz each; taken lazily, in another thread, one batch ahead of the work, so that
            those of a generator are never all in memory.
        processes: 1 works in this process; more are started, but never for a `BatchRecogniser`.
        progress: called with the number of utterances done so far, for each utterance of a batch when all are done.
        store: where transcripts of the same sounds are looked up first, and kept.

    Raises:
        MissingExtra: if the recogniser's package is not installed.
        PhonemiError: if a process dies.
    """
    remaining = iter(waveforms)
    transcripts: list[str | Failure] = []
    at_a_time = recogniser.batch if isinstance(recogniser, BatchRecogniser) else AT_A_TIME * processes

    def transcribe(batch: list[Waveform]) -> list[str | Failure]:
        stored = store.find(batch) if store else [None] * len(batch)
        # By their content: the clean speech of a test set comes once for every SNR.
        new = {waveform.tobytes(): waveform for waveform, text in zip(batch, stored, strict=True) if text is None}
        if isinstance(recogniser, BatchRecogniser):
            recognised = recogniser.transcribe_batch([*new.values()]) if new else []
        else:
            recognised = list(workers.over((waveform,) for waveform in new.values()))
        if store and new:
            pairs = zip(new.values(), recognised, strict=True)
            store.add([(waveform, text) for waveform, text in pairs if isinstance(text, str)])
        of_new = dict(zip(new, recognised, strict=True))
        texts = zip(batch, stored, strict=True)
        return [of_new[waveform.tobytes()] if text is None else text for waveform, text in texts]

    # The work is done in this thread, which Ctrl-C reaches. The processes are stopped before the other thread is waited
    # for, and that ends with the waveform that it is making.
    is_over = threading.Event()

    # The first batches are small: the work begins while what takes longer to make is being made.
    sizes = (min(at_a_time, processes << doublings) for doublings in itertools.count())

    def take_batch() -> list[Waveform]:
        return list(itertools.takewhile(lambda _: not is_over.is_set(), itertools.islice(remaining, next(sizes))))

    with (
        ThreadPoolExecutor(1) as ahead,
        Workers(partial(_transcribe, recogniser), processes, recogniser.name) as workers,
    ):
        try:
            following = ahead.submit(take_batch)
            while batch := following.result():
                following = ahead.submit(take_batch)
                for text in transcribe(batch):
                    transcripts.append(text)
                    if progress is not None:
                        progress(len(transcripts))
        finally:
            is_over.set()
    return transcripts


def _transcribe(recogniser: Recogniser, waveform: Waveform) -> str | Failure:
    try:
        return recogniser.transcribe(waveform)
    except AudioError as error:
        return Failure(str(error))
    except PhonemiError:
        raise  # a missing package or a wrong grammar fails for every utterance
    except Exception as error:
        return Failure(f"{recogniser.name} failed: {type(error).__name__}")
