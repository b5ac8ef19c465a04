"""A made-up corpus in the layout of LibriSpeech."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.corpora import librispeech
from phonemi.data.corpora.librispeech import download_librispeech, prepare_librispeech
from phonemi.data.manifest import Interval, validate
from phonemi.errors import DataError

TEXTGRID = """"ooTextFile"
"TextGrid"
0 {end} <exists> 1
"IntervalTier" "phones" 0 {end} 1
0 {end} "AE1"
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two chapters of dev-clean (speakers 19 and 26) and one of test-clean (speaker 7); each recording lasts 0.5 s."""
    for subset, chapter, suffix, count in (
        ("dev-clean", "19-198", ".flac", 2),
        ("dev-clean", "26-495", ".ogg", 1),
        ("test-clean", "7-1", ".flac", 1),
    ):
        folder = tmp_path / "LibriSpeech" / subset / chapter.replace("-", "/")
        ids = [f"{chapter}-{number:04d}" for number in range(count)]
        for id in ids:
            audio.save(folder / f"{id}{suffix}", np.full(8000, 0.1), 16_000)
        (folder / f"{chapter}.trans.txt").write_text("".join(f"{id} THE TEXT OF {id}\n" for id in ids))
    return tmp_path


def textgrid(folder: Path, id: str, end_s: float = 0.5) -> None:
    path = folder / "dev-clean" / id.rsplit("-", 1)[0].replace("-", "/") / f"{id}.TextGrid"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEXTGRID.format(end=end_s))


def test_recordings_with_text_and_speaker(corpus: Path) -> None:
    recordings, notes = prepare_librispeech(corpus)
    assert notes == []
    assert [recording.id for recording in recordings] == ["19-198-0000", "19-198-0001", "26-495-0000", "7-1-0000"]
    assert [recording.speaker for recording in recordings] == ["ls-19", "ls-19", "ls-26", "ls-7"]
    assert recordings[0].text == "THE TEXT OF 19-198-0000"
    assert (recordings[0].samples, recordings[0].sample_rate, recordings[0].phones) == (8000, 16_000, None)
    validate(recordings)


def test_subsets(corpus: Path) -> None:
    assert [recording.id for recording in prepare_librispeech(corpus, subset=["test-clean"]).recordings] == ["7-1-0000"]
    assert len(prepare_librispeech(corpus / "LibriSpeech" / "dev-clean" / "19").recordings) == 2
    with pytest.raises(DataError, match=r"no LibriSpeech subset 'dev-cleen'.*did you mean 'dev-clean'"):
        prepare_librispeech(corpus, subset=["dev-cleen"])


def test_phones_from_textgrids_in_the_folder(corpus: Path) -> None:
    textgrid(corpus / "alignments", "19-198-0000")
    textgrid(corpus / "alignments", "19-198-0001", end_s=0.7)
    recordings, notes = prepare_librispeech(corpus)
    assert recordings[0].phones == (Interval(0.0, 0.5, "AE1"),)
    assert recordings[1].phones is None
    assert notes == [
        "2 recordings without an alignment: 2 not in the alignment files (26-495-0000)",
        "1 recording left unaligned: 1 misfits "
        "(alignment of 19-198-0001: phone 'AE1' at 0.000-0.700 s ends after the audio (0.500 s))",
    ]


def test_phones_from_a_ctm_file(corpus: Path) -> None:
    ctm = corpus / "phones.ctm"
    ctm.write_text("7-1-0000 1 0.0 0.2 SIL\n7-1-0000 1 0.2 0.3 K\n")
    recordings, _ = prepare_librispeech(corpus, subset=["test-clean"], alignments=[ctm])
    assert recordings[0].phones == (Interval(0.0, 0.2, "SIL"), Interval(0.2, 0.5, "K"))


def test_phones_from_the_archive_as_published(corpus: Path) -> None:
    textgrid(corpus / "published" / "LibriSpeech", "19-198-0000")
    textgrid(corpus / "published" / "LibriSpeech", "26-495-0000", end_s=0.7)
    with zipfile.ZipFile(corpus / "librispeech_alignments.zip", "w") as archive:
        for path in sorted((corpus / "published").rglob("*.TextGrid")):
            archive.write(path, path.relative_to(corpus / "published"))
    recordings, notes = prepare_librispeech(corpus, alignments=[corpus / "librispeech_alignments.zip"])
    assert [recording.phones for recording in recordings] == [(Interval(0.0, 0.5, "AE1"),), None, None, None]
    assert notes == [
        "2 recordings without an alignment: 2 not in the alignment files (19-198-0001)",
        "1 recording left unaligned: 1 misfits "
        "(alignment of 26-495-0000: phone 'AE1' at 0.000-0.700 s ends after the audio (0.500 s))",
    ]


def test_phones_from_a_table_of_the_hub(corpus: Path) -> None:
    rows = [
        {
            "identifier": "19-198-0000",
            "duration": 0.5,
            "phones": ["[SIL]", "K"],
            "start": [0.0, 0.2],
            "end": [0.2, 0.5],
        },
        {"id": "7-1-0000", "phonemes": [{"end": 0.4, "phoneme": "AE1", "start": 0.1}]},
    ]
    (corpus / "phones.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    recordings, _ = prepare_librispeech(corpus, alignments=[corpus / "phones.jsonl"])
    assert recordings[0].phones == (Interval(0.0, 0.2, "[SIL]"), Interval(0.2, 0.5, "K"))
    assert recordings[3].phones == (Interval(0.1, 0.4, "AE1"),)
    validate(recordings)


def test_what_is_incomplete_is_counted(corpus: Path) -> None:
    chapter = corpus / "LibriSpeech" / "dev-clean" / "19" / "198"
    (chapter / "19-198-0000.flac").unlink()
    (chapter / "19-198-0001.flac").write_bytes(b"")
    audio.save(chapter / "19-198-0002.flac", np.full(8000, 0.1), 16_000)
    recordings, notes = prepare_librispeech(corpus)
    assert len(recordings) == 2
    assert len(notes) == 1
    assert notes[0].startswith(
        "3 recordings skipped: 1 without a sound file (19-198-0000), 1 without a transcript (19-198-0002), "
        "1 unreadable ("
    )


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no LibriSpeech in"):
        prepare_librispeech(tmp_path)


def test_download_knows_address_and_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(librispeech, "fetch_and_extract", lambda url, folder, **given: calls.append((url, given)))
    assert download_librispeech(tmp_path, subset=["dev-clean"]) == []
    assert calls[0][0] == "https://www.openslr.org/resources/12/dev-clean.tar.gz"
    assert calls[0][1]["md5"] == "42e2234ba48799c1f50f24a7926300a1"
    assert calls[1][0].endswith("/2619474/files/librispeech_alignments.zip")
    assert calls[1][1]["md5"] == "2bab567d0ace651a4ba254e813629f46"
    with pytest.raises(DataError, match="no subset 'dev'"):
        download_librispeech(tmp_path, subset=["dev"])
