"""Joint enhancement and speech inversion: Tabatabaee and Espy-Wilson (2026).

*Towards noise-robust speech inversion through multi-task learning with speech enhancement* (arXiv:2601.14516): one
self-supervised encoder is trained by two tasks at once, an enhancer in the waveform domain and an inverter that
recovers what the vocal tract does, so that inversion survives noise. Loss, decoder, weights and noises are not in what
could be read of the paper: the enhancer is Demucs guided by the encoder (`enhancers.waveform_enhancer`), the inverter
that of the lab's public system (`inversion.networks.GruInverter`), which is also what the baselines are made of.
"""

from __future__ import annotations

from typing import Any

from phonemi.systems.system import LAST_LAYER, Cascade, System, TablePlan

ENCODERS = {"wavlm-large": "microsoft/wavlm-large"}
"""Name in the table -> model on the Hugging Face hub."""

TUNED = "+tuned-entire"
ENHANCER = f"ws-acoustic+waveform{TUNED}"
"""The row that enhances and does not invert: the first half of the cascade."""
INVERTER_OF_CLEAN = f"inversion-clean{TUNED}"
"""The row whose inverter has learned from clean speech: a baseline, and the second half of the cascade."""

ROWS = (
    "inversion-linear", INVERTER_OF_CLEAN, f"inversion{TUNED}", ENHANCER, "cascade", "joint", f"joint{TUNED}",
)  # fmt: skip
"""The rows of an encoder in `phonemi table inversion`."""

PUBLISHED = (
    "Published, for an encoder that both tasks train: at -5 dB mean correlations 80.95 % higher than those of its "
    "baseline in babble, 38.98 % in other noise; by arithmetic 0.42 to 0.76, and 0.59 to 0.82. No table could be read."
)
"""What is known of the paper's numbers."""

TERMS = {
    "inverter": "recovers from speech how the vocal tract moves",
    "linear": "one linear map of the features",
    "learned": "a weighted sum of the encoder's layers whose weights are learned with the inverter",
    "clean speech": "what the inverter has learned from; the others have learned from noisy speech",
    "joint": "one encoder serves an enhancer and an inverter, which are trained together",
    "then": "what the enhancer makes of the noisy speech is given to the inverter",
    "entire": "all of the encoder is trained with them",
    "in the waveform": "Demucs, guided by the features, instead of a mask on the spectrum",
}


def _inverter(name: str, label: str, **parts: Any) -> System:
    parts = {"aggregation": "weighted_sum", "tuning": "acoustic", "network": None, "inverter": "gru"} | parts
    return System(name, label, terms={word: meaning for word, meaning in TERMS.items() if word in label}, **parts)


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        _inverter("inversion", "inverter, WS learned"),
        _inverter("inversion-linear", "linear inverter, WS learned", inverter="linear", compared_with=("inversion",)),
        _inverter("inversion-clean", "inverter of clean speech", hears_clean=True, compared_with=("inversion",)),
        _inverter(
            "inversion-linguistic", "inverter, WS (Linguistic)", tuning="linguistic", compared_with=("inversion",)
        ),
        _inverter(
            "inversion-last",
            "inverter, last layer",
            aggregation="single_layer",
            tuning=None,
            layer=LAST_LAYER,
            compared_with=("inversion",),
        ),
        _inverter("joint", "joint enhancer and inverter", network="waveform", compared_with=("inversion",)),
        System(
            "cascade",
            "enhancer, then inverter of clean speech",
            network=None,
            cascade=Cascade(ENHANCER, INVERTER_OF_CLEAN),
            compared_with=(INVERTER_OF_CLEAN,),
            terms={word: TERMS[word] for word in ("inverter", "clean speech", "then")},
        ),
    )
}

PLANS = (
    TablePlan(
        "inversion",
        rows=lambda encoder: ROWS,
        models=ENCODERS,
        encoders={"paper": tuple(ENCODERS), "mini": ("mini",)},
        presets={"paper": "inversion", "mini": "inversion-mini"},
        folder="inversion",
        note=PUBLISHED,
    ),
)
"""The tables that `phonemi table` makes."""
