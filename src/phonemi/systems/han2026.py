"""What the main paper prints: the rows of its tables and their numbers, to be put beside ours.

The columns are those of Tables 1 and 2 of *Rethinking Speech Representation Aggregation in Speech Enhancement: A
Phonetic Mutual Information Perspective*. Its "SI-SDR" is read as the improvement over the noisy input, which is what
the recipe it names writes under that name: a system with its PESQ and STOI lies at 17 to 20 dB, not at 9.
"""

from __future__ import annotations

from typing import NamedTuple

ENCODERS = {
    "hubert": "facebook/hubert-base-ls960",
    "wavlm": "microsoft/wavlm-base-plus",
    "wav2vec2": "facebook/wav2vec2-base",
}
"""Name in the tables -> the model on the hub. Which of the two WavLM Base models it was, the paper does not say."""

SINGLE_LAYER = {"hubert": "layer-11", "wavlm": "layer-11", "wav2vec2": "layer-9"}
"""The single layer of Table 1; for any other encoder, the one with the most MI on held-out speech."""


NOISY_VOICEBANK_DEMAND = {"pesq_wb_lqo": (1.97, 0.02), "stoi": (0.921, 0.004), "si_sdr_db": (8.4, 0.3)}
"""Score -> what the noisy recordings of the VoiceBank-DEMAND test set are known to reach, and how far from it scores of
the same recordings may lie (resampling, versions of the packages)."""
VOICEBANK_DEMAND_TEST = 824  # recordings

NOISY_TRACKS = {
    "p232_001": {"pesq_wb_lqo": 2.9266, "stoi": 0.8965},
    "p232_003": {"pesq_wb_lqo": 2.8119, "stoi": 0.9709},
    "p232_005": {"pesq_wb_lqo": 1.3319, "stoi": 0.8820},
    "p232_010": {"pesq_wb_lqo": 1.2107, "stoi": 0.7808},
    "p257_003": {"pesq_wb_lqo": 1.7774, "stoi": 0.9499},
}
"""Single noisy recordings of that test set -> their scores in the log that comes with CMGAN."""
TRACK_TOLERANCE = {"pesq_wb_lqo": 0.05, "stoi": 0.005}


class Published(NamedTuple):
    """A row as printed; None where the table has a dash."""

    mi_bits: float | None
    si_sdri_db: float
    stoi: float
    pesq_wb_lqo: float
    wer: float


TABLES: dict[int, dict[tuple[str, str], Published]] = {
    1: {
        ("", "log1p"): Published(1.05, 9.47, 0.945, 2.81, 0.0649),
        ("hubert", "layer-11"): Published(3.47, 8.99, 0.945, 2.82, 0.0710),
        ("hubert", "ws-acoustic"): Published(3.30, 9.63, 0.949, 2.97, 0.0663),
        ("hubert", "ws-acoustic+log1p"): Published(None, 9.68, 0.951, 3.06, 0.0616),
        ("hubert", "ws-linguistic"): Published(3.49, 8.85, 0.947, 2.93, 0.0609),
        ("hubert", "ws-linguistic+log1p"): Published(None, 9.46, 0.950, 2.97, 0.0648),
        ("hubert", "ws-hybrid"): Published(3.43, 9.34, 0.949, 3.00, 0.0590),
        ("hubert", "ws-hybrid+log1p"): Published(None, 9.26, 0.951, 2.97, 0.0586),
        ("wavlm", "layer-11"): Published(3.57, 8.90, 0.946, 2.84, 0.0651),
        ("wavlm", "ws-acoustic"): Published(3.47, 9.44, 0.949, 2.99, 0.0602),
        ("wavlm", "ws-acoustic+log1p"): Published(None, 9.53, 0.949, 3.05, 0.0585),
        ("wavlm", "ws-linguistic"): Published(3.61, 8.97, 0.947, 2.97, 0.0596),
        ("wavlm", "ws-linguistic+log1p"): Published(None, 9.98, 0.950, 3.04, 0.0583),
        ("wavlm", "ws-hybrid"): Published(3.57, 9.37, 0.948, 2.95, 0.0583),
        ("wavlm", "ws-hybrid+log1p"): Published(None, 9.61, 0.950, 3.06, 0.0517),
        ("wav2vec2", "layer-9"): Published(3.23, 8.83, 0.945, 2.85, 0.0665),
        ("wav2vec2", "ws-acoustic"): Published(3.08, 9.09, 0.949, 2.92, 0.0625),
        ("wav2vec2", "ws-acoustic+log1p"): Published(None, 9.42, 0.949, 2.99, 0.0619),
        ("wav2vec2", "ws-linguistic"): Published(3.32, 8.98, 0.948, 2.92, 0.0649),
        ("wav2vec2", "ws-linguistic+log1p"): Published(None, 9.41, 0.950, 3.00, 0.0630),
        ("wav2vec2", "ws-hybrid"): Published(3.25, 9.53, 0.947, 2.97, 0.0603),
        ("wav2vec2", "ws-hybrid+log1p"): Published(None, 9.47, 0.947, 2.96, 0.0615),
    },
    2: {
        ("wavlm", "dws-acoustic"): Published(3.23, 9.42, 0.948, 2.98, 0.0587),
        ("wavlm", "dws-acoustic+log1p"): Published(None, 9.53, 0.949, 2.99, 0.0545),
        ("wavlm", "dws-linguistic"): Published(3.68, 9.09, 0.946, 2.89, 0.0578),
        ("wavlm", "dws-linguistic+log1p"): Published(None, 9.54, 0.949, 3.02, 0.0584),
        ("wavlm", "dws-hybrid"): Published(3.62, 9.63, 0.948, 2.93, 0.0593),
        ("wavlm", "dws-hybrid+log1p"): Published(None, 9.61, 0.949, 3.04, 0.0587),
    },
}
"""Table -> (encoder, row) -> what is printed. In the text of Table 1 that we have, the names of the second and the
third encoder stand one row early, beside the last row of the block before: a block ends with its hybrid "+ log1p"."""
