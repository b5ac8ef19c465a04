"""What the core install can do alone, and that everything else names the package that it misses."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from phonemi.errors import RESEARCH_MODULES
from phonemi.tools.doctor import CORE, EXTRAS

pytestmark = pytest.mark.slow  # each test starts a Python of its own

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRA_MODULES = {
    *("pesq", "pystoi", "jiwer", "pocketsphinx", "espeakng_loader", "tensorboard", "torchaudio"),
    *("onnx", "onnxruntime", "speechmos", "gradio", "fastapi", "uvicorn"),
}
# The newest typer imports pydantic itself, so that it cannot be hidden.
HIDDEN = (RESEARCH_MODULES | EXTRA_MODULES) - {"pydantic"}


def run_on_the_core(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that has no package outside the core."""
    hide = f"""
import importlib.util, sys
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {HIDDEN} else find_spec(name, *rest)
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HIDDEN}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
    return subprocess.run([sys.executable, "-c", hide + code], cwd=folder, capture_output=True, text=True, check=False)


def phonemi_on_the_core(arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_on_the_core(f"sys.argv[1:] = {arguments.split()}; from phonemi.cli import main; main()", folder)


def packages(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[]", requirement)[0] for requirement in requirements} - {"phonemi"}


def test_enhancing_needs_the_core_alone(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "noisy.wav", 16_000, np.full(800, 0.1, np.float32))
    process = phonemi_on_the_core("enhance noisy.wav -o enhanced.wav", tmp_path)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "enhanced.wav").is_file()


def test_listening_needs_the_core_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder, level in (("noisy", 0.1), ("enhanced", 0.01), ("clean", 0.02)):
        (tmp_path / folder).mkdir()
        for name in ("a.wav", "b.wav"):
            waveform = level * rng.standard_normal(16_000).astype(np.float32)
            wavfile.write(tmp_path / folder / name, 16_000, waveform)
    process = phonemi_on_the_core("listen noisy enhanced", tmp_path)
    assert process.returncode == 0, process.stderr
    page = (tmp_path / "listen.html").read_text()
    assert "First what clips more than before, then what lost most of its loud parts" in page
    assert "pip install &#39;phonemi[dnsmos]&#39;" in page
    assert page.count("data:image/png") == 2 * 3
    process = phonemi_on_the_core("listen noisy/a.wav enhanced/a.wav --clean clean/a.wav", tmp_path)
    assert process.returncode == 0, process.stderr
    page = (tmp_path / "listen.html").read_text()
    assert "phones kept: " in page
    assert "STOI is not measured: pystoi is not installed" in page


@pytest.mark.parametrize(
    "arguments",
    [
        *("quickstart --run run", "information --run run", "table 1 --out tables"),
        *(f"{stage} --run run" for stage in ("pretrain", "aggregate", "train", "evaluate")),
        "report run",
    ],
)
def test_a_command_of_the_research_names_the_package_that_it_misses(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text("{}")
    process = phonemi_on_the_core(arguments, tmp_path)
    modules = "|".join(sorted(RESEARCH_MODULES))
    assert process.returncode == 1
    assert re.fullmatch(rf"phonemi: ({modules}) is not installed: pip install 'phonemi\[research\]'\n", process.stderr)


def test_a_public_function_names_the_package_that_it_misses(tmp_path: Path) -> None:
    process = run_on_the_core("import phonemi; phonemi.load_representation('microsoft/wavlm-base')", tmp_path)
    message = "phonemi.errors.MissingExtra: transformers is not installed: pip install 'phonemi[research]'"
    assert process.stderr.splitlines()[-1] == message


def test_doctor_knows_the_core_and_every_extra() -> None:
    assert set(CORE) == packages(PROJECT["dependencies"])
    extras = {name: packages(list_) for name, list_ in PROJECT["optional-dependencies"].items()}
    for extra, (_, names) in EXTRAS.items():
        assert set(names) <= extras[extra]
    everything = set().union(*(names for extra, names in extras.items() if extra not in ("dev", "docs")))
    assert everything == {name for _, names in EXTRAS.values() for name in names}


def test_every_module_of_the_research_extra_is_explained() -> None:
    modules = {"yaml" if name == "pyyaml" else name for name in packages(PROJECT["optional-dependencies"]["research"])}
    assert modules == RESEARCH_MODULES
