"""An enhancer -> its real-time factor and memory by length of recording on one core, and the start-up of the command.

    python bench/enhance.py [MODEL]        (the shipped default when no model is named)

Times on a shared machine mean something beside each other only: every line is the best of three.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from phonemi import Enhancer, audio
from phonemi.inference import enhance_file

LENGTHS_S = (3, 30, 300)


def noisy_speech_like(seconds: float) -> np.ndarray:
    """Modulated noise, [sample] at 16 kHz: the work does not depend on what is said."""
    random = np.random.default_rng(0)
    time_s = np.arange(round(16_000 * seconds)) / 16_000
    return (0.1 * random.standard_normal(len(time_s)) * (1 + np.sin(8 * np.pi * time_s))).astype(np.float32)


def best_of(repeats: int, work) -> float:
    """Seconds of the fastest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    model = sys.argv[1] if len(sys.argv) > 1 else "default"
    enhancer = Enhancer.from_pretrained(model)
    parameters = sum(parameter.numel() for parameter in enhancer.parameters())
    print(f"{model}: {parameters / 1e6:.2f} M parameters, torch {torch.__version__}, one thread")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "noisy.wav", Path(folder) / "enhanced.wav"
        for seconds in LENGTHS_S:
            audio.save(source, noisy_speech_like(seconds), 16_000)
            taken = best_of(3, lambda: enhance_file(enhancer, source, target))
            memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{seconds:4d} s: real-time factor {taken / seconds:.4f}, {memory_mb:.0f} MB at most so far")
        audio.save(source, noisy_speech_like(LENGTHS_S[0]), 16_000)
        command = [sys.executable, "-m", "phonemi.cli", "enhance", str(source), "-o", str(target), "--overwrite"]
        command += ["--model", model]
        taken = best_of(3, lambda: subprocess.run(command, check=True, capture_output=True))
        print(f"phonemi enhance of a {LENGTHS_S[0]}-second file, from the shell: {taken:.2f} s")


if __name__ == "__main__":
    main()
