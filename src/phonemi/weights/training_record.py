"""How an encoder was trained and on whose voices: training.json beside its weights.

Who trained an encoder must not be in the test set of an analysis of it, and a table of its results must say whether it
has seen phones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from phonemi.errors import DataError
from phonemi.files import read_json, write_json
from phonemi.tables import duration_text, plural
from phonemi.weights import shipped

TRAINING_FILE = "training.json"


@dataclass(frozen=True)
class TrainingRecord:
    """What is known of the training of an encoder."""

    method: str  # such as "masked prediction of aligned phones (phone-supervised)"
    hours: float  # of speech
    speakers: tuple[str, ...]  # as manifests call them; those of a teacher too
    all_speakers_known: bool = True  # not if a teacher has no record

    def __str__(self) -> str:
        speakers = plural(len(self.speakers), "known speaker")
        return f"trained by {self.method} on {duration_text(3600 * self.hours)} of speech by {speakers}"

    def save(self, folder: Path) -> None:
        """Write training.json."""
        write_json(folder / TRAINING_FILE, asdict(self))


def find_training_record(name: str) -> TrainingRecord | None:
    """The record of an encoder of the package or in a folder; None if there is none, as for those of the hub.

    Raises:
        DataError: if training.json is not what `TrainingRecord.save` writes.
    """
    if len(parts := [part for part in shipped.parts_of(name) if part != "log1p"]) > 1:
        records = [find_training_record(part) for part in parts]
        known = [record for record in records if record is not None]
        return (
            TrainingRecord(
                " beside ".join(record.method for record in known),
                sum(record.hours for record in known),
                tuple(sorted({speaker for record in known for speaker in record.speakers})),
                len(known) == len(records) and all(record.all_speakers_known for record in known),
            )
            if known
            else None
        )
    name = parts[0] if parts else name
    folder = shipped.WEIGHTS / name if shipped.version_of(name) is not None else Path(name)
    path = folder / TRAINING_FILE
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        speakers = tuple(map(str, content["speakers"]))
        method = str(content["method"])
        # A distilled encoder whose record does not say so has a teacher who may have heard anybody.
        is_complete = bool(content.get("all_speakers_known", "distillation" not in method))
        return TrainingRecord(method, float(content["hours"]), speakers, is_complete)
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: expected method, hours and speakers") from None
