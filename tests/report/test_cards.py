"""Cards: players are small and keep their ratio, words are marked, missing files are named."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.metrics.words.normalisation import _english
from phonemi.metrics.words.word_errors import count_words
from phonemi.report.cards import MAX_PLAYER_BYTES, example_card, marked_words
from phonemi.results.evaluation import Example


def test_words_are_marked() -> None:
    assert marked_words("a c", "a b") == [("", "a"), ("mark", "b")]
    assert marked_words("", "") == []
    assert marked_words("a", None) is None
    assert marked_words("a b", "") == [("del", "a b")]


@pytest.mark.parametrize(
    ("text", "heard", "marked"),
    [
        ("CHAPTER TWENTY ONE [NOISE] THE COLOUR", "Chapter 21: the, um, color.", [("", "Chapter 21: the, um, color.")]),
        ("see 99 cats", "see ninety nine bats", [("", "see ninety nine"), ("mark", "bats")]),
        ("chapter twenty one ends", "Chapter ends", [("", "Chapter"), ("del", "21"), ("", "ends")]),
        ("they will not go", "They won't go. Oh!", [("", "They won't go."), ("mark", "Oh!")]),
        ("a c", "a <unk>", [("", "a <unk>"), ("del", "c")]),
        ("they will go", "they won't go", [("", "they"), ("mark", "won't"), ("", "go")]),
    ],
)
def test_words_are_marked_as_they_are_counted(text: str, heard: str, marked: list[tuple[str, str]]) -> None:
    for package in ("whisper_normalizer", "jiwer"):
        pytest.importorskip(package)
    assert marked_words(text, heard) == marked
    assert (count_words(text, heard).errors == 0) == all(mark == "" for mark, _ in marked)


def test_without_the_normaliser_capitals_and_punctuation_are_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    _english.cache_clear()
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", None)
    assert marked_words("TWENTY ONE - CATS", "Twenty one cats, um") == [("", "Twenty one cats,"), ("mark", "um")]


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
