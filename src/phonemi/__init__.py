"""phonemi: speech enhancement that keeps the words.

How much of each phoneme survives in every layer of a self-supervised speech model under noise is measured (mutual
information), an aggregation of the layers that keeps the most of it is learned and frozen, and guides an enhancer.

    audio            the only module that reads or writes sound
    signal           STFT, mel, frame grids: pure tensors
    data             manifests, mixing at an SNR, alignments, corpora
    models           representations, aggregations, probes, mask enhancer, Enhancer
    information      H(Y), lower bound of the MI, layer x SNR tables
    inference        files and folders, long recordings in overlapping chunks
    metrics          SI-SDR, STOI, PESQ, WER; failures are counted, never numbers
    training         the loop, checkpoints, tracking
    stages           one stage of the work each; `phonemi --help` lists them
    plots, report    figures and one self-contained HTML page for each run
    doctor           what is installed here, and whether enhancing works
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Enhancer": "phonemi.models.enhancer",
    "MaskEnhancer": "phonemi.models.mask_enhancer",
    "load_representation": "phonemi.models.representations",
    "HiddenStates": "phonemi.models.representations",
    "SingleLayer": "phonemi.models.aggregation",
    "WeightedSum": "phonemi.models.aggregation",
    "DynamicWeightedSum": "phonemi.models.aggregation",
    "LayerProbes": "phonemi.models.probe",
    "mix_at_snr": "phonemi.data.mixing",
    "read_manifest": "phonemi.data.manifest",
    "PhonemiError": "phonemi.errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: `phonemi --help` must not wait for torch.
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'phonemi' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
