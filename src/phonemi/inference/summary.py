"""What became of each recording -> one sentence for the terminal, and a JSON object."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import phonemi


class NamedModel(Protocol):
    """A PyTorch module that has a name, such as `phonemi.Enhancer`."""

    name: str

    def state_dict(self) -> dict[str, Any]:
        """Its weights by their names."""


@dataclass(frozen=True)
class Outcome:
    """What became of one recording.

    Attributes:
        source: the recording.
        target: where its enhancement is, unless it failed.
        state: skipped means that the target was there already.
        reason: why it was skipped or failed.
        duration_s: of the recording, where its header was read.
        time_s: its share of the time that its batches took, with reading and writing.
        notes: what is wrong with the recording, for a listener to know.
    """

    source: Path
    target: Path
    state: Literal["done", "skipped", "failed"]
    reason: str | None = None
    duration_s: float | None = None
    time_s: float = 0.0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Summary:
    """What became of all recordings, in the order they were named, and how long that took."""

    outcomes: list[Outcome]
    time_s: float

    def of(self, state: str) -> list[Outcome]:
        """Those that ended in one state."""
        return [outcome for outcome in self.outcomes if outcome.state == state]

    def totals(self) -> dict[str, float | None]:
        """Number of files by state; seconds of sound enhanced, seconds taken, and their ratio (None for no sound)."""
        counts = {state: len(self.of(state)) for state in ("done", "skipped", "failed")}
        duration_s = sum(outcome.duration_s or 0.0 for outcome in self.of("done"))
        factor = self.time_s / duration_s if duration_s else None
        return {**counts, "duration_s": duration_s, "time_s": self.time_s, "real_time_factor": factor}

    def line(self) -> str:
        """One sentence for the terminal.

        >>> Summary([Outcome(Path("a.wav"), Path("b.wav"), "done", duration_s=60.0)], time_s=1.5).line()
        '1 enhanced (60 s in 1.5 s, real-time factor 0.025)'
        """
        totals = self.totals()
        parts = [f"{totals['done']} enhanced"]
        if totals["real_time_factor"] is not None:
            speed = f"real-time factor {totals['real_time_factor']:.3f}"
            parts[0] += f" ({totals['duration_s']:.3g} s in {totals['time_s']:.3g} s, {speed})"
        if totals["skipped"]:
            parts.append(f"{totals['skipped']} skipped (already there; --overwrite makes them again)")
        if totals["failed"]:
            parts.append(f"{totals['failed']} failed")
        return ", ".join(parts)

    def to_json(self, enhancer: NamedModel, settings: dict[str, Any]) -> dict[str, Any]:
        """All of it, with what it was made by: the version of a model is a hash of its weights.

        Names may be any bytes, but text is UTF-8: others become what Python writes for them, such as `\\xff`.
        """
        files = []
        for outcome in self.outcomes:
            reason = None if outcome.reason is None else _as_text(outcome.reason)
            names = {"source": _as_text(outcome.source), "target": _as_text(outcome.target)}
            files.append(asdict(outcome) | names | {"reason": reason})
        model = {"name": enhancer.name, "version": _hash_of_weights(enhancer)}
        settings = {key: _as_text(value) if isinstance(value, str) else value for key, value in settings.items()}
        made_by = {"phonemi": phonemi.__version__, "model": model, "settings": settings}
        return {**made_by, "totals": self.totals(), "files": files}


def _as_text(name: str | Path) -> str:
    """A name, or a sentence with one, that can be encoded.

    >>> _as_text(Path("caf\\udce9.wav"))
    'caf\\\\xe9.wav'
    """
    return str(name).encode(errors="surrogateescape").decode(errors="backslashreplace")


def _hash_of_weights(enhancer: NamedModel) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(enhancer.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
