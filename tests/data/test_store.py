"""The store: what is in the files, decoded once, on any number of threads and processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phonemi import audio
from phonemi.data.manifest import Recording
from phonemi.data.store import AudioStore
from phonemi.errors import AudioError

MakeStore = Callable[..., AudioStore]


def _white(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


@pytest.fixture
def speech(make_store: MakeStore) -> AudioStore:
    return make_store({f"u{n}": 0.1 * _white(3_000 + 700 * n, n) for n in range(6)})


def test_store_gives_back_what_is_in_the_files(make_store: MakeStore) -> None:
    waveforms = {"loud": 3 * _white(500), "soft": 1e-5 * _white(500), "silent": np.zeros(50), "one": np.ones(1)}
    store = make_store(waveforms)
    for index, waveform in enumerate(waveforms.values()):
        assert store[index].dtype == np.float32
        np.testing.assert_allclose(store[index], waveform, atol=np.abs(waveform).max() / 60_000)


def test_store_resamples_to_16_khz(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", 0.1 * _white(4_411), 44_100)
    store = AudioStore([Recording(id="a", path=str(tmp_path / "a.wav"), sample_rate=44_100, samples=4_411)])
    assert store[0].shape == (1_600,)


def test_store_decodes_once_for_any_number_of_threads(speech: AudioStore, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    load = audio.load
    monkeypatch.setattr(audio, "load", lambda path, rate: decoded.append(path) or load(path, rate))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(speech.__getitem__, [0, 1] * 20))
    assert len(decoded) == 2


def test_files_with_nan_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.1, np.nan]), 16_000, subtype="FLOAT")
    store = AudioStore([Recording(id="a", path=str(tmp_path / "a.wav"), sample_rate=16_000, samples=2)])
    with pytest.raises(AudioError, match="1 of 2 samples are NaN"):
        store[0]
