"""Made-up recordings on disk, behind a store."""

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
