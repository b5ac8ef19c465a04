"""What became of each recording, as one sentence for the terminal and as a JSON object."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import phonemi
from phonemi.tables import duration_text

OTHERWISE = "another model or other options made what was there"
LEFT_OUT = "left out"  # how the note begins on what the format of the output cannot hold


@dataclass
class Outcome:
    """What became of one recording."""

    source: Path
    target: Path  # its enhanced version, unless it failed
    state: Literal["done", "skipped", "failed"] = "done"
    reason: str | None = None  # why it was skipped, failed, or is done again
    duration_s: float | None = None  # of the recording, if it was to be enhanced
    time_s: float = 0.0  # its share of the time that its batches took, with reading and writing
    notes: list[str] = field(default_factory=list)  # what a listener should know of the recording


@dataclass(frozen=True)
class Summary:
    """What became of all recordings, in the order in which they were named, and how long that took."""

    outcomes: list[Outcome]
    time_s: float

    def of(self, state: str) -> list[Outcome]:
        """The outcomes with this state."""
        return [outcome for outcome in self.outcomes if outcome.state == state]

    def totals(self) -> dict[str, float | None]:
        """Number of files by state, seconds of enhanced sound, seconds taken, and their ratio (None without sound)."""
        counts = {state: len(self.of(state)) for state in ("done", "skipped", "failed")}
        duration_s = sum(outcome.duration_s or 0.0 for outcome in self.of("done"))
        factor = self.time_s / duration_s if duration_s else None
        return {**counts, "duration_s": duration_s, "time_s": self.time_s, "real_time_factor": factor}

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
        if again := sum(outcome.reason is not None for outcome in self.of("done")):
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
        origin = {"phonemi": phonemi.__version__, "model": model, "settings": _in_utf8(settings)}
        return {**origin, "totals": self.totals(), "files": [_in_utf8(asdict(outcome)) for outcome in self.outcomes]}


def _in_utf8(values: dict[str, Any]) -> dict[str, Any]:
    """File names, and sentences with one, as text that can be encoded in UTF-8.

    >>> _in_utf8({"source": Path("caf\\udce9.wav")})
    {'source': 'caf\\\\xe9.wav'}
    """
    return {
        key: str(value).encode(errors="surrogateescape").decode(errors="backslashreplace")
        if isinstance(value, (str, Path))
        else value
        for key, value in values.items()
    }
