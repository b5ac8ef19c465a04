"""The registry of recognisers: every recogniser that a configuration can name, each complete."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from phonemi.config.sections import Evaluate
from phonemi.metrics.words import RECOGNISERS, RecogniserOptions

GRAMMAR = "#JSGF V1.0;\ngrammar test;\npublic <sentence> = go (north | south);\n"


def test_a_configuration_can_name_each_of_them() -> None:
    assert {*RECOGNISERS, "auto", "none"} == set(get_args(Evaluate.model_fields["recogniser"].annotation))


@pytest.mark.parametrize("name", RECOGNISERS)
def test_each_is_complete(name: str, whisper_folder: Path) -> None:
    if name.startswith("pocketsphinx"):
        pytest.importorskip("pocketsphinx")
    recogniser = RECOGNISERS[name](RecogniserOptions(model=str(whisper_folder), grammar_jsgf=GRAMMAR))
    recogniser.load()
    assert recogniser.transcribe(np.zeros(16_000, np.float32)) == ""
    assert recogniser.settings["recogniser"] == name.partition("-")[0]
    assert recogniser.name
    assert pickle.loads(pickle.dumps(RECOGNISERS[name](RecogniserOptions()))).name


@pytest.mark.slow
def test_a_process_that_transcribes_starts_without_torch() -> None:
    code = "import sys, phonemi.metrics.words; print(*sys.modules.keys() & {'torch', 'transformers', 'scipy'})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "\n"
