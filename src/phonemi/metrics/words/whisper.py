"""Waveforms [sample] at 16 kHz -> the words that Whisper hears in them, through `transformers`; and its normaliser."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from phonemi.errors import AudioError, ModelError
from phonemi.files import content_hash
from phonemi.metrics.words.word_errors import Failure, checked
from phonemi.transformers_import import import_transformers, unreachable_model

DEFAULT_MODEL = "openai/whisper-large-v3"  # that of the main paper
SAMPLE_RATE = 16_000
LONGEST_S = 30  # all that a Whisper can hear at once
LANGUAGE, TASK = "en", "transcribe"
BATCH_ON_GPU = 16
# All that is taken from generation_config.json: which token is which. How a model was decoded elsewhere (beams,
# fallback, penalties) must not change the words here.
TOKENS = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "no_timestamps_token_id"),
    *("suppress_tokens", "begin_suppress_tokens", "is_multilingual"),
)
LANGUAGES = ("lang_to_id", "task_to_id")

Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class _Loaded:
    """What is read from the model's files."""

    model: Any
    features: Any  # waveforms -> log-mel spectrograms
    tokenizer: Any
    english: Callable[[str], str]
    options: dict[str, Any]  # of every call of `generate`
    settings: dict[str, Any]  # what can be said only once the files are read


class WhisperRecogniser:
    """Whisper (Radford et al. 2023) of any size; it hears English and is told so.

    Decoding is fixed and greedy. There is no second attempt at a higher temperature, no timestamps, and nothing that
    earlier audio could tell: each of these makes the words depend on more than the waveform. A model that repeats
    itself is therefore scored as it is, what it adds as insertions; half of its context (224 tokens) is the most that
    it can say in 30 s, as in OpenAI's own decoder.

    What is longer than 30 s is cut where it is quietest. The long-form decoding of `transformers` needs timestamps and
    continues where the last one says, so that one wrong timestamp loses or repeats speech, and its pieces cannot share
    a batch. Cut pieces lose nothing, though a word may be torn where there is no pause within 10 s.

    Args:
        model: an id on the Hugging Face hub, or a folder that holds all files of one.
        device: of torch.
        dtype: of weights and activations. In "float32" the words do not depend on device and batch, up to ties.
        batch: pieces of at most 30 s that are heard together; None: 16 on a GPU, 1 elsewhere.
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
        """Read the model's files, if that has not been done yet; whatever needs them does so, too.

        Raises:
            ModelError: if there is no such model, it cannot be reached or read, or it is no Whisper.
        """
        _ = self._loaded

    def transcribe(self, waveform: Waveform) -> str:
        """Text heard in `[sample]` at 16 kHz, as Whisper writes it; "" for digital silence, which it never gets.

        Raises:
            AudioError: if a sample is not finite.
            DataError: if the waveform is not `[sample]`.
            ModelError: as `load`, and if the GPU has not the memory.
        """
        (heard,) = self.transcribe_batch([waveform])
        if isinstance(heard, Failure):
            raise AudioError(heard.reason)
        return heard

    def transcribe_batch(self, waveforms: Sequence[Waveform]) -> list[str | Failure]:
        """What `transcribe` gives for each; a `Failure` for one whose samples are not finite."""
        texts: list[list[str] | Failure] = [[] for _ in waveforms]
        pieces: list[tuple[list[str], Waveform]] = []
        for index, waveform in enumerate(waveforms):
            try:
                samples = checked(waveform).astype(np.float32)
            except AudioError as error:
                texts[index] = Failure(str(error))
                continue
            said: list[str] = []
            texts[index] = said
            pieces += [(said, piece) for piece in cut(samples, LONGEST_S * SAMPLE_RATE) if piece.any()]
        for start in range(0, len(pieces), self.batch):
            together = pieces[start : start + self.batch]
            heard = self._hear([piece for _, piece in together])
            for (said, _), text in zip(together, heard, strict=True):
                said.append(text)
        return [said if isinstance(said, Failure) else " ".join(filter(None, said)) for said in texts]

    def normalise(self, text: str) -> list[str]:
        """Words as Whisper's English normaliser leaves them: for references and transcripts alike.

        Numbers become digits, contractions and titles are written out, British spellings become American ones, fillers
        (hmm, uh) and what is in brackets is dropped. As published: three dots at the end of a text leave one, a word.

        Raises:
            ModelError: as `load`: the spellings come with the model.
        """
        return self._loaded.english(text).split()

    def _hear(self, pieces: list[Waveform]) -> list[str]:
        import torch

        loaded = self._loaded
        features = loaded.features(pieces, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        try:
            with torch.inference_mode(), _quiet():
                output = loaded.model.generate(features.to(self.device, loaded.model.dtype), **loaded.options)
        except torch.OutOfMemoryError:
            raise ModelError(
                f"{self.model} and {len(pieces)} pieces of {LONGEST_S} s need more memory than {self.device} has: "
                "take a smaller Whisper, or the CPU"
            ) from None
        texts = loaded.tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
        return [text.strip() for text in texts]

    @cached_property
    def _loaded(self) -> _Loaded:
        name = self.model
        if not Path(name).exists() and "/" not in name:
            raise ModelError(f"no Whisper {name!r}: expected a folder, or a hub id such as {DEFAULT_MODEL}")
        import_transformers(name, "whisper")
        model, features, tokenizer = _pretrained(name, self.dtype)
        options = _options(name, model)
        english, spellings = _english(name, tokenizer)
        settings = {
            "model": Path(name).name if Path(name).is_dir() else name,
            "revision": _revision(name),
            "max_new_tokens": options["max_new_tokens"],
            "spellings": spellings,
        }
        return _Loaded(model.to(self.device).eval(), features, tokenizer, english, options, settings)


def cut(waveform: Waveform, longest: int) -> Iterator[Waveform]:
    """Pieces of at most `longest` samples that are the waveform when joined, cut where it is quietest.

    Each ends in the quietest 0.1 s of its last third. None is shorter than a thirtieth of `longest`, unless all is.

    >>> [len(piece) for piece in cut(np.zeros(7, np.float32), 10)]
    [7]
    """
    while len(waveform) > longest:
        start, end = 2 * longest // 3, min(longest, len(waveform) - longest // 30)
        step, steps = SAMPLE_RATE // 100, 10
        frames = waveform[start:end][: (end - start) // step * step].reshape(-1, step).astype(np.float64)
        energy = np.convolve((frames**2).sum(1), np.ones(steps), "valid")
        at = start + step * (int(energy.argmin()) + steps // 2)
        yield waveform[:at]
        waveform = waveform[at:]
    yield waveform


def _pretrained(name: str, dtype: str) -> tuple[Any, Any, Any]:
    """Model, feature extractor and tokenizer of a folder or of the hub."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

    whisper: Any = WhisperForConditionalGeneration
    with _quiet():
        try:
            config = AutoConfig.from_pretrained(name)
            if config.model_type != "whisper":
                raise ModelError(f"{name} is of type {config.model_type!r}, expected a Whisper")
            tokenizer = AutoTokenizer.from_pretrained(name)
            features = WhisperFeatureExtractor.from_pretrained(name)
            model, report = whisper.from_pretrained(
                name, config=config, dtype=getattr(torch, dtype), output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise unreachable_model(name, error) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(f"{name}: {len(missing)} weights are missing in the file, {missing[0]} the first of them")
    if tokenizer.eos_token_id != config.eos_token_id:
        raise ModelError(f"{name}: the tokenizer is missing, or that of another model")
    if features.n_samples != LONGEST_S * SAMPLE_RATE:
        raise ModelError(f"{name} hears {features.n_samples} samples at once, expected {LONGEST_S} s at 16 kHz")
    return model, features, tokenizer


def _options(name: str, model: Any) -> dict[str, Any]:
    """Arguments of `generate` that make decoding what `WhisperRecogniser` says, and the model's defaults with them."""
    from transformers import GenerationConfig

    given = {key: getattr(model.generation_config, key, None) for key in (*TOKENS, *LANGUAGES)}
    multilingual = given["is_multilingual"] is not False
    if multilingual and LANGUAGE not in (language.strip("<|>") for language in given["lang_to_id"] or {}):
        raise ModelError(
            f"{name}: its generation_config.json has no language {LANGUAGE!r} in lang_to_id: take that of the Whisper "
            "it was made from"
        )
    kept = (*TOKENS, *LANGUAGES) if multilingual else TOKENS
    model.generation_config = GenerationConfig(**{key: given[key] for key in kept if given[key] is not None})
    options = {
        "return_timestamps": False,
        "max_new_tokens": model.config.max_target_positions // 2,
        # One pass, and every token of it: without these a timestamp that the model writes all the same would make it
        # drop what follows and listen again from there.
        "force_unique_generate_call": True,
        "return_dict_in_generate": True,
    }
    return {**options, "language": LANGUAGE, "task": TASK} if multilingual else options


def _english(name: str, tokenizer: Any) -> tuple[Callable[[str], str], str]:
    """Whisper's English normaliser with the spellings that come with the model, and their number and hash."""
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    spellings = getattr(tokenizer, "english_spelling_normalizer", None)
    if not spellings:
        raise ModelError(
            f"{name} has no normalizer.json, the spellings of Whisper's normaliser, which transformers 5 leaves out "
            f"where it saves a model: take that of {DEFAULT_MODEL}"
        )
    return EnglishTextNormalizer(spellings), f"{len(spellings)}, {content_hash(spellings)}"


def _revision(name: str) -> str | None:
    """Which version of the model: its commit on the hub, or a hash of the files of a folder."""
    if not Path(name).is_dir():
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(name, "config.json")  # .../snapshots/COMMIT/config.json
        return f"commit {Path(path).parent.name}" if isinstance(path, str) else None
    files = [path for end in ("json", "txt", "safetensors") for path in sorted(Path(name).glob(f"*.{end}"))]
    if not any(path.suffix == ".safetensors" for path in files):
        files += sorted(Path(name).glob("*.bin"))
    digests = {}
    for path in files:
        with open(path, "rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return f"files {content_hash(digests)}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing from transformers but errors: it warns of what is meant, such as greedy decoding."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
