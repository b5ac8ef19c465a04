"""A tiny corpus whose articulation can be told from its sound: `from articulated_corpus import write_articulated`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.data.manifest import Interval, Recording, write_manifest
from phonemi.inversion.tracks import Tracks, write_tracks

RATE = 16_000
NAMES, UNITS = ("LA", "TTCD", "PER"), ("mm", "mm", "0..1")


def write_articulated(folder: Path, speakers: int = 6, utterances: int = 2, duration_s: float = 1.2) -> None:
    """Fill a folder with speech.jsonl and noise.jsonl.

    The wider the lips (LA), the louder is the sound; the higher the tongue (TTCD), the higher its resonance; there is
    always voice (PER). The mouths of speakers differ in size.
    """
    rng = np.random.default_rng(0)
    speech = []
    for speaker in range(speakers):
        for number in range(utterances):
            name = f"s{speaker}-{number}"
            waveform, tracks = _speak(rng, duration_s, pitch_hz=100 + 20 * speaker, size=1 + 0.1 * speaker)
            audio.save(folder / f"{name}.flac", waveform, RATE)
            write_tracks(folder / f"{name}.npz", tracks)
            middle_s = round(duration_s / 2, 3)
            speech.append(
                Recording(
                    id=name,
                    path=str(folder / f"{name}.flac"),
                    sample_rate=RATE,
                    samples=len(waveform),
                    speaker=f"s{speaker}",
                    phones=(Interval(0.0, middle_s, "AA"), Interval(middle_s, duration_s, "IY")),
                    tracks=str(folder / f"{name}.npz"),
                )
            )
    noise = []
    for fold in range(1, 6):
        audio.save(folder / f"n{fold}.flac", 0.1 * rng.standard_normal(RATE), RATE)
        path = str(folder / f"n{fold}.flac")
        noise.append(Recording(id=f"n{fold}", path=path, sample_rate=RATE, samples=RATE, fold=fold))
    write_manifest(folder / "speech.jsonl", speech)
    write_manifest(folder / "noise.jsonl", noise)


def _speak(rng: np.random.Generator, duration_s: float, pitch_hz: float, size: float) -> tuple[np.ndarray, Tracks]:
    samples = round(duration_s * RATE)
    lips, tongue = (_wander(rng, samples) for _ in range(2))
    time_s = np.arange(samples) / RATE
    waveform = 1e-3 * rng.standard_normal(samples)
    for harmonic_hz in pitch_hz * np.arange(1, int(3500 / pitch_hz)):
        gain = 0.1 / (1 + ((harmonic_hz - (1500 + 1000 * tongue)) / 200) ** 2)
        waveform += 10**lips * gain * np.sin(2 * np.pi * harmonic_hz * time_s)
    columns = [size * (10 + 5 * lips), size * (12 - 6 * tongue), np.ones(samples)]
    values = np.stack(columns, axis=1)[::160].astype(np.float32)
    return 0.2 * waveform, Tracks(values, NAMES, UNITS)


def _wander(rng: np.random.Generator, samples: int) -> np.ndarray:
    """A smooth way between -1 and 1 with about three turns a second, [sample]."""
    turns = rng.uniform(-1, 1, 2 + int(np.ceil(samples / RATE * 3)))
    turns[::2], turns[1::2] = np.abs(turns[::2]), -np.abs(turns[1::2])
    place = np.arange(samples) / RATE * 3 + rng.uniform()
    low, share = place.astype(int), (1 - np.cos(np.pi * (place % 1))) / 2
    return np.asarray((1 - share) * turns[low] + share * turns[np.minimum(low + 1, len(turns) - 1)])
