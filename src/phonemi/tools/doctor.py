"""This machine -> findings: versions, device, what is installed beside the core, and whether enhancing works."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import phonemi
from phonemi.errors import PhonemiError, one_line

CORE = ("torch", "transformers", "numpy", "scipy", "soundfile", "soxr", "safetensors", "huggingface_hub")
ENHANCING = "one second"
IMPORT_LIMIT_S = 120  # a slow disk and a busy machine need 30
NAME_COLUMNS = 16


class Part(NamedTuple):
    """A package outside the core: the extra that installs it, and what it is for."""

    package: str
    extra: str
    purpose: str


PARTS = (
    Part("av", "av", "m4a, mp4 and other formats that soundfile cannot read"),
    Part("pesq", "eval", "PESQ"),
    Part("pystoi", "metrics", "STOI"),
    Part("jiwer", "metrics", "word error rates"),
    Part("pocketsphinx", "metrics", "phone alignments, and words without a network"),
    Part("speechmos", "dnsmos", "the networks of DNSMOS"),
    Part("onnxruntime", "dnsmos", "running them, and what `phonemi export` writes"),
    Part("espeakng-loader", "synth", "synthetic speech with exact phones"),
    Part("onnx", "export", "`phonemi export`"),
    Part("gradio", "demo", "`phonemi demo`"),
    Part("tensorboard", "tensorboard", "curves of a training in a browser"),
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, whether it is as it should be, and if not, what to do."""

    section: str
    name: str
    found: str
    works: bool = True
    advice: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, the quick things first; never raises. The last is whether enhancing works, `ENHANCING`."""
    versions: dict[str, str | None] = {"phonemi": phonemi.__version__, "python": platform.python_version()}
    for name, version in (versions | {package: _version(package) for package in CORE}).items():
        yield Finding("versions", name, version or "missing", bool(version), "" if version else "pip install phonemi")
    yield _tried("versions", "libsndfile", lambda: importlib.import_module("soundfile").__libsndfile_version__)
    yield Finding("machine", "system", platform.platform())
    yield _tried("machine", "processor", _processor)
    yield _tried("machine", "memory", _memory)
    yield (device := _tried("machine", "device", _device))
    yield _tried("machine", "hub's cache", _cache, "HF_HOME names another folder for it")
    yield from _optional()
    yield from _models()
    yield from _torchaudio()
    if device.found.startswith("cuda"):
        yield _tried("enhancing", "on the GPU", lambda: _enhanced("cuda"), "use --device cpu")
    yield _tried("enhancing", ENHANCING, lambda: _enhanced("cpu"))


def text(finding: Finding, columns: int) -> str:
    """Lines of a finding, at most `columns` wide, indented under the heading of its section.

    >>> print(text(Finding("optional", "pesq", "missing", False, "install it"), 40))
      pesq            missing: install it
    """
    content = ": ".join(part for part in (finding.found, finding.advice) if part)
    indent = " " * (NAME_COLUMNS + 2 if columns >= 60 or len(content) < columns - NAME_COLUMNS - 2 else 4)
    wrapped = textwrap.wrap(content, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    name = f"  {finding.name}"
    if len(name) < len(indent):
        return "\n".join([name + wrapped[0][len(name) :], *wrapped[1:]])
    return "\n".join([name, *wrapped])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tried(section: str, name: str, found: Callable[[], str], advice: str = "") -> Finding:
    """What `found` gives, or what it raises: whatever that is, it is what a doctor is there for."""
    try:
        return Finding(section, name, found())
    except Exception as error:
        return Finding(section, name, one_line(error) or type(error).__name__, False, advice)


def _processor() -> str:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{platform.machine()}, cores: {cores}, threads of torch: {torch.get_num_threads()}"


def _memory() -> str:
    if not hasattr(os, "sysconf"):
        return "not known on this system"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB"


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda, {torch.cuda.get_device_name()}"
    return f"cpu: torch {torch.__version__} finds no CUDA" + (
        ", mps unused" if torch.backends.mps.is_available() else ""
    )


def _optional() -> Iterator[Finding]:
    for part in PARTS:
        version = _version(part.package)
        advice = "" if version else f"pip install 'phonemi[{part.extra}]'"
        yield Finding("optional", part.package, f"{version or 'missing'}, for {part.purpose}", bool(version), advice)


def _cache() -> str:
    """Write to the hub's cache, or to the folder that it would be made in."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    with tempfile.TemporaryFile(dir=there):
        return f"{folder}, writable"


def _models() -> Iterator[Finding]:
    """Everything that ships; loading an enhancer compares the hashes of its files and of its encoder's."""
    from phonemi.weights import shipped

    folders = sorted(path.parent for path in shipped.WEIGHTS.glob(f"*/{shipped.CONFIG_FILE}"))
    if not folders:
        yield Finding("models", "default", "missing in the package", False, "install phonemi again")
    for folder in folders:
        yield _tried("models", folder.name, partial(_loaded, folder.name), "install phonemi again")


def _loaded(name: str) -> str:
    from phonemi.enhancers import pretrained
    from phonemi.enhancers.enhancer import Enhancer
    from phonemi.representations.names import load_representation
    from phonemi.weights import shipped

    size_mb = sum(path.stat().st_size for path in (shipped.WEIGHTS / name).iterdir()) / 1e6
    if shipped.folder_of(name, pretrained.MODEL_TYPE) is None:
        load_representation(name)
        return f"encoder, {size_mb:.1f} MB"
    Enhancer.from_pretrained(name)
    return f"enhancer, {size_mb:.1f} MB, every hash as it was made"


def _torchaudio() -> Iterator[Finding]:
    """Whether transformers can be imported, which brings in any torchaudio, and whether that is of this torch."""
    torchaudio, torch = _version("torchaudio"), _version("torch")
    if torchaudio is None and importlib.util.find_spec("torchaudio") is not None:
        torchaudio = "of unknown version"
    reason = _import_fault("transformers.models.wavlm.modeling_wavlm", IMPORT_LIMIT_S)
    if reason and torchaudio and (broken := _import_fault("torchaudio", IMPORT_LIMIT_S)):
        reason = f"torchaudio {torchaudio} is broken beside torch {torch} ({broken})"
        advice = "pip uninstall torchaudio; phonemi does not need it, but transformers imports it wherever it is"
    else:
        advice = "pip install --upgrade transformers" if reason else ""
    found = f"cannot be imported, so no HuBERT, WavLM, wav2vec2 or Whisper: {reason}" if reason else "can be imported"
    yield Finding("encoders", "transformers", found, not reason, advice)
    if torchaudio and torch and not reason:
        same = torchaudio.split(".")[:2] == torch.split(".")[:2]
        advice = (
            "" if same else f"if anything fails, pip uninstall torchaudio: it was made for another torch than {torch}"
        )
        yield Finding("encoders", "torchaudio", f"{torchaudio}, not needed", same, advice)


def _import_fault(module: str, limit_s: float) -> str:
    """Why a module cannot be imported by a fresh Python, in a line; empty if it can."""
    command = [sys.executable, "-c", f"import {module}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return f"its import took longer than {limit_s:g} s"
    if done.returncode < 0:
        return f"its import was ended by signal {-done.returncode}"
    said = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else one_line(PhonemiError(said[-1] if said else "no message"))


def _enhanced(device: str) -> str:
    """Enhance a second of made-up sound through a file, as `phonemi enhance` would: how long that took."""
    import numpy as np

    from phonemi import audio
    from phonemi.enhancers.enhancer import Enhancer

    start = time.perf_counter()
    enhancer = Enhancer.from_pretrained("default").to(device)
    loaded = time.perf_counter()
    rate = 48_000
    noisy = 0.1 * np.sin(2 * np.pi * 220 * np.arange(rate) / rate) + 0.01 * np.random.default_rng(0).normal(size=rate)
    with tempfile.TemporaryDirectory() as folder:
        audio.save(Path(folder) / "noisy.wav", noisy, rate)
        read, rate = audio.load_channels(Path(folder) / "noisy.wav")
        enhanced = enhancer.enhance(read, rate)
    done = time.perf_counter()
    if enhanced.shape != read.shape or not np.isfinite(enhanced).all() or not enhanced.any():
        raise PhonemiError(f"{read.shape[-1]} samples became {enhanced.shape[-1]} that are no sound")
    return f"enhanced in {done - loaded:.2f} s on {device}, after {loaded - start:.2f} s of loading"
