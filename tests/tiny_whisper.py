"""A Whisper of random weights, small enough for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", "<|de|>", "<|en|>", "<|translate|>", "<|transcribe|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip


def make_whisper(folder: Path, context: int, more_tokens: Sequence[str] = (), seed: int = 0) -> Path:
    """Write all files of a multilingual Whisper with random weights: a block on each side.

    Args:
        folder: where.
        context: tokens that its decoder can hold; it writes at most half of them for 30 s.
        more_tokens: special tokens behind those that every Whisper has.
        seed: of the weights.
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    merges = [("m", "e"), ("s", "h"), ("e", "e"), ("s", "ee"), *(("Ġ", word) for word in ("me", "see", "sh", "ee"))]
    pieces = [*sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    tokenizer = WhisperTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": [*SPECIAL[1:], *more_tokens]})
    tokenizer.add_tokens([f"<|{step / 50:.2f}|>" for step in range(1501)])
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=20).save_pretrained(folder)

    special = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    end, start = special["<|endoftext|>"], special["<|startoftranscript|>"]
    tokens = {"eos_token_id": end, "bos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    sizes = {f"{part}_{size}": 1 if size == "layers" else 2 if size == "attention_heads" else 16
             for part in ("encoder", "decoder") for size in ("layers", "attention_heads", "ffn_dim")}  # fmt: skip
    config = WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, num_mel_bins=20, max_target_positions=context, **sizes, **tokens
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration(config)
        for name, weights in model.named_parameters():
            if weights.dim() > 1 and name != "model.encoder.embed_positions.weight":
                torch.nn.init.normal_(weights, std=0.5)
    model.generation_config = GenerationConfig(
        **tokens,
        is_multilingual=True,
        lang_to_id={language: special[language] for language in ("<|de|>", "<|en|>")},
        task_to_id={task: special[f"<|{task}|>"] for task in ("translate", "transcribe")},
        no_timestamps_token_id=special["<|notimestamps|>"],
        max_length=context,
        begin_suppress_tokens=[end],
        suppress_tokens=[i for i in range(len(tokenizer)) if not (i == end or 252 < i < len(pieces))],
    )
    model.save_pretrained(folder)
    return folder


def coloured_noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise with a spectrum of its own for each seed, so that a Whisper hears something else in each."""
    random = np.random.default_rng(seed)
    filtered = np.convolve(random.standard_normal(int(seconds * 16_000)), random.standard_normal(20), "same")
    return (0.02 * filtered).astype(np.float32)
