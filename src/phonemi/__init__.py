"""phonemi: speech enhancement that keeps the words.

How much information about each phoneme survives in every layer of a speech encoder under noise is measured (mutual
information); an aggregation of the layers that keeps the most of it is learned, frozen, and guides an enhancer.

"How it is built" in README.md says what each folder holds.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Enhancer": "phonemi.enhancers.enhancer",
    "Inverter": "phonemi.inversion.inverter",
    "MaskEnhancer": "phonemi.enhancers.mask_enhancer",
    "load_representation": "phonemi.representations.names",
    "HiddenStates": "phonemi.representations.base",
    "SingleLayer": "phonemi.aggregations",
    "WeightedSum": "phonemi.aggregations",
    "DynamicWeightedSum": "phonemi.aggregations",
    "LayerProbes": "phonemi.probes.layer_probes",
    "PhoneJudge": "phonemi.information.phones_kept",
    "mix_at_snr": "phonemi.data.mixing",
    "read_manifest": "phonemi.data.manifest",
    "PhonemiError": "phonemi.errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: `phonemi --help` must not wait for torch.
    if name in _HOME:
        with importlib.import_module("phonemi.errors").explaining_missing_packages():
            return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'phonemi' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
