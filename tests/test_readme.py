"""The README: its Python runs, what it names exists, its numbers are those of the results, newcomers start soon."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phonemi import Enhancer, MaskEnhancer, WeightedSum, audio
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


@pytest.mark.parametrize("block", code_blocks("python"))
def test_python_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    audio.save("noisy.wav", np.random.default_rng(0).normal(0, 0.1, (2, 30_000)), 44_100)
    encoder = MelTransformer(
        MelTransformerConfig(mels=80, dim=16, blocks=1, heads=2, feedforward=16, position_kernel=31)
    )
    model = Enhancer(encoder, WeightedSum(layers=2), MaskEnhancer(16, hidden=8, layers=1))
    model.save_pretrained("quickstart/rows/ws-linguistic/model")
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    if "enhanced" in names:
        assert names["enhanced"].shape == (2, 30_000)


@pytest.mark.slow
def test_the_first_commands_work(phonemi, tmp_path, monkeypatch):
    """One after the other, with the ordinary install, on a recording and a folder of them."""
    monkeypatch.chdir(tmp_path)
    for path in ("noisy.wav", "recordings/a.wav"):
        audio.save(path, np.random.default_rng(0).normal(0, 0.1, 20_000), 16_000)
    block = README[README.index("## I have a noisy recording") :].split("```")[1]
    commands = [line.split() for line in block.splitlines() if line.startswith("phonemi ")]
    assert commands[1] == ["phonemi", "listen", "noisy.wav", "clean.wav"]
    for _, *arguments in commands:
        outcome = phonemi(*arguments)
        assert outcome.code == 0, outcome.stderr
    assert (tmp_path / "listen.html").is_file()


def test_how_to_do_without_cuda_and_how_to_get_dnsmos():
    cpu = "pip install 'torch>=2.6,<2.14' --index-url https://download.pytorch.org/whl/cpu"
    assert README.index("git clone") < README.index(cpu) < README.index("## I have a noisy recording")
    project = (ROOT / "pyproject.toml").read_text()
    assert '"torch>=2.6,<2.14"' in project
    assert "pip install '.[dnsmos]'" in README
    assert "\ndnsmos = [" in project


@pytest.mark.slow
def test_commands_exist():
    named = set(
        re.findall(r"phonemi ([a-z]+)", " ".join(code_blocks("sh")) + README[README.index("## The commands") :])
    )
    shown = subprocess.run([sys.executable, "-m", "phonemi.cli", "--help"], capture_output=True, text=True, check=True)
    missing = {name for name in named if f" {name} " not in shown.stdout}
    assert not missing


def test_files_of_the_tree_exist():
    start = README.index("```\nsrc/phonemi/\n") + 4
    tree = README[start : README.index("```", start)].splitlines()
    assert len(tree) > 10
    for line in tree[1:]:
        for name in re.split(r"  +", line.strip())[0].split():
            folder = ROOT / "src/phonemi" if line.startswith(" ") else ROOT
            assert (folder / name).exists(), name


@pytest.mark.parametrize(
    "first", ["phonemi enhance noisy.wav -o clean.wav", "phonemi information --run OUT --model facebook"]
)
def test_a_newcomer_finds_the_first_lines_within_a_screen_and_a_half(first):
    assert first in "\n".join(README.splitlines()[:75])


def test_terms_stand_before_the_first_table_of_results():
    assert README.index("## Terms") < README.index("## Results")


def table_of(text: str, first: str) -> dict[str, dict[str, str]]:
    """The first Markdown table whose first column is `first`: row -> column -> the mean, without its interval."""
    lines = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    titles, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {
        row[0]: {title: cell.strip("*").split(" [")[0] for title, cell in zip(titles, row, strict=True)} for row in rows
    }


def test_the_numbers_are_those_of_the_results():
    """Every number of the README's table of results stands in docs/results.md."""
    shown = table_of(README[README.index("## Results") :], "system")
    results = table_of((ROOT / "docs/results.md").read_text(), "system")
    assert len(shown) == 9
    for name, numbers in shown.items():
        assert numbers == {title: results[name][title] for title in numbers}
