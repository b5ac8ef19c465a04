"""Numbers of parameters known from the recipe and the published models."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModel

from phonemi.aggregations import DynamicWeightedSum, WeightedSum
from phonemi.enhancers.mask_enhancer import MaskEnhancer


def parameters(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.mark.parametrize(("dim", "known"), [(257, 4_340_481), (768, 5_387_009), (969, 5_798_657), (1024, 5_911_297)])
def test_mask_model_by_size_of_its_input(dim, known):
    with torch.device("meta"):
        assert parameters(MaskEnhancer(dim)) == known


def test_whole_rows_of_the_tables():
    with torch.device("meta"):
        assert parameters(WeightedSum(13), MaskEnhancer(768)) == 5_387_009 + 13
        assert parameters(WeightedSum(13), MaskEnhancer(768, log1p=True)) == 5_913_345 + 13
        assert parameters(DynamicWeightedSum(13, 768), MaskEnhancer(768)) == 5_387_009 + 1_179_661


@pytest.mark.parametrize(
    ("model_type", "known"), [("hubert", 94_371_712), ("wavlm", 94_381_936), ("wav2vec2", 94_371_712)]
)
def test_base_encoders(model_type, known):
    with torch.device("meta"):
        assert parameters(AutoModel.from_config(AutoConfig.for_model(model_type))) == known
