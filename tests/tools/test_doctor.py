"""phonemi.tools.doctor: what it finds here, and that a broken part is found, named and survived."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi.tools import doctor
from phonemi.tools.doctor import Finding, examine, text
from phonemi.weights import shipped

Phonemi = Callable[..., Any]
BROKEN = "libtorchaudio.so: undefined symbol: _ZNK3c105Error4whatEv"


def finding_about(name: str) -> Finding:
    (finding,) = [finding for finding in examine() if finding.name == name and finding.section != "optional"]
    return finding


@pytest.mark.slow
def test_a_broken_torchaudio_is_explained_and_enhancing_goes_on(tmp_path: Path) -> None:
    (tmp_path / "torchaudio-2.5.0.dist-info").mkdir()
    (tmp_path / "torchaudio-2.5.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchaudio\nVersion: 2.5.0\n"
    )
    (tmp_path / "torchaudio.py").write_text(f"raise OSError({BROKEN!r})")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        "COLUMNS": "40",
    }
    command = [sys.executable, "-m", "phonemi.cli", "doctor"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    assert max(map(len, process.stdout.splitlines())) <= 40
    printed = " ".join(process.stdout.split())
    assert re.search(r"transformers cannot be imported \(.*libtorchaudio\.so", printed)
    assert "pip uninstall torchaudio" in printed
    assert "one second enhanced in" in printed


@pytest.mark.slow
def test_all_is_well(phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outcome = phonemi("doctor")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert max(map(len, outcome.stdout.splitlines())) <= 80
    headings = [line for line in outcome.stdout.splitlines() if not line.startswith(" ")]
    assert headings == ["versions", "machine", "optional", "encoders", "enhancing"]
    assert re.search(r"one second +enhanced in \d+\.\d\d s on cpu", outcome.stdout)
    as_json = phonemi("doctor", "--json")
    findings = json.loads(as_json.stdout)
    assert as_json.code == 0
    assert {"phonemi", "torch", "libsndfile", "device", "pesq", "scipy"} <= {finding["name"] for finding in findings}
    assert all(finding["works"] for finding in findings if finding["section"] not in ("optional", "machine"))


def test_damaged_weights_are_a_failure(phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(shipped.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    weights = tmp_path / "weights" / "default" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    outcome = phonemi("doctor", "--json")
    assert "enhancing does not work here" in outcome.error
    assert "model.safetensors is not the one" in outcome.error
    assert not json.loads(outcome.stdout)[-1]["works"]
    shutil.rmtree(tmp_path / "weights")
    assert "no enhancer 'default'" in phonemi("doctor").error


def test_what_is_missing_can_be_installed_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"eval": ("nothing", ("no-such-package",))})
    (missing,) = [finding for finding in examine() if finding.name == "no-such-package"]
    assert missing == Finding(
        "optional", "no-such-package", "missing, for nothing", False, "pip install 'phonemi[eval]'"
    )


def test_a_package_that_cannot_be_imported_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    finding = finding_about("libsndfile")
    assert not finding.works
    assert "soundfile" in finding.found


@pytest.mark.slow
@given(
    name=st.text("abc-", min_size=1, max_size=18),
    words=st.lists(st.text("abc./-", min_size=1, max_size=60), min_size=1, max_size=30),
    columns=st.integers(30, 80),
)
def test_nothing_is_wider_than_the_screen_and_nothing_is_lost(name: str, words: list[str], columns: int) -> None:
    printed = text(Finding("section", name, " ".join(words)), columns)
    assert max(map(len, printed.splitlines())) <= columns
    assert re.sub(r"\s", "", printed) == name + "".join(words)
