"""DNSMOS: the same as computed step by step, worse in noise, and never a number for what cannot be judged."""

from __future__ import annotations

import importlib.metadata
import math
import subprocess
import sys

import numpy as np
import pytest

from phonemi.errors import DataError
from phonemi.metrics import non_intrusive
from phonemi.metrics.non_intrusive import DNSMOS_KEYS, dnsmos, missing_packages

SECOND = 16_000
NEEDS_NETWORKS = pytest.mark.skipif(bool(missing_packages()), reason="needs onnxruntime and speechmos")


def _speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Harmonics of a gliding pitch under two formants, in syllables with pauses between them."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * SECOND)) / SECOND
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * time)) / SECOND
    formants_hz = (500, 1500)
    gains = [sum(1 / (1 + ((120 * k - hz) / 150) ** 2) for hz in formants_hz) for k in range(1, 30)]
    voice = sum(gain * np.sin(k * phase) for k, gain in enumerate(gains, start=1))
    syllables = np.repeat(random.uniform(0.1, 1.0, int(seconds * 5) + 1), SECOND // 5)[: len(time)]
    return 0.05 * voice * syllables * np.maximum(0, np.sin(2 * np.pi * 2.5 * time))


def _noise(samples: int) -> np.ndarray:
    return 0.05 * np.random.default_rng(1).standard_normal(samples)


def _network(name: str):
    """A session as in onnxruntime's manual, on the file that the list of the package names."""
    onnxruntime = pytest.importorskip("onnxruntime")
    files = [
        file for file in importlib.metadata.files("speechmos") or [] if str(file).endswith(f"dnsmos_models/{name}")
    ]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # its threads would wait for each other on a busy machine
    network = onnxruntime.InferenceSession(str(files[0].locate()), options)
    return lambda item: network.run(["Identity:0"], {"input_1": np.asarray([item], np.float32)})[0][0]


@pytest.mark.slow
@NEEDS_NETWORKS
@pytest.mark.parametrize(
    ("seconds", "starts_s"),
    [(2.3, [0]), (11.5, [0, 1])],  # 2.3 s are doubled to 9.2 s; 11.5 s hold a third window only from 12.01 s on
)
def test_p835_is_the_mean_over_windows_of_what_the_network_says(seconds: float, starts_s: list[int]) -> None:
    recording = _speech(seconds) + 0.3 * _noise(int(seconds * SECOND))
    judge, found = _network("sig_bak_ovr.onnx"), []
    for start_s in starts_s:
        window = [recording[index % len(recording)] for index in range(start_s * SECOND, start_s * SECOND + 144_160)]
        sig, bak, ovrl = (float(value) for value in judge(window))
        found.append((
            -0.08397278 * sig**2 + 1.22083953 * sig + 0.0052439,
            -0.13166888 * bak**2 + 1.60915514 * bak - 0.39604546,
            -0.06766283 * ovrl**2 + 1.11546468 * ovrl + 0.04602535,
        ))  # fmt: skip
    scores = dnsmos(recording)
    assert tuple(scores) == DNSMOS_KEYS
    assert [score.value for score in scores.values()] == pytest.approx(np.mean(found, axis=0), abs=1e-4)


@pytest.mark.slow
@NEEDS_NETWORKS
def test_the_package_of_the_networks_is_not_imported_since_it_needs_librosa() -> None:
    script = (
        "import sys, numpy; from phonemi.metrics.non_intrusive import dnsmos; "
        "dnsmos(numpy.random.default_rng(0).normal(size=16000)); sys.exit('speechmos' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_second_is_in_a_window() -> None:
    recording = np.arange(30 * SECOND, dtype=np.float32)
    windows = list(non_intrusive._windows(recording))
    assert [int(window[0]) for window in windows] == [second * SECOND for second in range(21)]
    assert {len(window) for window in windows} == {144_160}


@pytest.mark.slow
@NEEDS_NETWORKS
def test_noise_costs_background_and_overall_quality() -> None:
    clean = _speech(9.5)
    in_noise = clean + _noise(len(clean))
    before, after = dnsmos(clean), dnsmos(in_noise)
    assert after["dnsmos_bak"].value < before["dnsmos_bak"].value - 1
    assert after["dnsmos_ovrl"].value < before["dnsmos_ovrl"].value
    assert all(1 <= score.value <= 5 for score in (*before.values(), *after.values()))


@pytest.mark.slow
@NEEDS_NETWORKS
def test_a_short_recording_is_judged_as_if_said_twice() -> None:
    once = _speech(2.4)
    assert dnsmos(once) == dnsmos(np.tile(once, 2))


@pytest.mark.parametrize(
    ("estimate", "reason"),
    [
        (np.zeros(SECOND), "estimate silent"),
        (1e-6 * _speech(1.0), "estimate silent"),
        (np.r_[_speech(1.0), np.nan], "estimate not finite"),
        (np.full(SECOND, np.inf), "estimate not finite"),
        (_speech(0.2), "shorter than 0.25 s for DNSMOS"),
        (np.ones(0), "shorter than 0.25 s for DNSMOS"),
    ],
)
def test_what_cannot_be_judged_has_a_reason_and_no_number(estimate: np.ndarray, reason: str) -> None:
    scores = dnsmos(estimate).values()
    assert [score.reason for score in scores] == [reason] * 3
    assert all(math.isnan(score.value) for score in scores)


@pytest.mark.parametrize("package", ["onnxruntime", "speechmos"])
def test_without_a_package_there_is_a_reason(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(non_intrusive, "_session", None)
    monkeypatch.setitem(sys.modules, package, None)
    assert package in missing_packages()
    assert dnsmos(_speech(1.0))["dnsmos_sig"].reason in {f"{name} is not installed" for name in missing_packages()}


def test_channels_are_refused() -> None:
    with pytest.raises(DataError, match=r"estimate \[2, 16000\] must be \[sample\]"):
        dnsmos(np.ones((2, SECOND)))
