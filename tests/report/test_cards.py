"""Cards: players are small and keep their ratio, words are marked, missing files are named."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.report.cards import MAX_PLAYER_BYTES, example_card, marked_words
from phonemi.results.evaluation import Example


def test_words_are_marked() -> None:
    assert marked_words("a c", "a <b>") == [("", "a"), ("mark", "<b>")]
    assert marked_words("", "") == []
    assert marked_words("a", None) is None


@pytest.mark.slow
def test_players_are_small_keep_their_ratio_and_name_missing_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    loud = (0.5 * rng.standard_normal(45 * 16_000)).astype(np.float32).clip(-1, 1)
    audio.save(tmp_path / "noisy.flac", loud, 16_000)
    audio.save(tmp_path / "clean.flac", loud[: 8 * 16_000] / 4, 16_000)
    example = Example(id="u1", files={"noisy": "noisy.flac", "clean": "clean.flac", "ws": "gone.flac"})
    card = example_card(example, tmp_path)
    assert [(sound.file, bool(sound.address), sound.is_bound) for sound in card.sounds] == [
        ("noisy.flac", True, True), ("clean.flac", True, True), ("gone.flac", False, False),
    ]  # fmt: skip
    sounds = [base64.b64decode(sound.address.removeprefix("data:audio/ogg;base64,")) for sound in card.sounds[:2]]
    assert max(map(len, sounds)) <= MAX_PLAYER_BYTES
    (tmp_path / "back.ogg").write_bytes(sounds[1])
    assert abs(audio.level_db(audio.load(tmp_path / "back.ogg")) - audio.level_db(0.99 * loud / 4)) < 1.5
