from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phonemi.data.aligner import AlignedManifest
from phonemi.data.manifest import Interval, Recording, read_manifest, write_manifest
from phonemi.errors import DataError
from phonemi.stages import align

PHONES = (Interval(0.0, 0.1, "SIL"), Interval(0.1, 0.3, "IY"))


@pytest.fixture
def manifest(corpus: Any, tmp_path: Path) -> Path:
    """Three recordings without phones, the second without a text."""
    recordings = [replace(recording, phones=None) for recording in read_manifest(corpus.speech)[:3]]
    recordings[1] = replace(recordings[1], text=None)
    write_manifest(tmp_path / "speech.jsonl", recordings)
    return tmp_path / "speech.jsonl"


def aligner(works: bool) -> Callable[..., AlignedManifest]:
    """In the place of `align_manifest`, which has tests of its own."""

    def align_manifest(
        recordings: Sequence[Recording], progress: Callable[[int, int], None], decode: bool, processes: int
    ) -> AlignedManifest:
        aligned, failures, decoded = [], {}, {}
        for done, recording in enumerate(recordings, start=1):
            able = works and (recording.text is not None or decode)
            aligned.append(replace(recording, phones=PHONES) if able and not recording.phones else recording)
            if recording.text is None or not able:
                (decoded if able else failures)[recording.id] = "no transcript"
            progress(done, len(recordings))
        return AlignedManifest(aligned, failures, {"zzz": ("Z",)} if works else {}, decoded)

    return align_manifest


def test_what_cannot_be_aligned_is_kept_and_counted(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_manifest(manifest)
    monkeypatch.setattr(align, "align_manifest", aligner(works=True))
    align.run(manifest, manifest)
    after = read_manifest(manifest)
    assert [recording.id for recording in after] == [recording.id for recording in before]
    assert [recording.phones for recording in after] == [PHONES, None, PHONES]
    output = capsys.readouterr().err
    assert f"{manifest}: phones in 2 of 3 recordings: 0 before, 2 aligned now, 0 decoded now" in output
    assert f"not aligned: 1 ({before[1].id}): no transcript" in output
    assert "not in the dictionary, pronounced by espeak-ng: 1 (zzz)" in output


def test_what_is_decoded_is_counted_apart(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings = read_manifest(manifest)
    write_manifest(manifest, [replace(recordings[0], phones=PHONES), *recordings[1:]])
    monkeypatch.setattr(align, "align_manifest", aligner(works=True))
    align.run(manifest, manifest, decode=True)
    assert [recording.phones for recording in read_manifest(manifest)] == [PHONES] * 3
    output = capsys.readouterr().err
    assert f"{manifest}: phones in 3 of 3 recordings: 1 before, 1 aligned now, 1 decoded now" in output
    assert f"decoded, less accurate: 1 ({recordings[1].id}): no transcript" in output
    assert "not aligned" not in output


def test_a_manifest_is_left_alone_when_nothing_could_be_aligned(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = manifest.read_bytes()
    monkeypatch.setattr(align, "align_manifest", aligner(works=False))
    with pytest.raises(DataError) as error:
        align.run(manifest, manifest)
    assert str(error.value) == f"nothing in {manifest} could be aligned; 3 of 3: no transcript"
    assert manifest.read_bytes() == before
    with pytest.raises(DataError):
        align.run(manifest, tmp_path / "other.jsonl")
    assert not (tmp_path / "other.jsonl").exists()


def test_a_manifest_that_contradicts_itself_is_not_begun(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(align, "align_manifest", None)
    recordings = read_manifest(manifest)
    write_manifest(manifest, [recordings[0], recordings[0]])
    with pytest.raises(DataError, match="used 2 times as an id"):
        align.run(manifest, manifest)
    manifest.write_text("")
    with pytest.raises(DataError, match="the manifest is empty"):
        align.run(manifest, manifest)
    with pytest.raises(DataError, match="does not exist"):
        align.run(tmp_path / "absent.jsonl", manifest)


def test_a_manifest_with_all_phones_is_not_worked_on(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pocketsphinx")
    write_manifest(manifest, [replace(read_manifest(manifest)[0], phones=PHONES)])
    align.run(manifest, manifest)
    assert (
        capsys.readouterr().err == f"{manifest}: phones in 1 of 1 recording: 1 before, 0 aligned now, 0 decoded now\n"
    )
