"""Run the core tests on the oldest and newest supported Python, torch and transformers.

    python tests/matrix.py [NAME ...] [--cache FOLDER] [--torch-index URL]

Each entry of `MATRIX` gets a virtual environment under the cache folder, which a second run uses again, and the quick
tests of the rooms that depend on these packages. The versions are the bounds that pyproject.toml declares. The last
lines say what passed, what failed and what could not be had here, such as a Python that is not installed; the exit
code is 1 if anything failed, and 0 otherwise.

On Linux, torch from PyPI brings gigabytes of CUDA libraries; `--torch-index https://download.pytorch.org/whl/cpu` does
not. Without that option a build for CPUs that pip finds in its own settings (`find-links`) is preferred.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("torch", "transformers")
TESTS = ("signal.py", "aggregations", "representations", "probes", "enhancers", "inference", "information", "training",
         "weights")  # fmt: skip
TOOLS = ("pytest>=8", "hypothesis>=6.100", "jiwer>=4.0")


@dataclass(frozen=True)
class Environment:
    """A Python, and which end of the supported range of each of `PACKAGES` is installed in it."""

    name: str
    python: str
    oldest: bool


MATRIX = (
    Environment("oldest-3.11", "3.11", oldest=True),
    Environment("newest-3.11", "3.11", oldest=False),
    Environment("newest-3.12", "3.12", oldest=False),
    Environment("newest-3.13", "3.13", oldest=False),
)


class Unavailable(Exception):
    """Something of an environment cannot be had on this machine."""


def requirements(oldest: bool) -> list[str]:
    """Read from pyproject.toml what the core and research need; `PACKAGES` at one end of their range.

    The oldest is the newest bug fix of the lowest version: `torch>=2.6,<2.14` becomes `torch==2.6.*`.
    """
    with open(REPOSITORY / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"].get("research", [])]
    chosen = []
    for requirement in declared:
        name, _, version = re.split("(>=|,)", requirement)[:3]
        chosen.append(f"{name}=={version}.*" if oldest and name in PACKAGES else requirement)
    return chosen


def find_python(version: str) -> str:
    """Find an interpreter on the PATH or among those of pyenv."""
    candidates = [
        shutil.which(f"python{version}"),
        *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
    ]
    for candidate in filter(None, candidates):
        answer = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.startswith(f"Python {version}."):
            return candidate
    raise Unavailable(f"no Python {version} here")


def install(environment: Environment, cache: Path, torch_index: str | None) -> Path:
    """Make or complete the virtual environment; return its interpreter."""
    folder = cache / environment.name
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([find_python(environment.python), "-m", "venv", str(folder)], check=True)
    wanted = requirements(environment.oldest)
    (torch,) = (requirement for requirement in wanted if requirement.startswith("torch"))
    index = ["--index-url", torch_index] if torch_index else []
    for packages in ([*index, torch], [*wanted, *TOOLS]):
        installed = subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=False)
        if installed.returncode:
            raise Unavailable(f"pip could not install {' '.join(packages)}")
    return python


def versions(python: Path) -> str:
    """Say which versions are installed."""
    names = ("torch", "transformers", "numpy")
    code = f"import importlib.metadata as m; print(*[f'{{n}} {{m.version(n)}}' for n in {names}], sep=', ')"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def run_tests(python: Path) -> tuple[bool, str]:
    """Run the core tests on the source of this tree: whether all passed, and pytest's last line."""
    command = [
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow",
        "-o",
        "testpaths=",
        "-o",
        "addopts=--import-mode=importlib",
    ]
    command += [str(path) for name in TESTS if (path := REPOSITORY / "tests" / name).exists()]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    lines = ended.stdout.strip().splitlines()
    if ended.returncode:
        print("\n".join(lines[-60:]))
    return ended.returncode == 0, lines[-1] if lines else "no output"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(part.name for part in MATRIX)}")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "phonemi-matrix")
    parser.add_argument("--torch-index", help="index that torch is installed from")
    options = parser.parse_args()
    unknown = set(options.names) - {environment.name for environment in MATRIX}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    results = []
    for environment in MATRIX:
        if options.names and environment.name not in options.names:
            continue
        print(f"== {environment.name}", flush=True)
        try:
            python = install(environment, options.cache, options.torch_index)
            passed, last_line = run_tests(python)
            results.append((passed, f"{environment.name}: {versions(python)}: {last_line}"))
        except Unavailable as error:
            results.append((True, f"{environment.name}: not run: {error}"))
    print(*(text for _, text in results), sep="\n")
    return 0 if all(passed for passed, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
