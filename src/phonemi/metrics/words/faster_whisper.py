"""Whisper by faster-whisper (CTranslate2): the ordinary backend on a CPU, in 8-bit integers."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from phonemi.errors import ModelError, one_line, require_extra
from phonemi.metrics.words.recogniser import Waveform

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
        name: a size such as "base.en", an id on the Hugging Face hub or a folder, in the form of CTranslate2.
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
        number_format = "float16" if device == "cuda" else "int8"
        try:
            self.path = name if Path(name).is_dir() else package.download_model(name)
            self.model = package.WhisperModel(
                self.path, device=device, compute_type=number_format, cpu_threads=1, num_workers=threads
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"Whisper {name!r} cannot be loaded by faster-whisper ({one_line(error)})") from None
        self.name, self.threads = name, threads
        self.batch = 8 * threads  # waveforms that wait for a thread
        self.settings = {
            "backend": "faster-whisper",
            "version": importlib.metadata.version("faster-whisper"),
            "ctranslate2": importlib.metadata.version("ctranslate2"),
            "device": device,
            "number_format": number_format,
            "beams": DECODING["beam_size"],
            "max_new_tokens": DECODING["max_new_tokens"],
            "temperature_fallback": False,
        }

    def transcribe(self, pieces: Sequence[Waveform]) -> list[str]:
        """The text of each piece of at most 30 s."""
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(self._transcribe_one, pieces))

    def _transcribe_one(self, piece: Waveform) -> str:
        segments, _ = self.model.transcribe(piece, **DECODING)
        return " ".join(segment.text.strip() for segment in segments)
