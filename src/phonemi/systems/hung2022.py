"""The systems of BSSE: Hung, Fu, Tseng, Chiang, Tsao and Lee (2022).

*Boosting Self-Supervised Embeddings for Speech Enhancement* (arXiv:2204.03339) gives one BLSTM the log1p spectrum, the
last layer of a self-supervised encoder, a weighted sum of its layers, or the spectrum beside these ("cross-domain"),
and trains the encoder with it, entirely (EF) or but for its convolutions (PF), or not at all. The authors' code prints
one result, of a model that it does not name; the tables of the paper could not be read.
"""

from __future__ import annotations

from typing import Any

from phonemi.systems.system import LAST_LAYER, System, TablePlan

ENCODERS = {
    "wavlm": "microsoft/wavlm-base-plus",
    "hubert": "facebook/hubert-base-ls960",
    "wav2vec2": "facebook/wav2vec2-base",
    "wavlm-large": "microsoft/wavlm-large",
    "hubert-large": "facebook/hubert-large-ll60k",
    "wav2vec2-large": "facebook/wav2vec2-large",
}
"""Name in the table -> model on the Hugging Face hub."""

WITHOUT_FIRST_STATE = ("hubert", "wav2vec2", "hubert-large", "wav2vec2-large")
"""Encoders whose weighted sum leaves out the input of the first block: fairseq gave the code their blocks alone."""

FINE_TUNING = ("", "+tuned-partial", "+tuned-entire")
"""What ends the name of a row whose encoder is frozen, partially (PF) or entirely (EF) fine-tuned."""

ROWS = tuple(f"bsse-{features}{tuned}" for features in ("last", "ws", "ws+log1p") for tuned in FINE_TUNING)
"""The rows of an encoder in `phonemi table bsse`."""

PUBLISHED = (
    "Published for VoiceBank-DEMAND, of one row that is not named (by the abstract a fine-tuned encoder beside the "
    "spectrum does best): PESQ 3.20, CSIG 4.53, CBAK 3.60, COVL 3.88."
)
"""What the README of the authors' code prints, since 2022-06-17."""

TERMS = {
    "BSSE": "the network of Hung et al. (2022)",
    "last layer": "of the encoder, alone",
    "normalised WS": "weighted sum of the encoder's layers, each after a LayerNorm of its own",
    "log1p": "the plain spectrum",
    "partial": "all of the encoder but what makes frames of the waveform is trained with the enhancer",
    "entire": "all of the encoder is trained with the enhancer",
}


def _system(name: str, label: str, **parts: Any) -> System:
    return System(
        name,
        f"BSSE {label}",
        network="bsse",
        compared_with=() if name == "bsse-raw" else ("bsse-raw",),
        terms={word: meaning for word, meaning in TERMS.items() if word in f"BSSE {label}"},
        **parts,
    )


def _with_and_without_spectrum(name: str, label: str, **parts: Any) -> list[System]:
    return [
        _system(name, label, **parts),
        _system(f"{name}+log1p", f"{label} + log1p", spectrum=True, **parts),
    ]


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        _system("bsse-raw", "log1p", spectrum=True),
        *_with_and_without_spectrum("bsse-last", "last layer", aggregation="single_layer", layer=LAST_LAYER),
        *_with_and_without_spectrum(
            "bsse-ws", "normalised WS", aggregation="normalised_weighted_sum", tuning="acoustic"
        ),
    )
}

PLANS = (
    TablePlan(
        "bsse",
        rows=lambda encoder: ROWS,
        shared_rows=("bsse-raw",),
        models=ENCODERS,
        encoders={"paper": tuple(ENCODERS), "mini": ("mini",)},
        presets={"paper": "bsse", "mini": "bsse-mini"},
        settings=lambda encoder: ("aggregate.first_layer=1",) if encoder in WITHOUT_FIRST_STATE else (),
        folder="bsse",
        note=PUBLISHED,
    ),
)
"""The tables that `phonemi table` makes."""
