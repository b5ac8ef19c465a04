"""Sound files -> broken ones, and what reading them does, measured: `mutants.py FOLDER COUNT SEED` prints JSON."""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from phonemi import audio
from phonemi.errors import AudioError

KINDS = {  # extension: (libsndfile format, subtypes)
    "wav": ("WAV", ("PCM_16", "FLOAT", "MS_ADPCM")),
    "flac": ("FLAC", ("PCM_16",)),
    "ogg": ("OGG", ("VORBIS", "OPUS")),
    "mp3": ("MP3", ("MPEG_LAYER_III",)),
    "aiff": ("AIFF", ("PCM_16", "PCM_U8")),
    "w64": ("W64", ("PCM_24",)),
}
WRONG = (*KINDS, "au", "raw", "gsm", "m4a", "opus", "sd2", "caf")
MEMORY_BYTES = 2 << 30
HEADER_BYTES = 120


def originals(folder: Path) -> list[tuple[str, bytes]]:
    """Extension and content of a file of each kind, a quarter of a second in one or two channels."""
    waveform = 0.3 * np.random.default_rng(0).standard_normal((2, 4_000))
    found = []
    for extension, (format_, subtypes) in KINDS.items():
        for number, subtype in enumerate(subtypes):
            path = folder / f"original.{extension}"
            audio.save(path, waveform[: number + 1], 16_000, format_, subtype)
            found.append((extension, path.read_bytes()))
            path.unlink()
    return found


def mutant(files: list[tuple[str, bytes]], rng: np.random.Generator) -> tuple[str, bytes]:
    """Extension and content of a file that was cut, renamed, or of which some bytes were changed."""
    extension, original = files[rng.integers(len(files))]
    content = bytearray(original)
    kind = rng.choice(["cut", "name", "header", "anywhere", "length", "insert"])
    if kind == "cut":
        del content[rng.integers(len(content)) :]
    elif kind == "name":
        extension = str(rng.choice(WRONG))
    elif kind in ("header", "anywhere"):
        end = min(HEADER_BYTES, len(content)) if kind == "header" else len(content)
        for place in rng.integers(end, size=rng.integers(1, 30)):
            content[place] ^= 1 << rng.integers(8)
    elif kind == "length":
        start, size = rng.integers(4, HEADER_BYTES), rng.choice([2, 4, 8])
        content[start : start + size] = bytes([rng.choice([0xFF, 0, 0x7F])]) * size
    else:
        start = rng.integers(HEADER_BYTES)
        content[start:start] = rng.bytes(rng.integers(1, 40))
    if rng.random() < 0.2:
        extension = str(rng.choice(WRONG))
    return extension, bytes(content)


def read(path: Path) -> str:
    """Read a file in every way: "sound", or "refused" with one line."""
    try:
        info = audio.probe(path)
        samples = sum(block.shape[1] for block in audio.blocks(path, 30 * info.sample_rate))
        waveform = audio.load(path)
    except AudioError as error:
        if "\n" in str(error):
            raise ValueError("more than one line") from error
        return "refused"
    assert samples <= info.samples
    assert np.isfinite(waveform).all()
    return "sound"


def main(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Read `count` mutants; what became of them, the slowest, and the most memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    rng, files = np.random.default_rng(seed), originals(folder)
    outcomes: Counter[str] = Counter()
    slowest_s, wrong = 0.0, []
    for number in range(count):
        extension, content = mutant(files, rng)
        path = folder / f"{number}.{extension}"
        path.write_bytes(content)
        began_s = time.perf_counter()
        try:
            outcomes[read(path)] += 1
        except Exception as error:  # the very thing that must not happen
            wrong.append(f"{path.name}: {type(error).__name__}: {error}")
            continue
        slowest_s = max(slowest_s, time.perf_counter() - began_s)
        path.unlink()
    # Not ru_maxrss: it begins with what the process held that started this one.
    most_bytes = int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) << 10
    return {**outcomes, "wrong": wrong, "slowest_s": slowest_s, "most_bytes": most_bytes}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *map(int, sys.argv[2:]))))
