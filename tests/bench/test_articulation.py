"""The model that ships, on speech of a synthesiser that it has not heard: closures are heard as closures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "articulation.py"


@pytest.mark.slow
def test_lips_and_tongue_tip_are_nearer_in_closures_than_in_vowels_clean_and_in_noise(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="espeakng_loader is not installed: pip install 'phonemi[synth]'")
    from phonemi.data.corpora.synthetic import synthesise

    speech, noise = synthesise(tmp_path, utterances=12, speakers=6)
    command = [sys.executable, str(BENCH), str(speech), "--recordings", "12", "--noise", str(noise)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [re.split(r" *\| *", line)[1:5] for line in table.splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        [variable, speech]
        for speech in ("clean", "5 dB")
        for variable in ("LA, vowels less P B M", "TTCD, vowels less T D N")
    ]
    for variable, condition, difference, _ in rows:
        low = float(difference.partition("[")[2].partition(",")[0].replace("−", "-"))
        assert low > 0, f"{variable}, {condition}: {difference}"
