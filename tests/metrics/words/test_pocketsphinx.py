from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phonemi.errors import DataError
from phonemi.metrics.words.pocketsphinx import PocketsphinxRecogniser
from phonemi.metrics.words.recogniser import Failure, transcribe_all

GRAMMAR = "#JSGF V1.0; grammar digits; public <s> = <digit>+; <digit> = one | two | three | four;"


def _noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.05 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("grammar", [None, GRAMMAR])
def test_noise_and_silence_give_some_text_without_error(grammar: str | None) -> None:
    pytest.importorskip("pocketsphinx")
    recogniser = PocketsphinxRecogniser(grammar)
    assert recogniser.transcribe(np.zeros(8000, np.float32)) == ""
    for waveform in (np.zeros(0, np.float32), _noise(1), _noise(300), _noise(8000), np.ones(4000, np.float32)):
        assert isinstance(recogniser.transcribe(waveform), str)


@pytest.mark.slow
def test_level_does_not_matter() -> None:
    pytest.importorskip("pocketsphinx")
    recogniser = PocketsphinxRecogniser(GRAMMAR)
    waveform = _noise(8000) * np.sin(np.arange(8000) / 900).astype(np.float32)
    words = recogniser.transcribe(waveform)
    likelihood = recogniser._decoder.hyp().best_score
    assert recogniser.transcribe(waveform * np.float32(2**-20)) == words
    assert recogniser._decoder.hyp().best_score == likelihood


@pytest.mark.slow
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


@pytest.mark.slow
def test_two_processes_hear_what_one_hears() -> None:
    pytest.importorskip("pocketsphinx")
    waveforms = [_noise(8000, seed) for seed in range(3)] + [np.full(10, np.inf, np.float32)]
    recogniser = PocketsphinxRecogniser(GRAMMAR)
    alone = transcribe_all(recogniser, waveforms, processes=1)
    assert transcribe_all(recogniser, iter(waveforms), processes=2) == alone
    assert alone[3] == Failure("waveform not finite")


@pytest.mark.slow
def test_recogniser_is_picklable_after_use() -> None:
    pytest.importorskip("pocketsphinx")
    recogniser = PocketsphinxRecogniser(GRAMMAR)
    words = recogniser.transcribe(_noise(8000))
    copy = pickle.loads(pickle.dumps(recogniser))
    assert copy.transcribe(_noise(8000)) == words
    assert copy.settings == recogniser.settings != PocketsphinxRecogniser().settings


@pytest.mark.slow
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


@pytest.mark.slow
def test_spoken_words_are_heard(tmp_path: Path) -> None:
    for package in ("espeakng_loader", "soxr", "pocketsphinx"):
        pytest.importorskip(package)
    text = "two four one three"
    subprocess.run([sys.executable, "-c", SPEAK, text, str(tmp_path / "speech.npy")], check=True)
    assert PocketsphinxRecogniser(GRAMMAR).transcribe(np.load(tmp_path / "speech.npy")) == text
