"""Feature normalisation: Yang and Kang (2023).

*Feature Normalization for Fine-tuning Self-Supervised Models in Speech Enhancement* (arXiv:2306.08406) fine-tunes
Mockingjay, TERA, wav2vec2, WavLM and HuBERT for enhancement, with the features of a layer brought to the statistics of
clean speech, and finds that the lower layers gain most; several layers at once are left to future work. Only a summary
of the paper could be read: no number of its tables is known, nor its network, for which that of SUPERB stands here.
"""

from __future__ import annotations

from phonemi.systems.system import TablePlan

ENCODERS = {
    "mockingjay": "mockingjay",
    "tera": "tera",
    "wav2vec2": "facebook/wav2vec2-base",
    "wavlm": "microsoft/wavlm-base-plus",
    "hubert": "facebook/hubert-base-ls960",
}
"""Name in the table -> model on the Hugging Face hub, or the folder that `phonemi convert` has written."""

BLOCKS = {"tera": 3, "mini": 6, "mini-kmeans": 6}
"""Transformer blocks of encoders that do not have 12."""


def rows(encoder: str) -> tuple[str, ...]:
    """Frozen, fine-tuned, and fine-tuned with normalisation: in one layer from below, the lower half, all."""
    blocks = BLOCKS.get(encoder, 12)
    single = [(layer,) for layer in range(0, blocks + 1, 1 if blocks < 6 else blocks // 3)]
    several = [tuple(range(blocks // 2)), tuple(range(blocks + 1))]
    # Of three blocks the lower half is the lowest one.
    normalised = [f"+norm-{'.'.join(map(str, layers))}" for layers in dict.fromkeys((*single, *several))]
    return ("ws-acoustic", *(f"ws-acoustic{ending}+tuned-entire" for ending in ("", *normalised)))


PLANS = (
    TablePlan(
        "feature-norm",
        rows=rows,
        shared_rows=("log1p",),
        models=ENCODERS,
        encoders={"paper": tuple(ENCODERS), "mini": ("mini",)},
        presets={"paper": "feature-norm", "mini": "feature-norm-mini"},
        folder="feature-norm",
    ),
)
"""The tables that `phonemi table` makes."""
