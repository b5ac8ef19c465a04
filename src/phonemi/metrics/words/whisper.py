"""Whisper (Radford et al. 2023) of any size, for English: the recogniser that people use, by one of two backends."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phonemi.constants import SAMPLE_RATE
from phonemi.devices import count_processes
from phonemi.errors import AudioError, require_extra
from phonemi.files import content_hash
from phonemi.metrics.words.faster_whisper import FasterWhisperBackend
from phonemi.metrics.words.recogniser import Failure, Waveform, finite_waveform
from phonemi.metrics.words.transformers_whisper import LANGUAGE, PIECE_S, TASK, TransformersBackend

DEFAULT_MODEL = "openai/whisper-large-v3"  # as in Han et al. (2026)
BackendName = Literal["auto", "faster-whisper", "transformers"]


class WhisperRecogniser:
    """Whisper with fixed decoding: without timestamps, a second attempt, or the text of earlier audio.

    Each of these would make the words depend on more than the waveform. Recordings longer than 30 s are cut where they
    are quietest: decoding that continues where the last timestamp says loses or repeats speech by one wrong timestamp.
    Cutting loses nothing, but may tear a word where there is no pause within 10 s.

    Args:
        model: a size such as "base.en", an id on the Hugging Face hub, or a folder.
        device: of torch.
        backend: "auto" takes the one whose form the model has (`find_backend`).
        backend_options: of the backend, such as dtype and batch of `TransformersBackend`.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        device: str = "cpu",
        backend: BackendName = "auto",
        **backend_options: Any,
    ) -> None:
        self.model, self.device = str(model), device
        self.backend_name = find_backend(self.model, device) if backend == "auto" else backend
        self.backend_options = backend_options

    @property
    def name(self) -> str:
        """Whisper, and the last part of the model's name."""
        return f"Whisper ({Path(self.model).name})"

    @property
    def settings(self) -> dict[str, Any]:
        """All that the words depend on.

        Raises:
            ModelError: as `load`.
        """
        return {
            "recogniser": "whisper",
            "model": Path(self.model).name if Path(self.model).is_dir() else self.model,
            "revision": self._revision,
            "language": LANGUAGE,
            "task": TASK,
            "temperature": 0.0,
            "timestamps": False,
            "condition_on_previous": False,
            "level_db": None,
            "long_audio": "cut at the quietest 0.1 s of the last third of each piece",
            **self._backend.settings,
        }

    def load(self) -> None:
        """Read the model's files, unless that has been done; every method that needs them calls it.

        Raises:
            MissingExtra: if the package of the backend is not installed.
            ModelError: if there is no such model, it cannot be reached or read, or it is no Whisper.
        """
        _ = self._backend

    @property
    def batch(self) -> int:
        """Waveforms to transcribe together."""
        return self._backend.batch

    def transcribe(self, waveform: Waveform) -> str:
        """Text of `[sample]` at 16 kHz, as Whisper writes it; "" for digital silence, which Whisper never gets.

        Raises:
            AudioError: if a sample is not finite.
            DataError: if the waveform is not `[sample]`.
            ModelError: as `load`, and if the memory of the GPU is too small.
        """
        (text,) = self.transcribe_batch([waveform])
        if isinstance(text, Failure):
            raise AudioError(text.reason)
        return text

    def transcribe_batch(self, waveforms: Sequence[Waveform]) -> list[str | Failure]:
        """The result of `transcribe` for each; a `Failure` for a waveform with samples that are not finite."""
        texts: list[list[str] | Failure] = []  # of the pieces of each waveform
        pieces: list[tuple[list[str], Waveform]] = []  # each with the list that its text goes to
        for waveform in waveforms:
            try:
                samples = finite_waveform(waveform).astype(np.float32)
            except AudioError as error:
                texts.append(Failure(str(error)))
                continue
            parts: list[str] = []
            texts.append(parts)
            pieces += [(parts, piece) for piece in cut(samples, PIECE_S * SAMPLE_RATE) if piece.any()]
        transcripts = self._backend.transcribe([piece for _, piece in pieces]) if pieces else []
        for (parts, _), transcript in zip(pieces, transcripts, strict=True):
            parts.append(transcript)
        return [text if isinstance(text, Failure) else " ".join(filter(None, text)) for text in texts]

    @cached_property
    def _backend(self) -> FasterWhisperBackend | TransformersBackend:
        if self.backend_name == "faster-whisper":
            return FasterWhisperBackend(self.model, self.device, count_processes())
        return TransformersBackend(published_name(self.model), self.device, **self.backend_options)

    @cached_property
    def _revision(self) -> str | None:
        """Version of the model: its commit on the hub, or a hash of the files of a folder."""
        path = getattr(self._backend, "path", self.model)
        if not Path(path).is_dir():
            from huggingface_hub import try_to_load_from_cache

            config = try_to_load_from_cache(self._backend.name, "config.json")
            path = str(Path(config).parent) if isinstance(config, str) else ""
        if Path(path).parent.name == "snapshots":  # .../snapshots/COMMIT, of the hub
            return f"commit {Path(path).name}"
        return f"files {_hash_model(Path(path))}" if path else None


def find_backend(model: str, device: str) -> Literal["faster-whisper", "transformers"]:
    """The backend for a model: the one whose form it has; of a size name, faster-whisper on a CPU if it is installed.

    >>> find_backend("openai/whisper-large-v3", "cpu"), find_backend("Systran/faster-whisper-small.en", "cuda")
    ('transformers', 'faster-whisper')
    """
    if Path(model).is_dir():
        return "faster-whisper" if (Path(model) / "model.bin").exists() else "transformers"
    if "/" in model:
        return "faster-whisper" if "faster" in model or "ct2" in model.lower() else "transformers"
    is_installed = importlib.util.find_spec("faster_whisper") is not None
    return "faster-whisper" if is_installed and device == "cpu" else "transformers"


def is_at_hand(model: str, device: str, backend: BackendName) -> bool:
    """Whether words can be recognised at once: the backend is installed, and the model is on this machine."""
    name = find_backend(model, device) if backend == "auto" else backend
    if importlib.util.find_spec(name.replace("-", "_")) is None:
        return False
    if Path(model).is_dir():
        return True
    if name == "faster-whisper":
        try:
            return bool(require_extra("faster_whisper", "whisper").download_model(model, local_files_only=True))
        except (OSError, ValueError):
            return False
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(published_name(model), "config.json"), str)


def published_name(model: str) -> str:
    """The id on the hub, for `transformers`, of a Whisper that is named by its size; other names as they are."""
    return model if "/" in model or Path(model).exists() else f"openai/whisper-{model}"


def cut(waveform: Waveform, max_samples: int) -> Iterator[Waveform]:
    """Consecutive pieces of at most `max_samples` samples, cut where the waveform is quietest.

    Each ends in the quietest 0.1 s of its last third. None is shorter than a thirtieth of `max_samples`, unless the
    whole waveform is.

    >>> [len(piece) for piece in cut(np.zeros(7, np.float32), 10)]
    [7]
    """
    while len(waveform) > max_samples:
        start, end = 2 * max_samples // 3, min(max_samples, len(waveform) - max_samples // 30)
        step, steps = SAMPLE_RATE // 100, 10
        frames = waveform[start:end][: (end - start) // step * step].reshape(-1, step).astype(np.float64)
        energy = np.convolve((frames**2).sum(1), np.ones(steps), "valid")
        position = start + step * (int(energy.argmin()) + steps // 2)
        yield waveform[:position]
        waveform = waveform[position:]
    yield waveform


def _hash_model(folder: Path) -> str:
    """Hash of the files that a model is read from."""
    files = [path for suffix in ("json", "txt", "safetensors") for path in sorted(folder.glob(f"*.{suffix}"))]
    if not any(path.suffix == ".safetensors" for path in files):
        files += sorted(folder.glob("*.bin"))
    digests = {}
    for path in files:
        with open(path, "rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return content_hash(digests)
