"""Every block of the guides is run in a folder with what its page names; the site builds, and names what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import phonemi
from phonemi import audio

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("guide/*.md"))
NEEDS_RUN = {"pretrain", "information", "aggregate", "train", "evaluate"}


@pytest.fixture
def folder(tmp_path: Path, corpus: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages take for granted: recordings, a corpus of speech and one of noise."""
    rng = np.random.default_rng(0)
    speech = sorted((corpus.data / "librispeech").rglob("*.flac"))
    texts = dict(line.split(",", 2)[::2] for line in (corpus.data / "speech.csv").read_text().splitlines()[1:])
    table = ["path,speaker,text"]
    for number, path in enumerate(speech):
        clean = audio.load(path, 16_000)
        noisy = clean + 0.01 * rng.standard_normal(len(clean)).astype(np.float32)
        if number < 2:
            audio.save(tmp_path / "noisy" / f"{path.stem}.flac", noisy, 16_000)
            audio.save(tmp_path / "clean" / f"{path.stem}.flac", clean, 16_000)
            (tmp_path / "noisy" / f"{path.stem}.txt").write_text(texts[str(path.relative_to(corpus.data))])
        audio.save(tmp_path / "my-speech" / path.name, clean, 16_000)
        table.append(f"{path.name},{path.stem[:3]},{texts[str(path.relative_to(corpus.data))]}")
    (tmp_path / "my-speech" / "table.csv").write_text("\n".join(table) + "\n")
    shutil.copy(corpus.data / "librispeech" / "alignments" / "phones.ctm", tmp_path / "my-speech")
    audio.save(tmp_path / "my-noise" / "hum.wav", 0.1 * rng.standard_normal(32_000), 16_000)
    audio.save(tmp_path / "noisy.wav", 0.1 * rng.standard_normal((2, 30_000)), 44_100)
    shutil.copytree(tmp_path / "noisy", tmp_path / "recordings" / "deeper")
    for path in speech:  # with made-up tracks: the lips follow the level
        waveform = audio.load(path, 16_000)
        level = np.sqrt(np.square(waveform[: len(waveform) // 160 * 160].reshape(-1, 160)).mean(1))
        lines = [f"{frame / 100:.2f},{10 * lips:.4f},{5 - lips:.4f}" for frame, lips in enumerate(level)]
        place = tmp_path / "my-articulation" / path.parent.parent.name
        audio.save(place / f"{path.stem}.wav", waveform, 16_000)
        (place / f"{path.stem}.csv").write_text("time_s,LA (mm),TTCD (mm)\n" + "\n".join(lines) + "\n")
    shutil.copy(corpus.data / "librispeech" / "alignments" / "phones.ctm", tmp_path / "my-articulation")
    for system in ("theirs", "ours"):
        shutil.copytree(tmp_path / "clean", tmp_path / system)
    shutil.copytree(corpus.data / "librispeech" / "LibriSpeech", tmp_path / "LibriSpeech")
    shutil.copytree(corpus.data / "librispeech" / "alignments", tmp_path / "alignments")
    shutil.copytree(corpus.data / "esc10", tmp_path / "ESC-50")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_every_block_runs(
    page: Path, folder: Path, bash: Callable[..., Any], tiny: list[str], whisper_folder: Path, blank_figures: None
) -> None:
    blocks = re.findall(r"```(\w*)\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    assert {language for language, _ in blocks} <= {"sh", "python", "text"}
    tiny = [
        *tiny,
        "--set",
        "enhance.steps=4",
        "--set",
        "enhance.validate_every=2",
    ]  # nothing here asks what was learned
    if page.stem == "hear-the-articulators":  # its rows make no signal to score, its speech has no texts
        tiny = [*tiny, "--set", "enhance.select_on=loss", "--set", "evaluate.recogniser=none"]
    for language, block in blocks:
        if language == "python":
            exec(compile(block, page.name, "exec"), {})
        elif language == "sh":
            block = block.replace("--whisper base.en", f"--whisper {whisper_folder}")  # no network here
            outcome = bash("-euc", block, settings=dict.fromkeys(NEEDS_RUN, tiny))
            assert outcome.code == 0, f"{block}\n{outcome.stderr}"


def test_every_public_name_is_on_the_page_of_python() -> None:
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: ([\w.]+)\.(\w+)$", page, re.M)
    assert {name: module for module, name in shown} == phonemi._HOME


def test_every_file_that_a_document_names_exists() -> None:
    """NAME and AUTHORYEAR stand for what a reader adds."""
    documents = [DOCS.parent / "CONTRIBUTING.md", DOCS.parent / "README.md", *DOCS.rglob("*.md")]
    named = {
        path
        for document in documents
        for path in re.findall(r"`((?:src|tests|docs|runs|bench)/[\w./-]+)`", document.read_text(encoding="utf-8"))
        if "NAME" not in path and "YEAR" not in path
    }
    assert len(named) > 30
    assert not [path for path in sorted(named) if not (DOCS.parent / path).exists()]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    process = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    settings = (tmp_path / "reference" / "settings.html").read_text(encoding="utf-8")
    assert 'id="enhance.learning_rate"' in settings
    assert "phonemi removes noise" in (tmp_path / "index.html").read_text(encoding="utf-8")
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"?(https?://[^\"> ]+)", page.read_text("utf-8")
        )
        assert not loaded, page.name


def test_links_between_pages_lead_somewhere() -> None:
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
