"""LPS, the Levenshtein phone similarity of the URGENT challenges: how alike the phones of two recordings are.

A network that was trained on many languages writes down the phones of the enhanced and of the clean recording, in IPA;
LPS = 1 - edit distance / length of the clean one, over characters (Pirklbauer et al. 2023; Zhang et al. 2024).
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from phonemi.constants import SAMPLE_RATE
from phonemi.errors import ModelError, require_extra
from phonemi.files import read_json
from phonemi.metrics.score import ESTIMATE_NOT_FINITE, ESTIMATE_SILENT, Score
from phonemi.transformers_import import import_transformers, quiet_transformers, unreachable_model

DEFAULT_MODEL = "facebook/wav2vec2-lv-60-espeak-cv-ft"
NO_PHONES = "no phones in the reference"


class PhoneSimilarity:
    """LPS by a phone recogniser of `transformers` with a CTC output, from the hub or a folder.

    Raises:
        MissingExtra: if rapidfuzz, which comes with jiwer, is not installed.
        ModelError: if the model cannot be loaded.
    """

    def __init__(self, model: str = DEFAULT_MODEL, device: str = "cpu") -> None:
        require_extra("rapidfuzz.distance", "metrics")
        transformers = import_transformers(model, "wav2vec2")
        with quiet_transformers():
            try:
                self._features = transformers.AutoFeatureExtractor.from_pretrained(model)
                self._network = transformers.AutoModelForCTC.from_pretrained(model).to(device).eval()
                vocabulary = read_json(transformers.utils.cached_file(model, "vocab.json"))
            except (OSError, ValueError) as error:
                raise unreachable_model(model, error) from None
        if self._features.sampling_rate != SAMPLE_RATE:
            raise ModelError(f"{model} hears {self._features.sampling_rate} Hz, expected {SAMPLE_RATE}")
        self._device = device
        self._references: dict[int, str] = {}
        self._blank = self._network.config.pad_token_id
        self._phones = {number: phone for phone, number in vocabulary.items() if not phone.startswith(("<", "["))}

    def transcribe(self, waveform: np.ndarray) -> str:
        """The phones of `[sample]` at 16 kHz as IPA characters, without marks between them."""
        import torch

        inputs: Any = self._features(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
        with torch.inference_mode():
            best = self._network(inputs.to(self._device)).logits[0].argmax(-1).tolist()
        return "".join(self._phones.get(number, "") for number, _ in groupby(best) if number != self._blank)

    def score(self, estimate: np.ndarray, clean: np.ndarray) -> Score:
        """LPS of an estimate; it may be negative, and is at most 1. The same clean speech is heard once."""
        if not np.isfinite(estimate).all():
            return Score.failed(ESTIMATE_NOT_FINITE)
        if not estimate.any():
            return Score.failed(ESTIMATE_SILENT)
        sound = hash(clean.tobytes())
        if sound not in self._references:
            self._references[sound] = self.transcribe(clean)
        if not self._references[sound]:
            return Score.failed(NO_PHONES)
        return Score(phone_similarity(self.transcribe(estimate), self._references[sound]))


def phone_similarity(phones: str, reference: str) -> float:
    """1 - edit distance / length of the reference, which is not empty.

    >>> phone_similarity("atʃan", "atʃaŋ")
    0.8

    Raises:
        MissingExtra: if rapidfuzz, which comes with jiwer, is not installed.
    """
    distance: int = require_extra("rapidfuzz.distance", "metrics").Levenshtein.distance(phones, reference)
    return 1 - distance / len(reference)
