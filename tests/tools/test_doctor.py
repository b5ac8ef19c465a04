"""phonemi.tools.doctor: what it finds here, and that a broken part is found, named and survived."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from phonemi.tools import doctor
from phonemi.tools.doctor import PARTS, Finding, Part, examine, text
from phonemi.weights import shipped

Phonemi = Callable[..., Any]
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
BROKEN = "libtorchaudio.so: undefined symbol: _ZNK3c105Error4whatEv"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports tried in a process of their own cost nothing, and work."""
    monkeypatch.setattr(sys, "executable", shutil.which("true"))


def found(name: str, section: str | None = None) -> Finding:
    (finding,) = [one for one in examine() if one.name == name and section in (None, one.section)]
    return finding


def install(folder: Path, package: str, version: str, code: str) -> None:
    """A package as pip leaves it."""
    (folder / f"{package}-{version}.dist-info").mkdir(parents=True)
    (folder / f"{package}-{version}.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    )
    (folder / f"{package}.py").write_text(code)


@pytest.mark.slow
def test_a_broken_torchaudio_is_explained_and_enhancing_goes_on(tmp_path: Path) -> None:
    install(tmp_path, "torchaudio", "2.5.0", f"raise OSError({BROKEN!r})")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "40"}
    command = [sys.executable, "-m", "phonemi.cli", "doctor"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 40
    said = " ".join(done.stdout.split())
    assert re.search(r"torchaudio 2\.5\.0 is broken beside torch 2\.\S+ \(OSError: libtorchaudio\.so", said)
    assert "pip uninstall torchaudio" in said
    assert "one second enhanced in" in said


def test_all_is_well(quick: None, phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outcome = phonemi("doctor")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert max(map(len, outcome.stdout.splitlines())) <= 80
    headings = [line for line in outcome.stdout.splitlines() if not line.startswith(" ")]
    assert headings == ["versions", "machine", "optional", "models", "encoders", "enhancing"]
    assert re.search(r"default +enhancer, \d\.\d MB, every hash", outcome.stdout)
    assert re.search(r"one second +enhanced in \d+\.\d\d s on cpu", outcome.stdout)
    as_json = phonemi("doctor", "--json")
    findings = json.loads(as_json.stdout)
    assert as_json.code == 0
    assert {"phonemi", "torch", "libsndfile", "memory", "device", "pesq"} <= {finding["name"] for finding in findings}
    assert all(finding["works"] for finding in findings if finding["section"] not in ("optional", "machine"))


def test_damaged_weights_are_a_failure(
    quick: None, phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(shipped.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    weights = tmp_path / "weights" / "default" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert not found("default").works
    assert found("mini").works
    outcome = phonemi("doctor", "--json")
    assert "enhancing does not work here" in outcome.error
    assert "model.safetensors is not the one" in outcome.error
    assert not json.loads(outcome.stdout)[-1]["works"]
    shutil.rmtree(tmp_path / "weights")
    assert found("default").found == "missing in the package"
    assert "no enhancer 'default'" in phonemi("doctor").error


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("", ""),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import time; time.sleep(60)", "its import took longer than 1 s"),
        ("import os; os.abort()", "its import was ended by signal 6"),
        ("import os; os._exit(3)", "no message"),
    ],
)
def test_every_way_of_not_being_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, fault: str
) -> None:
    (tmp_path / "odd_module.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert doctor._import_fault("odd_module", 1 if "sleep" in code else 60) == fault


def test_a_torchaudio_of_another_torch_that_does_no_harm_is_mentioned(
    quick: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(tmp_path, "torchaudio", "1.0", "")
    monkeypatch.syspath_prepend(tmp_path)
    assert found("transformers", "encoders").works
    torchaudio = found("torchaudio")
    assert not torchaudio.works
    assert "made for another torch" in torchaudio.advice


def test_what_is_missing_can_be_installed_as_it_says(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PARTS", (Part("no-such-package", "eval", "nothing"),))
    missing = found("no-such-package")
    assert (missing.found, missing.works) == ("missing, for nothing", False)
    assert missing.advice == "pip install 'phonemi[eval]'"


def test_extras_install_what_they_are_said_to() -> None:
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    listed = {(re.split(r"[<>=\[]", one)[0], extra) for extra, packages in extras.items() for one in packages}
    for part in PARTS:
        assert (part.package, part.extra) in listed
    packages = {package for package, extra in listed if extra != "dev" and package != "phonemi"}
    assert packages == {part.package for part in PARTS}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_a_cache_that_cannot_be_written(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/proc/self/cache")
    cache = found("hub's cache")
    assert not cache.works
    assert "HF_HOME" in cache.advice


@given(
    name=st.text("abc-", min_size=1, max_size=18),
    words=st.lists(st.text("abc./-", min_size=1, max_size=60), min_size=1, max_size=30),
    columns=st.integers(30, 80),
)
def test_nothing_is_wider_than_the_screen_and_nothing_is_lost(name: str, words: list[str], columns: int) -> None:
    shown = text(Finding("section", name, " ".join(words)), columns)
    assert max(map(len, shown.splitlines())) <= columns
    assert re.sub(r"\s", "", shown) == name + "".join(words)
