"""Compare the scores of a well-known noisy test set with what they are known to be.

A metric or a conversion that is off shows here, before anything that was trained is judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phonemi.results.evaluation import ScoredUtterance

VOICEBANK_DEMAND_TEST = 824
"""Recordings in the test set of VoiceBank-DEMAND."""

NOISY_VOICEBANK_DEMAND = {"pesq_wb_lqo": (1.97, 0.02), "stoi": (0.921, 0.004), "si_sdr_db": (8.4, 0.3)}
"""Score -> what its noisy recordings are known to reach, and how far from it scores of the same recordings may lie
(resampling, versions of the packages)."""

NOISY_TRACKS = {
    "p232_001": {"pesq_wb_lqo": 2.9266, "stoi": 0.8965},
    "p232_003": {"pesq_wb_lqo": 2.8119, "stoi": 0.9709},
    "p232_005": {"pesq_wb_lqo": 1.3319, "stoi": 0.8820},
    "p232_010": {"pesq_wb_lqo": 1.2107, "stoi": 0.7808},
    "p257_003": {"pesq_wb_lqo": 1.7774, "stoi": 0.9499},
}
"""Single noisy recordings of it -> their scores in the log that comes with CMGAN."""

TRACK_TOLERANCE = {"pesq_wb_lqo": 0.05, "stoi": 0.005}


def check_noisy_scores(utterances: Sequence[ScoredUtterance]) -> list[str]:
    """Lines that say how the noisy recordings of the whole VoiceBank-DEMAND test set score beside what is known.

    The last one is a warning if anything is off. There are none for any other test set.
    """
    speakers = {utterance.id.partition("_")[0] for utterance in utterances}
    if len(utterances) != VOICEBANK_DEMAND_TEST or speakers != {"p232", "p257"}:
        return []
    lines, wrong = ["noisy VoiceBank-DEMAND test set, and what is known of it:"], []
    for metric, (known, tolerance) in NOISY_VOICEBANK_DEMAND.items():
        values = [value for u in utterances if (value := u.scores[metric].value) is not None]
        mean = float(np.mean(values)) if values else float("nan")
        lines.append(f"{metric} {mean:.3f} of {len(values)} recordings, known {known:g} within {tolerance:g}")
        if not abs(mean - known) <= tolerance:
            wrong.append(metric)
    by_id = {utterance.id: utterance for utterance in utterances}
    tracks = [(name, *pair) for name, scores in NOISY_TRACKS.items() if name in by_id for pair in scores.items()]
    off = [
        f"{metric} of {name}"
        for name, metric, known in tracks
        if not abs((by_id[name].scores[metric].value or float("nan")) - known) <= TRACK_TOLERANCE[metric]
    ]
    lines.append(f"{len(tracks) - len(off)} of {len(tracks)} scores known of single recordings are met")
    if wrong := wrong + off:
        lines.append(f"WARNING: {', '.join(wrong)} of the noisy recordings is OFF: NO score below can be compared")
    return lines
