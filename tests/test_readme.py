"""The README's Python runs, the commands and files it names exist, and it stays under 200 lines."""

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
    encoder = MelTransformer(MelTransformerConfig(dim=16, blocks=1, heads=2, feedforward=16))
    model = Enhancer(encoder, WeightedSum(layers=2), MaskEnhancer(16, hidden=8, layers=1))
    model.save_pretrained("quickstart/rows/ws-linguistic/model")
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    if "enhanced" in names:
        assert names["enhanced"].shape == (2, 30_000)


def test_commands_exist():
    named = set(
        re.findall(r"phonemi ([a-z]+)", " ".join(code_blocks("sh")) + README[README.index("## The commands") :])
    )
    shown = subprocess.run([sys.executable, "-m", "phonemi.cli", "--help"], capture_output=True, text=True, check=True)
    missing = {name for name in named - {"developers"} if f" {name} " not in shown.stdout}
    assert not missing


def test_files_of_the_tree_exist():
    start = README.index("```\nsrc/phonemi/\n") + 4
    tree = README[start : README.index("```", start)].splitlines()
    assert len(tree) > 10
    for line in tree[1:]:
        for name in re.split(r"  +", line.strip())[0].split():
            folder = ROOT / "src/phonemi" if line.startswith(" ") else ROOT
            assert (folder / name).exists(), name


def test_it_is_short():
    assert len(README.splitlines()) < 200
