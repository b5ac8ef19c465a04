"""The corpus made here: its sentences, files, levels and phones."""

import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.alignment import check_fit
from phonemi.data.corpora.synthetic import (
    GRAMMAR,
    MARKER,
    MAX_SPEAKERS,
    SPEAKERS,
    TALKERS,
    draw_sentence,
    grammar_jsgf,
    synthesise,
)
from phonemi.data.manifest import Recording, read_manifest, validate
from phonemi.errors import DataError
from phonemi.progress import Progress


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("corpus")
    synthesise(folder, utterances=26, seed=3)
    return folder


def parse(words: list[str], rules: dict[str, list[list[str]]], rule: str) -> list[int]:
    """How many words each way of reading `rule` at the start of `words` takes."""
    ends = []
    for alternative in rules[rule]:
        reached = [0]
        for part in alternative:
            if part.startswith("<"):
                reached = [at + more for at in reached for more in parse(words[at:], rules, part)]
            else:
                reached = [at + 1 for at in reached if words[at : at + 1] == [part]]
        ends += reached
    return ends


def jsgf_rules() -> dict[str, list[list[str]]]:
    rules = re.findall(r"^(?:public )?(<\w+>) = (.*);$", grammar_jsgf(), flags=re.MULTILINE)
    return {name: [alternative.split() for alternative in body.split("|")] for name, body in rules}


def test_sentences_are_those_of_the_jsgf_grammar() -> None:
    rng, rules = np.random.default_rng(0), jsgf_rules()
    assert len(rules) == len(GRAMMAR)
    for _ in range(300):
        words = draw_sentence(rng).replace(",", "").split()
        assert 3 <= len(words) <= 8
        assert len(words) in parse(words, rules, "<sentence>")
    assert parse(["turn", "the", "horse", "off", "today"], rules, "<sentence>") == []


def test_a_small_vocabulary_all_of_it_used() -> None:
    rng = np.random.default_rng(0)
    used = {word for _ in range(4000) for word in draw_sentence(rng).replace(",", "").split()}
    listed = set(re.findall(r"(?<!<)\b[a-z]+\b(?!>)", " ".join(GRAMMAR.values())))
    assert used == listed
    assert 140 <= len(used) <= 170


@pytest.mark.slow
def test_pocketsphinx_knows_every_word_and_accepts_the_grammar() -> None:
    pocketsphinx = pytest.importorskip("pocketsphinx")
    decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL")
    words = set(re.findall(r"(?<!<)\b[a-z]+\b(?!>)", " ".join(GRAMMAR.values())))
    assert [word for word in words if decoder.lookup_word(word) is None] == []
    decoder.add_jsgf_string("sentences", grammar_jsgf())
    decoder.activate_search("sentences")


def test_manifests_are_valid_and_files_named_relatively(corpus: Path) -> None:
    speech, noise = read_manifest(corpus / "speech.jsonl"), read_manifest(corpus / "noise.jsonl")
    validate(speech)
    validate(noise)
    assert len(speech) == 26
    assert '"path": "speech/' in (corpus / "speech.jsonl").read_text()
    assert Counter(recording.speaker for recording in speech).most_common(1)[0][1] == 3
    assert {recording.speaker for recording in speech} == {
        f"es-{voice.name.replace('+', '-')}-{number}" for number, voice in enumerate(SPEAKERS, start=1)
    }
    assert all(re.fullmatch(r"[a-z ]+", recording.text or "") for recording in speech)


def test_levels_and_silences_of_speech(corpus: Path) -> None:
    for recording in read_manifest(corpus / "speech.jsonl"):
        waveform = audio.load(recording.path)
        assert -26 < audio.level_db(waveform) < -20
        assert np.abs(waveform).max() < 0.96
        assert recording.phones is not None
        assert 0.09 < recording.phones[0].end_s < 0.31
        assert 0.09 < recording.duration_s - recording.phones[-1].start_s < 0.31
        assert audio.level_db(waveform[:1000]) > -85  # not digital silence


def test_phones_are_contiguous_and_fit_the_audio(corpus: Path) -> None:
    for recording in read_manifest(corpus / "speech.jsonl"):
        check_fit(recording)
        phones = recording.phones or ()
        assert phones[0].start_s == 0
        assert phones[-1].end_s == pytest.approx(recording.duration_s, abs=1e-4)
        assert phones[0].phone == phones[-1].phone == "SIL"
        assert all(left.end_s == right.start_s for left, right in pairwise(phones))
        assert all(phone.end_s > phone.start_s for phone in phones)


def mean_level_db(recordings: list[Recording], wanted: str) -> float:
    levels = [
        audio.level_db(waveform[round(start_s * 16_000) : round(end_s * 16_000)])
        for recording in recordings
        for waveform in (audio.load(recording.path),)
        for start_s, end_s, phone in recording.phones or ()
        if phone == wanted
    ]
    return float(np.mean(levels))


@pytest.mark.slow
def test_labels_lie_where_their_sounds_are(corpus: Path) -> None:
    speech = read_manifest(corpus / "speech.jsonl")
    level_db = {phone: mean_level_db(speech, phone) for phone in ("SIL", "F", "T", "N", "IH", "EH", "AO")}
    assert level_db["SIL"] < -65
    assert level_db["SIL"] + 20 < min(level_db["F"], level_db["T"])
    assert max(level_db["F"], level_db["T"]) + 5 < level_db["N"] < min(level_db["IH"], level_db["EH"], level_db["AO"])


def test_noise_folds(corpus: Path) -> None:
    noise = read_manifest(corpus / "noise.jsonl")
    assert len(noise) == 3 * 11
    families = {fold: {r.id.rpartition("-")[0] for r in noise if r.fold == fold} for fold in range(1, 6)}
    assert sum(map(len, families.values())) == len(noise)  # a family at most once in a fold
    assert all(len(names) >= 6 for names in families.values())
    assert len(set(map(frozenset, families.values()))) == 5
    assert all(recording.duration_s == 6 for recording in noise)


def test_babble_talkers_are_no_speakers() -> None:
    assert not {voice.name.partition("+")[2] for voice in TALKERS} & {
        voice.name.partition("+")[2] for voice in SPEAKERS
    }
    assert len(set(SPEAKERS)) == 12


@pytest.mark.slow
def test_work_that_is_done_is_skipped_and_other_arguments_do_it_again(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")

    def run(utterances: int) -> str:
        shown = io.StringIO()
        synthesise(tmp_path, utterances=utterances, speakers=2, progress=Progress(file=shown))
        return shown.getvalue()

    assert run(utterances=2).startswith("synthesising speech: 35/35 in ")
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run(utterances=2) == ""
    (tmp_path / MARKER).unlink()
    assert run(utterances=2)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == first
    run(utterances=1)
    assert len(read_manifest(tmp_path / "speech.jsonl")) == 1


@pytest.mark.slow
def test_work_cut_short_is_done_again(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")

    class Interrupted(Progress):
        def over(self, iterable: Iterable[Any], label: str, total: int | None = None) -> Iterator[Any]:
            yield from itertools.islice(iterable, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path, utterances=3, progress=Interrupted())
    assert not (tmp_path / "speech.jsonl").exists()
    speech, _ = synthesise(tmp_path, utterances=3)
    validate(read_manifest(speech))


@pytest.mark.parametrize(("utterances", "speakers"), [(0, 12), (10, 0), (10, MAX_SPEAKERS + 1)])
def test_impossible_numbers(tmp_path: Path, utterances: int, speakers: int) -> None:
    with pytest.raises(DataError, match="1 to 36 speakers"):
        synthesise(tmp_path, utterances=utterances, speakers=speakers)
    assert list(tmp_path.iterdir()) == []
