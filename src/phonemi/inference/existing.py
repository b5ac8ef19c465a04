"""A recording and a sound file under the name of its enhancement -> whether that is its enhancement, made before."""

from __future__ import annotations

from pathlib import Path

from phonemi import audio
from phonemi.errors import PhonemiError

EXACT_CODINGS = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # beginnings of the names of those that keep every sample
PADDING_S = 0.25  # more than others add at the ends or miscount: frames of mp3, blocks of ADPCM


def is_enhanced(source: audio.AudioInfo, target: Path) -> bool:
    """Whether the target has the form of its source and is no older; being there at all, it is complete."""
    try:
        newer = target.stat().st_mtime_ns >= Path(source.path).stat().st_mtime_ns
        return newer and same_form(source, audio.probe(target))
    except (PhonemiError, OSError):
        return False


def same_form(source: audio.AudioInfo, made: audio.AudioInfo) -> bool:
    """Whether rate, channels and length are those of the source, as far as the coding of either tells the length."""
    if (made.sample_rate, made.channels) != (source.sample_rate, source.channels):
        return False
    exact = all(coding.startswith(EXACT_CODINGS) for coding in (source.subtype, made.subtype))
    return abs(made.samples - source.samples) <= (0 if exact else PADDING_S * source.sample_rate)
