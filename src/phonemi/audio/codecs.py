"""What lossy codecs make of a waveform, in memory."""

from __future__ import annotations

import io
from typing import Literal, get_args

import numpy as np
import soundfile

Codec = Literal["opus", "vorbis", "gsm"]
CODECS: tuple[Codec, ...] = get_args(Codec)


def through_codec(waveform: np.ndarray, codec: Codec, strength: float = 1.0, sample_rate: int = 16_000) -> np.ndarray:
    """Encode and decode: [sample] -> float32 of the same length, in time with it.

    Args:
        waveform: in -1 to 1; what lies beyond is clipped.
        codec: "opus" (calls in the internet), "vorbis" (music and games), "gsm" (telephones).
        strength: 0 to 1, how much is taken away, for opus and vorbis; 0.9 are 33 and 36 kbit/s, 1 are 8
            and 32.
    """
    format, subtype = {"opus": ("OGG", "OPUS"), "vorbis": ("OGG", "VORBIS"), "gsm": ("WAV", "GSM610")}[codec]
    level = {} if codec == "gsm" else {"compression_level": strength}
    file = io.BytesIO()
    soundfile.write(file, np.clip(waveform, -1, 1), sample_rate, format=format, subtype=subtype, **level)
    file.seek(0)
    decoded = soundfile.read(file, dtype="float32")[0][: len(waveform)]
    return np.pad(decoded, (0, len(waveform) - len(decoded)))
