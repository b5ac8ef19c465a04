"""Files that only PyAV can read, and a machine without PyAV."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


def encode(
    path: Path,
    waveform: np.ndarray,
    rate: int,
    codec: str,
    format: str | None = None,
    texts: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Write `[channel, sample]` with one of FFmpeg's encoders."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file, av.open(file, "w", format=format or path.suffix[1:], options=options) as container:
        container.metadata.update(texts or {})
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "stereo" if len(waveform) == 2 else "mono"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform, np.float32), "fltp", stream.layout.name)
        frame.sample_rate, frame.pts = rate, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return path


@pytest.fixture(scope="session", name="encode")
def encode_fixture() -> Callable[..., Path]:
    return encode


@pytest.fixture
def no_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes PyAV one that is not installed."""
    monkeypatch.setitem(sys.modules, "av", None)
