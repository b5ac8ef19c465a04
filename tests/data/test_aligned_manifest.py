"""What becomes of the recordings of a manifest: aligned, decoded, or kept with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from phonemi import audio
from phonemi.data import aligned_manifest
from phonemi.data.manifest import Recording

pytest.importorskip("pocketsphinx")
from phonemi.data.aligned_manifest import align_manifest


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
    monkeypatch.setattr(aligned_manifest, "_MIN_RECORDINGS_FOR_PROCESSES", len(recordings) - 1)
    seen: list[tuple[int, int]] = []
    two = align_manifest(recordings, lambda *at: seen.append(at), decode_untranscribed=True, processes=2)
    assert two == one
    assert seen == [(done, 4) for done in range(1, 5)]
