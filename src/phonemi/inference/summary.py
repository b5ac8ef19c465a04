"""What became of each recording, as one sentence for the terminal and as a JSON object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import phonemi
from phonemi.inference.plan import Place
from phonemi.tables import duration_text

OTHERWISE = "another model or other options made what was there"
THERE = "already there"
MAX_NAMED = 1000  # recordings that are named on the terminal
LEFT_OUT = "left out"  # how the note begins on what the format of the output cannot hold


@dataclass
class Outcome:
    """What became of one recording."""

    source: Place
    target: Place  # its enhanced version, unless it failed
    state: Literal["done", "skipped", "failed"] = "done"
    reason: str | None = None  # why it was skipped, failed, or is done again
    duration_s: float | None = None  # of the recording, if it was to be enhanced
    time_s: float = 0.0  # its share of the time that its batches took, with reading and writing
    notes: list[str] = field(default_factory=list)  # what a listener should know of the recording


class Summary:
    """What became of all recordings, in the order in which they were named, and how long that took.

    Args:
        outcomes, time_s: of the recordings; `add` adds more of them.
        keeps_all: keep all `outcomes`, and not only the first `MAX_NAMED` with an error or a note, so that memory holds
            the summary of any number of recordings.
    """

    def __init__(self, outcomes: Iterable[Outcome] = (), time_s: float = 0.0, keeps_all: bool = True) -> None:
        self.outcomes: list[Outcome] = []
        self.time_s = time_s
        self.unnamed = 0  # outcomes with an error or a note that are not kept
        self._keeps_all = keeps_all
        self._counts: Counter[str] = Counter()
        self._duration_s = 0.0
        for outcome in outcomes:
            self.add(outcome)

    def add(self, outcome: Outcome) -> None:
        """Count one more recording."""
        self._counts[outcome.state] += 1
        if outcome.state == "done":
            self._counts["again"] += outcome.reason is not None
            self._duration_s += outcome.duration_s or 0.0
        has_news = outcome.state == "failed" or bool(outcome.notes)
        if self._keeps_all or (has_news and len(self.outcomes) < MAX_NAMED):
            self.outcomes.append(outcome)
        else:
            self.unnamed += has_news

    def of(self, state: str) -> list[Outcome]:
        """The outcomes with this state, as far as they are kept."""
        return [outcome for outcome in self.outcomes if outcome.state == state]

    def totals(self) -> dict[str, float | None]:
        """Number of files by state, seconds of enhanced sound, seconds taken, and their ratio (None without sound)."""
        counts = {state: self._counts[state] for state in ("done", "skipped", "failed")}
        factor = self.time_s / self._duration_s if self._duration_s else None
        return {**counts, "duration_s": self._duration_s, "time_s": self.time_s, "real_time_factor": factor}

    def line(self) -> str:
        """One sentence for the terminal.

        >>> Summary([Outcome(Path("a.wav"), Path("b.wav"), "done", duration_s=60.0)], time_s=1.5).line()
        '1 enhanced (1 min 0 s in 1.5 s, real-time factor 0.025)'
        """
        totals = self.totals()
        parts = [f"{totals['done']} enhanced"]
        if totals["real_time_factor"] is not None:
            speed = f"real-time factor {totals['real_time_factor']:.3f}"
            times_s = (totals["duration_s"] or 0.0, self.time_s)
            sound, work = (f"{time_s:.3g} s" if time_s < 60 else duration_text(time_s) for time_s in times_s)
            parts[0] += f" ({sound} in {work}, {speed})"
        if again := self._counts["again"]:
            parts[0] += f", {again} again, because {OTHERWISE}"
        if totals["skipped"]:
            parts.append(f"{totals['skipped']} skipped (already there; --overwrite enhances them again)")
        if totals["failed"]:
            parts.append(f"{totals['failed']} failed")
        return ", ".join(parts)

    def to_json(self, name: str, version: str, settings: dict[str, Any]) -> dict[str, Any]:
        """The outcomes, totals, settings, and name and version of the model.

        JSON is UTF-8, file names need not be: other bytes are written as escapes such as `\\xff`.
        """
        model = {"name": name, "version": version}
        origin = {"phonemi": phonemi.__version__, "model": model, "settings": in_utf8(settings)}
        return {**origin, "totals": self.totals(), "files": [in_utf8(asdict(outcome)) for outcome in self.outcomes]}


def in_utf8(values: dict[str, Any]) -> dict[str, Any]:
    """File names, and sentences with one, as text that can be encoded in UTF-8.

    >>> in_utf8({"source": Path("caf\\udce9.wav")})
    {'source': 'caf\\\\xe9.wav'}
    """
    return {
        key: str(value).encode(errors="surrogateescape").decode(errors="backslashreplace")
        if isinstance(value, (str, Path))
        else value
        for key, value in values.items()
    }
