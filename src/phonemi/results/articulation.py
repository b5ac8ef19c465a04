"""Results of inversion: how well each variable is recovered, by kind of noise and SNR."""

from __future__ import annotations

from dataclasses import dataclass

from phonemi.results.evaluation import Difference, UtteranceScore, source_of
from phonemi.results.record import Record, RowRecord, omitted_if_none


@dataclass(frozen=True, kw_only=True)
class VariableScores(Record):
    """Of one utterance: the correlation of each variable, in noise and in clean speech, and its error in mm."""

    id: str
    speaker: str | None = None
    snr_db: float | None = None
    noise: str | None = None
    ppmc: dict[str, UtteranceScore]
    ppmc_clean: dict[str, UtteranceScore]
    rmse_mm: dict[str, UtteranceScore]

    @property
    def source(self) -> str:
        """Id of the recording of the speech, the same for its mixtures at all SNRs."""
        return source_of(self.id)

    @property
    def kind(self) -> str:
        """Kind of the noise: babble is called so by its id."""
        return "babble" if (self.noise or "").startswith("babble") else "other"


@dataclass(frozen=True, kw_only=True)
class ArticulationScores(Record):
    """Content of rows/ROW/articulation.json."""

    key: str | None = omitted_if_none()
    utterances: tuple[VariableScores, ...]


@dataclass(frozen=True, kw_only=True)
class VariableScore(RowRecord):
    """Mean correlation of a row, over the utterances in one kind of noise at one SNR, with its 95 % interval.

    `variable` is None for the mean of all variables, `snr_db` for all SNRs together.
    """

    variable: str | None = None
    noise: str = "all"  # "babble", "other", "clean", or "all" but clean
    snr_db: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    models: int = 1
    scored: int = 0  # utterances of all models that have a number


BABBLE_LESS_OTHER = "babble - other"
"""What a difference of two rows in babble exceeds their difference in other noise by."""


@dataclass(frozen=True, kw_only=True)
class ArticulationDifference(Difference):
    """How much higher the mean correlation of a row is than that of another, under the conditions of a `VariableScore`.

    `noise` may be `BABBLE_LESS_OTHER` too.
    """

    noise: str = "all"
    snr_db: float | None = None


@dataclass(frozen=True, kw_only=True)
class Articulation(Record):
    """Content of articulation.json."""

    key: str | None = omitted_if_none()
    rows: tuple[VariableScore, ...]
    differences: tuple[ArticulationDifference, ...] = ()  # of what both tasks train from all else that inverts

    @property
    def variables(self) -> list[str]:
        """Names of the variables, in their order."""
        return list(dict.fromkeys(row.variable for row in self.rows if row.variable is not None))

    def find(
        self, row: str, variable: str | None = None, noise: str = "all", snr_db: float | None = None
    ) -> VariableScore | None:
        """The score of a row under these conditions, if it was measured."""
        wanted = row, variable, noise, snr_db
        return next((s for s in self.rows if (s.row, s.variable, s.noise, s.snr_db) == wanted), None)
