"""Speech recognition by Whisper, through `transformers`, and Whisper's normalisation of English texts."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from phonemi.constants import SAMPLE_RATE
from phonemi.errors import AudioError, ModelError, import_transformers, unreachable_model
from phonemi.files import content_hash
from phonemi.metrics.words.recogniser import Failure, Waveform, finite_waveform

DEFAULT_MODEL = "openai/whisper-large-v3"  # as in Han et al. (2026)
MAX_PIECE_S = 30  # Whisper's input is 30 s of sound, padded if need be
LANGUAGE, TASK = "en", "transcribe"
BATCH_ON_GPU = 16
# Keys read from generation_config.json: which token is which, and no more. How a model is decoded elsewhere (beams,
# fallback, penalties) must not change the words here.
TOKENS = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "no_timestamps_token_id"),
    *("suppress_tokens", "begin_suppress_tokens", "is_multilingual"),
)
LANGUAGES = ("lang_to_id", "task_to_id")


@dataclass(frozen=True)
class _Loaded:
    """What is read from the model's files."""

    model: Any
    features: Any  # waveforms -> log-mel spectrograms
    tokenizer: Any
    english: Callable[[str], str]  # normaliser
    options: dict[str, Any]  # of every call of `generate`
    settings: dict[str, Any]  # those that are known only once the files are read


class WhisperRecogniser:
    """Whisper (Radford et al. 2023) of any size, for English.

    Decoding is greedy, without a second attempt at a higher temperature, without timestamps, and without the text of
    earlier audio: each of these would make the words depend on more than the waveform. The output of a model that
    repeats itself is therefore scored as it is, the repetitions as insertions; it has at most half of the model's
    context (224 tokens) for 30 s, as in OpenAI's own decoder.

    Recordings longer than 30 s are cut where they are quietest. The long-form decoding of `transformers` needs
    timestamps and continues where the last one says, so that one wrong timestamp loses or repeats speech, and its
    pieces cannot share a batch. Cutting loses nothing, but may tear a word where there is no pause within 10 s.

    Args:
        model: an id on the Hugging Face hub, or a folder with all files of a model.
        device: of torch.
        dtype: of weights and activations. In "float32" the words do not depend on device and batch, up to ties.
        batch: pieces of at most 30 s to transcribe together; None: 16 on a GPU, 1 elsewhere.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        device: str = "cpu",
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        batch: int | None = None,
    ) -> None:
        self.model, self.device, self.dtype = str(model), device, dtype
        self.batch = batch or (1 if device == "cpu" else BATCH_ON_GPU)

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
            **self._loaded.settings,
            "transformers": importlib.metadata.version("transformers"),
            "torch": importlib.metadata.version("torch"),
            "device": self.device,
            "dtype": self.dtype,
            "batch": self.batch,
            "language": LANGUAGE,
            "task": TASK,
            "beams": 1,
            "temperature": 0.0,
            "temperature_fallback": False,
            "timestamps": False,
            "condition_on_previous": False,
            "level_db": None,
            "long_audio": "cut at the quietest 0.1 s of the last third of each piece",
            "normaliser": "EnglishTextNormalizer of transformers",
        }

    def load(self) -> None:
        """Read the model's files, unless that has been done; every method that needs them calls it.

        Raises:
            ModelError: if there is no such model, it cannot be reached or read, or it is no Whisper.
        """
        _ = self._loaded

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
            pieces += [(parts, piece) for piece in cut(samples, MAX_PIECE_S * SAMPLE_RATE) if piece.any()]
        for start in range(0, len(pieces), self.batch):
            batch = pieces[start : start + self.batch]
            for (parts, _), text in zip(batch, self._transcribe_pieces([piece for _, piece in batch]), strict=True):
                parts.append(text)
        return [text if isinstance(text, Failure) else " ".join(filter(None, text)) for text in texts]

    def normalise(self, text: str) -> list[str]:
        """Words after Whisper's English normaliser, for references and transcripts alike.

        Numbers become digits, contractions and titles are written out, British spellings become American ones; fillers
        (hmm, uh) and text in brackets are dropped. As published, three dots at the end of a text leave one, as a word.

        Raises:
            ModelError: as `load`: the spellings come with the model.
        """
        return self._loaded.english(text).split()

    def _transcribe_pieces(self, pieces: list[Waveform]) -> list[str]:
        import torch

        loaded = self._loaded
        features = loaded.features(pieces, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        try:
            with torch.inference_mode(), _quiet(import_transformers(self.model)):
                output = loaded.model.generate(features.to(self.device, loaded.model.dtype), **loaded.options)
        except torch.OutOfMemoryError:
            raise ModelError(
                f"{self.model} and {len(pieces)} pieces of {MAX_PIECE_S} s need more memory than {self.device} has: "
                "take a smaller Whisper, or the CPU"
            ) from None
        texts = loaded.tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
        return [text.strip() for text in texts]

    @cached_property
    def _loaded(self) -> _Loaded:
        name = self.model
        if not Path(name).exists() and "/" not in name:
            raise ModelError(f"no Whisper {name!r}: expected a folder, or a hub id such as {DEFAULT_MODEL}")
        transformers = import_transformers(name, "whisper")
        model, features, tokenizer = _load_pretrained(transformers, name, self.dtype)
        options = _generation_options(transformers, name, model)
        english, spellings = _english_normaliser(name, tokenizer)
        settings = {
            "model": Path(name).name if Path(name).is_dir() else name,
            "revision": _revision(name),
            "max_new_tokens": options["max_new_tokens"],
            "spellings": spellings,
        }
        return _Loaded(model.to(self.device).eval(), features, tokenizer, english, options, settings)


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


def _load_pretrained(transformers: ModuleType, name: str, dtype: str) -> tuple[Any, Any, Any]:
    """Model, feature extractor and tokenizer from a folder or from the hub."""
    import torch

    with _quiet(transformers):
        try:
            config = transformers.AutoConfig.from_pretrained(name)
            if config.model_type != "whisper":
                raise ModelError(f"{name} is of type {config.model_type!r}, expected a Whisper")
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
            features = transformers.WhisperFeatureExtractor.from_pretrained(name)
            model, report = transformers.WhisperForConditionalGeneration.from_pretrained(
                name, config=config, dtype=getattr(torch, dtype), output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise unreachable_model(name, error) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(f"{name}: {len(missing)} weights are missing in the file, {missing[0]} the first of them")
    if tokenizer.eos_token_id != config.eos_token_id:
        raise ModelError(f"{name}: the tokenizer is missing, or that of another model")
    if features.n_samples != MAX_PIECE_S * SAMPLE_RATE:
        raise ModelError(f"{name} hears {features.n_samples} samples at once, expected {MAX_PIECE_S} s at 16 kHz")
    return model, features, tokenizer


def _generation_options(transformers: ModuleType, name: str, model: Any) -> dict[str, Any]:
    """Set the model's defaults for decoding as `WhisperRecogniser` describes it; the arguments of `generate` for it."""
    published = {key: getattr(model.generation_config, key, None) for key in (*TOKENS, *LANGUAGES)}
    is_multilingual = published["is_multilingual"] is not False
    if is_multilingual and LANGUAGE not in (language.strip("<|>") for language in published["lang_to_id"] or {}):
        raise ModelError(
            f"{name}: its generation_config.json has no language {LANGUAGE!r} in lang_to_id: take that of the Whisper "
            "it was made from"
        )
    keys = (*TOKENS, *LANGUAGES) if is_multilingual else TOKENS
    model.generation_config = transformers.GenerationConfig(
        **{key: published[key] for key in keys if published[key] is not None}
    )
    options = {
        "return_timestamps": False,
        "max_new_tokens": model.config.max_target_positions // 2,
        # One pass that keeps every token. Otherwise a timestamp that the model writes in spite of all would drop what
        # follows it and start a second pass there.
        "force_unique_generate_call": True,
        "return_dict_in_generate": True,
    }
    return {**options, "language": LANGUAGE, "task": TASK} if is_multilingual else options


def _english_normaliser(name: str, tokenizer: Any) -> tuple[Callable[[str], str], str]:
    """Whisper's English normaliser with the spellings that come with the model, and their number and hash."""
    spellings = getattr(tokenizer, "english_spelling_normalizer", None)
    if not spellings:
        raise ModelError(
            f"{name} has no normalizer.json, the spellings of Whisper's normaliser, which transformers 5 leaves out "
            f"where it saves a model: take that of {DEFAULT_MODEL}"
        )
    module = importlib.import_module("transformers.models.whisper.english_normalizer")
    return module.EnglishTextNormalizer(spellings), f"{len(spellings)}, {content_hash(spellings)}"


def _revision(name: str) -> str | None:
    """Version of the model: its commit on the hub, or a hash of the files of a folder."""
    if not Path(name).is_dir():
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(name, "config.json")  # .../snapshots/COMMIT/config.json
        return f"commit {Path(path).parent.name}" if isinstance(path, str) else None
    files = [path for suffix in ("json", "txt", "safetensors") for path in sorted(Path(name).glob(f"*.{suffix}"))]
    if not any(path.suffix == ".safetensors" for path in files):
        files += sorted(Path(name).glob("*.bin"))
    digests = {}
    for path in files:
        with open(path, "rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return f"files {content_hash(digests)}"


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Silence the warnings of transformers about intended settings, such as greedy decoding; errors are still shown."""
    logging = transformers.utils.logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
