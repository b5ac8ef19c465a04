"""What holds for the package as a whole: imports run one way, extras are optional."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import phonemi

SOURCE = Path(phonemi.__file__).parent
MODULES = {
    ".".join(("phonemi", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

# Room -> the rooms that it may import, besides itself and what is free for all. There are no exceptions: a new room
# gets a line here, and one that needs another entry is in the wrong place.
FREE = {
    "transformers_import",
    "activity",
    "claims",
    "cluster",
    "constants",
    "devices",
    "errors",
    "files",
    "interruption",
    "memory",
    "progress",
    "tables",
    "workers",
    "config",
    "weights",
}
ARROWS = {
    **{room: set() for room in FREE},
    "audio": set(),
    "signal": set(),
    "recurrence": set(),
    "inversion": {"representations", "aggregations", "audio", "metrics", "signal", "recurrence"},
    "data": {"audio", "inversion", "signal"},
    "representations": {"signal"},
    "aggregations": {"signal"},
    "probes": set(),
    "metrics": {"signal"},
    "results": {"metrics"},
    "inference": {"audio"},
    "enhancers": {
        *("representations", "aggregations", "inference", "results", "metrics", "audio", "signal", "recurrence"),
    },
    "information": {"representations", "probes", "metrics", "signal"},
    "training": set(),
    "systems": set(),
    "stages": {
        *("systems", "training", "metrics", "results", "information", "enhancers", "inversion", "aggregations"),
        *("probes", "representations", "data", "audio", "signal"),
    },
    "report": {"results", "systems", "metrics", "information", "enhancers", "inversion", "data", "audio", "signal"},
    "recipes": {"stages", "report", "results", "systems", "enhancers", "representations", "inference", "data"},
    "tools": {
        *(
            "inversion",
            "report",
            "results",
            "enhancers",
            "inference",
            "information",
            "representations",
            "aggregations",
            "probes",
        ),
        *("metrics", "data", "audio", "signal"),
    },
    "cli": {"inversion", "tools", "recipes", "report", "results", "stages", "enhancers", "inference", "audio"},
}
OPTIONAL = {
    *("pesq", "pystoi", "jiwer", "pocketsphinx", "espeakng_loader", "tensorboard", "torchaudio"),
    *("onnx", "onnxruntime", "speechmos"),
    *("librosa", "fairseq", "s3prl", "gradio", "fastapi", "starlette", "uvicorn", "av", "vocaltractlab_cython"),
}
SOUND = {"soundfile", "soxr"}


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of what is imported anywhere in `tree`; a name imported from a package counts as its module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else str(node.module)


def at_module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported, those of classes, branches and `with` included."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def part_of(module: str) -> str:
    """The room of `ARROWS` that a module belongs to."""
    return module.removeprefix("phonemi").lstrip(".").partition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_arrows(module: str) -> None:
    part = part_of(module)
    if not part:  # phonemi itself only says where its names live
        assert not [name for name in imports(TREES[module]) if name.startswith("phonemi")]
        return
    assert part in ARROWS, f"{module} is a new part: give it an arrow"
    found = {part_of(name) for name in imports(TREES[module]) if name.startswith("phonemi.")}
    assert found <= {part, *FREE, *ARROWS[part]}


def test_the_arrows_have_no_circle() -> None:
    left = {part: {*targets, *(FREE if part not in FREE else ())} for part, targets in ARROWS.items()}
    while left:
        ends = [part for part, targets in left.items() if not targets & left.keys() - {part}]
        assert ends, f"a circle among {sorted(left)}"
        for part in ends:
            del left[part]


@pytest.mark.parametrize("module", MODULES)
def test_optional_packages_are_imported_when_they_are_needed(module: str) -> None:
    names = {name.partition(".")[0] for node in at_module_level(TREES[module]) for name in imports(node)}
    assert not names & OPTIONAL


@pytest.mark.parametrize("module", MODULES)
def test_only_audio_reads_and_writes_sound(module: str) -> None:
    names = {name.partition(".")[0] for name in imports(TREES[module])}
    assert part_of(module) == "audio" or not names & SOUND


@pytest.mark.parametrize("module", MODULES)
def test_every_file_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(TREES[module])


def test_type_checkers_see_the_names_that_are_there() -> None:
    stub = ast.parse((SOURCE / "__init__.pyi").read_text(encoding="utf-8"))
    lines = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert {alias.asname: node.module for node in lines for alias in node.names} == phonemi._HOME


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys, phonemi.cli; print(*sys.modules.keys() & {'torch', 'transformers', 'numpy', 'matplotlib'})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.slow
def test_enhancing_starts_without_what_it_does_not_need() -> None:
    code = "import sys, phonemi.inference.recordings, phonemi.enhancers.enhancer; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    needless = {"transformers", "matplotlib", "pandas", "scipy", "huggingface_hub", "pydantic", "yaml"}
    assert not needless & set(loaded)
