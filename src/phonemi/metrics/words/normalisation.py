"""Words of an English text, spelled alike however a recogniser or a corpus writes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from phonemi.errors import require_extra

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘‛ʼʹ`´′＇", "'"))


def normalise_words(text: str) -> list[str]:
    """Words after Whisper's English normaliser (Radford et al. 2023, appendix C), for references and transcripts.

    Numbers become digits, contractions and titles are written out, British spellings become American ones; accents,
    fillers (hmm, uh) and what stands in brackets are dropped: [NOISE], <unk> and (laughs) are no words. Other than as
    published, every kind of apostrophe is one, and punctuation that the normaliser leaves alone is no word.

    Raises:
        MissingExtra: if whisper-normalizer is not installed.

    >>> normalise_words("“Mr. Smith’s” colour [NOISE] is number twenty-two, um, not 5.50!")
    ['mister', 'smith', 'is', 'color', 'is', 'number', '22', 'not', '5.50']
    """
    text = re.sub(r"\{[^}]*\}", " ", text.translate(_APOSTROPHES))
    return [word for word in _english()(text).split() if any(map(str.isalnum, word))]


@cache
def _english() -> Callable[[str], str]:
    normaliser: Callable[[str], str] = require_extra("whisper_normalizer.english", "metrics").EnglishTextNormalizer()
    return normaliser
