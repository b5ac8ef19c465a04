"""phonemi judge: folders of files that others made are judged by one command, whatever their tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.errors import ConfigError, DataError
from phonemi.files import read_json
from phonemi.recipes.judge import judge

RATE = 16_000
NAMES = ("first/a", "second/a", "second/b")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three recordings of two speakers, noisy, clean, and as two systems made them; two have one name."""
    random = np.random.default_rng(0)
    time_s = np.arange(RATE) / RATE
    for index, name in enumerate(NAMES):
        pitch_hz = 110 + 20 * index
        voice = 0.05 * sum(np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in range(1, 20))
        voice *= np.sin(9 * time_s) ** 2
        noise = random.standard_normal(RATE)
        for folder, gain in (("noisy", 0.02), ("theirs", 0.01), ("ours", 0.001), ("clean", 0.0)):
            audio.save(tmp_path / folder / f"{name}.wav", (voice + gain * noise).astype(np.float32), RATE)
        (tmp_path / "noisy" / f"{name}.txt").write_text("see me")
    return tmp_path


def test_two_folders_are_judged_and_compared_with_each_other(phonemi: Callable[..., Any], folders: Path) -> None:
    pytest.importorskip("pocketsphinx")
    words = ("--set", "evaluate.recogniser=pocketsphinx-grammar")
    arguments = ("judge", *(folders / name for name in ("noisy", "theirs", "ours")), "--clean", folders / "clean")
    outcome = phonemi(*arguments, "--run", folders / "judged", *words)
    assert outcome.code == 0, outcome.stderr
    assert [line.split()[0] for line in outcome.stdout.splitlines()[2:6]] == ["noisy", "clean", "theirs", "ours"]
    assert "ours against theirs: WER " in outcome.stdout
    pages = [str(folders / "judged" / name) for name in ("results.md", "report.html")]
    assert outcome.stdout.splitlines()[-2:] == pages
    found = read_json(folders / "judged" / "metrics.json")
    rows = {row["row"]: row for row in found["rows"]}
    assert [rows["ours"][f"{metric}_scored"] for metric in ("wer", "stoi", "pesq_wb_lqo")] == [3, 3, 3]
    assert rows["noisy"]["stoi"] < rows["theirs"]["stoi"] < rows["ours"]["stoi"]
    pairs = {(one["row"], one["against"]) for one in found["comparisons"]}
    assert pairs == {("theirs", "noisy"), ("ours", "noisy"), ("ours", "theirs")}
    again = phonemi(*arguments, "--run", folders / "judged", *words)
    assert "done already" in again.stderr


def test_without_transcripts_it_says_that_no_words_are_judged(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in folders.rglob("*.txt"):
        text.unlink()
    judge(folders / "noisy", [str(folders / "ours")], folders / "judged", folders / "clean")
    assert "no recording has a transcript, so that no words are judged" in capsys.readouterr().err
    assert "wer" not in {one["metric"] for one in read_json(folders / "judged" / "metrics.json")["comparisons"]}


@pytest.mark.parametrize(
    ("unknown", "said"),
    [
        (("second/b",), "3 utterances of 2 speakers, unknown of 1."),
        (NAMES, "3 utterances of unknown speakers."),
    ],
)
def test_recordings_without_a_speaker_are_counted_apart(folders: Path, unknown: tuple[str, ...], said: str) -> None:
    """The speaker is the name of the folder that holds a recording, and here some lie in none."""
    for name in unknown:
        for path in folders.glob(f"*/{name}.*"):
            path.rename(path.parents[1] / path.relative_to(path.parents[1]).as_posix().replace("/", "-"))
    judge(
        *(folders / "noisy", [str(folders / "ours")], folders / "judged", folders / "clean"),
        overrides=["evaluate.recogniser=none"],
    )
    assert read_json(folders / "judged" / "metrics.json")["protocol"]["test"] == said


def test_a_recording_that_is_missing_is_named(folders: Path) -> None:
    (folders / "ours" / "second" / "a.wav").unlink()
    with pytest.raises(DataError, match="ours has no file named second__a"):
        judge(folders / "noisy", [str(folders / "ours")], folders / "judged", folders / "clean")


def test_what_cannot_be_judged_leaves_no_folder(folders: Path) -> None:
    (folders / "ours" / "second" / "a.wav").unlink()
    with pytest.raises(DataError, match="second__a"):
        judge(folders / "noisy", [str(folders / "ours")], folders / "judged")
    assert not (folders / "judged").exists()


def test_a_run_of_its_own_is_not_overwritten(folders: Path) -> None:
    run = folders / "mine"
    run.mkdir()
    (run / "config.yaml").write_text("enhance: {rows: [log1p]}")
    with pytest.raises(ConfigError, match="is a run of its own, which would be overwritten"):
        judge(folders / "noisy", [str(folders / "ours")], run, folders / "clean")
    assert (run / "config.yaml").read_text() == "enhance: {rows: [log1p]}"


def test_the_enhancer_of_the_package_comes_before_a_folder_of_its_name(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders / "clean").rename(folders / "default")
    monkeypatch.chdir(folders)
    words = ["evaluate.recogniser=none"]
    judge(Path("noisy"), ["default"], Path("judged"), Path("default"), overrides=words)
    rows = {row["row"]: row for row in read_json(folders / "judged" / "metrics.json")["rows"]}
    assert rows["default"]["stoi"] < 0.999
