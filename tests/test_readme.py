"""The README's Python runs, and the commands and files it names exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_every_command_is_named_and_every_named_command_exists(phonemi: Callable[..., Any]) -> None:
    code = " ".join([*code_blocks("sh"), *re.findall(r"`(.*?)`", README)])
    commands = re.findall(r"^  ([a-z]+)  ", phonemi("--help").stdout, re.M)
    assert set(re.findall(r"\bphonemi ([a-z]+)", code)) == set(commands)


def test_files_of_the_tree_exist():
    start = README.index("```\nsrc/phonemi/\n") + 4
    tree = README[start : README.index("```", start)].splitlines()
    assert len(tree) > 10
    for line in tree[1:]:
        for name in re.split(r"  +", line.strip())[0].split():
            folder = ROOT / "src/phonemi" if line.startswith(" ") else ROOT
            assert (folder / name).exists(), name
