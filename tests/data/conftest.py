"""Made-up recordings on disk: behind a store, or spoken by espeak-ng."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.manifest import Recording
from phonemi.data.store import AudioStore


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., AudioStore]:
    """(waveforms by id, key of a recording = its values by id, ...) -> a store of those files."""

    def make(waveforms: Mapping[str, np.ndarray], **more: Mapping[str, Any]) -> AudioStore:
        recordings = []
        for id, waveform in waveforms.items():
            path = tmp_path / f"{id}.wav"
            audio.save(path, waveform, 16_000, subtype="FLOAT")
            values = {key: value[id] for key, value in more.items()}
            recordings.append(Recording(id=id, path=str(path), sample_rate=16_000, samples=len(waveform), **values))
        return AudioStore(recordings)

    return make


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A synthetic sentence with its text and exact phones."""
    pytest.importorskip("espeakng_loader")
    from phonemi.data.corpora.espeak import Espeak, Voice, phone_intervals

    text = "please put the red book under the table"
    spoken = Espeak().speak(text, Voice("en-us+m3"))
    path = tmp_path_factory.mktemp("speech") / "a.wav"
    audio.save(path, audio.resample(spoken.waveform, spoken.sample_rate, 16_000), 16_000)
    phones = phone_intervals(spoken, "en-us")
    return Recording(
        id="a", path=str(path), sample_rate=16_000, samples=audio.probe(path).samples, text=text, phones=phones
    )
