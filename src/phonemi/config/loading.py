"""YAML files and `--set a.b=c` -> one validated configuration, saved with the versions that made its results."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from phonemi.config.sections import Config, Section
from phonemi.errors import ConfigError, nearest
from phonemi.files import write_text

RETIRED = {"evaluate": ("resamples",)}  # section -> settings of earlier versions, which say nothing any more
PRESETS = resources.files("phonemi") / "presets"


def load_config(source: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file or a preset of the package (`"quickstart"`); None: the defaults. Then apply `overrides`.

    Raises:
        ConfigError: for a file that cannot be read, or a key or value that does not exist, naming the nearest key.

    >>> load_config(None, ["enhance.steps=10", "evaluate.snrs_db=[0]"]).evaluate.snrs_db
    (0.0,)
    """
    tree = _read(source) if source is not None else {}
    for override in overrides:
        _apply(tree, override)
    for section, names in RETIRED.items():
        if isinstance(tree.get(section), dict):
            tree[section] = {name: value for name, value in tree[section].items() if name not in names}
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from None


def presets() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(entry.name[:-5] for entry in PRESETS.iterdir() if entry.name.endswith(".yaml"))


def save_config(config: Config, run_dir: Path, extra: dict[str, Any] | None = None) -> None:
    """Write RUN/config.yaml: the resolved configuration, and in comments what else the results depend on."""
    lines = [f"# {key}: {value}" for key, value in {**provenance(), **(extra or {})}.items()]
    body = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=110)
    write_text(run_dir / "config.yaml", "\n".join(lines) + "\n" + body)


def provenance() -> dict[str, str]:
    """Versions, git commit, machine and command of this process."""
    packages = (
        "phonemi torch transformers numpy soundfile soxr pesq pystoi pocketsphinx faster-whisper ctranslate2 jiwer "
        "whisper-normalizer speechmos onnxruntime"
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    facts = {"python": platform.python_version(), "machine": f"{platform.machine()}, {cores} cores"}
    for package in packages.split():
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = "not installed"
    facts["commit"] = _commit()
    facts["command"] = " ".join(["phonemi", *sys.argv[1:]])
    return facts


def _commit() -> str:
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():  # installed; git would describe whatever repository that happens to be in
        return "unknown (not a git checkout)"
    try:
        describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown (not a git checkout)"


def _read(source: str | Path) -> dict[str, Any]:
    path = Path(source)
    try:
        if str(source) in presets() and not path.is_file():
            text = (PRESETS / f"{source}.yaml").read_text(encoding="utf-8")
        elif path.suffix in (".yaml", ".yml") or path.exists():
            text = path.read_text(encoding="utf-8")
        else:
            raise ConfigError(
                f"no configuration {source!r}: not a file, and no preset ({nearest(str(source), presets())})"
            )
        tree = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {source} ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML ({' '.join(str(error).split())})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected sections with keys, found {type(tree).__name__}")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    """Put the value of `a.b=value` into nested dictionaries."""
    key, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: expected KEY=VALUE, for instance --set enhance.steps=100")
    node = tree
    *parents, last = key.strip().split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override}: {parent} is a value, not a section")
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not YAML ({' '.join(str(error).split())})") from None


def _explain(error: ValidationError, source: str | Path | None) -> str:
    """The first problem in one line, with the nearest key for an unknown one."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    where = f"{source}: " if source is not None else ""
    if problem["type"] != "extra_forbidden":
        return f"{where}{place}: {problem['msg'].removeprefix('Value error, ')} (found {problem['input']!r})"
    fields = _section_at(problem["loc"][:-1]).model_fields
    return f"{where}unknown key {place!r}; {nearest(str(problem['loc'][-1]), fields)}"


def _section_at(location: tuple[int | str, ...]) -> type[Section]:
    """The section that a location in the configuration is in; a number in it is an entry of a list of sections."""
    section: type[Section] = Config
    for part in location:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            section = next(kind for kind in (annotation, *get_args(annotation)) if _is_section(kind))
    return section


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
