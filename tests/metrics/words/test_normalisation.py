"""One spelling for all texts: what is no word, and what is the same word."""

from __future__ import annotations

import pytest

from phonemi.metrics.words.normalisation import normalise_words

pytest.importorskip("whisper_normalizer")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("  ... -- '' …", ""),
        ("Thank you...", "thank you"),
        ("Mr. Smith's colour is 20%.", "mister smith is color is 20%"),
        ("mister Smith's color is twenty percent", "mister smith is color is 20%"),
        ("Um, the GREY café - (laughs) - won't open", "the gray cafe will not open"),
        ("One hundred and five pounds", "£105"),
        ("chapter ninety nine", "chapter 99"),
        ("O'Brien", "0 brien"),  # as published
    ],
)
def test_it_is_whispers(text: str, words: str) -> None:
    assert normalise_words(text) == words.split()


@pytest.mark.parametrize("tag", ["[NOISE]", "<unk>", "<sil>", "(laughs)", "{breath}", "[laughter - ha]", "<UNK>"])
def test_tags_are_no_words(tag: str) -> None:
    assert normalise_words(f"{tag} go {tag} north {tag}") == ["go", "north"]
    assert normalise_words(tag) == []


@pytest.mark.parametrize("apostrophe", "'’‘‛ʼʹ`´′＇")
def test_every_apostrophe_is_one(apostrophe: str) -> None:
    assert normalise_words(f"don{apostrophe}t, it{apostrophe}s late") == ["do", "not", "it", "is", "late"]


def test_numbers_and_letters_are_not_mixed_up() -> None:
    assert normalise_words("5.50") == ["5.50"] != normalise_words("550")
    assert normalise_words("straße") == normalise_words("strasse") == ["strasse"]
    assert normalise_words("ﬁne Zoë") == ["fine", "zoe"]
