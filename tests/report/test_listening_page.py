"""The page of two files or folders: every recording, numbers before and after, sounds and pictures inside."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from pages import as_html

from phonemi import audio, cli
from phonemi.data.manifest import read_manifest
from phonemi.errors import ConfigError, ModelError
from phonemi.metrics.score import Score
from phonemi.metrics.words import Choice
from phonemi.metrics.words.whisper import WhisperRecogniser
from phonemi.metrics.words.word_errors import WordCounts
from phonemi.report import folder_comparison, listening_page
from phonemi.report.folder_comparison import RecordingPair, ScoredRecording
from phonemi.report.listening_page import (
    build_listening_page,
    measured_metrics,
    recordings_table,
    summary_sentences,
)
from phonemi.results.metrics import METRIC

RATE = 16_000
STOI, WER = METRIC["stoi"], METRIC["wer"]


def heard(stoi: float | None, counts: WordCounts | None = None) -> ScoredRecording:
    score = Score.failed("reference silent") if stoi is None else Score(stoi)
    wer = {} if counts is None else {"wer": Score(counts.wer)}
    return ScoredRecording(Path("a.wav"), 2.0, -20.5, 0.0, {"stoi": score, **wer}, counts=counts)


@pytest.fixture(autouse=True)
def _without_dnsmos(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if its packages were missing: it takes half a second for each recording."""
    monkeypatch.setattr(folder_comparison, "missing_packages", lambda: ["speechmos"])


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    time_s = np.arange(RATE // 2) / RATE
    # Noise before and after: none, which there is no ratio for; less, then more; still the most, but less than before.
    for name, *noises in (("one & two.wav", 0.0, 0.0), ("deep/b#1.wav", 0.05, 0.1), ("c.wav", 0.3, 0.2)):
        for folder, noise in zip(("noisy", "enhanced", "clean"), (*noises, 0.0), strict=True):
            waveform = 0.3 * np.sin(2 * np.pi * 300 * time_s) + noise * rng.standard_normal(len(time_s))
            audio.save(tmp_path / folder / name, waveform.astype(np.float32), RATE)
    audio.save(tmp_path / "noisy" / "gone.wav", np.zeros(800, np.float32), RATE)
    audio.save(tmp_path / "clean" / "gone.wav", np.zeros(800, np.float32), RATE)
    return tmp_path / "noisy", tmp_path / "enhanced"


@pytest.mark.slow
def test_the_page_holds_every_recording_what_got_worse_first(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of tones STOI says nothing.
    monkeypatch.setattr(listening_page, "RANKING", ("wer", "si_sdr_db"))
    path = build_listening_page(*folders, tmp_path / "out" / "page.html", clean=tmp_path / "clean")
    page = path.read_text()
    names = re.findall(r'scope="row"><a href="#r\d">(.*?)</a>', page)
    assert names == ["gone.wav", "deep/b#1.wav", "c.wav", "one &amp; two.wav"]
    assert "First what got worse by most in SI-SDR, after against before; click" in page
    assert "aria-sort=" not in page.partition("<script>")[0].partition("<table")[2], "no column is what it is sorted by"
    assert re.findall(r'id="(r\d)"', page) == ["r0", "r1", "r2", "r3"]
    assert "no enhanced file" in page
    assert not re.search(r"https?:|<link|<script src|@import", page)
    assert page.count('src="data:audio/ogg') == 3 * 4 + 2, "noisy, enhanced, removed, clean; two without a result"
    assert page.count('src="data:image/png') == 3 * 4
    assert page.count('<span style="left: ') == 3 * 4 * 6, "seconds"
    assert page.count(">8 kHz</span>") == 3 * 4
    assert 'href="../noisy/deep/b%231.wav"' in page.replace("./../", "../")
    assert page.count('<table class="metrics sortable files">') == 1


@pytest.mark.slow
def test_what_lost_phones_comes_first_where_no_words_are_heard(tmp_path: Path, corpus: Any) -> None:
    clean = audio.load(read_manifest(corpus.speech)[0].path)
    noise = np.random.default_rng(0).normal(0, clean.std(), len(clean)).astype(np.float32)
    for name, before, after in (("better", 1.0, 0.1), ("much worse", 0.1, 3.0), ("worse", 0.1, 0.3)):
        for folder, gain in (("noisy", before), ("enhanced", after), ("clean", 0.0)):
            audio.save(tmp_path / folder / f"{name}.wav", clean + np.float32(gain) * noise, RATE)
    folders = [tmp_path / folder for folder in ("noisy", "enhanced")]
    page = build_listening_page(*folders, tmp_path / "page.html", clean=tmp_path / "clean", words=False).read_text()
    assert re.findall(r'scope="row"><a href="#r\d">(.*?)</a>', page) == ["much worse.wav", "worse.wav", "better.wav"]
    assert "First what got worse by most in phones kept, after against before; click" in page
    assert re.search(r"Phones kept: \S+ bits before, \S+ bits after; better in 1 and worse in 2 of 3", page)
    assert "COVL" not in page
    with_composite = build_listening_page(
        *folders, tmp_path / "page.html", clean=tmp_path / "clean", words=False, variant=True
    ).read_text()
    assert re.search(r"COVL: \S+ MOS before, \S+ MOS after; better in 1 and worse in 2 of 3", with_composite)
    assert re.search(r"SSNR: \S+ dB before, \S+ dB after; better in 1 and worse in 2 of 3", with_composite)
    without = build_listening_page(*folders, tmp_path / "page.html", words=False).read_text()
    assert "phones kept" not in without
    with pytest.raises(ConfigError, match="there is none: give it with --clean"):
        build_listening_page(*folders, tmp_path / "page.html", variant=True)


@pytest.mark.parametrize("missing", [["speechmos"], []])
def test_where_nothing_judges_the_sound_the_page_says_its_order_and_what_would_judge(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str]
) -> None:
    monkeypatch.setattr(listening_page, "missing_packages", lambda: missing)
    page = build_listening_page(*folders, tmp_path / "page.html", words=False).read_text()
    assert "First what clips more than before, then what lost most of its loud parts" in page
    assert ("install DNSMOS" in page) == bool(missing)


def test_what_is_beyond_the_size_is_linked(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening_page, "MAX_EMBEDDED_BYTES", 30_000)
    monkeypatch.setattr(listening_page, "MAX_PICTURED", 1)
    page = build_listening_page(*folders, tmp_path / "page.html").read_text()
    linked = re.findall(r'preload="none" aria-label="\w+" src="(.*?)"', page)
    assert linked
    assert "data:audio" in page
    assert len(linked) + len(re.findall('aria-label="(?:Before|After)" src="data:audio', page)) == 3 * 2 + 1
    for address in linked:
        assert (tmp_path / unquote(unescape(address))).is_file(), address
    assert page.count("data:image/png") <= 3
    assert "Spectrograms of the worst 1:" in page


@pytest.mark.slow
def test_what_was_removed_can_be_heard(tmp_path: Path) -> None:
    time_s = np.arange(RATE) / RATE
    kept, removed = (0.2 * np.sin(2 * np.pi * hz * time_s) for hz in (400, 3000))
    audio.save(tmp_path / "noisy.wav", kept + removed, RATE)
    audio.save(tmp_path / "enhanced.wav", kept, RATE)
    page = build_listening_page(tmp_path / "noisy.wav", tmp_path / "enhanced.wav", tmp_path / "page.html").read_text()
    sounds = dict(re.findall('aria-label="(Before|After|Removed)" src="data:audio/ogg;base64,(.*?)"', page))
    for title, frequency_hz in (("After", 400), ("Removed", 3000)):
        (tmp_path / "back.ogg").write_bytes(base64.b64decode(sounds[title]))
        back = audio.load(tmp_path / "back.ogg")
        assert np.abs(np.fft.rfft(back[:RATE])).argmax() == pytest.approx(frequency_hz, abs=2)
        assert audio.level_db(back) == pytest.approx(audio.level_db(kept), abs=0.5), "all have one gain"


def test_of_a_long_recording_the_first_minute_of_what_was_removed_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening_page, "MAX_EMBEDDED_S", 0.5)
    for name in ("noisy.wav", "enhanced.wav"):
        audio.save(tmp_path / name, np.random.default_rng(len(name)).normal(0, 0.1, RATE), RATE)
    page = build_listening_page(tmp_path / "noisy.wav", tmp_path / "enhanced.wav", tmp_path / "page.html").read_text()
    kinds = re.findall(r'aria-label="(\w+)" src="(data:audio|\./)', page)
    assert kinds == [("Before", "./"), ("After", "./"), ("Removed", "data:audio")]


def test_a_page_of_one_recording_speaks_of_no_others(tmp_path: Path) -> None:
    for name in ("noisy.wav", "enhanced.wav"):
        audio.save(tmp_path / name, np.random.default_rng(len(name)).normal(0, 0.1, RATE), RATE)
    page = build_listening_page(tmp_path / "noisy.wav", tmp_path / "enhanced.wav", tmp_path / "page.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", page) == ["Scores", "Listen"]
    assert "click a heading to sort" not in page


def test_names_that_are_not_utf_8_are_shown_as_far_as_they_are(
    tmp_path: Path, phonemi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, folder = os.fsdecode(b"caf\xe9.wav"), tmp_path / os.fsdecode(b"b\xe9fore")
    for side in (folder, tmp_path / "enhanced"):
        audio.save(tmp_path / "a.wav", np.full(800, 0.1), RATE)
        side.mkdir()
        (tmp_path / "a.wav").rename(side / name)
    (folder / os.fsdecode(b"broken\xe9.wav")).write_bytes(b"no sound")
    page = tmp_path / os.fsdecode(b"page\xe9.html")
    with open(tmp_path / "stdout", "w", encoding="utf-8") as stdout, contextlib.redirect_stdout(stdout):
        monkeypatch.setattr(
            sys, "argv", list(map(str, ("phonemi", "listen", folder, tmp_path / "enhanced", "-o", page)))
        )
        with pytest.raises(SystemExit, match="0"):
            cli.main()
    assert (tmp_path / "stdout").read_bytes() == os.fsencode(page) + b"\n"
    text = page.read_text(encoding="utf-8")
    assert "caf\N{REPLACEMENT CHARACTER}.wav" in text
    assert 'href="./b%E9fore/caf%E9.wav"' in text


def test_the_page_does_not_replace_a_recording(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"c\.wav has the name of a sound file, .*: -o c\.html"):
        build_listening_page(*folders, folders[0] / "c.wav")


def test_rows_show_both_numbers_and_why_one_is_missing() -> None:
    def html(*pairs: RecordingPair) -> str:
        return as_html(recordings_table(pairs, [STOI]))

    row = html(RecordingPair("a <b>", heard(0.5), heard(0.625), problem="shorter"))
    assert '<a href="#r0">a &lt;b&gt;</a><small>shorter</small>' in row
    assert '<td data-value="0.625">0.625<small>was 0.500</small></td>' in row
    assert '<td data-value="2.0">2.0</td>' in row, "an equal length is not repeated"
    assert '<td title="reference silent">–<small>was 0.500</small></td>' in html(
        RecordingPair("a", heard(0.5), heard(None))
    )
    assert html(RecordingPair("a", None, None)).count("<td>–</td>") == 4
    levels = [
        ScoredRecording(Path("a"), 1, -20, 0, loud_db=loud, quiet_db=quiet) for loud, quiet in ((-9, -40), (-10, -70))
    ]
    assert "-10.0<small>was -9.0</small>" in as_html(recordings_table([RecordingPair("a", *levels)], [])).replace(
        "−", "-"
    )
    assert summary_sentences([RecordingPair("a", *levels)], [])[1:] == [
        "Loud parts, mostly speech: −9.0 dB before, −10.0 dB after.",
        "Quiet parts, mostly noise: −40.0 dB before, −70.0 dB after.",
    ]


def test_a_metric_whose_package_is_missing_has_no_column() -> None:
    absent = Score.failed("pesq is not installed")
    sides = [ScoredRecording(Path("a"), 1, -20, 0, {"stoi": Score(0.5), "pesq_wb_lqo": absent}) for _ in range(2)]
    columns, sentences = measured_metrics([RecordingPair("a", *sides)])
    assert columns == [STOI]
    assert sentences == ["PESQ is not measured: pesq is not installed (pip install 'phonemi[eval]')."]


def test_sentences_count_better_and_worse_and_pool_the_words() -> None:
    pairs = [
        RecordingPair("a", heard(0.5, WordCounts(1, 1, 0, 0)), heard(0.7, WordCounts(2, 0, 0, 0))),
        RecordingPair("b", heard(0.5, WordCounts(8, 0, 0, 0)), heard(0.4, WordCounts(6, 1, 1, 0))),
        RecordingPair("c", heard(0.5), heard(None), problem="cut short"),
    ]
    assert summary_sentences(pairs, [STOI, WER]) == [
        "3 recordings, 6.0 s.",
        "1 of them with a problem, for instance c: cut short.",
        "STOI: 0.500 before, 0.550 after; better in 1 and worse in 1 of 2.",
        "WER: 0.100 before, 0.200 after; better in 1 and worse in 1 of 2.",
    ]


def test_of_a_single_recording_the_sentences_count_nothing() -> None:
    worse, better = heard(0.5, WordCounts(2, 0, 0, 0)), heard(0.7, WordCounts(1, 1, 0, 0))
    assert summary_sentences([RecordingPair("a", worse, better)], [STOI, WER])[1:] == [
        "STOI: 0.500 before, 0.700 after, better.",
        "WER: 0.000 before, 0.500 after, worse.",
    ]
    same = RecordingPair("a", worse, heard(0.5002), problem="cut short")
    assert summary_sentences([same], [STOI])[1:] == ["A problem: cut short.", "STOI: 0.500 before, 0.500 after."]


@pytest.mark.slow
def test_words_are_heard_unless_they_are_not_wanted(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders[0] / "c.txt").write_text("see me")

    def unwanted(*_: object) -> None:
        raise AssertionError("a recogniser was asked for")

    monkeypatch.setattr(listening_page, "choose_recogniser", unwanted)
    page = build_listening_page(*folders, tmp_path / "page.html", words=False).read_text()
    assert "WER" not in re.sub('data:[^"]*', "", page)  # in base64 there is anything
    assert "Words are not judged" not in page, "that is no news"
    with pytest.raises(ConfigError, match="tiny would hear the words, but none are to be heard"):
        build_listening_page(*folders, tmp_path / "page.html", whisper="tiny", words=False)


@pytest.mark.slow
def test_a_whisper_that_nobody_asked_for_and_that_is_broken_is_done_without(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("pocketsphinx", "jiwer", "whisper_normalizer"):
        pytest.importorskip(package)
    (folders[0] / "c.txt").write_text("see me")
    monkeypatch.setattr(listening_page, "choose_recogniser", lambda *_: Choice(WhisperRecogniser(tmp_path), ""))
    page = build_listening_page(*folders, tmp_path / "page.html").read_text()
    assert "Words are judged by pocketsphinx (weak): " in page
    assert "holds no model that can be loaded" in page
    with pytest.raises(ModelError, match="holds no model that can be loaded"):
        build_listening_page(*folders, tmp_path / "page.html", whisper=str(tmp_path))


@pytest.mark.parametrize("place", ["noisy", "noisy/c.wav/page.html"])
def test_where_no_page_can_be_written_nothing_is_judged(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(listening_page, "compare_recordings", lambda *_: pytest.fail("judged for nothing"))
    with pytest.raises(OSError, match=re.escape(str(tmp_path / place))):
        build_listening_page(*folders, tmp_path / place)


@pytest.mark.slow
def test_the_command_writes_the_page_and_names_what_is_wrong(
    folders: tuple[Path, Path], tmp_path: Path, phonemi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert phonemi("report", *folders).stdout.strip() == "listen.html"
    assert (tmp_path / "listen.html").exists()
    outcome = phonemi("listen", *folders, "-o", tmp_path / "page.html")
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.strip() == str(tmp_path / "page.html")
    assert phonemi("listen", folders[0], tmp_path / "nowhere").error == f"{tmp_path / 'nowhere'} is not a folder"
