"""Check this machine for `phonemi doctor`: versions, what is missing and how to get it, and whether enhancing works."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import phonemi
from phonemi.errors import PhonemiError, one_line
from phonemi.transformers_import import import_transformers

CORE = ("torch", "numpy", "soundfile", "soxr", "safetensors", "huggingface_hub", "typer", "rich", "jinja2", "filelock")
# Extra of pyproject.toml -> what it is for, and the packages that it installs.
EXTRAS = {
    "research": ("measuring, training and reports", ("transformers", "scipy", "pydantic", "pyyaml", "matplotlib")),
    "av": ("m4a, mp4 and other formats that soundfile cannot read", ("av",)),
    "metrics": (
        "STOI, word error rates and phone alignments",
        ("pystoi", "jiwer", "whisper-normalizer", "pocketsphinx"),
    ),
    "whisper": ("words by Whisper on a CPU", ("faster-whisper",)),
    "eval": ("PESQ", ("pesq",)),
    "dnsmos": ("DNSMOS", ("speechmos", "onnxruntime")),
    "synth": ("synthetic speech", ("espeakng-loader",)),
    "articulatory": ("speech by a model of the vocal tract", ("vocaltractlab-cython",)),
    "export": ("`phonemi export`", ("onnx",)),
    "demo": ("`phonemi demo`", ("gradio",)),
    "serve": ("`phonemi serve`", ("fastapi", "uvicorn")),
    "cluster": ("`phonemi enhance --on ray` and summaries in Parquet", ("ray",)),
    "tensorboard": ("training curves in a browser", ("tensorboard",)),
}


@dataclass(frozen=True)
class Finding:
    """The result of one check: what was found, whether it is as it should be, and if not, what to do."""

    section: str
    name: str
    found: str
    works: bool = True
    advice: str = ""


def examine() -> Iterator[Finding]:
    """Check everything, the quick things first; never raises. The last finding is of one enhancement."""
    yield Finding("versions", "phonemi", phonemi.__version__)
    yield Finding("versions", "python", platform.python_version())
    for package in CORE:
        yield _installed("versions", package, "", "phonemi")
    yield _check("versions", "libsndfile", lambda: str(importlib.import_module("soundfile").__libsndfile_version__))
    yield Finding("machine", "system", platform.platform())
    yield (device := _check("machine", "device", _device))
    for extra, (purpose, packages) in EXTRAS.items():
        for package in packages:
            yield _installed("optional", package, f", for {purpose}", f"'phonemi[{extra}]'")
    if importlib.util.find_spec("transformers"):
        # It imports any torchaudio, needed or not, and one that was built for another torch fails; the error says so.
        yield _check("encoders", "transformers", lambda: import_transformers("WavLM", "wavlm").__version__)
    if device.found.startswith("cuda"):
        yield _check("enhancing", "on the GPU", lambda: _enhance("cuda"), "use --device cpu")
    yield _check("enhancing", "one second", lambda: _enhance("cpu"))


def text(finding: Finding, columns: int) -> str:
    """A finding in lines of at most `columns`, indented under the heading of its section."""
    content = ": ".join(part for part in (finding.found, finding.advice) if part)
    indent = " " * (18 if columns >= 60 or len(content) < columns - 18 else 4)
    first, *others = textwrap.wrap(content, columns, initial_indent=indent, subsequent_indent=indent)
    name = f"  {finding.name}"
    first = name + first[len(name) :] if len(name) < len(indent) else f"{name}\n{first}"
    return "\n".join([first, *others])


def _installed(section: str, package: str, purpose: str, source: str) -> Finding:
    """Whether a package is installed; if not, `pip install source` brings it."""
    try:
        return Finding(section, package, importlib.metadata.version(package) + purpose)
    except importlib.metadata.PackageNotFoundError:
        return Finding(section, package, "missing" + purpose, False, f"pip install {source}")


def _check(section: str, name: str, describe: Callable[[], str], advice: str = "") -> Finding:
    """Turn what `describe` returns or raises into a finding."""
    try:
        return Finding(section, name, describe())
    except Exception as error:  # a broken package can raise anything, and to report it is the purpose
        return Finding(section, name, one_line(error) or type(error).__name__, False, advice)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda, {torch.cuda.get_device_name()}"
    return f"cpu, {torch.get_num_threads()} threads: torch finds no CUDA"


def _enhance(device: str) -> str:
    """Enhance a second of synthetic sound; loading compares the weights with their hashes."""
    import numpy as np

    from phonemi.enhancers.enhancer import Enhancer

    start = time.perf_counter()
    enhancer = Enhancer.from_pretrained("default").to(device)
    loaded = time.perf_counter()
    tone = np.sin(2 * np.pi * 220 * np.arange(48_000) / 48_000)
    noisy = 0.1 * tone + 0.01 * np.random.default_rng(0).normal(size=48_000)
    enhanced = enhancer.enhance(noisy, 48_000)
    if enhanced.shape != noisy.shape or not np.isfinite(enhanced).all() or not enhanced.any():
        raise PhonemiError(f"{noisy.size} samples became {enhanced.size} that are not sound")
    return f"enhanced in {time.perf_counter() - loaded:.2f} s on {device}, after {loaded - start:.2f} s of loading"
