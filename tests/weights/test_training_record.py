"""What is known of the training of an encoder, from training.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phonemi.errors import DataError
from phonemi.weights.training_record import TRAINING_FILE, TrainingRecord, find_training_record


def test_what_is_saved_is_found(tmp_path: Path) -> None:
    record = TrainingRecord("distillation of a teacher", 1.5, ("a", "b"), all_speakers_known=False)
    record.save(tmp_path)
    assert find_training_record(str(tmp_path)) == record
    assert find_training_record(str(tmp_path / "nowhere")) is None


@pytest.mark.parametrize(("method", "known"), [("prediction of phones", True), ("distillation of a teacher", False)])
def test_an_older_record_of_a_distilled_encoder_does_not_know_everybody(
    tmp_path: Path, method: str, known: bool
) -> None:
    (tmp_path / TRAINING_FILE).write_text(json.dumps({"method": method, "hours": 1, "speakers": ["a"]}))
    record = find_training_record(str(tmp_path))
    assert record is not None
    assert record.all_speakers_known is known


def test_a_record_of_something_else_is_one_line(tmp_path: Path) -> None:
    (tmp_path / TRAINING_FILE).write_text("{}")
    with pytest.raises(DataError, match="expected method, hours and speakers"):
        find_training_record(str(tmp_path))
