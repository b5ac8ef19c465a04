from __future__ import annotations

import math
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi.errors import DataError
from phonemi.metrics.words import (
    Failure,
    PocketsphinxRecogniser,
    WordCounts,
    corpus_wer,
    count_words,
    normalise_words,
    paired_wer_difference,
    transcribe_all,
)

GRAMMAR = "#JSGF V1.0; grammar digits; public <s> = <digit>+; <digit> = one | two | three | four;"


def _noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.05 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  ... -- '' ", []),
        ("MISTER QUILTER'S manner", ["mister", "quilter's", "manner"]),
        ("twenty-one, thirty–two", ["twenty", "one", "thirty", "two"]),
        ("don’t ‘quote’ me", ["don't", "quote", "me"]),
        ("Café_au  lait\n1,000", ["cafeau", "lait", "1000"]),
    ],
)
def test_normalise_words(text: str, words: list[str]) -> None:
    assert normalise_words(text) == words


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("the cat sat", "THE CAT, SAT!", WordCounts(3, 0, 0, 0)),
        ("the cat sat", "the dog sat", WordCounts(2, 1, 0, 0)),
        ("the cat sat", "the sat", WordCounts(2, 0, 1, 0)),
        ("the cat sat", "the big cat sat", WordCounts(3, 0, 0, 1)),
        ("the cat sat", "", WordCounts(0, 0, 3, 0)),
        ("", "thank you", WordCounts(0, 0, 0, 2)),
        ("?", "...", WordCounts(0, 0, 0, 0)),
        ("a b c d", "a x c e f", WordCounts(2, 2, 0, 1)),
    ],
)
def test_count_words_analytic(reference: str, hypothesis: str, expected: WordCounts) -> None:
    pytest.importorskip("jiwer")
    assert count_words(reference, hypothesis) == expected


def test_wer_of_an_empty_reference() -> None:
    assert WordCounts(0, 0, 0, 0).wer == 0.0
    assert WordCounts(0, 0, 0, 2).wer == math.inf


def test_corpus_wer_weighs_words_not_utterances() -> None:
    counts = [WordCounts(9, 0, 1, 0), WordCounts(0, 1, 0, 2), Failure("waveform not finite")]
    row = corpus_wer(counts)
    assert row["wer"] == pytest.approx(4 / 11)
    assert row["wer_insertions"] == pytest.approx(2 / 11)
    assert (row["wer_scored"], row["wer_total"], row["wer_words"]) == (2, 3, 11)
    assert row["wer_reasons"] == {"waveform not finite": 1}
    assert row["wer_low"] <= row["wer"] <= row["wer_high"]


def test_corpus_wer_counts_words_heard_where_nothing_was_said() -> None:
    row = corpus_wer([WordCounts(10, 0, 0, 0), WordCounts(0, 0, 0, 5)])
    assert row["wer"] == row["wer_insertions"] == 0.5


@pytest.mark.parametrize("counts", [[], [Failure("x")], [WordCounts(0, 0, 0, 3)]])
def test_corpus_wer_without_reference_words_is_nan(counts: list[WordCounts | Failure]) -> None:
    assert math.isnan(corpus_wer(counts)["wer"])
    assert math.isnan(corpus_wer(counts)["wer_low"])


def test_corpus_wer_by_speaker_is_wider() -> None:
    counts = [WordCounts(10 - speaker, speaker, 0, 0) for speaker in range(6) for _ in range(20)]
    speakers = [speaker for speaker in range(6) for _ in range(20)]
    by_utterance, by_speaker = corpus_wer(counts), corpus_wer(counts, clusters=speakers)
    assert by_speaker["wer_high"] - by_speaker["wer_low"] > 2 * (by_utterance["wer_high"] - by_utterance["wer_low"])


def test_paired_wer_difference_is_that_of_the_corpus_rates() -> None:
    a = [WordCounts(10 - k % 3, k % 3, 0, 1) for k in range(20)] + [Failure("x")]
    b = [WordCounts(10 - k % 3, k % 3, 0, 0) for k in range(20)] + [WordCounts(1, 0, 0, 0)]
    result = paired_wer_difference(a, b)
    assert result.difference == pytest.approx(corpus_wer(a[:20])["wer"] - corpus_wer(b[:20])["wer"])
    assert result.low == pytest.approx(0.1)
    assert result.pairs == 20
    assert result.p_value < 0.01


def test_paired_wer_difference_needs_the_same_utterances() -> None:
    with pytest.raises(DataError, match="1 and 0 utterances"):
        paired_wer_difference([WordCounts(1, 0, 0, 0)], [])
    with pytest.raises(DataError, match="utterance 0 has 1 and 2 reference words"):
        paired_wer_difference([WordCounts(1, 0, 0, 0)], [WordCounts(2, 0, 0, 0)])


@dataclass
class _Counting:
    """Says how many samples it got; stumbles over empty audio."""

    name: str = "counting"

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def transcribe(self, waveform: np.ndarray) -> str:
        if not len(waveform):
            raise RuntimeError("nothing there")
        return str(len(waveform))


def test_transcribe_all_keeps_order_counts_failures_and_reports_progress() -> None:
    done: list[int] = []
    waveforms = (np.zeros(samples, np.float32) for samples in (3, 0, 2))
    outcomes = transcribe_all(_Counting(), waveforms, processes=1, progress=done.append)
    assert outcomes == ["3", Failure("counting failed: RuntimeError"), "2"]
    assert done == [1, 2, 3]


@pytest.mark.parametrize("grammar", [None, GRAMMAR])
def test_noise_and_silence_give_some_text_without_error(grammar: str | None) -> None:
    pytest.importorskip("pocketsphinx")
    recogniser = PocketsphinxRecogniser(grammar)
    assert recogniser.transcribe(np.zeros(8000, np.float32)) == ""
    for waveform in (np.zeros(0, np.float32), _noise(1), _noise(300), _noise(8000), np.ones(4000, np.float32)):
        assert isinstance(recogniser.transcribe(waveform), str)


def test_level_does_not_matter() -> None:
    pytest.importorskip("pocketsphinx")
    recogniser = PocketsphinxRecogniser(GRAMMAR)
    waveform = _noise(8000) * np.sin(np.arange(8000) / 900).astype(np.float32)
    words = recogniser.transcribe(waveform)
    likelihood = recogniser._decoder.hyp().best_score
    assert recogniser.transcribe(waveform * np.float32(2**-20)) == words
    assert recogniser._decoder.hyp().best_score == likelihood


def test_order_of_utterances_does_not_matter() -> None:
    """Exact likelihoods, because words alone hide a small dependence."""
    pytest.importorskip("pocketsphinx")
    shaped = np.convolve(_noise(16_000, seed=3), np.hanning(40))[:16_000]
    waveforms = [_noise(12_000, seed=1), np.sin(np.arange(9000) / 10), shaped]
    recogniser = PocketsphinxRecogniser(GRAMMAR)

    def heard(index: int) -> tuple[str, float]:
        words = recogniser.transcribe(waveforms[index])
        hypothesis = recogniser._decoder.hyp()
        return words, hypothesis.best_score if hypothesis else math.nan

    results: dict[int, set[str]] = {0: set(), 1: set(), 2: set()}
    for index in (0, 1, 2, 2, 1, 0, 2, 0, 1):
        results[index].add(repr(heard(index)))
    assert all(len(seen) == 1 for seen in results.values())


def test_not_finite_is_a_failure() -> None:
    waveform = np.full(100, np.nan, np.float32)
    assert transcribe_all(PocketsphinxRecogniser(), [waveform], processes=1) == [Failure("waveform not finite")]


def test_two_channels_are_an_error() -> None:
    with pytest.raises(DataError, match=r"\[2, 100\] to transcribe"):
        transcribe_all(PocketsphinxRecogniser(), [np.ones((2, 100), np.float32)], processes=1)


def test_two_processes_hear_what_one_hears() -> None:
    pytest.importorskip("pocketsphinx")
    waveforms = [_noise(8000, seed) for seed in range(3)] + [np.full(10, np.inf, np.float32)]
    recogniser = PocketsphinxRecogniser(GRAMMAR)
    alone = transcribe_all(recogniser, waveforms, processes=1)
    assert transcribe_all(recogniser, iter(waveforms), processes=2) == alone
    assert alone[3] == Failure("waveform not finite")


def test_recogniser_is_picklable_after_use() -> None:
    pytest.importorskip("pocketsphinx")
    recogniser = PocketsphinxRecogniser(GRAMMAR)
    words = recogniser.transcribe(_noise(8000))
    copy = pickle.loads(pickle.dumps(recogniser))
    assert copy.transcribe(_noise(8000)) == words
    assert copy.settings == recogniser.settings != PocketsphinxRecogniser().settings


@pytest.mark.parametrize(
    ("grammar", "found"),
    [
        ("#JSGF V1.0; grammar g; public <s> = one /2/ zzyzxq {tag} | <t>; <t> = blorf;", "blorf, zzyzxq"),
        ("#JSGF V1.0; grammar g; <s> = one;", "not accepted"),
    ],
)
def test_wrong_grammar_says_why(grammar: str, found: str) -> None:
    pytest.importorskip("pocketsphinx")
    with pytest.raises(DataError, match=found):
        PocketsphinxRecogniser(grammar).transcribe(_noise(8000))


# In a process of its own, because espeak-ng keeps one callback per process.
SPEAK = """
import ctypes, sys, espeakng_loader, numpy, soxr
espeak, chunks = ctypes.CDLL(espeakng_loader.get_library_path()), []
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
def receive(samples, count, events):
    if samples and count > 0:
        chunks.append(numpy.ctypeslib.as_array(samples, shape=(count,)).copy())
    return 0
synchronous, utf8 = 2, 1
rate = espeak.espeak_Initialize(synchronous, 0, str(espeakng_loader.get_data_path()).encode(), 0)
espeak.espeak_SetSynthCallback(receive)
espeak.espeak_SetVoiceByName(b"en-us")
text = sys.argv[1].encode()
espeak.espeak_Synth(text, len(text) + 1, 0, 0, 0, utf8, None, None)
numpy.save(sys.argv[2], soxr.resample(numpy.concatenate(chunks).astype("float32") / 32768, rate, 16_000))
"""


def test_spoken_words_are_heard(tmp_path: Path) -> None:
    for package in ("espeakng_loader", "soxr", "pocketsphinx"):
        pytest.importorskip(package)
    text = "two four one three"
    subprocess.run([sys.executable, "-c", SPEAK, text, str(tmp_path / "speech.npy")], check=True)
    assert PocketsphinxRecogniser(GRAMMAR).transcribe(np.load(tmp_path / "speech.npy")) == text
