"""LPS: the edit distance by hand, and the phones of a network with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from phonemi.errors import ModelError
from phonemi.metrics.phone_similarity import PhoneSimilarity, phone_similarity
from phonemi.metrics.score import ESTIMATE_NOT_FINITE, ESTIMATE_SILENT

pytest.importorskip("rapidfuzz")
NOISE = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    folder = tmp_path_factory.mktemp("lps") / "wee-ctc"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (20, 16), "num_feat_extract_layers": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Wav2Vec2ForCTC(
            Wav2Vec2Config(vocab_size=7, pad_token_id=0, num_conv_pos_embeddings=16, **sizes, **convolutions)
        ).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    phones = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "a": 4, "tʃ": 5, "ŋ": 6}
    (folder / "vocab.json").write_text(json.dumps(phones))
    return folder


def test_phones_are_the_most_probable_ones_without_repetitions_and_blanks(folder: Path) -> None:
    similarity = PhoneSimilarity(str(folder))
    inputs = similarity._features(NOISE, sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        best = similarity._network(inputs).logits[0].argmax(-1).tolist()
    expected, last = "", None
    for number in best:
        if number != last and number in (4, 5, 6):
            expected += {4: "a", 5: "tʃ", 6: "ŋ"}[number]
        last = number
    assert similarity.transcribe(NOISE) == expected


@pytest.mark.parametrize(
    ("phones", "similarity"), [("atʃaŋ", 1.0), ("atʃan", 0.8), ("ŋ", 0.2), ("", 0.0), ("ooooooooooo", -1.2)]
)
def test_the_distance_is_over_characters(phones: str, similarity: float) -> None:
    assert phone_similarity(phones, "atʃaŋ") == pytest.approx(similarity)


def test_clean_speech_is_as_similar_as_can_be(folder: Path) -> None:
    similarity = PhoneSimilarity(str(folder))
    assert similarity.transcribe(NOISE)
    assert similarity.score(NOISE, NOISE).value == 1.0
    assert similarity.score(0.1 * NOISE[::-1], NOISE).value < 1.0


def test_what_is_not_finite_has_no_phones(folder: Path) -> None:
    broken = np.full(8000, np.nan, np.float32)
    assert PhoneSimilarity(str(folder)).score(broken, NOISE).reason == ESTIMATE_NOT_FINITE


def test_muting_is_a_fault(folder: Path) -> None:
    assert PhoneSimilarity(str(folder)).score(np.zeros_like(NOISE), NOISE).reason == ESTIMATE_SILENT


def test_a_model_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ModelError, match=r"the folder \./absent does not exist"):
        PhoneSimilarity("./absent")
