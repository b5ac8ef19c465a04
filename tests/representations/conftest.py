"""Small encoders with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from phonemi.representations.base import Representation
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.representations.tera import Tera, TeraConfig


@pytest.fixture
def new_encoder() -> Callable[..., Representation]:
    """Builds an encoder of three blocks: "mel", "tera", "tera-pre" (pre-norm), or "hubert", "wavlm", "wav2vec2" of Base
    or "-large" style.
    """

    def build(kind: str, **options: float) -> Representation:
        torch.manual_seed(0)
        if kind == "mel":
            config = MelTransformerConfig(
                mels=20, dim=16, blocks=3, heads=2, feedforward=24, position_kernel=7, dropout=options.get("dropout", 0)
            )
            encoder = MelTransformer(config)
            encoder.set_statistics(torch.linspace(-1, 1, 20), torch.linspace(1, 2, 20))
            return encoder.freeze().eval()
        if kind.startswith("tera"):
            drop = options.get("dropout", 0)
            sizes = TeraConfig("mel", 20, 16, 3, 2, 24, pre_norm=kind == "tera-pre")
            tera = Tera(replace(sizes, dropout=drop, attention_dropout=drop))
            for parameter in tera.parameters():
                torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1) / 2, std=0.25)
            return tera.freeze().eval()
        from transformers import AutoConfig, AutoModel

        model_type, _, large = kind.partition("-")
        drop = options.pop("dropout", 0)
        rates = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")
        sizes = {
            "hidden_size": 16,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "conv_dim": [8] * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 2,
            "feat_extract_norm": "layer" if large else "group",
            "do_stable_layer_norm": bool(large),
            "conv_bias": bool(large),
        }
        config = AutoConfig.for_model(model_type, **{**sizes, **dict.fromkeys(rates, drop), **options})
        model = AutoModel.from_config(config).eval()
        for parameter in model.parameters():  # large enough for every part to show in the output
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.25)
        return HuggingFaceRepresentation(model, f"tiny/{kind}")

    return build
