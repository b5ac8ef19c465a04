"""Whisper (Radford et al. 2023) of any size, for English: the recogniser that people use, by one of two backends."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phonemi.constants import DEFAULT_WHISPER, SAMPLE_RATE, WhisperBackend
from phonemi.devices import count_processes
from phonemi.errors import AudioError, ModelError, nearest, one_line
from phonemi.files import content_hash, read_json
from phonemi.metrics.words.faster_whisper import FasterWhisperBackend
from phonemi.metrics.words.recogniser import Failure, Waveform, finite_waveform
from phonemi.metrics.words.transformers_whisper import PIECE_S, TransformersBackend

# Size -> ids on the Hugging Face hub of the same weights, in the forms of faster-whisper and of transformers.
SIZES = {
    **{
        size: (f"Systran/faster-whisper-{size}", f"openai/whisper-{size}")
        for size in (
            *("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"),
            *("large-v2", "large-v3"),
        )
    },
    **{
        f"distil-{size}": (f"Systran/faster-distil-whisper-{size}", f"distil-whisper/distil-{size}")
        for size in ("small.en", "medium.en", "large-v2", "large-v3")
    },
    "distil-large-v3.5": ("distil-whisper/distil-large-v3.5-ct2", "distil-whisper/distil-large-v3.5"),
    "large-v1": ("Systran/faster-whisper-large-v1", "openai/whisper-large"),
    "large-v3-turbo": ("mobiuslabsgmbh/faster-whisper-large-v3-turbo", "openai/whisper-large-v3-turbo"),
}
SIZES |= {"large": SIZES["large-v3"], "turbo": SIZES["large-v3-turbo"]}
EXTRA = {"faster-whisper": "whisper", "transformers": "research"}  # backend -> what installs it


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
        model: str | Path = DEFAULT_WHISPER,
        device: str = "cpu",
        backend: WhisperBackend = "auto",
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
    def decoding(self) -> dict[str, Any]:
        """The part of `settings` that does not need the model: what decodes it, with which options, and on what."""
        if self.backend_name == "faster-whisper":
            of_backend = FasterWhisperBackend.decoding(self.device)
        else:
            of_backend = TransformersBackend.decoding(self.device, **self.backend_options)
        long_audio = "cut at the quietest 0.1 s of the last third of each piece"
        return {"recogniser": "whisper", "level_db": None, "long_audio": long_audio, **of_backend}

    @property
    def settings(self) -> dict[str, Any]:
        """All that the words depend on.

        Raises:
            ModelError: as `load`.
        """
        return {
            **self.decoding,
            "model": Path(self.model).name if Path(self.model).is_dir() else self._backend.name,
            "revision": self._revision,
            **self._backend.settings,
        }

    def obstacle(self) -> str | None:
        """Why words cannot be recognised without an installation or a download; None if they can.

        Weights are looked for, not read: `load` may still find them damaged.
        """
        if importlib.util.find_spec(self.backend_name.replace("-", "_")) is None:
            return f"{self.backend_name} is not installed: pip install 'phonemi[{EXTRA[self.backend_name]}]'"
        try:
            if self.backend_name == "faster-whisper":  # transformers takes too long to import for a question
                importlib.import_module("faster_whisper")
            name = published_name(self.model, self.backend_name)
            if _has_weights(name, self.backend_name):
                return None
        except Exception as error:  # a broken package can raise anything
            return one_line(error) or type(error).__name__
        if Path(name).is_dir():
            return f"{name} has no weights for {self.backend_name}"
        return f"{name} is not, or not completely, on this machine: run `hf download {name}`"

    def load(self) -> None:
        """Read the model's files, unless that has been done; every method that needs them calls it.

        Raises:
            MissingExtra: if the package of the backend is not installed.
            ModelError: if there is no such size or model, it cannot be reached or read, or it is no Whisper.
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
        """The result of `transcribe` for each; a `Failure` for a waveform that is not finite or has a piece that fails.

        Raises:
            DataError, ModelError: as `transcribe`.
        """
        texts: list[list[str | Failure] | Failure] = []  # of the pieces of each waveform
        pieces: list[tuple[list[str | Failure], Waveform]] = []  # each with the list that its text goes to
        for waveform in waveforms:
            try:
                samples = finite_waveform(waveform).astype(np.float32)
            except AudioError as error:
                texts.append(Failure(str(error)))
                continue
            parts: list[str | Failure] = []
            texts.append(parts)
            pieces += [(parts, piece) for piece in cut(samples, PIECE_S * SAMPLE_RATE) if piece.any()]
        transcripts = self._backend.transcribe([piece for _, piece in pieces]) if pieces else []
        for (parts, _), transcript in zip(pieces, transcripts, strict=True):
            parts.append(transcript)
        return [text if isinstance(text, Failure) else _join(text) for text in texts]

    @cached_property
    def _backend(self) -> FasterWhisperBackend | TransformersBackend:
        name = published_name(self.model, self.backend_name)
        if self.backend_name == "faster-whisper":
            return FasterWhisperBackend(name, self.device, count_processes())
        return TransformersBackend(name, self.device, **self.backend_options)

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


def published_name(model: str, backend: str) -> str:
    """The id on the hub, in the form of a backend, of a Whisper that is named by its size; other names as they are.

    Raises:
        ModelError: if there is no such size.

    >>> published_name("turbo", "transformers"), published_name("someone/whisper", "transformers")
    ('openai/whisper-large-v3-turbo', 'someone/whisper')
    """
    if "/" in model or Path(model).exists():
        return model
    if model not in SIZES:
        raise ModelError(f"Whisper has no size {model!r}, and there is no such folder; {nearest(model, SIZES)}")
    return SIZES[model][backend == "transformers"]


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


def _join(texts: Sequence[str | Failure]) -> str | Failure:
    """The text of a waveform from those of its pieces; the first failure, if there is one."""
    for text in texts:
        if isinstance(text, Failure):
            return text
    return " ".join(text for text in texts if isinstance(text, str) and text)


def _has_weights(name: str, backend: str) -> bool:
    """Whether all weights of a folder, or of a model on the hub, are on this machine."""
    from huggingface_hub import try_to_load_from_cache

    def find(file: str) -> Path | None:
        path = Path(name) / file if Path(name).is_dir() else try_to_load_from_cache(name, file)
        return Path(path) if isinstance(path, (str, Path)) and Path(path).exists() else None

    if backend == "faster-whisper":
        return find("model.bin") is not None
    if (index := find("model.safetensors.index.json")) is not None:  # weights in several files
        return all(find(file) for file in set(read_json(index)["weight_map"].values()))
    return any(find(file) for file in ("model.safetensors", "pytorch_model.bin"))


def _hash_model(folder: Path) -> str:
    """Hash of the files that a model is read from."""
    files = [path for suffix in ("json", "txt", "safetensors", "bin") for path in sorted(folder.glob(f"*.{suffix}"))]
    digests = {}
    for path in files:
        with open(path, "rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return content_hash(digests)
