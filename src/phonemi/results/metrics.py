"""The metrics of the house: their keys in result files, how numbers are written, which direction is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from phonemi.metrics.score import FAULTS, Score
from phonemi.tables import Column


class Metric(NamedTuple):
    """One metric: its name in result files, its name in tables, and how its numbers are written and read."""

    key: str
    title: str
    unit: str
    digits: int
    higher_is_better: bool
    meaning: str
    worst: float = -math.inf  # what a silent or broken estimate counts for
    bounds: tuple[float, float] = (-math.inf, math.inf)  # between which every value lies

    @property
    def column(self) -> Column:
        """The heading of its column."""
        return Column(self.title, self.unit, self.higher_is_better, self.meaning)

    def gain(self, difference: float) -> float:
        """A difference of two values, positive where the first is the better one.

        >>> METRIC["wer"].gain(-0.1)
        0.1
        """
        return difference if self.higher_is_better else -difference

    def value_of(self, score: Score) -> float | None:
        """The number of a score, `worst` for a fault of the estimate, None for other failures.

        A system that mutes a recording, or writes no numbers, must not gain by it, not even against one whose output is
        bad: of what is better the higher it is, no number counts for less than `worst`.
        """
        if score.ok:
            return max(score.value, self.worst) if self.higher_is_better else score.value
        return self.worst if score.reason in FAULTS else None

    def value_in(self, line: Mapping[str, str]) -> float | None:
        """`value_of` the score in a line of per_utterance.csv.

        >>> METRIC["stoi"].value_in({"stoi": "", "failed": "pesq_wb_lqo: too short; stoi: estimate silent"})
        0
        """
        try:
            score = Score.of(float(line.get(self.key, "")))
        except ValueError:
            failures = dict(each.partition(": ")[::2] for each in line.get("failed", "").split("; "))
            score = Score.failed(failures.get(self.key, "not scored"))
        return self.value_of(score)


_DIVIDED = "the same of waveforms that are divided by 32768 once more, as in some published tables: inflated"

METRICS = (
    Metric("mi_bits", "MI", "bits", 2, True, "what the features tell of the phones, at least"),
    Metric("si_sdr_db", "SI-SDR", "dB", 2, True, "clean speech against all else (scale-invariant)", -30),
    Metric("si_sdri_db", "SI-SDRi", "dB", 2, True, "SI-SDR less that of the noisy input", -30),
    Metric("stoi", "STOI", "", 3, True, "estimated intelligibility, up to 1", 0, (0, 1)),
    Metric("pesq_wb_lqo", "PESQ", "MOS", 2, True, "estimated quality, wide-band, 1.02 to 4.64", 1.02, (1, 4.65)),
    Metric("csig", "CSIG", "MOS", 2, True, "predicted rating of the speech (Hu and Loizou 2008), 1 to 5", 1, (1, 5)),
    Metric("cbak", "CBAK", "MOS", 2, True, "predicted rating of the background (Hu and Loizou), 1 to 5", 1, (1, 5)),
    Metric("covl", "COVL", "MOS", 2, True, "predicted overall rating (Hu and Loizou), 1 to 5", 1, (1, 5)),
    *(
        Metric(f"{key}_divided", f"{key.upper()} /32768", "MOS", 2, True, _DIVIDED, 1, (1, 5))
        for key in ("csig", "cbak", "covl")
    ),
    Metric("ssnr_db", "SSNR", "dB", 2, True, "segmental SNR, mean of frames between -10 and 35 dB", -10, (-10, 35)),
    Metric("dnsmos_sig", "DNSMOS SIG", "MOS", 2, True, "P.835: estimated quality of the speech, 1 to 5", 1, (1, 5)),
    Metric("dnsmos_bak", "DNSMOS BAK", "MOS", 2, True, "P.835: estimated quality of the background, 1 to 5", 1, (1, 5)),
    Metric("dnsmos_ovrl", "DNSMOS OVRL", "MOS", 2, True, "P.835: estimated overall quality, 1 to 5", 1, (1, 5)),
    Metric("lps", "LPS", "", 3, True, "similarity of the phones to the clean ones, up to 1", -1, (-1, 1)),
    Metric("phone_bits", "phones kept", "bits", 2, True, "information on the phones that a frozen probe finds", -5.3),
    Metric(
        "ppmc",
        "PPMC",
        "",
        3,
        True,
        "correlation of recovered and true articulation, mean of all variables",
        -1,
        (-1, 1),
    ),
    Metric("ppmc_clean", "PPMC clean", "", 3, True, "the same, of the speech without the noise", -1, (-1, 1)),
    Metric("rmse_mm", "RMSE", "mm", 2, False, "error of recovered articulation, mean of variables that are lengths"),
    Metric("wer", "WER", "", 3, False, "word errors of a recogniser, per word that was said", 1, (0, math.inf)),
)
METRIC = {metric.key: metric for metric in METRICS}
RANKING = ("wer", "phone_bits", "lps", "stoi", "pesq_wb_lqo", "si_sdri_db", "si_sdr_db", "dnsmos_ovrl")
"""Metrics that utterances are ranked by: the first one of these that was measured."""
