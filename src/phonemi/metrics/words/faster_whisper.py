"""Whisper by faster-whisper (CTranslate2): the ordinary backend on a CPU, in 8-bit integers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from phonemi.constants import SAMPLE_RATE
from phonemi.errors import ModelError, one_line, require_extra
from phonemi.metrics.words.recogniser import Failure, Waveform, installed_version
from phonemi.transformers_import import unreachable_model

DECODING: dict[str, Any] = {
    "beam_size": 5,
    "temperature": 0.0,
    "condition_on_previous_text": False,
    "without_timestamps": True,
    "max_new_tokens": 224,  # half of the context, as in OpenAI's own decoder
    "language": "en",
    "task": "transcribe",
    "no_speech_threshold": None,  # every piece is decoded: what a model leaves out by itself is a deletion
    "vad_filter": False,
}


class FasterWhisperBackend:
    """A loaded Whisper, which transcribes several pieces at a time, one on each core.

    Args:
        name: an id on the Hugging Face hub or a folder, in the form of CTranslate2.
        device: "cpu" or "cuda".
        threads: pieces at a time.

    Raises:
        MissingExtra: if faster-whisper is not installed.
        ModelError: if there is no such model, or it cannot be reached or read.
    """

    def __init__(self, name: str, device: str, threads: int) -> None:
        package = require_extra("faster_whisper", "whisper")
        if Path(name).is_dir() and not (Path(name) / "tokenizer.json").exists():
            raise ModelError(f"{name} has no tokenizer.json: take that of the Whisper it was made from")
        try:
            self.path = name if Path(name).is_dir() else package.download_model(name)
        except (OSError, ValueError) as error:
            raise unreachable_model(name, error) from None
        self.name, self.device, self.threads = name, device, threads
        self.batch = 8 * threads  # waveforms that wait for a thread
        self.settings = self.decoding(device)
        try:
            self.model = package.WhisperModel(
                self.path,
                device=device,
                compute_type=self.settings["number_format"],
                cpu_threads=1,
                num_workers=threads,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"Whisper {name!r} cannot be loaded by faster-whisper ({one_line(error)})") from None

    @staticmethod
    def decoding(device: str) -> dict[str, Any]:
        """What the words depend on beside the sound and the model."""
        return {
            "backend": "faster-whisper",
            "version": installed_version("faster-whisper"),
            "ctranslate2": installed_version("ctranslate2"),
            "device": device,
            "number_format": "float16" if device == "cuda" else "int8",
            **DECODING,
        }

    def transcribe(self, pieces: Sequence[Waveform]) -> list[str | Failure]:
        """The text of each piece of at most 30 s; a `Failure` for a piece that CTranslate2 fails on.

        Raises:
            ModelError: if the memory is too small, or any sound would fail.
        """
        longest_first = sorted(range(len(pieces)), key=lambda index: -len(pieces[index]))  # all threads end together
        with ThreadPoolExecutor(self.threads) as pool:
            by_length = pool.map(self._transcribe_one, [pieces[index] for index in longest_first])
            of_piece = dict(zip(longest_first, by_length, strict=True))
        texts = [of_piece[index] for index in range(len(pieces))]
        if texts and all(isinstance(text, Failure) for text in texts):
            reason = self._transcribe_one(np.full(SAMPLE_RATE, 1e-3, np.float32))
            if isinstance(reason, Failure):  # it is not for the pieces: a library of the GPU is missing, say
                raise ModelError(f"{self.name}: {reason.reason}")
        return texts

    def _transcribe_one(self, piece: Waveform) -> str | Failure:
        try:
            segments, _ = self.model.transcribe(piece, **DECODING)
            return " ".join(segment.text.strip() for segment in segments)  # decoded while they are read
        except (MemoryError, RuntimeError, ValueError) as error:
            if isinstance(error, MemoryError) or "out of memory" in str(error):
                raise ModelError(
                    f"{self.name} and {self.threads} pieces of 30 s need more memory than {self.device} has: take a "
                    "smaller Whisper, or the CPU"
                ) from None
            return Failure(f"faster-whisper failed ({one_line(error)})")
