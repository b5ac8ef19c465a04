"""Whisper by `transformers`: the backend for a GPU, and for models in the form in which they are published."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from phonemi.constants import SAMPLE_RATE
from phonemi.errors import ModelError
from phonemi.metrics.words.recogniser import Waveform, installed_version
from phonemi.tables import plural
from phonemi.transformers_import import import_transformers, quiet_transformers, unreachable_model

PIECE_S = 30  # Whisper's input, padded if need be
LANGUAGE, TASK = "en", "transcribe"
BATCH_ON_GPU = 16
# Keys read from generation_config.json: which token is which, and no more. How a model is decoded elsewhere (beams,
# fallback, penalties) must not change the words here.
TOKENS = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "no_timestamps_token_id"),
    *("suppress_tokens", "begin_suppress_tokens", "is_multilingual"),
)
LANGUAGES = ("lang_to_id", "task_to_id")


class TransformersBackend:
    """A loaded Whisper.

    Decoding is greedy, without a second attempt at a higher temperature, and without timestamps. The output of a model
    that repeats itself is therefore scored as it is, the repetitions as insertions; it has at most half of the model's
    context (224 tokens) for 30 s, as in OpenAI's own decoder.

    Args:
        name: an id on the Hugging Face hub, or a folder with all files of a model.
        device: of torch.
        dtype: of weights and activations: "float32", in which the words do not depend on device and batch up to ties,
            "float16" or "bfloat16".
        batch: pieces to transcribe together; None: 16 on a GPU, 1 elsewhere.

    Raises:
        ModelError: if there is no such model, it cannot be reached or read, or it is no Whisper.
    """

    def __init__(self, name: str, device: str, dtype: str = "float32", batch: int | None = None) -> None:
        transformers = import_transformers(name, "whisper")
        model, self.features, self.tokenizer = _load_pretrained(transformers, name, dtype)
        self.options = _generation_options(transformers, name, model)
        self.model = model.to(device).eval()
        self.name, self.device = name, device
        self.settings = {
            **self.decoding(device, dtype, batch),
            "max_new_tokens": self.options["max_new_tokens"],
        }
        self.batch: int = self.settings["batch"]

    @staticmethod
    def decoding(device: str, dtype: str = "float32", batch: int | None = None) -> dict[str, Any]:
        """What the words depend on beside the sound and the model; the arguments are those of `TransformersBackend`."""
        return {
            "backend": "transformers",
            "version": installed_version("transformers"),
            "torch": installed_version("torch"),
            "device": device,
            "number_format": dtype,
            "batch": batch or (1 if device == "cpu" else BATCH_ON_GPU),
            "language": LANGUAGE,
            "task": TASK,
            "beams": 1,
            "temperature": 0.0,
            "temperature_fallback": False,
            "timestamps": False,
            "condition_on_previous": False,
        }

    def transcribe(self, pieces: Sequence[Waveform]) -> list[str]:
        """The text of each piece of at most 30 s.

        Raises:
            ModelError: if the memory of the GPU is too small.
        """
        texts: list[str] = []
        for start in range(0, len(pieces), self.batch):
            texts += self._transcribe_together(pieces[start : start + self.batch])
        return texts

    def _transcribe_together(self, pieces: Sequence[Waveform]) -> list[str]:
        import torch

        features = self.features(list(pieces), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        try:
            with torch.inference_mode(), quiet_transformers():
                output = self.model.generate(features.to(self.device, self.model.dtype), **self.options)
        except torch.OutOfMemoryError:
            raise ModelError(
                f"{self.name} and {plural(len(pieces), 'piece')} of {PIECE_S} s need more memory than {self.device} "
                "has: take a smaller Whisper, or the CPU"
            ) from None
        return [text.strip() for text in self.tokenizer.batch_decode(output.sequences, skip_special_tokens=True)]


def _load_pretrained(transformers: ModuleType, name: str, dtype: str) -> tuple[Any, Any, Any]:
    """Model, feature extractor and tokenizer from a folder or from the hub."""
    import torch

    with quiet_transformers():
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
        raise ModelError(f"{name}: {plural(len(missing), 'weight')} missing in the file, first {missing[0]}")
    if tokenizer.eos_token_id != config.eos_token_id:
        raise ModelError(f"{name}: the tokenizer is missing, or that of another model")
    if features.n_samples != PIECE_S * SAMPLE_RATE:
        raise ModelError(f"{name} hears {features.n_samples} samples at once, expected {PIECE_S} s at 16 kHz")
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
