"""Folders are paired by relative path, levels and clipping are those on paper, and whatever is wrong is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.errors import AudioError, ConfigError
from phonemi.information.phones_kept import NO_PHONES, TOO_SHORT, PhoneJudge
from phonemi.metrics.non_intrusive import DNSMOS_KEYS, DNSMOS_PACKAGES
from phonemi.metrics.score import ESTIMATE_SILENT, Score
from phonemi.metrics.words.word_errors import normalise_words
from phonemi.report import folder_comparison
from phonemi.report.folder_comparison import (
    OTHER_LENGTH,
    SCORED_S,
    SILENCE_DB,
    RecordingPair,
    ScoredRecording,
    compare_recordings,
    outer_levels_db,
    read_recording,
    worst_first,
)
from phonemi.results.metrics import METRIC

RATE = 16_000


class Parrot:
    """A recogniser that hears the same words in everything."""

    name, normalise = "parrot", staticmethod(normalise_words)
    settings: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def transcribe(self, waveform: np.ndarray) -> str:
        self.lengths.append(len(waveform))
        return "see me too"


@pytest.fixture(autouse=True)
def _without_dnsmos(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if its packages were missing, where it is not asked for: it takes half a second for each recording."""
    if "dnsmos" not in request.node.name:
        monkeypatch.setattr(folder_comparison, "missing_packages", lambda: ["speechmos"])


def tone(duration_s: float = 1.0, amplitude: float = 0.5, rate: int = RATE) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * 440 * np.arange(round(duration_s * rate)) / rate)).astype(np.float32)


def noisy_tone(noise_db: float, duration_s: float = 1.0) -> np.ndarray:
    clean = tone(duration_s)
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    return clean + noise * np.float32(10 ** (noise_db / 20) * np.sqrt(np.mean(clean**2)))


def folders(tmp_path: Path, names: Sequence[str] = ("a.wav", "deep/b.flac")) -> tuple[Path, Path]:
    for name in names:
        audio.save(tmp_path / "noisy" / name, noisy_tone(-10), RATE)
        audio.save(tmp_path / "enhanced" / Path(name).with_suffix(".wav"), noisy_tone(-20), RATE)
    return tmp_path / "noisy", tmp_path / "enhanced"


def test_pairs_have_the_same_relative_path(tmp_path: Path) -> None:
    noisy, enhanced = folders(tmp_path)
    audio.save(noisy / "c.wav", tone(), RATE)
    (noisy / "broken.wav").write_bytes(b"no sound")
    pairs, notes = compare_recordings(noisy, enhanced)
    assert [(pair.name, pair.problem) for pair in pairs] == [
        ("a.wav", None), ("c.wav", "no enhanced file"), ("deep/b.flac", None),
    ]  # fmt: skip
    assert [pair.after and pair.after.path for pair in pairs] == [
        enhanced / "a.wav", None, enhanced / "deep" / "b.wav",
    ]  # fmt: skip
    assert len(notes) == 1
    assert "broken.wav" in notes[0]


def test_two_files_are_a_pair_whatever_their_names(tmp_path: Path) -> None:
    for name, sound in (("noisy.wav", noisy_tone(-10)), ("results.flac", noisy_tone(-20)), ("spoken.wav", tone())):
        audio.save(tmp_path / name, sound, RATE)
    (tmp_path / "noisy.txt").write_text("See me, too!")
    files = [tmp_path / name for name in ("noisy.wav", "results.flac", "spoken.wav")]
    [pair], notes = compare_recordings(*files, recogniser=Parrot())
    assert (pair.name, pair.problem, pair.text, notes) == ("noisy.wav", None, "See me, too!", [])
    assert [side.path for side in pair.sides] == files[:2]
    assert pair.clean == files[2]
    change = pair.change("si_sdr_db")
    assert change is not None
    assert change[1] - change[0] == pytest.approx(10, abs=0.3)
    assert pair.change("wer") == (0, 0)


def test_files_and_folders_are_not_mixed_and_a_broken_file_is_an_error(tmp_path: Path) -> None:
    noisy, enhanced = folders(tmp_path)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    with pytest.raises(ConfigError, match=r"noisy is a folder, .*a.wav is a file: give files only, or folders only"):
        compare_recordings(noisy, enhanced / "a.wav")
    with pytest.raises(ConfigError, match=r"noisy.a.wav is a file, .*enhanced is a folder"):
        compare_recordings(noisy / "a.wav", enhanced)
    with pytest.raises(ConfigError, match="is a file"):
        compare_recordings(noisy / "a.wav", enhanced / "a.wav", clean=noisy)
    with pytest.raises(AudioError, match=r"broken\.wav"):
        compare_recordings(noisy / "a.wav", tmp_path / "broken.wav")
    with pytest.raises(AudioError, match="nowhere"):
        compare_recordings(tmp_path / "nowhere.wav", enhanced / "a.wav")
    for option in ({"suffix": "-clean"}, {"transcripts": tmp_path / "a.csv"}):
        with pytest.raises(ConfigError, match=f"--{next(iter(option))} is for folders"):
            compare_recordings(noisy / "a.wav", enhanced / "a.wav", **option)


def test_recordings_that_differ_in_their_extension_keep_to_their_own_results(tmp_path: Path) -> None:
    for folder in ("noisy", "enhanced"):
        for name in ("a.flac", "a.wav", "talk.1.wav"):
            audio.save(tmp_path / folder / name, tone(), RATE)
    pairs, _ = compare_recordings(tmp_path / "noisy", tmp_path / "enhanced")
    assert [pair.after and pair.after.path.name for pair in pairs] == [pair.name for pair in pairs]


def test_results_may_lie_inside_and_have_a_suffix(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", tone(), RATE)
    audio.save(tmp_path / "out" / "a-clean.wav", tone(), RATE)
    with pytest.raises(AudioError, match="--suffix"):
        compare_recordings(tmp_path, tmp_path / "out")
    [pair] = compare_recordings(tmp_path, tmp_path / "out", suffix="-clean")[0]
    assert pair.after is not None
    assert pair.after.path == tmp_path / "out" / "a-clean.wav"


def test_level_and_clipping_are_those_of_all_channels_and_all_of_the_file(tmp_path: Path) -> None:
    duration_s = SCORED_S + 5
    left = np.zeros(duration_s * 8000, np.float32)
    left[-4000:] = 1.0
    audio.save(tmp_path / "long.wav", np.stack([left, np.zeros_like(left)]), 8000)
    found, waveform = read_recording(tmp_path / "long.wav")
    assert found.duration_s == duration_s
    assert found.clipped == pytest.approx(4000 / left.size / 2)
    assert found.level_db == pytest.approx(10 * np.log10(4000 / left.size / 2), abs=1e-3)
    assert waveform.shape == (SCORED_S * RATE,)
    audio.save(tmp_path / "silent.wav", np.zeros(800, np.float32), 8000)
    assert read_recording(tmp_path / "silent.wav")[0].level_db == -np.inf


def test_the_loudest_and_the_quietest_tenth_are_those_on_paper() -> None:
    levels_db = np.random.default_rng(0).permutation(np.arange(-40, 0))  # one for each 25 ms
    quiet_db, loud_db = outer_levels_db(np.repeat(10 ** (levels_db / 20), RATE // 40).astype(np.float32))
    assert quiet_db == pytest.approx(10 * np.log10(np.mean(10 ** (np.arange(-40, -36) / 10))))
    assert loud_db == pytest.approx(10 * np.log10(np.mean(10 ** (np.arange(-4, 0) / 10))))
    assert outer_levels_db(np.zeros(RATE, np.float32)) == (SILENCE_DB, SILENCE_DB)
    assert outer_levels_db(np.ones(3, np.float32)) == pytest.approx((0, 0))


@pytest.mark.slow
def test_clean_speech_gives_the_scores_of_both_sides(tmp_path: Path) -> None:
    noisy, enhanced = folders(tmp_path)
    for name in ("a.wav", "deep/b.wav"):
        audio.save(tmp_path / "clean" / name, tone(), RATE)
    pairs, _ = compare_recordings(noisy, enhanced, clean=tmp_path / "clean")
    for pair in pairs:
        assert pair.before is not None
        assert pair.after is not None
        assert pair.before.scores["si_sdr_db"].value == pytest.approx(10, abs=0.3)
        assert pair.after.scores["si_sdr_db"].value == pytest.approx(20, abs=0.3)
        assert {"stoi", "pesq_wb_lqo"} <= pair.after.scores.keys()
        assert not {"csig", "ssnr_db"} & pair.after.scores.keys()
    [pair, _], _ = compare_recordings(noisy, enhanced, clean=tmp_path / "clean", variant=True)
    assert pair.before is not None
    assert pair.after is not None
    assert pair.before.scores["ssnr_db"].value == pytest.approx(10, abs=1)
    assert pair.after.scores["ssnr_db"].value == pytest.approx(20, abs=1)
    assert pair.after.scores["covl"].reason == pair.after.scores["pesq_wb_lqo"].reason
    (tmp_path / "clean" / "a.wav").unlink()
    pairs, notes = compare_recordings(noisy, enhanced, clean=tmp_path / "clean")
    assert [pair.name for pair in pairs] == ["deep/b.flac"]
    assert any("without a clean counterpart (a)" in note for note in notes)


@pytest.mark.slow
def test_dnsmos_needs_nothing_beside_the_recordings(tmp_path: Path) -> None:
    for package in DNSMOS_PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'phonemi[dnsmos]'")
    noisy, enhanced = folders(tmp_path, ["a.wav"])
    [pair] = compare_recordings(noisy, enhanced)[0]
    assert pair.before is not None
    assert pair.after is not None
    assert pair.before.scores.keys() == pair.after.scores.keys() == set(DNSMOS_KEYS)
    assert all(1 <= score.value <= 5 for score in pair.after.scores.values())


def test_another_length_is_said_and_not_scored(tmp_path: Path) -> None:
    noisy, enhanced = folders(tmp_path, ["a.wav"])
    audio.save(tmp_path / "clean" / "a.wav", tone(), RATE)
    audio.save(enhanced / "a.wav", noisy_tone(-20, 0.8), RATE)
    [pair] = compare_recordings(noisy, enhanced, clean=tmp_path / "clean", variant=True)[0]
    assert pair.problem == "1.00 s before, 0.80 s after"
    assert pair.after is not None
    assert pair.after.scores["stoi"].reason == pair.after.scores["covl"].reason == OTHER_LENGTH
    assert "phone_bits" not in pair.after.scores, "there is no judge"


@pytest.mark.slow
def test_phones_kept_are_those_of_the_clean_speech_which_is_heard_once(
    tmp_path: Path, sentences: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = sentences[0]
    noise = np.random.default_rng(0).normal(0, clean.std(), len(clean)).astype(np.float32)
    files = {
        "a.wav": (clean, clean + noise, clean + 0.1 * noise),
        "muted.wav": (clean, clean + noise, 0 * clean),
        "short.wav": (clean[:300], clean[:300], clean[:300]),
        "silent.wav": (0 * clean, noise, noise),
    }
    for name, sides in files.items():
        for folder, waveform in zip(("clean", "noisy", "enhanced"), sides, strict=True):
            audio.save(tmp_path / folder / name, waveform, RATE)
    judge, heard = PhoneJudge.load("phone-judge"), []
    encode = judge.encoder.forward
    monkeypatch.setattr(judge.encoder, "forward", lambda *inputs: heard.append(len(heard)) or encode(*inputs))
    names = [tmp_path / folder for folder in ("noisy", "enhanced", "clean")]
    whole, muted, short, silent = compare_recordings(*names, judge=judge)[0]
    assert len(heard) == 3 + 2 + 0 + 2, "what is muted, too short or without phones has nothing to hear"
    change = whole.change("phone_bits")
    assert change is not None
    assert 0 < change[0] < change[1] - 0.5
    for pair, reason in ((muted, ESTIMATE_SILENT), (short, TOO_SHORT), (silent, NO_PHONES)):
        assert pair.after is not None
        assert pair.after.scores["phone_bits"].reason == reason


def test_a_result_that_cannot_be_read_is_a_problem_of_its_pair(tmp_path: Path) -> None:
    noisy, enhanced = folders(tmp_path)
    (enhanced / "a.wav").write_bytes(b"RIFF")
    broken, whole = compare_recordings(noisy, enhanced)[0]
    assert broken.after is None
    assert "a.wav" in str(broken.problem)
    assert whole.problem is None


def test_words_are_heard_where_there_is_a_transcript(tmp_path: Path) -> None:
    noisy, enhanced = folders(tmp_path)
    (noisy / "a.txt").write_text("See me, too!")
    parrot = Parrot()
    with_text, without = compare_recordings(noisy, enhanced, recogniser=parrot)[0]
    assert with_text.after is not None
    assert with_text.after.scores["wer"].value == 0
    assert with_text.after.words == "see me too"
    assert without.after is not None
    assert "wer" not in without.after.scores
    assert parrot.lengths == [RATE, RATE]

    (tmp_path / "table.csv").write_text("path,text\ndeep/b.flac,see you\n")
    [listed] = compare_recordings(noisy, enhanced, transcripts=tmp_path / "table.csv", recogniser=parrot)[0]
    assert listed.name == "deep/b.flac"
    assert listed.after is not None
    assert listed.after.scores["wer"].value == 1.0, "two errors, two words"


def test_files_of_the_same_name_are_called_by_their_paths(tmp_path: Path) -> None:
    pairs, _ = compare_recordings(*folders(tmp_path, ("one/a.wav", "two/a.wav", "a.wav")))
    assert [pair.name for pair in pairs] == ["a.wav", "one/a.wav", "two/a.wav"]


def test_what_got_worse_by_most_comes_first_after_problems_and_before_failures() -> None:
    def heard(stoi: float | None, clipped: float = 0.0) -> ScoredRecording:
        score = Score.failed("reference silent") if stoi is None else Score(stoi)
        return ScoredRecording(Path("a.wav"), 1, -20, clipped, {"stoi": score})

    def pair(name: str, before: float | None, after: float | None, problem: str | None = None) -> RecordingPair:
        return RecordingPair(name, heard(before), heard(after), problem=problem)

    pairs = [
        pair("better", 0.1, 0.2),
        pair("failed", 0.5, None),
        pair("same", 0.25, 0.25),
        pair("same and lower", 0.125, 0.125),
        pair("worse", 0.9, 0.6),
        pair("odd", 0.1, 0.9, "shorter"),
    ]
    pairs.append(RecordingPair("gone", heard(0.5), None, problem="no enhanced file"))
    names = [one.name for one in worst_first(pairs, METRIC["stoi"])]
    assert names == ["gone", "odd", "worse", "same and lower", "same", "better", "failed"]
    names = [one.name for one in worst_first(pairs, METRIC["stoi"]._replace(higher_is_better=False))]
    assert names[2:] == ["better", "same", "same and lower", "worse", "failed"]
    muted = RecordingPair("muted", heard(0.7), heard(0.0))
    assert muted.after is not None
    muted.after.scores["stoi"] = Score.failed(ESTIMATE_SILENT)
    assert [one.name for one in worst_first([pairs[4], muted], METRIC["stoi"])] == ["muted", "worse"]


def test_without_any_score_what_clips_more_comes_first_and_then_what_lost_its_loud_parts() -> None:
    def side(clipped: float, loud_db: float) -> ScoredRecording:
        return ScoredRecording(Path("a.wav"), 1, -20, clipped, loud_db=loud_db)

    pairs = [
        RecordingPair("as loud", side(0.2, -20), side(0.2, -20)),
        RecordingPair("muted", side(0, -20), side(0, SILENCE_DB)),
        RecordingPair("some lost, one sample clipped", side(0, -20), side(1e-5, -23)),
        RecordingPair("clips no more", side(0.2, -20), side(0, -21)),
        RecordingPair("clips", side(0, -20), side(0.1, -20)),
    ]
    names = [pair.name for pair in worst_first(pairs, None)]
    assert names == ["clips", "muted", "some lost, one sample clipped", "clips no more", "as loud"]
