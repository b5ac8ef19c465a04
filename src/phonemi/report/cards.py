"""Cards: one utterance on a page, with a player for each signal, the words a recogniser heard, and scores."""

from __future__ import annotations

import base64
import difflib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phonemi import audio
from phonemi.errors import MissingExtra
from phonemi.metrics.words.normalisation import normalise_words
from phonemi.results.evaluation import Example
from phonemi.results.metrics import METRICS
from phonemi.signal import SAMPLE_RATE
from phonemi.tables import number

MAX_PLAYER_BYTES = 200_000


@dataclass(frozen=True)
class Sound:
    """A signal to listen to."""

    title: str
    file: str
    address: str  # where the player finds it; empty: nowhere
    words: list[tuple[str, str]] | None = None  # what was heard, see `marked_words`
    scores: list[str] = field(default_factory=list)
    is_bound: bool = False  # noisy or clean, rather than what is compared
    picture: str = ""  # address of its spectrogram
    picture_text: str = ""  # description of that


@dataclass(frozen=True)
class Card:
    """An utterance and its signals; what comes after the SNR is for recordings of a user."""

    title: str
    sounds: list[Sound]
    text: str = ""
    snr_db: float | None = None
    problem: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)  # to files
    pictured_s: float = 0.0  # length of the spectrograms
    ticks: list[str] = field(default_factory=list)  # on their axis, in seconds


def example_card(example: Example, run_dir: Path) -> Card:
    """The card of an example of a run; a file that is missing is named on it."""
    text, addresses = example.text or "", data_addresses({row: run_dir / path for row, path in example.files.items()})
    sounds = [
        Sound(
            title=example.labels.get(row, row),
            file=file,
            address=addresses.get(row, ""),
            words=marked_words(text, example.words.get(row)),
            scores=score_texts(example.scores.get(row, {})),
            is_bound=row in ("noisy", "clean"),
        )
        for row, file in example.files.items()
    ]
    return Card(example.id, sounds, text, example.snr_db)


def score_texts(scores: Mapping[str, float | None]) -> list[str]:
    """Scores as texts.

    >>> score_texts({"stoi": 0.8121, "si_sdri_db": None})
    ['SI-SDRi –', 'STOI 0.812']
    """
    return [f"{metric.title} {number(scores[metric.key], metric.digits)}" for metric in METRICS if metric.key in scores]


def marked_words(text: str, heard: str | None) -> list[tuple[str, str]] | None:
    """The words that a recogniser heard in pieces, marked by how they differ from the words that were spoken.

    The mark is "" for words that agree, "mark" for wrong ones and "del" for those that were missed. They are compared
    as they are counted (`normalise_words`): neither capitals and punctuation nor 21 for "twenty one" are a difference.
    None if the recogniser was not asked.

    >>> marked_words("turn it off", "Turn off.")
    [('', 'Turn'), ('del', 'it'), ('', 'off.')]
    """
    if heard is None:
        return None
    spoken, pieces = _counted(text), _pieces(heard.split())
    words = [word for _, of_piece in pieces for word in of_piece]
    missed, wrong = dict[int, str](), set[int]()  # both by places in `words`
    for kind, start, end, first, last in difflib.SequenceMatcher(None, spoken, words, autojunk=False).get_opcodes():
        if kind == "delete":
            missed[first] = " ".join(spoken[start:end])
        elif kind != "equal":
            wrong.update(range(first, last))
    marked, place = list[tuple[str, str]](), 0
    for written, of_piece in pieces:
        places = range(place, place := place + len(of_piece))
        marked += [("del", missed[before]) for before in places if before in missed]
        marked.append(("mark" if wrong.intersection(places) else "", written))
    marked += [("del", missed[place])] if place in missed else []
    return [(mark, " ".join(text for _, text in run)) for mark, run in groupby(marked, key=itemgetter(0))]


def _pieces(words: list[str]) -> list[tuple[str, list[str]]]:
    """Written words in the smallest pieces that are normalised by themselves, each with the words that are counted.

    >>> _pieces(["Chapter", "ninety", "nine."])
    [('Chapter', ['chapter']), ('ninety nine.', ['99'])]
    """
    counted = _counted(" ".join(words))
    for cut in sorted(range(1, len(words)), key=lambda cut: abs(2 * cut - len(words))):
        if _counted(" ".join(words[:cut])) + _counted(" ".join(words[cut:])) == counted:
            return _pieces(words[:cut]) + _pieces(words[cut:])
    return [(" ".join(words), counted)] if words else []


def _counted(text: str) -> list[str]:
    """The words that are counted; where the normaliser is not installed, those in lower case without punctuation."""
    try:
        return normalise_words(text)
    except MissingExtra:
        return [word for written in text.lower().split() if (word := "".join(filter(str.isalnum, written)))]


def data_addresses(files: Mapping[str, Path]) -> dict[str, str]:
    """The `sound_addresses` of those files that exist."""
    return sound_addresses({row: audio.load(path, SAMPLE_RATE) for row, path in files.items() if path.is_file()})


def sound_addresses(waveforms: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    """`[sample]` at 16 kHz as `data:` addresses of 200 kB of Ogg at most, all with one gain: none clips."""
    peak = max((float(np.abs(waveform).max()) for waveform in waveforms.values()), default=0.0)
    gain = np.float32(min(1.0, 0.99 / peak) if peak > 0 else 1.0)
    return {row: data_address("audio/ogg", _ogg(gain * waveform)) for row, waveform in waveforms.items()}


def data_address(media_type: str, content: bytes) -> str:
    """A `data:` address that holds a file."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _ogg(waveform: NDArray[np.float32]) -> bytes:
    """Vorbis (about 5 kB a second); Opus (3 kB a second) for what is longer; beyond that only the beginning."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".ogg", ".opus"):
            path = Path(folder) / f"sound{suffix}"
            audio.save(path, waveform, SAMPLE_RATE)
            if path.stat().st_size <= MAX_PLAYER_BYTES:
                return path.read_bytes()
    return _ogg(waveform[: len(waveform) // 2])
