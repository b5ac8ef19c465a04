"""Folders of made-up sound files: with nothing beside them, with transcripts, with a table and alignments."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.corpora.folder import prepare_folder
from phonemi.data.manifest import Interval, validate, write_manifest
from phonemi.data.mixing import PairedRecordings
from phonemi.errors import DataError, PhonemiWarning


def sound(path: Path, samples: int = 8000) -> Path:
    audio.save(path, np.full(samples, 0.1), 16_000)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plain_folder(tmp_path: Path) -> None:
    sound(tmp_path / "b.wav")
    sound(tmp_path / "anna" / "a.flac")
    recordings, notes = prepare_folder(tmp_path)
    assert [(recording.id, recording.speaker, recording.text) for recording in recordings] == [
        ("a", "anna", None),
        ("b", None, None),
    ]
    assert notes == []
    validate(recordings)


def test_transcripts_beside_the_files(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        sound(tmp_path / f"{name}.wav")
    write(tmp_path / "a.txt", "\ufeffone two\n  three\n")
    write(tmp_path / "b.txt", "\n")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\xe9")
    recordings, notes = prepare_folder(tmp_path)
    assert [recording.text for recording in recordings] == ["one two three", None, None, None]
    assert len(notes) == 1
    assert notes[0].startswith("1 transcript ignored: 1 unreadable (")


def test_colliding_stems_get_the_path_and_then_the_extension(tmp_path: Path) -> None:
    for name in ("x/1.wav", "y/1.wav", "y/2.wav", "z/3.wav", "z/3.flac"):
        sound(tmp_path / name)
    assert [recording.id for recording in prepare_folder(tmp_path).recordings] == [
        "x__1",
        "y__1",
        "2",
        "z__3.flac",
        "z__3.wav",
    ]


def test_what_a_table_leaves_out_does_not_make_the_ids_of_the_rest_ambiguous(tmp_path: Path) -> None:
    for name in ("x/1.wav", "y/1.wav", "y/2.wav"):
        sound(tmp_path / name)
    table = write(tmp_path / "table.csv", "path\nx/1.wav\ny/2.wav\n")
    listing = prepare_folder(tmp_path, table=table)
    assert [recording.id for recording in listing.recordings] == ["x__1", "2"]


def test_unreadable_files_are_counted(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    write(tmp_path / "b.wav", "")
    write(tmp_path / "c.wav", "not sound")
    recordings, notes = prepare_folder(tmp_path)
    assert len(recordings) == 1
    assert notes == [f"2 recordings skipped: 2 unreadable ({tmp_path / 'b.wav'} is empty (0 bytes))"]


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no recordings in .*found no file of \.wav"):
        prepare_folder(tmp_path)
    write(tmp_path / "b.wav", "")
    with pytest.raises(DataError, match="1 recording skipped: 1 unreadable"):
        prepare_folder(tmp_path)


def test_a_table_chooses_and_describes(tmp_path: Path) -> None:
    for name in ("s/a.wav", "s/b.wav", "s/c.wav", "s/unlisted.wav"):
        sound(tmp_path / name)
    write(tmp_path / "s" / "b.txt", "from the file")
    table = write(
        tmp_path / "t.csv",
        'path,speaker,text,bak,seconds\ns/a.wav,anna,"Yes, it is.",4,1\ns/b.wav,,,3.5,1\ns/c.wav,x,y,3.4,1\n'
        "s/gone.wav,x,y,5,1\ns/a.wav,x,y,,1\n",
    )
    recordings, notes = prepare_folder(tmp_path, table=table, where=["bak >= 3.5", "seconds<2"])
    assert [(recording.id, recording.speaker, recording.text) for recording in recordings] == [
        ("a", "anna", "Yes, it is."),
        ("b", None, "from the file"),
    ]
    assert notes[0] == f"2 of 5 rows of {table} left out by bak >= 3.5, seconds<2"
    assert notes[1].startswith("1 recording skipped: 1 unreadable (cannot read")


def test_conditions_on_text(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        sound(tmp_path / name)
    table = write(tmp_path / "t.csv", "path,speaker,phones\na.wav,anna,y\nb.wav,,y\nc.wav,x,\n")
    left = {
        where: [recording.id for recording in prepare_folder(tmp_path, table=table, where=[where]).recordings]
        for where in ("speaker!=", "speaker==", "phones == y", "phones!=y")
    }
    assert left == {"speaker!=": ["a", "c"], "speaker==": ["b"], "phones == y": ["a", "b"], "phones!=y": ["c"]}


def test_noise_of_one_fold(tmp_path: Path) -> None:
    sound(tmp_path / "hum.wav")
    assert [recording.fold for recording in prepare_folder(tmp_path, fold=3).recordings] == [3]
    assert [recording.fold for recording in prepare_folder(tmp_path).recordings] == [None]


def test_a_table_without_speakers_takes_the_folders(tmp_path: Path) -> None:
    sound(tmp_path / "anna" / "a.wav")
    table = write(tmp_path / "t.csv", "\ufeffpath\nanna/a.wav\nanna/a.wav\n")
    recordings, notes = prepare_folder(tmp_path, table=table)
    assert [recording.speaker for recording in recordings] == ["anna"]
    assert notes == [f"1 row of {table} left out: a later row has the same path"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (["bac>=3"], "no column 'bac'; did you mean 'bak'"),
        (["bak is good"], "'bak is good' is not a condition"),
        (["bak>=good"], "'bak>=good' is not a condition"),
        (["bak>="], "'bak>=' is not a condition"),
    ],
)
def test_conditions_that_make_no_sense(tmp_path: Path, where: list[str], message: str) -> None:
    table = write(tmp_path / "t.csv", "path,bak\na.wav,3\n")
    with pytest.raises(DataError, match=message):
        prepare_folder(tmp_path, table=table, where=where)


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="but no table was given"):
        prepare_folder(tmp_path, where=["bak>=3"])
    with pytest.raises(DataError, match="cannot be read as a CSV table"):
        prepare_folder(tmp_path, table=tmp_path / "absent.csv")
    with pytest.raises(DataError, match="no column 'path'; its columns are file, text"):
        prepare_folder(tmp_path, table=write(tmp_path / "t.csv", "file,text\n"))


def test_alignments_of_several_corpora_with_the_same_names(tmp_path: Path) -> None:
    for corpus, phone in (("one", "K"), ("two", "M")):
        sound(tmp_path / corpus / "0001.wav")
        write(tmp_path / corpus / "alignments" / "phones.ctm", f"0001 1 0 0.5 {phone}\n")
    ctm = [tmp_path / corpus / "alignments" / "phones.ctm" for corpus in ("one", "two")]
    recordings, notes = prepare_folder(tmp_path, alignments=ctm)
    assert {recording.id: recording.phones for recording in recordings} == {
        "one__0001": (Interval(0.0, 0.5, "K"),),
        "two__0001": (Interval(0.0, 0.5, "M"),),
    }
    assert notes == []
    recordings, _ = prepare_folder(tmp_path, alignments=ctm[:1])
    assert [recording.phones is not None for recording in recordings] == [True, False]


def test_an_alignment_that_could_be_of_two_recordings_is_not_guessed(tmp_path: Path) -> None:
    sound(tmp_path / "one" / "0001.wav")
    sound(tmp_path / "two" / "0001.wav")
    ctm = write(tmp_path / "phones.ctm", "0001 1 0 0.5 K\n")
    recordings, notes = prepare_folder(tmp_path, alignments=[ctm])
    assert [recording.phones for recording in recordings] == [None, None]
    assert notes == ["2 recordings without an alignment: 2 ambiguous (one__0001)"]
    write(ctm, "two__0001 1 0 0.5 K\n")
    recordings, _ = prepare_folder(tmp_path, alignments=[ctm])
    assert [recording.phones is not None for recording in recordings] == [False, True]


def test_textgrids_in_folders_of_the_same_names(tmp_path: Path) -> None:
    grid = '"ooTextFile" "TextGrid" 0 .5 <exists> 1 "IntervalTier" "phones" 0 .5 1 0 .5 "{}"\n'
    for speaker, phone in (("anna", "K"), ("ben", "M")):
        sound(tmp_path / "wav" / speaker / "1.wav")
        write(tmp_path / "grids" / speaker / "1.TextGrid", grid.format(phone))
    recordings, _ = prepare_folder(tmp_path / "wav", alignments=[tmp_path / "grids"])
    assert [recording.phones[0].phone for recording in recordings if recording.phones] == ["K", "M"]
    with pytest.raises(DataError, match="holds no CTM file, no TextGrid and no HTK label"):
        prepare_folder(tmp_path / "wav", alignments=[tmp_path / "wav"])
    with pytest.raises(DataError, match=r"absent.ctm cannot be read"):
        prepare_folder(tmp_path / "wav", alignments=[tmp_path / "absent.ctm"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_transcripts_beside_textgrids_are_text_and_no_labels(tmp_path: Path, encoding: str) -> None:
    grid = '"ooTextFile" "TextGrid" 0 .5 <exists> 1 "IntervalTier" "phones" 0 .5 1 0 .5 "{}"\n'
    for name, phone in (("1", "K"), ("2", "M"), ("3", "")):
        sound(tmp_path / "anna" / f"{name}.wav")
        write(tmp_path / "anna" / f"{name}.TextGrid", "").write_bytes(grid.format(phone).encode(encoding))
        write(tmp_path / "anna" / f"{name}.lab", "").write_bytes("he was a\ngood man\n".encode(encoding))
    write(tmp_path / "anna" / "2.txt", "it is")
    recordings, notes = prepare_folder(tmp_path, alignments=[tmp_path])
    assert notes == []
    assert [recording.text for recording in recordings] == ["he was a good man", "it is", "he was a good man"]
    assert [recording.phones for recording in recordings] == [((0, 0.5, "K"),), ((0, 0.5, "M"),), ((0, 0.5, ""),)]


def test_htk_labels_are_phones_and_no_text(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    write(tmp_path / "a.lab", "0 5000000 K\n")
    [recording], _ = prepare_folder(tmp_path, alignments=[tmp_path])
    assert (recording.text, recording.phones) == (None, ((0, 0.5, "K"),))
    write(tmp_path / "a.lab", "he was a good man\n")
    with pytest.raises(DataError, match="holds no CTM file, no TextGrid and no HTK label file"):
        prepare_folder(tmp_path, alignments=[tmp_path])


def test_words_in_a_ctm_file_are_no_phones(tmp_path: Path) -> None:
    for name in ("a", "b"):
        sound(tmp_path / f"{name}.wav")
    words = write(tmp_path / "ctm" / "words.ctm", "a 1 0 0.1 uh\na 1 0.1 0.2 he\na 1 0.3 0.1 was\nb 1 0 0.5 ah\n")
    for alignments in (words, words.parent):
        with pytest.raises(DataError, match=r"words.ctm holds other labels than ARPAbet phones: 'he', 'was'"):
            prepare_folder(tmp_path, alignments=[alignments])
    write(tmp_path / "ctm" / "phones.ctm", "a 1 0 0.1 HH\na 1 0.1 0.1 IY1\nb 1 0 0.5 AO1\n")
    with pytest.warns(PhonemiWarning, match=r"words.ctm holds other labels .*; left out"):
        recordings, notes = prepare_folder(tmp_path, alignments=[words.parent])
    assert notes == []
    assert [recording.phones for recording in recordings] == [
        ((0.0, 0.1, "HH"), (0.1, 0.2, "IY1")),
        ((0.0, 0.5, "AO1"),),
    ]


def test_a_misfit_stays_without_phones(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav")
    ctm = write(tmp_path / "phones.ctm", "a 1 0 0.5 K\nb 1 0 0.9 K\n")
    recordings, notes = prepare_folder(tmp_path, alignments=[ctm])
    assert [recording.phones is not None for recording in recordings] == [True, False]
    problem = "alignment of b: phone 'K' at 0.000-0.900 s ends after the audio (0.500 s)"
    assert notes == [f"1 recording left unaligned: 1 misfits ({problem})"]


def test_clean_counterparts_are_found_by_their_path(tmp_path: Path) -> None:
    for place in ("noisy/s1/a.wav", "noisy/s2/b.wav", "clean/s1/a.flac", "clean/s2/b.flac"):
        audio.save(tmp_path / place, np.full(800, 0.1, np.float32), 16_000)
    prepared = prepare_folder(tmp_path / "noisy", clean=tmp_path / "clean")
    found = [(recording.id, Path(recording.clean or "").relative_to(tmp_path)) for recording in prepared.recordings]
    assert found == [("a", Path("clean/s1/a.flac")), ("b", Path("clean/s2/b.flac"))]
    assert prepared.notes == []
    audio.save(tmp_path / "clean/s1/a.wav", np.full(800, 0.1), 16_000)  # beside a.flac
    prepared = prepare_folder(tmp_path / "noisy", clean=tmp_path / "clean")
    assert [Path(recording.clean or "").name for recording in prepared.recordings] == ["a.wav", "b.flac"]


def pair(folder: Path, name: str, seconds: float, clean_seconds: float | None, clean_rate: int = 16_000) -> None:
    sound(folder / "noisy" / f"{name}.wav", round(16_000 * seconds))
    if clean_seconds is not None:
        samples = round(clean_rate * clean_seconds)
        audio.save(folder / "clean" / f"{name}.wav", np.full(samples, 0.1), clean_rate)


def test_a_pair_that_does_not_fit_is_named_and_left_out(tmp_path: Path) -> None:
    pair(tmp_path, "equal", 0.5, 0.5)
    pair(tmp_path, "shorter", 0.5, 0.49)
    pair(tmp_path, "longer", 0.5, 0.51, 44_100)
    pair(tmp_path, "off", 0.5, 0.489)
    pair(tmp_path, "alone", 0.5, None)
    for name in ("damaged", "empty"):
        pair(tmp_path, name, 0.5, 0.5)
    write(tmp_path / "clean" / "damaged.wav", "not sound")
    write(tmp_path / "noisy" / "empty.wav", "")
    sound(tmp_path / "noisy" / "twice.wav")
    for extension in ("flac", "ogg"):
        sound(tmp_path / "clean" / f"twice.{extension}")
    recordings, notes = prepare_folder(tmp_path / "noisy", clean=tmp_path / "clean")
    assert [recording.id for recording in recordings] == ["equal", "longer", "shorter"]
    validate(recordings)
    assert all(len(mixture.noisy) == len(mixture.clean) for mixture in PairedRecordings(recordings))
    [note] = notes
    assert note.startswith("5 recordings skipped: 2 unreadable (")
    assert "1 without a clean counterpart (alone)" in note
    assert "1 with several clean counterparts (twice: twice.flac, twice.ogg)" in note
    assert "1 with a clean counterpart of another length (off: 0.5000 s noisy, 0.4890 s clean)" in note
    with pytest.raises(DataError, match=r"5 recordings skipped: 2 unreadable .*; without --strict the others are list"):
        prepare_folder(tmp_path / "noisy", clean=tmp_path / "clean", strict=True)


def test_no_pair_fits(tmp_path: Path) -> None:
    pair(tmp_path, "off", 0.5, 0.4)
    with pytest.raises(
        DataError, match=r"no recordings in .*noisy: 1 recording skipped: 1 with a clean counterpart of"
    ):
        prepare_folder(tmp_path / "noisy", clean=tmp_path / "clean")


def test_strict_preparation_of_whole_folders(tmp_path: Path) -> None:
    pair(tmp_path, "a", 0.5, 0.5)
    assert prepare_folder(tmp_path / "noisy", clean=tmp_path / "clean", strict=True).notes == []
    write(tmp_path / "noisy" / "b.wav", "")
    with pytest.raises(DataError, match=r"1 recording skipped: 1 unreadable \("):
        prepare_folder(tmp_path / "noisy", strict=True)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode here")
def test_a_name_that_is_not_utf8_is_named_and_left_out(tmp_path: Path) -> None:
    odd = os.fsdecode(b"Ren\xe9.wav")
    for place in ("noisy", "clean"):
        for name in ("a.wav", odd):
            os.replace(sound(tmp_path / "new.wav"), write(tmp_path / place / name, ""))
    recordings, notes = prepare_folder(tmp_path / "noisy", clean=tmp_path / "clean", alignments=[])
    assert [recording.id for recording in recordings] == ["a"]
    place = tmp_path / "noisy"
    assert notes == [rf"1 recording skipped: 1 with a name that is not UTF-8 ({place}/Ren\xe9.wav)"]
    write_manifest(tmp_path / "a.jsonl", recordings)
    (tmp_path / "noisy" / "a.wav").unlink()
    with pytest.raises(DataError, match=r"no recordings in .*not UTF-8 \("):
        prepare_folder(tmp_path / "noisy")
