"""What alignment and decoding refuse, what they find in synthetic speech whose phones are known, whole manifests."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.data import aligner as aligner_module
from phonemi.data.alignment import PHONES, frame_labels
from phonemi.data.manifest import Recording
from phonemi.errors import DataError

pytest.importorskip("pocketsphinx")
from phonemi.data.aligner import PocketsphinxAligner, PocketsphinxPhoneLoop, align_manifest

NOISE = 0.01 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)


@pytest.fixture(scope="module")
def aligner() -> PocketsphinxAligner:
    return PocketsphinxAligner()


@pytest.fixture(scope="module")
def phone_loop() -> PocketsphinxPhoneLoop:
    return PocketsphinxPhoneLoop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello Zzzzq and 'Brrrk'", "not in the pronunciation dictionary: brrrk, zzzzq"),
        ("room 101", "not in the pronunciation dictionary: 101"),
        (" - '' ?", "the transcript has no word"),
        ("hello world", "no alignment found of 2 words with 1.0 s"),
    ],
)
def test_what_cannot_be_aligned_is_refused(aligner: PocketsphinxAligner, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        aligner.align(NOISE, text)


@pytest.mark.parametrize(
    "text",
    [
        "[NOISE] hello world",
        "<unk>hello (laughter) world{LG}",
        "[background speech] hello <sil> world (( ))",
        "hello ++uh++ +NOISE+ world",
    ],
)
def test_tags_are_no_words(aligner: PocketsphinxAligner, text: str) -> None:
    assert aligner._words(text) == ["hello", "world"]


def test_a_transcript_of_tags_alone_has_no_word(aligner: PocketsphinxAligner) -> None:
    with pytest.raises(DataError, match="the transcript has no word"):
        aligner.align(NOISE, "[NOISE] <unk> (laughter)")


def test_what_only_looks_like_a_tag_is_spoken(aligner: PocketsphinxAligner) -> None:
    assert aligner._words("hello [world") == ["hello", "world"]
    assert aligner._words("two + two + two, 'hello'") == ["two", "two", "two", "hello"]


def test_too_short(aligner: PocketsphinxAligner) -> None:
    with pytest.raises(DataError, match=r"0.000 s of audio cannot be aligned"):
        aligner.align(NOISE[:0], "hello")


def test_silence(aligner: PocketsphinxAligner) -> None:
    with pytest.raises(DataError, match="silent audio cannot be aligned"):
        aligner.align(0 * NOISE, "hello")


@pytest.mark.slow
def test_synthetic_speech(aligner: PocketsphinxAligner, speech: Recording) -> None:
    waveform = audio.load(speech.path)
    text = speech.text or ""
    found = aligner.align(waveform, f"[NOISE] ‘{text.upper()}’! (laughter) <unk>")
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


@pytest.mark.slow
def test_words_outside_the_dictionary_are_pronounced(speech: Recording) -> None:
    spoken = PocketsphinxAligner(pronounce=lambda word: ["B", "AE", "T"])
    intervals = spoken.align(audio.load(speech.path), "zzzzq")
    assert [interval.phone for interval in intervals if interval.phone in ("B", "AE", "T")] == ["B", "AE", "T"]
    assert spoken.pronunciations == {"zzzzq": ("B", "AE", "T")}


def test_decoded_synthetic_speech(phone_loop: PocketsphinxPhoneLoop, speech: Recording) -> None:
    waveform = audio.load(speech.path)
    found = phone_loop.decode(waveform)
    assert found[0].start_s == 0
    assert found[-1].end_s == pytest.approx(speech.samples // 160 / 100)
    assert all(before.end_s == after.start_s for before, after in pairwise(found))
    assert all(interval.start_s < interval.end_s for interval in found)
    assert {interval.phone for interval in found} <= {*PHONES, "+NSN+", "+SPN+"}
    frames = (speech.samples - 400) // 320 + 1
    labels, truth = frame_labels(found, frames), frame_labels(speech.phones or (), frames)
    # By chance: the agreement with the same labels at other times.
    chance = np.mean([np.mean(np.roll(labels, shift) == truth) for shift in range(15, frames - 15)])
    assert np.mean(labels == truth) > 0.25 > 5 * chance


@pytest.mark.slow
def test_decoding_does_not_depend_on_what_came_before(phone_loop: PocketsphinxPhoneLoop, speech: Recording) -> None:
    waveform = audio.load(speech.path)
    found = PocketsphinxPhoneLoop().decode(waveform)
    with pytest.raises(DataError, match=r"no phone found in 1\.00 s of audio"):
        phone_loop.decode(NOISE)
    phone_loop.decode(waveform[8_000:] + NOISE[0])
    assert phone_loop.decode(waveform) == found


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (NOISE[:0], r"0\.000 s of audio cannot be decoded, at least 0\.1 s"),
        (NOISE[:1_599], r"0\.100 s of audio cannot be decoded"),
        (0 * NOISE, "silent audio cannot be decoded"),
    ],
)
def test_what_cannot_be_decoded_is_refused(
    phone_loop: PocketsphinxPhoneLoop, waveform: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        phone_loop.decode(waveform)


@pytest.mark.slow
def test_a_decoder_that_fails_is_replaced(speech: Recording) -> None:
    waveform = audio.load(speech.path)
    spoiled = PocketsphinxPhoneLoop()
    found = spoiled.decode(waveform)
    spoiled._decoder.start_utt()  # pocketsphinx refuses to begin an utterance within another
    with pytest.raises(DataError, match=r"phones found in only 0\.00 of 2\.18 s of audio"):
        spoiled.decode(waveform)
    assert spoiled.decode(waveform) == found


# --- manifests


def variant(speech: Recording, id: str, **changes: object) -> Recording:
    values = {name: getattr(speech, name) for name in ("path", "sample_rate", "samples", "text")}
    return Recording(id=id, **(values | changes))


def examples(speech: Recording, folder: Path) -> list[Recording]:
    return [
        variant(speech, "new"),
        variant(speech, "done", phones=speech.phones, text=None),
        variant(speech, "wrong word", text=" ".join(["zzzzq"] * 40)),
        variant(speech, "no text", text=None),
        variant(speech, "gone", path=str(folder / "absent.wav")),
    ]


@pytest.mark.slow
def test_a_manifest(speech: Recording, tmp_path: Path) -> None:
    recordings = examples(speech, tmp_path)
    seen: list[tuple[int, int]] = []
    aligned, failures, pronunciations, decoded = align_manifest(recordings, progress=lambda *at: seen.append(at))
    assert [recording.id for recording in aligned] == [recording.id for recording in recordings], "nothing is lost"
    assert [bool(recording.phones) for recording in aligned] == [True, True, False, False, False]
    assert aligned[0].phones
    assert aligned[1] == recordings[1]
    assert list(failures) == ["wrong word", "no text", "gone"]
    assert failures["wrong word"].startswith("no alignment found of 40 words")
    assert list(pronunciations) == ["zzzzq"]
    assert failures["no text"] == "no transcript"
    assert seen == [(done, 4) for done in range(1, 5)]
    assert decoded == {}


@pytest.mark.slow
def test_what_cannot_be_aligned_is_decoded_if_asked(speech: Recording, tmp_path: Path) -> None:
    recordings = examples(speech, tmp_path)
    noise = tmp_path / "faint.wav"
    audio.save(noise, 0 * audio.load(speech.path), 16_000)
    recordings += [variant(speech, "nothing said", path=str(noise), text=None)]
    plain = align_manifest(recordings)
    aligned, failures, _, decoded = align_manifest(recordings, decode_untranscribed=True)
    assert [bool(recording.phones) for recording in aligned] == [True, True, True, True, False, False]
    assert aligned[:2] == plain.recordings[:2], "a transcript is better"
    assert aligned[2].phones == aligned[3].phones != aligned[0].phones
    assert decoded == {name: plain.failures[name] for name in ("wrong word", "no text")}
    assert list(failures) == ["gone", "nothing said"]
    assert "absent.wav" in failures["gone"]
    assert failures["nothing said"] == "silent audio cannot be decoded"


@pytest.mark.slow
def test_two_processes_find_the_same(speech: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = examples(speech, tmp_path)
    one = align_manifest(recordings, decode_untranscribed=True)
    monkeypatch.setattr(aligner_module, "_MIN_RECORDINGS_FOR_PROCESSES", len(recordings) - 1)
    seen: list[tuple[int, int]] = []
    two = align_manifest(recordings, lambda *at: seen.append(at), decode_untranscribed=True, processes=2)
    assert two == one
    assert seen == [(done, 4) for done in range(1, 5)]
