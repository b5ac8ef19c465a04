"""Compare the scores of a well-known noisy test set with what they are known to be.

A metric or a conversion that is off shows here, before anything that was trained is judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phonemi.results.evaluation import ScoredUtterance
from phonemi.tables import plural

VOICEBANK_DEMAND_TEST = 824
"""Recordings in the test set of VoiceBank-DEMAND."""

NOISY_VOICEBANK_DEMAND = {
    "pesq_wb_lqo": (1.97, 0.02),
    "stoi": (0.921, 0.004),
    "si_sdr_db": (8.4, 0.3),
    "csig": (3.345, 0.03),
    "cbak": (2.443, 0.03),
    "covl": (2.632, 0.03),
    "ssnr_db": (1.679, 0.1),
}
"""Score -> what its noisy recordings are known to reach, and how far from it scores of the same recordings may lie
(resampling, versions of the packages)."""

_TRACK_SCORES = ("pesq_wb_lqo", "csig", "cbak", "covl", "ssnr_db", "stoi")
NOISY_TRACKS = {
    name: dict(zip(_TRACK_SCORES, scores, strict=True))
    for name, scores in {
        "p232_001": (2.9266, 4.2841, 3.2627, 3.5847, 7.1617, 0.8965),
        "p232_003": (2.8119, 4.3243, 2.9436, 3.5677, 2.0483, 0.9709),
        "p232_005": (1.3319, 2.5665, 1.9710, 1.8969, -0.0115, 0.8820),
        "p232_010": (1.2107, 1.6890, 1.5616, 1.3679, -4.2183, 0.7808),
        "p257_003": (1.7774, 3.4889, 2.4061, 2.6104, 2.2112, 0.9499),
    }.items()
}
"""Single noisy recordings of it -> their scores in the log that comes with CMGAN."""

TRACK_TOLERANCE = {"pesq_wb_lqo": 0.05, "csig": 0.05, "cbak": 0.05, "covl": 0.05, "ssnr_db": 0.1, "stoi": 0.005}


def check_noisy_scores(utterances: Sequence[ScoredUtterance]) -> list[str]:
    """Lines that say how the noisy recordings of the whole VoiceBank-DEMAND test set score beside what is known.

    The last one is a warning if anything is off. There are none for any other test set, and none on scores that were
    not asked for.
    """
    speakers = {utterance.id.partition("_")[0] for utterance in utterances}
    if len(utterances) != VOICEBANK_DEMAND_TEST or speakers != {"p232", "p257"}:
        return []
    lines, wrong = ["noisy VoiceBank-DEMAND test set, and what is known of it:"], []
    for metric, (known, tolerance) in NOISY_VOICEBANK_DEMAND.items():
        if metric not in utterances[0].scores:
            continue
        values = [value for u in utterances if (value := u.scores[metric].value) is not None]
        mean = float(np.mean(values)) if values else float("nan")
        lines.append(f"{metric} {mean:.3f} of {plural(len(values), 'recording')}, known {known:g} within {tolerance:g}")
        if not abs(mean - known) <= tolerance:
            wrong.append(metric)
    by_id = {utterance.id: utterance for utterance in utterances}
    tracks = [
        (name, metric, known)
        for name, scores in NOISY_TRACKS.items()
        if name in by_id
        for metric, known in scores.items()
        if metric in by_id[name].scores
    ]
    off = [
        f"{metric} of {name}"
        for name, metric, known in tracks
        if not abs((by_id[name].scores[metric].value or float("nan")) - known) <= TRACK_TOLERANCE[metric]
    ]
    lines.append(f"{len(tracks) - len(off)} of {len(tracks)} scores known of single recordings are met")
    if wrong := wrong + off:
        lines.append(f"WARNING: {', '.join(wrong)} of the noisy recordings is OFF: NO score below can be compared")
    return lines
