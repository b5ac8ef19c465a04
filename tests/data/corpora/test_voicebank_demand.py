"""A made-up corpus of a few tenths of a second in the layouts of VoiceBank-DEMAND that people have on disk."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.corpora import voicebank_demand
from phonemi.data.corpora.voicebank_demand import (
    ARCHIVES,
    PUBLISHED,
    SPEAKERS,
    download_voicebank_demand,
    prepare_voicebank_demand,
)
from phonemi.data.manifest import read_manifest, validate, write_manifest
from phonemi.data.mixing import PairedRecordings
from phonemi.errors import AudioError, DataError

TEST = ("p232_001", "p257_434")
TRAINING = ("p226_001", "p287_424", "p227_001", "p286_003")


def sound(path: Path, level: float, rate: int) -> None:
    audio.save(path, level * np.sin(np.arange(rate // 10) / 10), rate)


def pairs(folder: Path, noisy: str, clean: str, ids: tuple[str, ...], rate: int = 48_000) -> None:
    for id in ids:
        sound(folder / clean / f"{id}.wav", 0.1, rate)
        sound(folder / noisy / f"{id}.wav", 0.2, rate)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As the archives unpack: 2 recordings to test, 2 to validate, 2 to train; said to be all that are published."""
    pairs(tmp_path, "noisy_testset_wav", "clean_testset_wav", TEST)
    pairs(tmp_path, "noisy_trainset_28spk_wav", "clean_trainset_28spk_wav", TRAINING)
    for id in TEST:
        write(tmp_path / "testset_txt" / f"{id}.txt", f"The text of\n {id}.\n")
    for id in TRAINING:
        write(tmp_path / "trainset_28spk_txt" / f"{id}.txt", "Please call Stella.\n")
    write(tmp_path / "log_testset.txt", "p232_001 bus 17.5\np257_434 psquare 2.5\n")
    write(tmp_path / "log_trainset_28spk.txt", "".join(f"{id} babble {snr_db}\n" for snr_db, id in enumerate(TRAINING)))
    write(tmp_path / "log_readme.txt", "Columns: file name, noise, SNR\n")
    monkeypatch.setattr(voicebank_demand, "PUBLISHED", dict.fromkeys(PUBLISHED, 2))
    return tmp_path


def test_the_splits_are_those_of_the_paper() -> None:
    assert {split: len(speakers) for split, speakers in SPEAKERS.items()} == {"train": 26, "validation": 2, "test": 2}
    assert len({speaker for speakers in SPEAKERS.values() for speaker in speakers}) == 30
    # 11 572 training recordings are published, 353 of p226 and 417 of p287.
    assert PUBLISHED == {"train": 11_572 - 353 - 417, "validation": 353 + 417, "test": 824}


def test_the_test_set_as_published(corpus: Path) -> None:
    recordings, notes = prepare_voicebank_demand(corpus)
    assert notes == []
    assert [recording.id for recording in recordings] == list(TEST)
    first = recordings[0]
    assert (first.speaker, first.text) == ("vb-p232", "The text of p232_001.")
    assert (first.noise, first.snr_db) == ("bus", 17.5)
    assert (first.sample_rate, first.samples) == (48_000, 4800)
    assert first.path == str(corpus / "noisy_testset_wav" / "p232_001.wav")
    assert first.clean == str(corpus / "clean_testset_wav" / "p232_001.wav")
    validate(recordings)


def test_a_manifest_of_it_gives_pairs(corpus: Path) -> None:
    write_manifest(corpus / "test.jsonl", prepare_voicebank_demand(corpus).recordings)
    read = read_manifest(corpus / "test.jsonl")
    assert read == prepare_voicebank_demand(corpus).recordings
    mixture = PairedRecordings(read)[0]
    assert len(mixture.noisy) == len(mixture.clean) == 1600
    assert (mixture.snr_db, mixture.noise_id) == (17.5, "bus")  # of the log, not of the samples


@pytest.mark.parametrize(("split", "ids"), [("train", TRAINING[2:]), ("validation", TRAINING[:2])])
def test_p226_and_p287_are_held_out(corpus: Path, split: str, ids: tuple[str, ...]) -> None:
    recordings, notes = prepare_voicebank_demand(corpus, split=split)
    assert notes == []
    assert [recording.id for recording in recordings] == sorted(ids)
    assert recordings[0].snr_db == float(TRAINING.index(recordings[0].id))


@pytest.mark.parametrize(
    ("noisy", "clean"),
    [
        ("noisy_testset_wav_16k", "clean_testset_wav_16k"),
        ("noisy-vctk-16k/noisy_testset_wav_16k", "noisy-vctk-16k/clean_testset_wav_16k"),
        ("noisy_testset_wav/noisy_testset_wav", "clean_testset_wav/clean_testset_wav"),
        ("Noisy_TestSet_wav_16KHz", "Clean_TestSet_wav_16KHz"),
        ("noisy_test", "clean_test"),
        ("test_noisy", "test_clean"),
        ("data/test/noisy", "data/test/clean"),
        ("wav16k/test/noisy", "wav16k/test/clean"),
        ("wavs_noisy", "wavs_clean"),
    ],
)
def test_layouts(tmp_path: Path, noisy: str, clean: str) -> None:
    pairs(tmp_path, noisy, clean, (*TEST, *TRAINING, "p234_001"), rate=16_000)
    recordings, notes = prepare_voicebank_demand(tmp_path)
    assert [recording.id for recording in recordings] == list(TEST)
    assert recordings[0].path == str(tmp_path / noisy / "p232_001.wav")
    assert recordings[0].clean == str(tmp_path / clean / "p232_001.wav")
    assert (recordings[0].text, recordings[0].noise, recordings[0].snr_db) == (None, None, None)
    assert notes == [
        "4 gaps in what is known of the recordings: 2 no text (p232_001), 2 no line in a log file (p232_001)",
        "2 recordings in the test split, 824 are published",
    ]


def test_a_conversion_is_taken_before_the_originals(corpus: Path) -> None:
    pairs(corpus / "16k", "noisy_testset_wav", "clean_testset_wav", TEST[:1], rate=16_000)
    recordings, notes = prepare_voicebank_demand(corpus)
    assert [recording.sample_rate for recording in recordings] == [16_000, 48_000]
    assert notes == [f"1 recording of {corpus / 'noisy_testset_wav'} left out: another folder has the same"]


def test_what_is_incomplete_is_counted(corpus: Path) -> None:
    pairs(corpus, "noisy_testset_wav", "clean_testset_wav", ("p232_002", "p232_003", "p232_004"))
    (corpus / "clean_testset_wav" / "p232_002.wav").unlink()
    (corpus / "noisy_testset_wav" / "p232_003.wav").unlink()
    (corpus / "noisy_testset_wav" / "p232_004.wav").write_bytes(b"")
    (corpus / "testset_txt" / "p232_001.txt").write_bytes(b"\xff")
    (corpus / "log_testset.txt").write_text("p232_001 bus 17.5\n")
    recordings, notes = prepare_voicebank_demand(corpus)
    assert [recording.id for recording in recordings] == list(TEST)
    assert len(notes) == 2
    assert notes[0].startswith(
        "3 recordings skipped: 1 without a clean counterpart (p232_002), 1 without a noisy one (p232_003), 1 unreadable"
    )
    assert notes[1] == (
        f"3 gaps in what is known of the recordings: 1 unreadable ({corpus / 'testset_txt' / 'p232_001.txt'} is not "
        "UTF-8 text (invalid start byte at byte 0)), 1 no text (p232_001), 1 no line in a log file (p257_434)"
    )


def test_a_pair_of_different_lengths_is_left_out(corpus: Path) -> None:
    audio.save(corpus / "clean_testset_wav" / "p232_001.wav", np.full(4000, 0.1), 48_000)
    recordings, notes = prepare_voicebank_demand(corpus)
    assert [recording.id for recording in recordings] == list(TEST[1:])
    validate(recordings)
    reason = "1 with a clean counterpart of another length (p232_001: 0.1000 s noisy, 0.0833 s clean)"
    assert notes[0] == f"1 recording skipped: {reason}"
    with pytest.raises(DataError, match="1 recording skipped: 1 with a clean counterpart of another length"):
        prepare_voicebank_demand(corpus, strict=True)


@pytest.mark.parametrize("line", ["p232_001 bus", "p232_001 bus loud", "p232_001 bus 17.5 dB"])
def test_a_log_of_another_form(corpus: Path, line: str) -> None:
    (corpus / "log_testset.txt").write_text(f"\n{line}\n")
    with pytest.raises(DataError, match=rf"log_testset.txt:2: expected 'utterance noise snr_db', found '{line}'"):
        prepare_voicebank_demand(corpus)


def test_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no split 'dev'; known: test, train, validation"):
        prepare_voicebank_demand(tmp_path, split="dev")
    with pytest.raises(AudioError, match="absent is not a folder"):
        prepare_voicebank_demand(tmp_path / "absent")
    with pytest.raises(DataError, match=r"found no folders such as noisy_testset_wav/p232_001.wav$"):
        prepare_voicebank_demand(tmp_path)
    (tmp_path / "clean_testset_wav.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"; clean_testset_wav.zip is there, which --download unpacks$"):
        prepare_voicebank_demand(tmp_path)
    sound(tmp_path / "noisy_test" / "p232_001.wav", 0.1, 16_000)
    with pytest.raises(
        DataError, match=r"no VoiceBank-DEMAND test pairs .*noisy_test has no clean counterpart .*clean_"
    ):
        prepare_voicebank_demand(tmp_path)
    sound(tmp_path / "clean_test" / "p232_002.wav", 0.1, 16_000)
    with pytest.raises(
        DataError, match=r"pairs in .*: 2 recordings skipped: 1 without a clean .*, 1 without a noisy one"
    ):
        prepare_voicebank_demand(tmp_path)


def archives(corpus: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus as the archives of the repository, under the ids of their contents; the logs without a folder."""
    known = {}
    for name, (bitstream, md5) in ARCHIVES.items():
        top = "" if name == "logfiles.zip" else name.removesuffix(".zip")
        (folder / bitstream).mkdir()
        with zipfile.ZipFile(folder / bitstream / "content", "w") as packed:
            for file in sorted((corpus / top).glob("*.*")):
                if file.is_file():
                    packed.write(file, f"{top}/{file.name}".lstrip("/"))
        content = (folder / bitstream / "content").read_bytes()
        known[name] = (bitstream, md5 and hashlib.md5(content).hexdigest())
    monkeypatch.setattr(voicebank_demand, "ARCHIVES", known)


def test_download(corpus: Path, served: Any, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    archives(corpus, served.folder, monkeypatch)
    monkeypatch.setattr(voicebank_demand, "URL", f"{served.url}/{{bitstream}}/content")
    folder = tmp_path_factory.mktemp("voicebank")
    assert download_voicebank_demand(folder, split="test") == []
    assert len(served.requests) == 4
    assert [recording.noise for recording in prepare_voicebank_demand(folder).recordings] == ["bus", "psquare"]
    with pytest.raises(DataError, match="no VoiceBank-DEMAND train pairs"):
        prepare_voicebank_demand(folder, split="train")
    download_voicebank_demand(folder)
    assert len(served.requests) == len(set(served.requests)) == 7
    for split in SPEAKERS:
        recordings, notes = prepare_voicebank_demand(folder, split=split)
        assert (len(recordings), notes) == (2, [])
        assert all(recording.text and recording.noise for recording in recordings)
    assert not list(folder.glob("*.zip"))


def test_a_download_with_a_wrong_checksum(
    corpus: Path, served: Any, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(ARCHIVES)
    archives(corpus, served.folder, monkeypatch)
    monkeypatch.setattr(voicebank_demand, "ARCHIVES", known)
    monkeypatch.setattr(voicebank_demand, "URL", f"{served.url}/{{bitstream}}/content")
    with pytest.raises(DataError, match="expected 34eb1c0ba7ef667e9b966866c542fc16; it was removed, run it again"):
        download_voicebank_demand(tmp_path_factory.mktemp("voicebank"), split="test")
    with pytest.raises(DataError, match="no split 'tset'; did you mean 'test'"):
        download_voicebank_demand(corpus, split="tset")
