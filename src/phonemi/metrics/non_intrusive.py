"""Non-intrusive metrics, which need no clean speech: DNSMOS, the quality (1 to 5) that listeners would give.

The network is Microsoft's, read from the ONNX file in the package `speechmos`; the code of that package is never
imported, because it needs librosa and pandas. A waveform that cannot be scored gets a failed `Score` with one of a few
fixed reasons.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike, NDArray

from phonemi.constants import SAMPLE_RATE
from phonemi.errors import DataError, MissingExtra, require_extra
from phonemi.metrics.score import ESTIMATE_NOT_FINITE, ESTIMATE_SILENT, Score

DNSMOS_KEYS = ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl")
DNSMOS_PACKAGES = ("onnxruntime", "speechmos")
NETWORK = "dnsmos_models/sig_bak_ovr.onnx"  # in the folder of speechmos

_WINDOW = 144_160  # samples, 9.01 s: the only length that the network accepts
_MIN_DURATION_S = 0.25
_MAX_SILENCE = 2.0**-16  # half a step of 16 bits: in a file, anything below it is silence
# Raw output of the network -> MOS, in the order of `DNSMOS_KEYS`; coefficients of x^0, x^1, x^2.
_MOS_OF_RAW = (
    Polynomial((0.0052439, 1.22083953, -0.08397278)),
    Polynomial((-0.39604546, 1.60915514, -0.13166888)),
    Polynomial((0.04602535, 1.11546468, -0.06766283)),
)

Waveform = NDArray[np.float32]


def dnsmos(estimate: ArrayLike) -> dict[str, Score]:
    """DNSMOS P.835 (Reddy et al. 2022) of `[sample]`: speech (SIG), background (BAK) and overall quality (OVRL).

    Means over windows of 9.01 s that start a second apart. A shorter recording is doubled until it fills a window. The
    level is not normalised, because it counts for listeners, too.

    All windows are used here. By a rounding error, the code that comes with the network skips those that start at 7 to
    23 s, so it never scores the sound between 15 and 24 s.

    >>> dnsmos([0.0] * 16_000)["dnsmos_bak"].reason
    'estimate silent'
    """
    waveform = _scorable(estimate)
    if isinstance(waveform, Score):
        return dict.fromkeys(DNSMOS_KEYS, waveform)
    session = _session(_model())
    raw = np.array([session.run(None, {"input_1": window[None]})[0][0] for window in _windows(waveform)], np.float64)
    means = [float(mos(column).mean()) for mos, column in zip(_MOS_OF_RAW, raw.T, strict=True)]
    return dict(zip(DNSMOS_KEYS, map(Score.of, means), strict=True))


def missing_packages() -> list[str]:
    """Those of `DNSMOS_PACKAGES` that are not installed."""
    return [package for package in DNSMOS_PACKAGES if importlib.util.find_spec(package) is None]


def _scorable(estimate: ArrayLike) -> Waveform | Score:
    """The waveform in float32, or why it cannot be scored."""
    waveform = np.asarray(estimate, dtype=np.float32)
    if waveform.ndim != 1:
        raise DataError(f"estimate {list(waveform.shape)} must be [sample]")
    if not np.isfinite(waveform).all():
        return Score.failed(ESTIMATE_NOT_FINITE)
    if len(waveform) < _MIN_DURATION_S * SAMPLE_RATE:
        return Score.failed("shorter than 0.25 s for DNSMOS")
    if float(np.abs(waveform).max()) < _MAX_SILENCE:
        return Score.failed(ESTIMATE_SILENT)
    missing = missing_packages()
    return Score.failed(f"{missing[0]} is not installed") if missing else waveform


def _windows(waveform: Waveform) -> Iterator[Waveform]:
    """Pieces of `_WINDOW` samples; as many as there are whole seconds above 9, at least one."""
    while len(waveform) < _WINDOW:
        waveform = np.concatenate([waveform, waveform])
    for second in range(max(1, len(waveform) // SAMPLE_RATE - 9)):
        yield waveform[second * SAMPLE_RATE :][:_WINDOW]


def _model() -> Path:
    spec = importlib.util.find_spec("speechmos")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder) / NETWORK
        if path.is_file():
            return path
    raise MissingExtra(f"speechmos with {NETWORK} is not installed: pip install 'phonemi[dnsmos]'")


@functools.cache
def _session(path: Path) -> Any:
    """The network, loaded once in each process; on one core, because other processes enhance and transcribe."""
    runtime = require_extra("onnxruntime", "dnsmos")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
