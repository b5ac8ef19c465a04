"""Made-up movement and sound, as readers of articulatory corpora meet them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phonemi import audio

SECONDS = 1.5
REST = {"UL": (12, 6), "LL": (10, -8), "T1": (-10, 0), "T2": (-22, 4), "T3": (-36, 6), "T4": (-50, 2)}


def movement(rate_hz: float, seconds: float = SECONDS) -> dict[str, np.ndarray]:
    """Pellets `[frame, 2]` in mm that move at 1.3 and 2 Hz; the lower lip further than the others."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    swing = np.stack([np.cos(2 * np.pi * 1.3 * time_s), np.sin(2 * np.pi * 2 * time_s)], axis=1)
    return {name: np.array(place) + swing * (2, 5 if name == "LL" else 3) for name, place in REST.items()}


def lip_aperture(seconds: float = SECONDS) -> np.ndarray:
    """LA of `movement` at 100 Hz."""
    pellets = movement(100, seconds)
    return np.linalg.norm(pellets["UL"] - pellets["LL"], axis=1)


def voice(rate: int, seconds: float = SECONDS, hz: float = 125.0) -> np.ndarray:
    time_s = np.arange(round(seconds * rate)) / rate
    return (0.1 * sum(np.sin(2 * np.pi * hz * order * time_s) / order for order in range(1, 9))).astype(np.float32)


def write_voice(path: Path, rate: int = 16_000, seconds: float = SECONDS, silent: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.save(path, voice(rate, seconds) * (not silent), rate)
