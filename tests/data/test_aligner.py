"""What forced alignment refuses, and what it finds in synthetic speech whose phones are known."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.alignment import PHONES, frame_labels
from phonemi.data.manifest import Recording
from phonemi.errors import DataError

pytest.importorskip("pocketsphinx")
from phonemi.data.aligner import PocketsphinxAligner, align_manifest

NOISE = 0.01 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)


@pytest.fixture(scope="module")
def aligner() -> PocketsphinxAligner:
    return PocketsphinxAligner()


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    pytest.importorskip("espeakng_loader")
    from phonemi.data.corpora.espeak import Espeak, Voice, phone_intervals

    text = "please put the red book under the table"
    spoken = Espeak().speak(text, Voice("en-us+m3"))
    path = tmp_path_factory.mktemp("speech") / "a.wav"
    audio.save(path, audio.resample(spoken.waveform, spoken.sample_rate, 16_000), 16_000)
    phones = phone_intervals(spoken, "en-us")
    return Recording(
        id="a", path=str(path), sample_rate=16_000, samples=audio.probe(path).samples, text=text, phones=phones
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello Zzzzq and 'Brrrk'", "not in the pronunciation dictionary: brrrk, zzzzq"),
        ("room 101", "not in the pronunciation dictionary: 101"),
        (" - '' ?", "the transcript has no word"),
        ("hello world", "no alignment found of 2 words with 1.00 s"),
    ],
)
def test_what_cannot_be_aligned_is_refused(aligner: PocketsphinxAligner, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        aligner.align(NOISE, text)


def test_too_short(aligner: PocketsphinxAligner) -> None:
    with pytest.raises(DataError, match=r"0.000 s of audio cannot be aligned"):
        aligner.align(NOISE[:0], "hello")


def test_silence(aligner: PocketsphinxAligner) -> None:
    with pytest.raises(DataError, match="silent audio cannot be aligned"):
        aligner.align(0 * NOISE, "hello")


def test_synthetic_speech(aligner: PocketsphinxAligner, speech: Recording) -> None:
    waveform = audio.load(speech.path)
    text = speech.text or ""
    found = aligner.align(waveform, f"‘{text.upper()}’!")
    # The same after another recording, and after one that failed.
    with pytest.raises(DataError):
        aligner.align(NOISE, "hello world")
    assert aligner.align(waveform, text) == found
    assert found[0].start_s == 0
    assert speech.duration_s - 0.05 < found[-1].end_s <= speech.duration_s
    assert all(before.end_s == after.start_s for before, after in pairwise(found))
    assert {interval.phone for interval in found} <= set(PHONES)
    frames = (speech.samples - 400) // 320 + 1
    assert np.mean(frame_labels(found, frames) == frame_labels(speech.phones or (), frames)) > 0.6


def test_words_outside_the_dictionary_are_pronounced(speech: Recording) -> None:
    spoken = PocketsphinxAligner(pronounce=lambda word: ["B", "AE", "T"])
    intervals = spoken.align(audio.load(speech.path), "zzzzq")
    assert [interval.phone for interval in intervals if interval.phone in ("B", "AE", "T")] == ["B", "AE", "T"]
    assert spoken.pronounced == {"zzzzq": ("B", "AE", "T")}


def test_a_manifest(speech: Recording, tmp_path: Path) -> None:
    def variant(id: str, **changes: object) -> Recording:
        values = {name: getattr(speech, name) for name in ("path", "sample_rate", "samples", "text")}
        return Recording(id=id, **(values | changes))

    recordings = [
        variant("new"),
        variant("done", phones=speech.phones, text=None),
        variant("wrong word", text=" ".join(["zzzzq"] * 40)),
        variant("no text", text=None),
        variant("gone", path=str(tmp_path / "absent.wav")),
    ]
    seen: list[tuple[int, int]] = []
    aligned, reasons, pronounced = align_manifest(recordings, progress=lambda *at: seen.append(at))
    assert [recording.id for recording in aligned] == [recording.id for recording in recordings], "nothing is lost"
    assert [bool(recording.phones) for recording in aligned] == [True, True, False, False, False]
    assert aligned[0].phones
    assert aligned[1] == recordings[1]
    assert list(reasons) == ["wrong word", "no text", "gone"]
    assert reasons["wrong word"].startswith("no alignment found of 40 words")
    assert pronounced == {"zzzzq": pronounced["zzzzq"]}
    assert reasons["no text"] == "no transcript"
    assert seen == [(done, 5) for done in range(1, 6)]
